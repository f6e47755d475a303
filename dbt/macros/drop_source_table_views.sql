{#-
    Spark's catalog stays and is open to others, and names of people must not be in it longer than they are read. The
    schemas may be somebody else's too: what was made goes, and nothing else. Spark looks into the files behind what it
    drops; it need not for a view on one that is gone, so the tables go first. On DuckDB the views are in the build file,
    which is read until it is sealed; that drops them.
-#}
{% macro drop_source_table_views() %}
    {{ return(adapter.dispatch('drop_source_table_views')()) }}
{% endmacro %}

{% macro default__drop_source_table_views() %}
{% endmacro %}

{% macro spark__drop_source_table_views() %}
    {% if execute %}
        {% for table in graph.sources.values() if table.source_name == 'festival' %}
            {% do run_query('drop view if exists festival.' ~ table.name) %}
        {% endfor %}
    {% endif %}
{% endmacro %}
