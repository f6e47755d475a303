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
),

venue_totals as (
    select
        venue_id,
        sum(case when is_completed then 1 else 0 end) as total_performances,
        sum(case when is_completed then tickets_sold else 0 end) as total_tickets_sold,
        sum(case when is_completed then revenue else 0 end) as total_revenue
    from {{ ref('fct_performances') }}
    group by venue_id
),

ranked_venues as (
    select
        venue_id,
        total_performances,
        total_tickets_sold,
        total_revenue,
        sum(total_tickets_sold) over () as tickets_sold_anywhere,
        sum(total_revenue) over () as revenue_anywhere,
        row_number() over (order by total_tickets_sold desc, venue_id asc) as venue_rank
    from venue_totals
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
    cast(ranked_venues.total_performances as bigint) as total_performances,
    cast(ranked_venues.total_tickets_sold as bigint) as total_tickets_sold,
    cast(ranked_venues.total_revenue as bigint) as total_revenue,
    coalesce(
        cast(ranked_venues.total_tickets_sold as double) / nullif(ranked_venues.tickets_sold_anywhere, 0), 0
    ) as share_of_tickets,
    coalesce(
        cast(ranked_venues.total_revenue as double) / nullif(ranked_venues.revenue_anywhere, 0), 0
    ) as share_of_revenue,
    cast(ranked_venues.total_revenue as double) / nullif(ranked_venues.total_tickets_sold, 0) as total_avg_ticket_price,
    cast(ranked_venues.venue_rank as int) as venue_rank,
    ranked_venues.venue_rank <= {{ var('top_venues') }} as is_top_venue,
    case
        when ranked_venues.venue_rank <= {{ var('top_venues') }}
            then 'top venue ' || cast(ranked_venues.venue_rank as string)
        else 'venues ranked lower'
    end as venue_standing
from venue_festivals
inner join ranked_venues
    on venue_festivals.venue_id = ranked_venues.venue_id
inner join {{ ref('dim_venues') }} as venues
    on venue_festivals.venue_id = venues.venue_id
