{#-
    The limit a refresh reckons follows its source tables. It is set here, because dbt parses the whole project anew when a
    value of the profile changes.
-#}
{% macro limit_memory() %}
    {% if execute and target.type == 'duckdb' and env_var('ACL_RECKONED_MEMORY_LIMIT', '') %}
        {% do run_query("set memory_limit = '" ~ env_var('ACL_RECKONED_MEMORY_LIMIT') ~ "'") %}
    {% endif %}
{% endmacro %}
