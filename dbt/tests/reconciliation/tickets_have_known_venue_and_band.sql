with

unknown_places as (
    select
        performances.id as performance_id,
        performances.band_id,
        performances.venue_id
    from {{ source('festival', 'performances') }} as performances
    left join {{ source('festival', 'bands') }} as bands
        on performances.band_id = bands.id
    left join {{ source('festival', 'venues') }} as venues
        on performances.venue_id = venues.id
    where bands.id is null or venues.id is null
),

tickets as (
    select
        id,
        performance_id
    from {{ source('festival', 'tickets') }}
    where performance_id in (select unknown_places.performance_id from unknown_places)
)

select
    tickets.id as ticket_id,
    unknown_places.performance_id,
    unknown_places.band_id,
    unknown_places.venue_id
from tickets
inner join unknown_places
    on tickets.performance_id = unknown_places.performance_id
