select
    performance_id,
    band_id,
    venue_id,
    festival_year,
    tickets_sold,
    capacity
from {{ ref('fct_performances') }}
where tickets_sold > capacity
