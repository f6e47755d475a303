select person_id
from {{ ref('stg_ticketing__people') }}
