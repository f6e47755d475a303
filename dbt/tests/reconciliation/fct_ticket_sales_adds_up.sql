with

expected as (
    select
        coalesce(sum(tickets), 0) as tickets,
        coalesce(sum(dollars), 0) as dollars
    from {{ ref('source_tickets_by_performance') }}
),

actual as (
    select
        count(*) as tickets,
        coalesce(sum(ticket_price), 0) as dollars
    from {{ ref('fct_ticket_sales') }}
)

{{ differing_totals() }}
