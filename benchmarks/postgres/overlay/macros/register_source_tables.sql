{#- The source tables are there, loaded by copy. -#}
{% macro register_source_tables() %}
{% endmacro %}
