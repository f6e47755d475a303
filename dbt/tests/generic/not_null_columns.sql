{% test not_null_columns(model, columns, identified_by) %}

{%- set missing_columns = [] -%}
{%- for column in columns -%}
    {%- do missing_columns.append("case when " ~ column ~ " is null then '" ~ column ~ "' end") -%}
{%- endfor %}

select
    {{ identified_by | join(', ') }},
    concat_ws(', ', {{ missing_columns | join(', ') }}) as missing_columns
from {{ model }}
where {{ columns | join(' is null or ') }} is null

{% endtest %}
