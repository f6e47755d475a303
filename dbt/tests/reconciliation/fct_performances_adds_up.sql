with

expected as (
    select
        count(*) as tickets,
        coalesce(sum(ticket_price), 0) as dollars
    from {{ ref('fct_ticket_sales') }}
),

actual as (
    select
        coalesce(sum(tickets_sold), 0) as tickets,
        coalesce(sum(revenue), 0) as dollars
    from {{ ref('fct_performances') }}
)

{{ differing_totals() }}
