select
    tickets.performance_id,
    count(*) as tickets,
    min(tickets.id) as first_ticket_id
from {{ source('festival', 'tickets') }} as tickets
left join festival.performances as performances
    on tickets.performance_id = performances.id
where performances.id is null
group by tickets.performance_id
