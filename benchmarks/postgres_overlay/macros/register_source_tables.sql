{#- The source tables exist already: they are loaded with COPY. -#}
{% macro register_source_tables() %}
{% endmacro %}
