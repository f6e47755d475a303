{% test accepted_range(model, column_name, identified_by, minimum=-2147483648, maximum=2147483647) %}

select
    {{ identified_by | join(', ') }},
    {{ column_name }}
from {{ model }}
where {{ column_name }} < {{ minimum }} or {{ column_name }} > {{ maximum }}

{% endtest %}
