select
    id as ticket_id,
    ticketnum
from {{ source('festival', 'tickets') }}
where regexp_replace(ticketnum, '^TT[0-9]{14}$', '') <> ''
