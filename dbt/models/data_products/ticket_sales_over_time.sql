with

festivals as (
    select
        festival_year,
        bool_and(is_completed) as is_completed
    from {{ ref('dim_performances') }}
    group by festival_year
),

monthly_sales as (
    select
        performance_id,
        cast(date_trunc('month', sale_date) as date) as sale_month,
        count(*) as tickets_sold,
        sum(ticket_price) as revenue
    from {{ ref('fct_ticket_sales') }}
    group by performance_id, cast(date_trunc('month', sale_date) as date)
)

select
    festivals.festival_year,
    monthly_sales.sale_month,
    cast(sum(monthly_sales.tickets_sold) as bigint) as tickets_sold,
    cast(sum(monthly_sales.revenue) as bigint) as revenue,
    festivals.is_completed,
    case when festivals.is_completed then 'completed' else 'on sale' end as sales_status
from monthly_sales
inner join {{ ref('dim_performances') }} as performances
    on monthly_sales.performance_id = performances.performance_id
inner join festivals
    on performances.festival_year = festivals.festival_year
group by festivals.festival_year, monthly_sales.sale_month, festivals.is_completed
