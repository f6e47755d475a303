{#- DuckDB took these functions over from PostgreSQL. -#}
{% macro postgres__to_utc(instant) %}
    {{- return("timezone('UTC', " ~ instant ~ ")") -}}
{% endmacro %}

{% macro postgres__to_festival_date(instant) %}
    {{- return(duckdb__to_festival_date(instant)) -}}
{% endmacro %}
