with

festivals as (
    select
        sales.festival_year,
        min(performances.performance_date) as first_day,
        bool_and(sales.is_completed) as is_completed,
        count(*) as performances,
        sum(sales.tickets_sold) as tickets_sold,
        sum(sales.revenue) as revenue,
        min(sales.lowest_ticket_price) as lowest_ticket_price,
        max(sales.highest_ticket_price) as highest_ticket_price
    from {{ ref('fct_performances') }} as sales
    inner join {{ ref('dim_performances') }} as performances
        on sales.performance_id = performances.performance_id
    group by sales.festival_year
),

-- A year without a festival has no row, so the previous row is the festival before.
completed_festivals as (
    select
        festival_year,
        lag(festival_year) over (order by festival_year) as previous_festival_year,
        lag(tickets_sold) over (order by festival_year) as previous_tickets_sold,
        lag(revenue) over (order by festival_year) as previous_revenue
    from festivals
    where is_completed
)

select
    festivals.festival_year,
    festivals.first_day,
    festivals.is_completed,
    case when festivals.is_completed then 'completed' else 'on sale' end as sales_status,
    cast(festivals.performances as bigint) as performances,
    cast(festivals.tickets_sold as bigint) as tickets_sold,
    cast(festivals.revenue as bigint) as revenue,
    festivals.lowest_ticket_price,
    cast(festivals.revenue as double) / nullif(festivals.tickets_sold, 0) as avg_ticket_price,
    festivals.highest_ticket_price,
    completed.previous_festival_year,
    cast(festivals.tickets_sold as double) / nullif(completed.previous_tickets_sold, 0) - 1 as change_in_tickets,
    cast(festivals.revenue as double) / nullif(completed.previous_revenue, 0) - 1 as change_in_revenue
from festivals
left join completed_festivals as completed
    on festivals.festival_year = completed.festival_year
