select
    sales.ticket_id,
    sales.purchase_id,
    sales.performance_id,
    sales.purchased_at,
    performances.performance_start
from {{ ref('fct_ticket_sales') }} as sales
inner join {{ ref('dim_performances') }} as performances
    on sales.performance_id = performances.performance_id
where sales.purchased_at > performances.performance_start
