{% macro differing_totals() %}
select
    expected.tickets as expected_tickets,
    actual.tickets as actual_tickets,
    expected.dollars as expected_dollars,
    actual.dollars as actual_dollars
from expected
cross join actual
where expected.tickets <> actual.tickets or expected.dollars <> actual.dollars
{% endmacro %}
