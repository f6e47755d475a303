{#-
    On Spark each table takes a job that writes files, and nearly every test passes. So count the failing rows first, and
    store them only if there are any. Apart from this it does what dbt's own materialization does.
-#}
{% materialization test, adapter = 'spark' %}
    {% set relations = [] %}
    {% set failing_rows = get_limit_subquery_sql(sql, config.get('limit')) %}
    {% set counted = get_test_sql(
        failing_rows, config.get('fail_calc'), config.get('warn_if'), config.get('error_if'), limit = none
    ) %}
    {#- sqlfluff takes the text of the call for SQL, and what follows for its indentation. -#}
    {% call statement('main', fetch_result = true) %}{{ counted }}{% endcall %} {# noqa: LT02 #}

    {% if should_store_failures() %}
        {% set place = {'database': database, 'schema': schema, 'identifier': model['alias']} %}
        {% set of_earlier_run = adapter.get_relation(**place) %}
        {% if of_earlier_run %}
            {% do adapter.drop_relation(of_earlier_run) %}
        {% endif %}
        {% if load_result('main')['data'][0][0] > 0 %}
            {% set store = api.Relation.create(type = 'table', **place) %}
            {% call statement() %}{{ get_create_table_as_sql(false, store, failing_rows) }}{% endcall %}
            {% do relations.append(store) %}
        {% endif %}
    {% endif %}
    {{ return({'relations': relations}) }}
{% endmaterialization %}
