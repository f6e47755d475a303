with

expected as (
    select
        coalesce(sum(tickets_sold), 0) as tickets,
        coalesce(sum(revenue), 0) as dollars
    from {{ ref('fct_performances') }}
    where is_completed
),

-- Each row of a venue repeats its totals.
venue_totals as (
    select distinct
        venue_id,
        total_tickets_sold,
        total_revenue
    from {{ ref('ticket_sales_by_venue') }}
),

actual as (
    select
        coalesce(sum(total_tickets_sold), 0) as tickets,
        coalesce(sum(total_revenue), 0) as dollars
    from venue_totals
)

select
    expected.tickets as expected_tickets,
    actual.tickets as actual_tickets,
    expected.dollars as expected_dollars,
    actual.dollars as actual_dollars
from expected
cross join actual
where expected.tickets <> actual.tickets or expected.dollars <> actual.dollars
