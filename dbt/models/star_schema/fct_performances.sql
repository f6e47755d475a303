with

sales as (
    select
        performance_id,
        count(*) as tickets_sold,
        sum(ticket_price) as revenue,
        min(ticket_price) as lowest_ticket_price,
        max(ticket_price) as highest_ticket_price
    from {{ ref('fct_ticket_sales') }}
    group by performance_id
)

select
    performances.performance_id,
    performances.band_id,
    performances.venue_id,
    performances.festival_year,
    performances.is_completed,
    cast(coalesce(sales.tickets_sold, 0) as bigint) as tickets_sold,
    cast(coalesce(sales.revenue, 0) as bigint) as revenue,
    sales.lowest_ticket_price,
    sales.highest_ticket_price,
    venues.capacity,
    cast(coalesce(sales.tickets_sold, 0) as double) / nullif(venues.capacity, 0) as fill_rate
from {{ ref('dim_performances') }} as performances
inner join {{ ref('dim_venues') }} as venues
    on performances.venue_id = venues.venue_id
left join sales
    on performances.performance_id = sales.performance_id
