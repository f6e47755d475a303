with

first_tiers as (
    select
        venue_id,
        count(*) as bands
    from {{ ref('band_sales_by_venue') }}
    where tier = 1
    group by venue_id
)

select
    bands.venue_rank,
    bands.venue_id,
    bands.venue_name,
    bands.rank_in_venue,
    bands.band_id,
    bands.band_name,
    bands.performances,
    bands.festivals,
    bands.avg_tickets_per_performance,
    bands.gap_to_next,
    bands.tier,
    case
        when bands.tier = 1 and first_tiers.bands = 1 then 'must invite'
        when bands.tier = 1 then 'near-equals'
        when bands.tier = 2 then 'strong alternative'
        else 'reserve'
    end as verdict,
    case
        when bands.tier = 1 and first_tiers.bands = 1 then 'must invite'
        when bands.tier = 1 then 'near-equals'
        else 'tier ' || cast(bands.tier as string)
    end as tier_name,
    cast(bands.rank_in_venue as string)
    || '. ' || bands.band_name
    || ' (' || cast(bands.performances as string)
    || case when bands.performances = 1 then ' performance)' else ' performances)' end as band_label
from {{ ref('band_sales_by_venue') }} as bands
inner join first_tiers
    on bands.venue_id = first_tiers.venue_id
where bands.is_top_venue and bands.is_top_band
