select
    band_id,
    band_name,
    fee
from {{ ref('stg_ticketing__bands') }}
