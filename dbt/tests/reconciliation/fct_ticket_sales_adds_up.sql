with

expected as (
    select
        count(*) as tickets,
        coalesce(sum(price), 0) as dollars
    from {{ source('festival', 'tickets') }}
),

actual as (
    select
        count(*) as tickets,
        coalesce(sum(ticket_price), 0) as dollars
    from {{ ref('fct_ticket_sales') }}
)

{{ differing_totals() }}
