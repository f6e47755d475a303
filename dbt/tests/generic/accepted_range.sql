{% test accepted_range(model, column_name, identified_by, minimum=none, maximum=none) %}

select
    {{ identified_by | join(', ') }},
    {{ column_name }}
from {{ model }}
where
    false
    {%- if minimum is not none %}
    or {{ column_name }} < {{ minimum }}
    {%- endif %}
    {%- if maximum is not none %}
    or {{ column_name }} > {{ maximum }}
    {%- endif %}

{% endtest %}
