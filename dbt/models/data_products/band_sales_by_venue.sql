with

band_totals as (
    select
        venue_id,
        band_id,
        count(*) as performances,
        count(distinct festival_year) as festivals,
        min(festival_year) as first_festival_year,
        max(festival_year) as last_festival_year,
        cast(sum(tickets_sold) as bigint) as tickets_sold,
        cast(sum(revenue) as bigint) as revenue,
        cast(sum(tickets_sold) as double) / count(*) as avg_tickets_per_performance
    from {{ ref('fct_performances') }}
    where is_completed
    group by venue_id, band_id
),

ranked_bands as (
    select
        venue_id,
        band_id,
        row_number() over (
            partition by venue_id
            order by avg_tickets_per_performance desc, tickets_sold desc, band_id asc
        ) as rank_in_venue
    from band_totals
    where
        performances >= {{ var('min_performances') }}
        and festivals >= {{ var('min_festivals') }}
)

select
    venues.venue_id,
    venues.venue_name,
    venues.venue_rank,
    bands.band_id,
    bands.band_name,
    cast(band_totals.performances as bigint) as performances,
    cast(band_totals.festivals as bigint) as festivals,
    band_totals.first_festival_year,
    band_totals.last_festival_year,
    band_totals.tickets_sold,
    band_totals.revenue,
    band_totals.avg_tickets_per_performance,
    coalesce(levels.sold_out_performances, 0) as sold_out_performances,
    round(levels.expected_tickets, 3) as expected_tickets,
    round(levels.expected_low, 3) as expected_low,
    round(levels.expected_high, 3) as expected_high,
    round(chances.p_best, 6) as p_best,
    round(chances.p_top_group, 6) as p_top_group,
    round(chances.p_stands_out, 6) as p_stands_out,
    coalesce(verdicts.verdict, 'reserve') as verdict,
    cast(ranked_bands.rank_in_venue as int) as rank_in_venue,
    venues.is_top_venue,
    coalesce(ranked_bands.rank_in_venue <= {{ var('top_bands_per_venue') }}, false) as is_top_band
from band_totals
inner join {{ ref('venue_sales') }} as venues
    on band_totals.venue_id = venues.venue_id
inner join {{ ref('dim_bands') }} as bands
    on band_totals.band_id = bands.band_id
-- A band has no evidence if every festival it played here sold nothing.
left join {{ ref('band_levels') }} as levels
    on band_totals.venue_id = levels.venue_id and band_totals.band_id = levels.band_id
left join {{ ref('band_chances') }} as chances
    on band_totals.venue_id = chances.venue_id and band_totals.band_id = chances.band_id
left join {{ ref('band_verdicts') }} as verdicts
    on band_totals.venue_id = verdicts.venue_id and band_totals.band_id = verdicts.band_id
left join ranked_bands
    on band_totals.venue_id = ranked_bands.venue_id and band_totals.band_id = ranked_bands.band_id
