select
    id as venue_id,
    name as venue_name,
    capacity
from {{ source('festival', 'venues') }}
