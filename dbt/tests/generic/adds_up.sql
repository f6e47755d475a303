{% test adds_up(
    model,
    to,
    tickets='sum(tickets_sold)',
    dollars='sum(revenue)',
    to_tickets='sum(tickets_sold)',
    to_dollars='sum(revenue)',
    only='true'
) %}

with

expected as (
    select
        coalesce({{ to_tickets }}, 0) as tickets,
        coalesce({{ to_dollars }}, 0) as dollars
    from {{ to }}
    where {{ only }}
),

actual as (
    select
        coalesce({{ tickets }}, 0) as tickets,
        coalesce({{ dollars }}, 0) as dollars
    from {{ model }}
)

select
    expected.tickets as expected_tickets,
    actual.tickets as actual_tickets,
    expected.dollars as expected_dollars,
    actual.dollars as actual_dollars
from expected
cross join actual
where expected.tickets <> actual.tickets or expected.dollars <> actual.dollars

{% endtest %}
