select
    performances.venue_id,
    greatest(sum(cast(performances.tickets_sold as double)) / sum(festivals.festival_level), 1e-9) as venue_level
from {{ ref('fct_performances') }} as performances
inner join {{ ref('festival_levels') }} as festivals
    on performances.festival_year = festivals.festival_year
where performances.is_completed
group by performances.venue_id
