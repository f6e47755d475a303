with

-- Numbers group in less memory than text; a malformed ticketnum fails ticketnum_is_well_formed.
numbered_tickets as (
    select
        id as ticket_id,
        ticketnum,
        try_cast(substring(ticketnum, 3, 14) as bigint) as number
    from {{ source('festival', 'tickets') }}
),

repeated_numbers as (
    select number
    from numbered_tickets
    where number is not null
    group by number
    having count(*) > 1
)

select
    numbered_tickets.ticket_id,
    numbered_tickets.ticketnum
from numbered_tickets
inner join repeated_numbers
    on numbered_tickets.number = repeated_numbers.number
