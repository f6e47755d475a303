select
    id as ticket_id,
    price as ticket_price,
    performance_id,
    purchase_id,
    ticketnum
from {{ source('festival', 'tickets') }}
