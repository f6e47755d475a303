select
    sales.performance_id,
    performances.performance_start,
    performances.performance_date,
    sales.festival_year,
    sales.is_completed,
    bands.band_id,
    bands.band_name,
    venues.venue_id,
    venues.venue_name,
    sales.tickets_sold,
    sales.revenue,
    sales.lowest_ticket_price,
    cast(sales.revenue as double) / nullif(sales.tickets_sold, 0) as avg_ticket_price,
    sales.highest_ticket_price,
    sales.capacity,
    sales.fill_rate
from {{ ref('fct_performances') }} as sales
inner join {{ ref('dim_performances') }} as performances
    on sales.performance_id = performances.performance_id
inner join {{ ref('dim_bands') }} as bands
    on sales.band_id = bands.band_id
inner join {{ ref('dim_venues') }} as venues
    on sales.venue_id = venues.venue_id
