select
    id as performance_id,
    performance_start,
    band_id,
    venue_id
from {{ source('festival', 'performances') }}
