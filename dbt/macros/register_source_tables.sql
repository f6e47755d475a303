{% macro register_source_tables() %}
    {% if execute %}
        {% do adapter.create_schema(api.Relation.create(database=target.get('database'), schema='festival')) %}
        {% set current = env_var('ACL_DATA_DIR', '../data') ~ '/source_tables/current/' %}
        {% set tables = graph.sources.values() | selectattr('source_name', 'equalto', 'festival') | list %}
        {% do run_query(source_table_view('export_batches', current ~ 'export_batches/*.parquet')) %}
        {% set batches = run_query('select count(*) from festival.export_batches').columns[0].values()[0] %}
        {% for table in tables | rejectattr('name', 'equalto', 'export_batches') %}
            {% set parquet_files = current ~ table.name ~ '/*.parquet' %}
            {% if batches <= 1 %}
                {% do run_query(source_table_view(table.name, parquet_files)) %}
            {% else %}
                {% do run_query(merged_source_table_view(table, parquet_files)) %}
            {% endif %}
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


{% macro merged_source_table_view(table, parquet_files) %}
    {{ return(adapter.dispatch('merged_source_table_view')(table, parquet_files)) }}
{% endmacro %}

{% macro default__merged_source_table_view(table, parquet_files) %}
    {% do exceptions.raise_compiler_error(
        "merged_source_table_view is not written for " ~ target.type ~ ": add the macro " ~ target.type
        ~ "__merged_source_table_view"
    ) %}
{% endmacro %}

{#-
    The full batch is read as if it were alone, but for the few ids that a small hash table of the others holds: most rows
    of an increment are new, and have larger ids than the full batch. What a query asks for reaches both scans; it would
    not where the increments were materialized.
-#}
{% macro duckdb__merged_source_table_view(table, parquet_files) %}
    {% set files = duckdb_files(parquet_files) %}
    {% if files | length == 1 %}
        {{ return(source_table_view(table.name, parquet_files)) }}
    {% endif %}
    {% set largest_id = run_query(
        "select coalesce(max(id), 0) from " ~ duckdb_scan(files[:1])
    ).columns[0].values()[0] %}
    {{ return(
        "create or replace view festival." ~ table.name ~ " as with increments as not materialized ("
        ~ duckdb_newest_rows(table, files[1:]) ~ ") select * from increments union all select earlier.* from "
        ~ duckdb_scan(files[:1]) ~ " as earlier where not exists (select 1 from increments "
        ~ "where increments.id = earlier.id and increments.id <= " ~ largest_id ~ ")"
    ) }}
{% endmacro %}

{#-
    As on DuckDB, and for the same reason: the increments are few files, so their ids are sent to where the full batch is
    read, which is neither sorted nor sent anywhere. They are named one by one, as Spark judges how much a scan brings by
    the files it names. A file is named by the position its name begins with, which no other file has; the rest of it may
    hold what a pattern would take for its own. Files without rows are not among them, and not missed.
-#}
{% macro spark__merged_source_table_view(table, parquet_files) %}
    {% set positions = run_query(
        "select distinct substring_index(_metadata.file_name, '-', 1) as position from parquet.`" ~ parquet_files
        ~ "` order by position"
    ).columns[0].values() %}
    {% if positions | length <= 1 %}
        {{ return(source_table_view(table.name, parquet_files)) }}
    {% endif %}
    {% set columns = table.columns.keys() | join(', ') %}
    {% set folder = parquet_files | replace('/*.parquet', '') %}
    {{ return(
        "create or replace view festival." ~ table.name ~ " as with increments as (select " ~ columns ~ " from (select *, "
        ~ "rank() over (partition by id order by batch desc) as age from (select *, _metadata.file_name as batch from "
        ~ "parquet.`" ~ folder ~ "/{" ~ positions[1:] | join(',') ~ "}-*.parquet`)) where age = 1) "
        ~ "select * from increments union all select earlier.* from parquet.`" ~ folder ~ "/" ~ positions[0]
        ~ "-*.parquet` as earlier left anti join increments on earlier.id = increments.id"
    ) }}
{% endmacro %}


{% macro duckdb_newest_rows(table, files) %}
    {% if files | length == 1 %}
        {{ return("select * from " ~ duckdb_scan(files)) }}
    {% endif %}
    {{ return(
        "select " ~ table.columns.keys() | join(', ') ~ " from (select *, file_index as batch from " ~ duckdb_scan(files)
        ~ ") qualify batch = max(batch) over (partition by id)"
    ) }}
{% endmacro %}

{% macro duckdb_files(parquet_files) %}
    {{ return(
        run_query("select file from glob('" ~ parquet_files | replace("'", "''") ~ "') order by file").columns[0].values()
    ) }}
{% endmacro %}

{% macro duckdb_scan(files) %}
    {% set literals = [] %}
    {% for file in files %}
        {% do literals.append("'" ~ file | replace("'", "''") ~ "'") %}
    {% endfor %}
    {{ return("read_parquet([" ~ literals | join(', ') ~ "])") }}
{% endmacro %}
