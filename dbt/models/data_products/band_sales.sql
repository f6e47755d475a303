{%- set recent_festivals = 3 -%}
{#- A change beyond 99 % of those that chance makes. -#}
{%- set least_score = 2.576 -%}

with

newest_first as (
    select
        festival_year,
        row_number() over (order by festival_year desc) as place
    from {{ ref('festival_levels') }}
),

performances as (
    select
        sales.*,
        ratios.ratio,
        ratios.scaled_ratio,
        ratios.is_log_scale,
        newest_first.place <= {{ recent_festivals }} as is_recent
    from {{ ref('fct_performances') }} as sales
    -- A festival that sold nothing has neither ratios nor a place: it is not recent and not earlier.
    left join {{ ref('performance_ratios') }} as ratios
        on sales.performance_id = ratios.performance_id
    left join newest_first
        on sales.festival_year = newest_first.festival_year
    where sales.is_completed
),

totals as (
    select
        band_id,
        count(*) as performances,
        count(distinct venue_id) as venues,
        count(distinct festival_year) as festivals,
        sum(tickets_sold) as tickets_sold,
        sum(revenue) as revenue,
        min(lowest_ticket_price) as lowest_ticket_price,
        max(highest_ticket_price) as highest_ticket_price
    from performances
    group by band_id
),

ranked as (
    select
        *,
        row_number() over (order by revenue desc, band_id asc) as revenue_rank,
        sum(revenue) over () as revenue_of_all_bands
    from totals
),

periods as (
    select
        band_id,
        bool_or(is_log_scale) as is_log_scale,
        sum(case when not is_recent then 1 else 0 end) as earlier_performances,
        avg(case when not is_recent then cast(tickets_sold as double) end) as earlier_avg_tickets,
        avg(case when not is_recent then ratio end) as earlier_ratio,
        avg(case when not is_recent then scaled_ratio end) as earlier_level,
        sum(case when is_recent then 1 else 0 end) as recent_performances,
        avg(case when is_recent then cast(tickets_sold as double) end) as recent_avg_tickets,
        avg(case when is_recent then ratio end) as recent_ratio,
        avg(case when is_recent then scaled_ratio end) as recent_level
    from performances
    group by band_id
),

-- A band differs between performances, and between venues.
chance as (
    select max(show_variance + variance_between_venues) as variance
    from {{ ref('venue_priors') }}
),

changes as (
    select
        periods.*,
        case
            when periods.is_log_scale then exp(periods.recent_level - periods.earlier_level) - 1
            else periods.recent_ratio / nullif(periods.earlier_ratio, 0) - 1
        end as change,
        (periods.recent_level - periods.earlier_level) / sqrt(
            chance.variance * (
                cast(1 as double) / nullif(periods.recent_performances, 0)
                + cast(1 as double) / nullif(periods.earlier_performances, 0)
            )
        ) as score
    from periods
    cross join chance
)

select
    bands.band_id,
    bands.band_name,
    cast(ranked.revenue_rank as int) as revenue_rank,
    cast(ranked.performances as bigint) as performances,
    cast(ranked.venues as bigint) as venues,
    cast(ranked.festivals as bigint) as festivals,
    cast(ranked.tickets_sold as bigint) as tickets_sold,
    cast(ranked.revenue as bigint) as revenue,
    coalesce(cast(ranked.revenue as double) / nullif(ranked.revenue_of_all_bands, 0), 0) as share_of_revenue,
    ranked.lowest_ticket_price,
    cast(ranked.revenue as double) / nullif(ranked.tickets_sold, 0) as avg_ticket_price,
    ranked.highest_ticket_price,
    cast(changes.earlier_performances as bigint) as earlier_performances,
    changes.earlier_avg_tickets,
    cast(changes.recent_performances as bigint) as recent_performances,
    changes.recent_avg_tickets,
    round(changes.change, 6) as change_in_popularity,
    case
        when changes.earlier_performances = 0 and changes.recent_performances > 0 then 'only recently'
        when changes.recent_performances = 0 and changes.earlier_performances > 0 then 'only before'
        when changes.score >= {{ least_score }} then 'gains'
        when changes.score <= -{{ least_score }} then 'loses'
        else 'no clear change'
    end as trend
from ranked
inner join changes
    on ranked.band_id = changes.band_id
inner join {{ ref('dim_bands') }} as bands
    on ranked.band_id = bands.band_id
