{#-
    A warehouse is continued where it is a copy of the published one: that one passed every check, was made by these
    models, and the source tables are its own and the rows of later batches. Everything else is built from nothing.
-#}
{% macro published_batches() %}
    {{ return(adapter.dispatch('published_batches')()) }}
{% endmacro %}

{% macro default__published_batches() %}
    {{ return(0) }}
{% endmacro %}

{% macro duckdb__published_batches() %}
    {% if not execute or flags.FULL_REFRESH %}
        {{ return(0) }}
    {% endif %}
    {#- Asked in SQL: the adapter would begin a transaction, and on-run-start ends by rolling back what is open. -#}
    {% set copied = run_query(
        "select count(*) from information_schema.tables "
        ~ "where table_schema = 'publication' and table_name = 'export_batches' and table_catalog = '" ~ target.database ~ "'"
    ).columns[0].values()[0] %}
    {% if copied == 0 %}
        {{ return(0) }}
    {% endif %}
    {% set counts = run_query(
        "select count(*), count(current_batches.batch_id) from publication.export_batches as published_batches "
        ~ "left join festival.export_batches as current_batches "
        ~ "on published_batches.batch_id = current_batches.batch_id "
        ~ "and published_batches.manifest_digest = current_batches.manifest_digest"
    ).rows[0] %}
    {% if counts[0] != counts[1] %}
        {% do exceptions.raise_compiler_error(
            "This warehouse holds batches that the source tables no longer do. Build it from nothing: --full-refresh."
        ) %}
    {% endif %}
    {{ return(counts[0] | int) }}
{% endmacro %}


{#- Takes the place of dbt's own, for which a table that is there is enough to be continued. -#}
{% macro should_full_refresh() %}
    {{ return(published_batches() == 0) }}
{% endmacro %}


{#-
    The rows of a relation that a check has to look at. Where the published warehouse is continued, the other rows have
    passed the same check, of the same text, when they were published; they are as they were then, and what they are
    held against cannot have turned against them: source tables never lose an id between full batches, and the newest
    export only gets later. A key that is there twice is there among the changed rows alone, since an id of theirs
    takes the place of every earlier row that has it. What the dimensions add to the tickets has its own checks.
-#}
{% macro changed_rows(relation) %}
    {% if relation.schema == 'festival' and relation.identifier != 'export_batches' %}
        {{ return(relation.incorporate(path={'schema': 'festival_changes'})) }}
    {% endif %}
    {% if relation.identifier in ['fct_ticket_sales', 'ticket_sales'] and published_batches() > 0 %}
        {{ return(
            "(select * from " ~ relation ~ " where ticket_id in (select ticket_id from festival_changes.ticket_sales))"
        ) }}
    {% endif %}
    {{ return(relation) }}
{% endmacro %}


{#-
    The rows whose references a check has to look at: changed rows, and of the fact those that may have changed. Where
    those point to follows from a ticket and its purchase alone, and no dimension loses a row that a fact not touched
    points to: people and performances stay, and the days reach from the first sale to the last.
-#}
{% macro changed_references(relation) %}
    {% if relation.identifier == 'fct_ticket_sales' and published_batches() > 0 %}
        {{ return("festival_changes.ticket_sales") }}
    {% endif %}
    {{ return(changed_rows(relation)) }}
{% endmacro %}


{#-
    What references point to, or as much of it as they can find: a few changed rows are looked up by reading the keys
    of a large table, all rows by a hash table of it.
-#}
{% macro referred_rows(to, field, children, column_name) %}
    {% if published_batches() > 0 %}
        {{ return(
            "(select " ~ field ~ " from " ~ to ~ " where " ~ field ~ " in (select " ~ column_name ~ " from " ~ children ~ "))"
        ) }}
    {% endif %}
    {{ return(to) }}
{% endmacro %}


{#-
    Rows of the fact that may have changed, found once for every check that looks at them: first their ids, then what
    they refer to, which takes half as long as reading every column of every row.
-#}
{% macro keep_changed_sales() %}
    {% if published_batches() > 0 %}
        {{ return(
            "create or replace table festival_changes.ticket_sales as select ticket_id, performance_id, person_id, "
            ~ "sale_date from " ~ this ~ " where ticket_id in ("
            ~ "select ticket_id from " ~ this ~ " where purchase_id in (select id from festival_changes.purchases "
            ~ "union select purchase_id from festival_changes.tickets) union select ticket_id from " ~ this
            ~ " where performance_id in (select id from festival_changes.performances))"
        ) }}
    {% endif %}
{% endmacro %}
