-- Whole conditions stand in a condition, at the margin like the others.
-- sqlfluff:indentation:template_blocks_indent:false
{%- set number = "try_cast(substring(ticketnum, 3, 14) as bigint)" %}

with

-- Grouping numbers takes two thirds of the memory that text does; a malformed ticketnum fails ticketnum_is_well_formed.
repeated_numbers as (
    select {{ number }} as number
    from {{ source('festival', 'tickets') }}
    {% if published_batches() %}
    -- No two published tickets have the same number: where one is there twice, a changed ticket has it.
    where ticketnum in (select changed_tickets.ticketnum from festival_changes.tickets as changed_tickets)
    {% endif %}
    group by {{ number }}
    having count(*) > 1
)

select
    tickets.id as ticket_id,
    tickets.ticketnum
from {{ source('festival', 'tickets') }} as tickets
inner join repeated_numbers
    on {{ number }} = repeated_numbers.number
