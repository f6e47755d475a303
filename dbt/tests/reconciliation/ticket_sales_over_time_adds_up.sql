with

expected as (
    select
        coalesce(sum(tickets_sold), 0) as tickets,
        coalesce(sum(revenue), 0) as dollars
    from {{ ref('fct_performances') }}
),

actual as (
    select
        coalesce(sum(tickets_sold), 0) as tickets,
        coalesce(sum(revenue), 0) as dollars
    from {{ ref('ticket_sales_over_time') }}
)

{{ differing_totals() }}
