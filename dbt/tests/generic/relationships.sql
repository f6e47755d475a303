{#- As dbt's own, and each failing row says which row it is. -#}
{% test relationships(model, column_name, to, field, identified_by) %}
{%- set children = changed_references(model) %}

select
    child.{{ identified_by | join(', child.') }},
    child.{{ column_name }} as unknown_{{ column_name }}
from {{ children }} as child
left join {{ referred_rows(to, field, children, column_name) }} as parent
    on child.{{ column_name }} = parent.{{ field }}
where child.{{ column_name }} is not null and parent.{{ field }} is null

{% endtest %}
