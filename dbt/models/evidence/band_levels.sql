{#- The prior is a mixture: most bands are close to the venue's mean, a few are exceptional. -#}
{%- set wide_share = 0.05 -%}
{%- set wide_spread = 9 -%}

with

bands as (
    select
        venue_id,
        band_id,
        count(*) as performances,
        cast(sum(case when is_sold_out then 1 else 0 end) as bigint) as sold_out_performances,
        avg(scaled_ratio) as mean_ratio,
        max(case when is_log_scale then 1 else 0 end) = 1 as is_log_scale
    from {{ ref('performance_ratios') }}
    group by venue_id, band_id
),

other_venues as (
    select
        here.venue_id,
        here.band_id,
        sum(1 / (priors.variance_between_venues + priors.show_variance / there.performances)) as precision_elsewhere,
        sum(
            (there.mean_ratio - other_priors.mean_of_shows)
            / (priors.variance_between_venues + priors.show_variance / there.performances)
        ) as weighted_ratio_elsewhere
    from bands as here
    inner join bands as there
        on here.band_id = there.band_id and here.venue_id <> there.venue_id
    inner join {{ ref('venue_priors') }} as priors
        on here.venue_id = priors.venue_id
    inner join {{ ref('venue_priors') }} as other_priors
        on there.venue_id = other_priors.venue_id
    where {{ var('evidence_from_other_venues') }}
    group by here.venue_id, here.band_id
),

band_priors as (
    select
        bands.*,
        priors.show_variance / bands.performances as error_variance,
        priors.level_variance / priors.bands as variance_of_mean,
        priors.level_variance - priors.variance_between_venues as common_variance,
        priors.variance_between_venues,
        priors.mean_of_bands,
        coalesce(other_venues.precision_elsewhere, 0) as precision_elsewhere,
        coalesce(other_venues.weighted_ratio_elsewhere, 0) as weighted_ratio_elsewhere
    from bands
    inner join {{ ref('venue_priors') }} as priors
        on bands.venue_id = priors.venue_id
    left join other_venues
        on bands.venue_id = other_venues.venue_id and bands.band_id = other_venues.band_id
),

shifted_priors as (
    select
        *,
        mean_of_bands + weighted_ratio_elsewhere / (1 / common_variance + precision_elsewhere) as prior_mean,
        1 / (1 / common_variance + precision_elsewhere) + variance_between_venues as prior_variance
    from band_priors
),

shrinkage as (
    select
        *,
        prior_variance / (prior_variance + error_variance) as narrow_shrinkage,
        {{ wide_spread }} * prior_variance / ({{ wide_spread }} * prior_variance + error_variance) as wide_shrinkage,
        (mean_ratio - prior_mean) * (mean_ratio - prior_mean) as squared_distance
    from shifted_priors
),

parts as (
    select
        *,
        prior_mean + narrow_shrinkage * (mean_ratio - prior_mean) as narrow_mean,
        sqrt(
            prior_variance * (1 - narrow_shrinkage)
            + (1 - narrow_shrinkage) * (1 - narrow_shrinkage) * variance_of_mean
        ) as narrow_deviation,
        prior_mean + wide_shrinkage * (mean_ratio - prior_mean) as wide_mean,
        sqrt(
            {{ wide_spread }} * prior_variance * (1 - wide_shrinkage)
            + (1 - wide_shrinkage) * (1 - wide_shrinkage) * variance_of_mean
        ) as wide_deviation,
        1 / (
            1
            + {{ (1 - wide_share) / wide_share }}
            * sqrt(({{ wide_spread }} * prior_variance + error_variance) / (prior_variance + error_variance))
            * exp(
                greatest(
                    0.5 * squared_distance / ({{ wide_spread }} * prior_variance + error_variance)
                    - 0.5 * squared_distance / (prior_variance + error_variance),
                    -700
                )
            )
        ) as wide_weight
    from shrinkage
),

moments as (
    select
        *,
        (1 - wide_weight) * narrow_mean + wide_weight * wide_mean as level_mean,
        sqrt(
            (1 - wide_weight) * narrow_deviation * narrow_deviation
            + wide_weight * wide_deviation * wide_deviation
            + wide_weight * (1 - wide_weight) * (wide_mean - narrow_mean) * (wide_mean - narrow_mean)
        ) as level_deviation
    from parts
)

select
    moments.venue_id,
    moments.band_id,
    moments.performances,
    moments.sold_out_performances,
    moments.is_log_scale,
    moments.mean_ratio,
    moments.prior_mean,
    moments.prior_variance,
    moments.narrow_mean,
    moments.narrow_deviation,
    moments.wide_mean,
    moments.wide_deviation,
    moments.wide_weight,
    moments.level_mean,
    moments.level_deviation,
    venues.venue_level * case
        when moments.is_log_scale then exp(moments.level_mean)
        else greatest(moments.level_mean, 0)
    end as expected_tickets,
    venues.venue_level * case
        when moments.is_log_scale then exp(moments.level_mean - 1.645 * moments.level_deviation)
        else greatest(moments.level_mean - 1.645 * moments.level_deviation, 0)
    end as expected_low,
    venues.venue_level * case
        when moments.is_log_scale then exp(moments.level_mean + 1.645 * moments.level_deviation)
        else greatest(moments.level_mean + 1.645 * moments.level_deviation, 0)
    end as expected_high
from moments
inner join {{ ref('venue_levels') }} as venues
    on moments.venue_id = venues.venue_id
