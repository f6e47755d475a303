{%- set least_ratio = 0.05 -%}

with

ratios as (
    select
        performances.performance_id,
        performances.venue_id,
        performances.band_id,
        performances.tickets_sold >= performances.capacity as is_sold_out,
        performances.tickets_sold / (venues.venue_level * festivals.festival_level) as ratio
    from {{ ref('fct_performances') }} as performances
    inner join {{ ref('festival_levels') }} as festivals
        on performances.festival_year = festivals.festival_year
    inner join {{ ref('venue_levels') }} as venues
        on performances.venue_id = venues.venue_id
    where performances.is_completed
),

ordered_ratios as (
    select
        ratio,
        row_number() over (order by ratio) as place,
        count(*) over () as performances
    from ratios
),

deciles as (
    select
        greatest(max(case when place = 1 + floor(0.1 * (performances - 1)) then ratio end), {{ least_ratio }}) as q10,
        greatest(max(case when place = 1 + floor(0.5 * (performances - 1)) then ratio end), {{ least_ratio }}) as q50,
        greatest(max(case when place = 1 + floor(0.9 * (performances - 1)) then ratio end), {{ least_ratio }}) as q90
    from ordered_ratios
),

skewness as (
    select
        (q90 + q10 - 2 * q50) / greatest(q90 - q10, 1e-9) as of_ratios,
        (ln(q90) + ln(q10) - 2 * ln(q50)) / greatest(ln(q90) - ln(q10), 1e-9) as of_logarithms
    from deciles
),

scale as (
    -- The margin prevents rounding errors from choosing the scale when all ratios are equal.
    select of_ratios + of_logarithms > 1e-6 as is_log_scale
    from skewness
)

select
    ratios.performance_id,
    ratios.venue_id,
    ratios.band_id,
    ratios.is_sold_out,
    ratios.ratio,
    scale.is_log_scale,
    case
        when scale.is_log_scale then ln(greatest(ratios.ratio, {{ least_ratio }}))
        else ratios.ratio
    end as scaled_ratio
from ratios
cross join scale
