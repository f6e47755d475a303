with

venue_totals as (
    select
        venue_id,
        sum(case when is_completed then 1 else 0 end) as performances,
        sum(case when is_completed then tickets_sold else 0 end) as tickets_sold,
        sum(case when is_completed then revenue else 0 end) as revenue,
        min(case when is_completed then lowest_ticket_price end) as lowest_ticket_price,
        max(case when is_completed then highest_ticket_price end) as highest_ticket_price
    from {{ ref('fct_performances') }}
    group by venue_id
),

ranked_venues as (
    select
        *,
        sum(tickets_sold) over () as tickets_sold_anywhere,
        sum(revenue) over () as revenue_anywhere,
        row_number() over (order by tickets_sold desc, venue_id asc) as venue_rank
    from venue_totals
)

select
    ranked_venues.venue_id,
    venues.venue_name,
    venues.capacity,
    cast(ranked_venues.venue_rank as int) as venue_rank,
    ranked_venues.venue_rank <= {{ var('top_venues') }} as is_top_venue,
    case
        when ranked_venues.venue_rank <= {{ var('top_venues') }}
            then 'top venue ' || cast(ranked_venues.venue_rank as string)
        else 'venues ranked lower'
    end as venue_standing,
    cast(ranked_venues.performances as bigint) as performances,
    cast(ranked_venues.tickets_sold as bigint) as tickets_sold,
    cast(ranked_venues.revenue as bigint) as revenue,
    coalesce(
        cast(ranked_venues.tickets_sold as double) / nullif(ranked_venues.tickets_sold_anywhere, 0), 0
    ) as share_of_tickets,
    coalesce(
        cast(ranked_venues.revenue as double) / nullif(ranked_venues.revenue_anywhere, 0), 0
    ) as share_of_revenue,
    ranked_venues.lowest_ticket_price,
    cast(ranked_venues.revenue as double) / nullif(ranked_venues.tickets_sold, 0) as avg_ticket_price,
    ranked_venues.highest_ticket_price
from ranked_venues
inner join {{ ref('dim_venues') }} as venues
    on ranked_venues.venue_id = venues.venue_id
