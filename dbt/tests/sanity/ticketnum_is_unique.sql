{%- set number = "try_cast(substring(ticketnum, 3, 14) as bigint)" %}

with

-- Grouping by number takes two thirds of the memory of grouping by text. A malformed ticketnum, which try_cast turns
-- into null, fails ticketnum_is_well_formed.
repeated_numbers as (
    select {{ number }} as number
    from {{ source('festival', 'tickets') }}
    group by {{ number }}
    having count(*) > 1
)

select
    tickets.id as ticket_id,
    tickets.ticketnum
from {{ source('festival', 'tickets') }} as tickets
inner join repeated_numbers
    on {{ number }} = repeated_numbers.number
