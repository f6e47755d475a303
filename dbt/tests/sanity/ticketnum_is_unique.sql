-- Whole queries stand in a condition, at the margin like the others.
-- sqlfluff:indentation:template_blocks_indent:false
{% if published_batches() %}

with

-- No two published tickets have the same number: where one is there twice, a changed ticket has it.
candidates as (
    select
        id as ticket_id,
        ticketnum
    from {{ source('festival', 'tickets') }}
    where ticketnum in (select changed_tickets.ticketnum from festival_changes.tickets as changed_tickets)
),

repeated_numbers as (
    select ticketnum
    from candidates
    group by ticketnum
    having count(*) > 1
)

select
    candidates.ticket_id,
    candidates.ticketnum
from candidates
inner join repeated_numbers
    on candidates.ticketnum = repeated_numbers.ticketnum

{% else %}

with

-- Numbers sort in less memory than text; a malformed ticketnum fails ticketnum_is_well_formed.
numbered_tickets as (
    select
        id as ticket_id,
        ticketnum,
        try_cast(substring(ticketnum, 3, 14) as bigint) as number
    from {{ source('festival', 'tickets') }}
),

-- Equal numbers are neighbours once sorted, in a third of the memory that grouping all of them takes; the parts,
-- which equal numbers share, let engines sort side by side.
neighbouring_numbers as (
    select
        ticket_id,
        number,
        lag(number) over (partition by mod(number, 64) order by number) as number_before,
        lead(number) over (partition by mod(number, 64) order by number) as number_after
    from numbered_tickets
    where number is not null
)

select
    numbered_tickets.ticket_id,
    numbered_tickets.ticketnum
from numbered_tickets
inner join neighbouring_numbers
    on numbered_tickets.ticket_id = neighbouring_numbers.ticket_id
where
    neighbouring_numbers.number = neighbouring_numbers.number_before
    or neighbouring_numbers.number = neighbouring_numbers.number_after

{% endif %}
