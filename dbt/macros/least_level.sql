{#- The lowest level of a festival or venue: one that sold nothing must not divide by zero. -#}
{% macro least_level() %}{{ return("cast(1e-9 as double)") }}{% endmacro %}
