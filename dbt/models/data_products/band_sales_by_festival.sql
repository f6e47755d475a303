with

sales as (
    select
        band_id,
        venue_id,
        festival_year,
        bool_and(is_completed) as is_completed,
        count(*) as performances,
        sum(tickets_sold) as tickets_sold,
        sum(revenue) as revenue,
        min(lowest_ticket_price) as lowest_ticket_price,
        max(highest_ticket_price) as highest_ticket_price
    from {{ ref('fct_performances') }}
    group by band_id, venue_id, festival_year
)

select
    sales.festival_year,
    sales.is_completed,
    venues.venue_id,
    venues.venue_name,
    bands.band_id,
    bands.band_name,
    cast(sales.performances as bigint) as performances,
    cast(sales.tickets_sold as bigint) as tickets_sold,
    cast(sales.revenue as bigint) as revenue,
    sales.lowest_ticket_price,
    cast(sales.revenue as double) / nullif(sales.tickets_sold, 0) as avg_ticket_price,
    sales.highest_ticket_price
from sales
inner join {{ ref('dim_venues') }} as venues
    on sales.venue_id = venues.venue_id
inner join {{ ref('dim_bands') }} as bands
    on sales.band_id = bands.band_id
