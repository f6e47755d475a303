select
    id as performance_id,
    band_id,
    venue_id
from {{ source('festival', 'performances') }}
