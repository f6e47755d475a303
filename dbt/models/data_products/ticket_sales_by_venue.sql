with

venue_festivals as (
    select
        venue_id,
        festival_year,
        bool_and(is_completed) as is_completed,
        count(*) as performances,
        sum(tickets_sold) as tickets_sold,
        sum(revenue) as revenue,
        min(lowest_ticket_price) as lowest_ticket_price,
        max(highest_ticket_price) as highest_ticket_price
    from {{ ref('fct_performances') }}
    group by venue_id, festival_year
)

select
    venues.venue_id,
    venues.venue_name,
    venues.capacity,
    venue_festivals.festival_year,
    make_date(venue_festivals.festival_year, 1, 1) as festival_date,
    venue_festivals.is_completed,
    cast(venue_festivals.performances as bigint) as performances,
    cast(venue_festivals.tickets_sold as bigint) as tickets_sold,
    cast(venue_festivals.revenue as bigint) as revenue,
    venue_festivals.lowest_ticket_price,
    cast(venue_festivals.revenue as double) / nullif(venue_festivals.tickets_sold, 0) as avg_ticket_price,
    venue_festivals.highest_ticket_price,
    venues.performances as total_performances,
    venues.tickets_sold as total_tickets_sold,
    venues.revenue as total_revenue,
    venues.share_of_tickets,
    venues.share_of_revenue,
    venues.avg_ticket_price as total_avg_ticket_price,
    venues.venue_rank,
    venues.is_top_venue,
    venues.venue_standing
from venue_festivals
inner join {{ ref('venue_sales') }} as venues
    on venue_festivals.venue_id = venues.venue_id
