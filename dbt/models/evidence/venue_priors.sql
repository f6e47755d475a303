{%- set least_variance = 0.0004 -%}

with

band_ratios as (
    select
        venue_id,
        band_id,
        count(*) as performances,
        avg(scaled_ratio) as mean_ratio,
        greatest(sum(scaled_ratio * scaled_ratio) - sum(scaled_ratio) * sum(scaled_ratio) / count(*), 0) as squares
    from {{ ref('performance_ratios') }}
    group by venue_id, band_id
),

ratios_to_venue as (
    select
        band_id,
        scaled_ratio - avg(scaled_ratio) over (partition by venue_id) as ratio_to_venue
    from {{ ref('performance_ratios') }}
),

bands_anywhere as (
    select
        band_id,
        count(*) as performances,
        greatest(
            sum(ratio_to_venue * ratio_to_venue) - sum(ratio_to_venue) * sum(ratio_to_venue) / count(*), 0
        ) as squares
    from ratios_to_venue
    group by band_id
),

within_bands_at_venues as (
    select
        sum(squares) as squares,
        sum(performances - 1) as degrees_of_freedom
    from band_ratios
),

within_bands_anywhere as (
    select
        sum(squares) as squares,
        sum(performances - 1) as degrees_of_freedom
    from bands_anywhere
),

all_shows as (
    select coalesce(var_samp(scaled_ratio), 0.01) as variance
    from {{ ref('performance_ratios') }}
),

variances as (
    select
        greatest(
            case
                when here.degrees_of_freedom >= 20 then here.squares / here.degrees_of_freedom
                when anywhere.degrees_of_freedom >= 1 then anywhere.squares / anywhere.degrees_of_freedom
                else all_shows.variance
            end,
            {{ least_variance }}
        ) as show_variance,
        here.degrees_of_freedom,
        anywhere.squares / nullif(anywhere.degrees_of_freedom, 0) as variance_anywhere
    from within_bands_at_venues as here
    cross join within_bands_anywhere as anywhere
    cross join all_shows
),

venue_bands as (
    select
        venue_id,
        count(*) as bands,
        avg(mean_ratio) as mean_of_bands,
        sum(performances * mean_ratio) / sum(performances) as mean_of_shows,
        coalesce(var_samp(mean_ratio), 0) as variance_of_bands,
        avg(cast(1 as double) / performances) as mean_inverse_performances
    from band_ratios
    group by venue_id
),

level_variances as (
    select
        venue_bands.*,
        variances.show_variance,
        greatest(
            venue_bands.variance_of_bands - variances.show_variance * venue_bands.mean_inverse_performances,
            {{ least_variance }}
        ) as level_variance,
        case
            when variances.degrees_of_freedom >= 20
                then greatest(variances.variance_anywhere - variances.show_variance, 0)
            else 0
        end as uncapped_variance_between_venues
    from venue_bands
    cross join variances
)

select
    venue_id,
    bands,
    mean_of_bands,
    mean_of_shows,
    show_variance,
    level_variance,
    least(uncapped_variance_between_venues, 0.9 * level_variance) as variance_between_venues
from level_variances
