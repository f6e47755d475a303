select id as person_id
from {{ source('festival', 'people') }}
