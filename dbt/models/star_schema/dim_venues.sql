select
    venue_id,
    venue_name,
    capacity
from {{ ref('stg_ticketing__venues') }}
