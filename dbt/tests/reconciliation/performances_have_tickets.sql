select
    performance_id,
    band_id,
    venue_id,
    festival_year
from {{ ref('fct_performances') }}
where is_completed and tickets_sold = 0
