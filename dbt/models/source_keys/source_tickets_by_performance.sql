select
    performance_id,
    cast(count(*) as bigint) as tickets,
    cast(sum(price) as bigint) as dollars
from {{ source('festival', 'tickets') }}
group by performance_id
