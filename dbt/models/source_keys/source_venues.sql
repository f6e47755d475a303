select id as venue_id
from {{ source('festival', 'venues') }}
