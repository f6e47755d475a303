select performances.performance_id
from {{ ref('dim_performances') }} as performances
left join {{ ref('fct_performances') }} as sales
    on performances.performance_id = sales.performance_id
where sales.performance_id is null
