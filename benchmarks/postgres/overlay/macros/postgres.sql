{#- PostgreSQL has the functions that DuckDB took over from it. -#}
{% macro postgres__to_utc(instant) %}
    {{- return(duckdb__to_utc(instant)) -}}
{% endmacro %}

{% macro postgres__to_festival_date(instant) %}
    {{- return(duckdb__to_festival_date(instant)) -}}
{% endmacro %}
