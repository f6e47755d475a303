{% macro to_utc(instant) %}
    {{- return(adapter.dispatch('to_utc')(instant)) -}}
{% endmacro %}

{% macro default__to_utc(instant) %}
    {%- do exceptions.raise_compiler_error(
        "The macro to_utc has no implementation for " ~ target.type ~ ": add " ~ target.type
        ~ "__to_utc to macros/time_zones.sql."
    ) -%}
{% endmacro %}

{#-
    Same result as timezone('UTC', ...), which calls the calendar library for every row. That takes six times as long,
    and filters cannot skip rows.
-#}
{% macro duckdb__to_utc(instant) %}
    {{- return("make_timestamp(epoch_us(" ~ instant ~ "))") -}}
{% endmacro %}

{% macro spark__to_utc(instant) %}
    {{- return("to_utc_timestamp(" ~ instant ~ ", current_timezone())") -}}
{% endmacro %}


{% macro to_festival_date(instant) %}
    {{- return(adapter.dispatch('to_festival_date')(instant)) -}}
{% endmacro %}

{% macro default__to_festival_date(instant) %}
    {%- do exceptions.raise_compiler_error(
        "The macro to_festival_date has no implementation for " ~ target.type ~ ": add " ~ target.type
        ~ "__to_festival_date to macros/time_zones.sql."
    ) -%}
{% endmacro %}

{% macro duckdb__to_festival_date(instant) %}
    {{- return("cast(timezone('" ~ var('festival_timezone') ~ "', " ~ instant ~ ") as date)") -}}
{% endmacro %}

{% macro spark__to_festival_date(instant) %}
    {{- return(
        "cast(from_utc_timestamp(" ~ spark__to_utc(instant) ~ ", '" ~ var('festival_timezone') ~ "') as date)"
    ) -}}
{% endmacro %}
