{%- set rounds = 16 -%}

with

-- A festival that sold nothing (it was cancelled) says nothing about venues and bands.
festivals_that_sold as (
    select festival_year
    from {{ ref('fct_performances') }}
    where is_completed
    group by festival_year
    having sum(tickets_sold) > 0
),

performances as (
    select
        venue_id,
        festival_year,
        cast(tickets_sold as double) as tickets_sold
    from {{ ref('fct_performances') }}
    where
        is_completed
        and festival_year in (select festivals_that_sold.festival_year from festivals_that_sold)
),

festivals_0 as (
    select distinct
        festival_year,
        cast(1 as double) as level
    from performances
),

-- The lower bound avoids division by zero for a venue that sold nothing.
{% for round in range(1, rounds + 1) %}
    venues_{{ round }} as (
        select
            performances.venue_id,
            greatest(sum(performances.tickets_sold) / sum(festivals.level), 1e-9) as level
        from performances
        inner join festivals_{{ round - 1 }} as festivals
            on performances.festival_year = festivals.festival_year
        group by performances.venue_id
    ),

    festivals_{{ round }} as (
        select
            performances.festival_year,
            sum(performances.tickets_sold) / sum(venues.level) as level
        from performances
        inner join venues_{{ round }} as venues
            on performances.venue_id = venues.venue_id
        group by performances.festival_year
    ),

{% endfor %}

newest_first as (
    select
        level,
        row_number() over (order by festival_year desc) as place
    from festivals_{{ rounds }}
),

recent as (
    select avg(level) as level
    from newest_first
    where place <= 3
)

select
    festivals.festival_year,
    festivals.level / recent.level as festival_level
from festivals_{{ rounds }} as festivals
cross join recent
