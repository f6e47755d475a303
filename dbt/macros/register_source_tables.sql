{% macro register_source_tables() %}
    {% if execute %}
        {% do adapter.create_schema(api.Relation.create(database=target.database, schema='festival')) %}
        {% set current = env_var('ACL_DATA_DIR', '../data') ~ '/source_tables/current/' %}
        {% for source_table in graph.sources.values() | selectattr('source_name', 'equalto', 'festival') %}
            {% do run_query(source_table_view(source_table.name, current ~ source_table.name ~ '/*.parquet')) %}
        {% endfor %}
    {% endif %}
{% endmacro %}

{% macro source_table_view(table, parquet_files) %}
    {{ return(adapter.dispatch('source_table_view')(table, parquet_files)) }}
{% endmacro %}

{% macro default__source_table_view(table, parquet_files) %}
    {% do exceptions.raise_compiler_error(
        "source_table_view is not written for " ~ target.type ~ ": add the macro " ~ target.type ~ "__source_table_view"
    ) %}
{% endmacro %}

{% macro duckdb__source_table_view(table, parquet_files) %}
    {{ return(
        "create or replace view festival." ~ table
        ~ " as select * from read_parquet('" ~ parquet_files | replace("'", "''") ~ "')"
    ) }}
{% endmacro %}

{% macro spark__source_table_view(table, parquet_files) %}
    {{ return("create or replace view festival." ~ table ~ " as select * from parquet.`" ~ parquet_files ~ "`") }}
{% endmacro %}
