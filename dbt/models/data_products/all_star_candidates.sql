select
    venue_rank,
    venue_id,
    venue_name,
    rank_in_venue,
    band_id,
    band_name,
    performances,
    festivals,
    avg_tickets_per_performance,
    sold_out_performances,
    expected_tickets,
    expected_low,
    expected_high,
    p_best,
    p_top_group,
    p_stands_out,
    verdict,
    cast(rank_in_venue as string)
    || '. ' || band_name
    || ' (' || cast(performances as string)
    || case when performances = 1 then ' performance)' else ' performances)' end as band_label
from {{ ref('band_sales_by_venue') }}
where is_top_venue and is_top_band
