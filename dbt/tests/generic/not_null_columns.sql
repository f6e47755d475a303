{% test not_null_columns(model, columns, identified_by) %}

select
    {{ identified_by | join(', ') }},
    {{ names_of_missing(columns) }} as missing_columns
from {{ model }}
where {{ columns | join(' is null or ') }} is null

{% endtest %}
