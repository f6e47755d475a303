{#- DuckDB's string_agg and Spark's listagg have different syntax for the order of rows. -#}
{% macro joined_names(name, place, most) -%}
    {%- for number in range(1, most + 1) -%}
        coalesce(max(case when {{ place }} = {{ number }} then {{ "'; ' || " if number > 1 }}{{ name }} end), '')
        {{- " || " if not loop.last }}
    {%- endfor -%}
{%- endmacro %}
