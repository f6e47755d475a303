with

purchases as (
    select
        id as purchase_id,
        person_id,
        {{ to_utc('purchase_date') }} as purchased_at,
        {{ to_festival_date('purchase_date') }} as sale_date
    from {{ source('festival', 'purchases') }}
)

select
    tickets.id as ticket_id,
    tickets.ticketnum,
    tickets.purchase_id,
    tickets.performance_id,
    performances.band_id,
    performances.venue_id,
    purchases.person_id,
    purchases.purchased_at,
    purchases.sale_date,
    tickets.price as ticket_price
from {{ source('festival', 'tickets') }} as tickets
inner join purchases
    on tickets.purchase_id = purchases.purchase_id
inner join {{ ref('dim_performances') }} as performances
    on tickets.performance_id = performances.performance_id
