{#- The benchmark loads the source tables with COPY before dbt runs. -#}
{% macro register_source_tables() %}
{% endmacro %}
