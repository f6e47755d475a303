with

purchases as (
    select
        purchase_id,
        person_id,
        {{ to_utc('purchased_at') }} as purchased_at,
        {{ to_festival_date('purchased_at') }} as sale_date
    from {{ ref('stg_ticketing__purchases') }}
)

select
    tickets.ticket_id,
    tickets.ticketnum,
    tickets.purchase_id,
    tickets.performance_id,
    performances.band_id,
    performances.venue_id,
    purchases.person_id,
    purchases.purchased_at,
    purchases.sale_date,
    tickets.ticket_price
from {{ ref('stg_ticketing__tickets') }} as tickets
inner join purchases
    on tickets.purchase_id = purchases.purchase_id
inner join {{ ref('dim_performances') }} as performances
    on tickets.performance_id = performances.performance_id
