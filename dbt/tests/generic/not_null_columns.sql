{% test not_null_columns(model, columns, identified_by) %}

select
    {{ identified_by | join(',\n    ') }},
    concat_ws(
        ', '
        {%- for column in columns %},
        case when {{ column }} is null then '{{ column }}' end
        {%- endfor %}
    ) as missing_columns
from {{ model }}
where
    {{ columns | join(' is null\n    or ') }} is null

{% endtest %}
