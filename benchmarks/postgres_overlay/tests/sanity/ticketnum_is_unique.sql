-- The project's test without try_cast, which PostgreSQL lacks.
{%- set number = "cast(case when ticketnum ~ '^TT[0-9]{14}$' then substring(ticketnum, 3, 14) end as bigint)" %}

with

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
