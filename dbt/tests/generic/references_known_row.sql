{#- Unlike dbt's relationships test, this test stores the columns that identify a failing row. -#}
{% test references_known_row(model, column_name, to, field, identified_by) %}

select
    child.{{ identified_by | join(', child.') }},
    child.{{ column_name }} as unknown_{{ column_name }}
from {{ model }} as child
left join {{ to }} as parent
    on child.{{ column_name }} = parent.{{ field }}
where child.{{ column_name }} is not null and parent.{{ field }} is null

{% endtest %}
