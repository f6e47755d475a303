select
    id as band_id,
    name as band_name,
    fee
from {{ source('festival', 'bands') }}
