{#-
    Spark's catalog outlives the refresh and other users can read it. The views expose the names of people, so they are
    dropped as soon as nothing reads them. Other projects may use the same schemas: drop these views and nothing else.
    On DuckDB the views are in the build file, which later steps still read; acl_assets drops them before publication.
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
