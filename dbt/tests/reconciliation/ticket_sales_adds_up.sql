with

expected as (
    select
        count(*) as tickets,
        coalesce(sum(ticket_price), 0) as dollars
    from {{ ref('fct_ticket_sales') }}
),

actual as (
    select
        count(*) as tickets,
        coalesce(sum(ticket_price), 0) as dollars
    from {{ ref('ticket_sales') }}
)

{{ differing_totals() }}
