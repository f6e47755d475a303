with

digits as (
    {% for digit in range(10) %}
    select {{ digit }} as digit{% if not loop.last %} union all{% endif %}
    {% endfor %}
),

numbers as (
    select
        ones.digit
        + 10 * tens.digit
        + 100 * hundreds.digit
        + 1000 * thousands.digit
        + 10000 * ten_thousands.digit as number
    from digits as ones
    cross join digits as tens
    cross join digits as hundreds
    cross join digits as thousands
    cross join digits as ten_thousands
),

eventful_days as (
    select
        min(sale_date) as first_day,
        max(sale_date) as last_day
    from {{ ref('fct_ticket_sales') }}
    union all
    select
        min(performance_date) as first_day,
        max(performance_date) as last_day
    from {{ ref('dim_performances') }}
),

calendar as (
    select
        min(first_day) as first_day,
        max(last_day) as last_day
    from eventful_days
),

days as (
    select cast({{ dbt.dateadd('day', 'numbers.number', 'calendar.first_day') }} as date) as date_day
    from calendar
    inner join numbers
        on numbers.number <= {{ dbt.datediff('calendar.first_day', 'calendar.last_day', 'day') }}
),

performance_days as (
    select distinct performance_date
    from {{ ref('dim_performances') }}
),

festivals as (
    select distinct festival_year
    from {{ ref('dim_performances') }}
)

select
    days.date_day,
    cast(extract(year from days.date_day) as int) as year,
    cast(extract(quarter from days.date_day) as int) as quarter,
    cast(extract(month from days.date_day) as int) as month,
    cast({{ dbt.date_trunc('month', 'days.date_day') }} as date) as month_start,
    cast(extract(day from days.date_day) as int) as day_of_month,
    cast(mod({{ dbt.datediff("cast('2000-01-03' as date)", 'days.date_day', 'day') }}, 7) + 1 as int) as day_of_week,
    festivals.festival_year,
    performance_days.performance_date is not null as is_festival_day
from days
left join festivals
    on extract(year from days.date_day) = festivals.festival_year
left join performance_days
    on days.date_day = performance_days.performance_date
