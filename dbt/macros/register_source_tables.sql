{#- Create the views `festival.<table>` over the Parquet files of the source tables. Runs before any model. -#}
{% macro register_source_tables() %}
    {% if execute %}
        {% do adapter.create_schema(api.Relation.create(database=target.get('database'), schema='festival')) %}
        {% set current = env_var('ACL_DATA_DIR', '../data') ~ '/source_tables/current' %}
        {% set folder = env_var('FESTIVAL_SOURCE_TABLES', current) %}
        {% for table in graph.sources.values() if table.source_name == 'festival' %}
            {% do run_query(source_table_view(table.name, folder ~ '/' ~ table.name ~ '.parquet')) %}
        {% endfor %}
    {% endif %}
{% endmacro %}


{% macro source_table_view(table, file) %}
    {{ return(adapter.dispatch('source_table_view')(table, file)) }}
{% endmacro %}

{% macro default__source_table_view(table, file) %}
    {% do exceptions.raise_compiler_error(
        "The macro source_table_view has no implementation for " ~ target.type ~ ": add " ~ target.type
        ~ "__source_table_view to macros/register_source_tables.sql."
    ) %}
{% endmacro %}

{#- DuckDB reads a path as a glob pattern. A character class of one character matches that character literally. -#}
{% macro duckdb__source_table_view(table, file) %}
    {% set pattern = modules.re.sub('([\\[*?])', '[\\1]', file) %}
    {{ return(
        "create or replace view festival." ~ table ~ " as select * from read_parquet(['" ~ pattern | replace("'", "''")
        ~ "'], hive_partitioning = false)"
    ) }}
{% endmacro %}

{#- Spark reads a path as a glob pattern too. A backslash escapes a character; a backquote must be doubled. -#}
{% macro spark__source_table_view(table, file) %}
    {% set pattern = modules.re.sub('([\\[\\]*?{}\\\\])', '\\\\\\1', file) %}
    {{ return(
        "create or replace view festival." ~ table ~ " as select * from parquet.`" ~ pattern | replace("`", "``") ~ "`"
    ) }}
{% endmacro %}
