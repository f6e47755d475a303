{#- A wrong value need not fail: with no top venue, or 80 instead of 0.8, every verdict would be published wrongly.
    `dbt compile` publishes nothing, and may have SQL in the place of values. -#}
{% macro require_usable_vars() %}
    {% if execute and flags.WHICH != 'compile' %}
        {% set problems = [] %}
        {% for name in [
            'top_venues', 'top_bands_per_venue', 'min_performances', 'min_festivals', 'near_equals_max_bands',
            'first_festival_year'
        ] if not (var(name) is integer and var(name) >= 1) %}
            {% do problems.append(unusable_var(name, 'a whole number from 1')) %}
        {% endfor %}
        {% for name in [
            'max_days_announced_ahead', 'max_days_purchased_after_export', 'max_ticket_price', 'max_name_length'
        ] if not (var(name) is integer and var(name) >= 0) %}
            {% do problems.append(unusable_var(name, 'a whole number from 0')) %}
        {% endfor %}
        {% for name in [
            'equal_within', 'must_invite_p_best', 'must_invite_p_stands_out', 'near_equals_p_top_group',
            'near_equals_p_best', 'safe_to_invite_p_top_group', 'possible_p_top_group'
        ] if not (var(name) is number and var(name) is not boolean and 0 <= var(name) < 1) %}
            {% do problems.append(unusable_var(name, 'a number from 0 to less than 1')) %}
        {% endfor %}
        {% if var('evidence_from_other_venues') is not boolean %}
            {% do problems.append(unusable_var('evidence_from_other_venues', 'true or false')) %}
        {% endif %}
        {% if problems %}
            {% do exceptions.raise_compiler_error(problems | join('\n')) %}
        {% endif %}
    {% endif %}
{% endmacro %}


{% macro unusable_var(name, usable) -%}
    The var {{ name }} is {{ tojson(var(name)) }}. Set it in dbt_project.yml to {{ usable }}.
{%- endmacro %}
