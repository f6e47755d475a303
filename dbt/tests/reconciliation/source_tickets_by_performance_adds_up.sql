with

expected as (
    select
        coalesce(sum(tickets_sold), 0) as tickets,
        coalesce(sum(revenue), 0) as dollars
    from {{ ref('fct_performances') }}
),

actual as (
    select
        coalesce(sum(tickets), 0) as tickets,
        coalesce(sum(dollars), 0) as dollars
    from {{ ref('source_tickets_by_performance') }}
)

{{ differing_totals() }}
