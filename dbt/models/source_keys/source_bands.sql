select id as band_id
from {{ source('festival', 'bands') }}
