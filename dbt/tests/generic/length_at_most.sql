{#- Failing rows omit the text itself, because it may be personal data. -#}
{% test length_at_most(model, column_name, characters, identified_by) %}

select
    {{ identified_by | join(', ') }},
    length({{ column_name }}) as characters
from {{ model }}
where length({{ column_name }}) > {{ characters }}

{% endtest %}
