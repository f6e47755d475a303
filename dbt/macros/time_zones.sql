{% macro to_utc(instant) %}
    {{- return(adapter.dispatch('to_utc')(instant)) -}}
{% endmacro %}

{% macro default__to_utc(instant) %}
    {%- do exceptions.raise_compiler_error(
        "to_utc is not written for " ~ target.type ~ ": add the macro " ~ target.type ~ "__to_utc"
    ) -%}
{% endmacro %}

{#- As timezone('UTC', ...), which asks the calendar library row by row: six times as long, and nothing is skipped. -#}
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
        "to_festival_date is not written for " ~ target.type ~ ": add the macro " ~ target.type ~ "__to_festival_date"
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
