with

digits as (
    select decimal_digits.digit
    from (values (0), (1), (2), (3), (4), (5), (6), (7), (8), (9)) as decimal_digits (digit)
),

numbers as (
    select
        ones.digit
        + 10 * tens.digit
        + 100 * hundreds.digit
        + 1000 * thousands.digit
        + 10000 * myriads.digit as number
    from digits as ones
    cross join digits as tens
    cross join digits as hundreds
    cross join digits as thousands
    cross join digits as myriads
),

-- 273 years of days. 1900-01-01 is a Monday.
long_calendar as (
    select
        cast('1900-01-01' as date) + number as date_day,
        mod(number, 7) + 1 as day_of_week
    from numbers
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
    select
        long_calendar.date_day,
        long_calendar.day_of_week
    from long_calendar
    inner join calendar
        on long_calendar.date_day between calendar.first_day and calendar.last_day
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
    cast(date_trunc('month', days.date_day) as date) as month_start,
    cast(extract(day from days.date_day) as int) as day_of_month,
    cast(days.day_of_week as int) as day_of_week,
    festivals.festival_year,
    performance_days.performance_date is not null as is_festival_day
from days
left join festivals
    on extract(year from days.date_day) = festivals.festival_year
left join performance_days
    on days.date_day = performance_days.performance_date
