{#- Upper tail of the standard normal distribution for x >= 0: Abramowitz & Stegun 26.2.17, error below 7.5e-8. -#}
{% macro normal_upper_tail(x) -%}
    {%- set t = "(1.0 / (1.0 + 0.2316419 * " ~ x ~ "))" -%}
    (
        {{ standard_normal_density(x) }} * {{ t }} * (
            0.319381530 + {{ t }} * (
                -0.356563782 + {{ t }} * (1.781477937 + {{ t }} * (-1.821255978 + {{ t }} * 1.330274429))
            )
        )
    )
{%- endmacro %}

{% macro standard_normal_density(x) -%}
    (0.3989422804014327 * {{ bounded_exp("-0.5 * " ~ x ~ " * " ~ x) }})
{%- endmacro %}

{% macro standard_normal_cdf(x) -%}
    (
        case
            when {{ x }} >= 0 then 1.0 - {{ normal_upper_tail(x) }}
            else {{ normal_upper_tail("(-1.0 * " ~ x ~ ")") }}
        end
    )
{%- endmacro %}

{% macro log_level_cdf(bands, level) -%}
    ln(
        greatest(
            (1 - {{ bands }}.wide_weight) * {{ standard_normal_cdf(
                "((" ~ level ~ " - " ~ bands ~ ".narrow_mean) / " ~ bands ~ ".narrow_deviation)"
            ) }}
            + {{ bands }}.wide_weight * {{ standard_normal_cdf(
                "((" ~ level ~ " - " ~ bands ~ ".wide_mean) / " ~ bands ~ ".wide_deviation)"
            ) }},
            1e-300
        )
    )
{%- endmacro %}

{#- PostgreSQL, in which a benchmark builds these models, fails if a result or a product of two results underflows. -#}
{% macro bounded_exp(x) -%}
    exp(greatest({{ x }}, -300))
{%- endmacro %}
