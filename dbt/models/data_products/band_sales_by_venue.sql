with

venue_ranks as (
    select distinct
        venue_id,
        venue_rank,
        is_top_venue
    from {{ ref('ticket_sales_by_venue') }}
),

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
        tickets_sold,
        performances,
        row_number() over (
            partition by venue_id
            order by avg_tickets_per_performance desc, tickets_sold desc, band_id asc
        ) as rank_in_venue
    from band_totals
    where
        performances >= {{ var('min_performances') }}
        and festivals >= {{ var('min_festivals') }}
),

-- Falls are compared as whole numbers, averages multiplied out by both counts of performances: a fall of
-- exactly the gap must not end a tier because of a rounded division.
neighbours as (
    select
        venue_id,
        band_id,
        rank_in_venue,
        tickets_sold * lead(performances) over (partition by venue_id order by rank_in_venue) as scaled_average,
        tickets_sold * lead(performances) over (partition by venue_id order by rank_in_venue)
        - performances * lead(tickets_sold) over (partition by venue_id order by rank_in_venue) as scaled_fall
    from ranked_bands
),

falls as (
    select
        venue_id,
        band_id,
        rank_in_venue,
        coalesce(cast(scaled_fall as double) / nullif(scaled_average, 0), scaled_fall) as gap_to_next,
        case
            when scaled_fall > cast({{ var('tier_gap') }} as decimal(9, 6)) * cast(scaled_average as decimal(18, 0))
                then 1
            else 0
        end as ends_tier
    from neighbours
),

tiers as (
    select
        venue_id,
        band_id,
        rank_in_venue,
        gap_to_next,
        1 + sum(ends_tier) over (
            partition by venue_id
            order by rank_in_venue
            rows between unbounded preceding and current row
        ) - ends_tier as tier
    from falls
)

select
    venues.venue_id,
    venues.venue_name,
    venue_ranks.venue_rank,
    bands.band_id,
    bands.band_name,
    cast(band_totals.performances as bigint) as performances,
    cast(band_totals.festivals as bigint) as festivals,
    band_totals.first_festival_year,
    band_totals.last_festival_year,
    band_totals.tickets_sold,
    band_totals.revenue,
    band_totals.avg_tickets_per_performance,
    cast(tiers.rank_in_venue as int) as rank_in_venue,
    tiers.gap_to_next,
    cast(tiers.tier as int) as tier,
    venue_ranks.is_top_venue,
    coalesce(tiers.rank_in_venue <= {{ var('top_bands_per_venue') }}, false) as is_top_band
from band_totals
inner join venue_ranks
    on band_totals.venue_id = venue_ranks.venue_id
inner join {{ ref('dim_venues') }} as venues
    on band_totals.venue_id = venues.venue_id
inner join {{ ref('dim_bands') }} as bands
    on band_totals.band_id = bands.band_id
left join tiers
    on band_totals.venue_id = tiers.venue_id and band_totals.band_id = tiers.band_id
