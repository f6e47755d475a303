{#- The text itself is left out of the failing rows: it is too long to be looked at, and may be personal data. -#}
{% test length_at_most(model, column_name, characters, identified_by) %}

select
    {{ identified_by | join(', ') }},
    length({{ column_name }}) as characters
from {{ model }}
where length({{ column_name }}) > {{ characters }}

{% endtest %}
