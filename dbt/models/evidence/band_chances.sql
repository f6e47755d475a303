{#- Number of grid points per venue for the numeric integration of the chances. -#}
{%- set points = 400 -%}
{%- set equal_share = "(1 - " ~ var('equal_within') ~ ")" -%}

with

venue_ranges as (
    select
        venue_id,
        -- Below the best, the range has the levels that count as equal to it.
        max(level_mean)
        - greatest(0.6, 4 * max(narrow_deviation))
        - max(case when is_log_scale then -ln({{ equal_share }}) else level_mean * {{ var('equal_within') }} end)
            as lowest,
        greatest(
            max(narrow_mean + 5 * narrow_deviation),
            max(case when wide_weight > 0.001 then wide_mean + 5 * wide_deviation else narrow_mean end)
        ) as highest,
        max(case when is_log_scale then 1 else 0 end) = 1 as is_log_scale
    from {{ ref('band_levels') }}
    group by venue_id
),

digits as (
    {% for digit in range(10) %}
        select {{ digit }} as digit
        {{ 'union all' if not loop.last }}
    {% endfor %}
),

steps as (
    select ones.digit + 10 * tens.digit + 100 * hundreds.digit as step
    from digits as ones
    cross join digits as tens
    cross join digits as hundreds
    where hundreds.digit < {{ points // 100 }}
),

levels as (
    select
        venue_ranges.venue_id,
        venue_ranges.is_log_scale,
        steps.step,
        (venue_ranges.highest - venue_ranges.lowest) / {{ points - 1 }} as width,
        venue_ranges.lowest
        + (venue_ranges.highest - venue_ranges.lowest) * steps.step / {{ points - 1 }} as level
    from venue_ranges
    cross join steps
),

thresholds as (
    select
        venue_id,
        step,
        width,
        level,
        case when is_log_scale then level - ln({{ equal_share }}) else level / {{ equal_share }} end as top_group_level,
        case when is_log_scale then level + ln({{ equal_share }}) else level * {{ equal_share }} end as stands_out_level
    from levels
),

distributions as (
    select
        bands.venue_id,
        bands.band_id,
        thresholds.step,
        thresholds.width * (
            (1 - bands.wide_weight)
            * {{ standard_normal_density('((thresholds.level - bands.narrow_mean) / bands.narrow_deviation)') }}
            / bands.narrow_deviation
            + bands.wide_weight
            * {{ standard_normal_density('((thresholds.level - bands.wide_mean) / bands.wide_deviation)') }}
            / bands.wide_deviation
        ) as mass,
        {{ log_level_cdf('bands', 'thresholds.level') }} as log_below_level,
        {{ log_level_cdf('bands', 'thresholds.top_group_level') }} as log_below_top_group_level,
        {{ log_level_cdf('bands', 'thresholds.stands_out_level') }} as log_below_stands_out_level
    from {{ ref('band_levels') }} as bands
    inner join thresholds
        on bands.venue_id = thresholds.venue_id
),

all_bands as (
    select
        venue_id,
        step,
        sum(log_below_level) as log_below_level,
        sum(log_below_top_group_level) as log_below_top_group_level,
        sum(log_below_stands_out_level) as log_below_stands_out_level
    from distributions
    group by venue_id, step
)

select
    distributions.venue_id,
    distributions.band_id,
    least(
        sum(
            distributions.mass
            * {{ bounded_exp('all_bands.log_below_level - distributions.log_below_level') }}
        ), 1
    ) as p_best,
    least(
        sum(
            distributions.mass
            * {{ bounded_exp('all_bands.log_below_top_group_level - distributions.log_below_top_group_level') }}
        ), 1
    ) as p_top_group,
    least(
        sum(
            distributions.mass
            * {{ bounded_exp('all_bands.log_below_stands_out_level - distributions.log_below_stands_out_level') }}
        ), 1
    ) as p_stands_out
from distributions
inner join all_bands
    on distributions.venue_id = all_bands.venue_id and distributions.step = all_bands.step
group by distributions.venue_id, distributions.band_id
