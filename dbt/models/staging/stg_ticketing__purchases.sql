select
    id as purchase_id,
    purchase_date as purchased_at,
    person_id
from {{ source('festival', 'purchases') }}
