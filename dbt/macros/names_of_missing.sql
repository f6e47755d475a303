{% macro names_of_missing(columns) -%}
    concat_ws(', '{% for column in columns %}, case when {{ column }} is null then '{{ column }}' end{% endfor %})
{%- endmacro %}
