-- Whole expressions stand in a condition, at the margin like the others.
-- sqlfluff:indentation:template_blocks_indent:false
{{
    config(
        materialized='incremental' if target.type == 'duckdb' else 'table',
        incremental_strategy='delete+insert',
        unique_key='ticket_id',
        on_schema_change='fail',
        post_hook='{{ keep_changed_sales() }}'
    )
}}

with

{% if is_incremental() %}
-- A row is made of a ticket, its purchase and its performance, so it may change with each of the three.
sales_of_changed_facts as (
    select sales.ticket_id
    from {{ this }} as sales
    inner join festival_changes.purchases as purchases
        on sales.purchase_id = purchases.id
    union
    select sales.ticket_id
    from {{ this }} as sales
    inner join festival_changes.performances as performances
        on sales.performance_id = performances.id
),

-- A ticket that has not changed itself is what its row here says: reading a few of those costs a hundredth of
-- finding them among all tickets of the source.
tickets as (
    select
        id,
        ticketnum,
        purchase_id,
        performance_id,
        price
    from festival_changes.tickets
    union all
    select
        sales.ticket_id as id,
        sales.ticketnum,
        sales.purchase_id,
        sales.performance_id,
        sales.ticket_price as price
    from {{ this }} as sales
    inner join sales_of_changed_facts
        on sales.ticket_id = sales_of_changed_facts.ticket_id
    left join festival_changes.tickets as changed_tickets
        on sales.ticket_id = changed_tickets.id
    where changed_tickets.id is null
),
{% else %}
tickets as (
    select
        id,
        ticketnum,
        purchase_id,
        performance_id,
        price
    from {{ source('festival', 'tickets') }}
),
{% endif %}

purchases as (
    select
        id as purchase_id,
        person_id,
        {{ to_utc('purchase_date') }} as purchased_at,
        {{ to_festival_date('purchase_date') }} as sale_date
    from {{ source('festival', 'purchases') }}
    {% if is_incremental() %}
    where id in (select tickets.purchase_id from tickets)
    {% endif %}
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
from tickets
inner join purchases
    on tickets.purchase_id = purchases.purchase_id
inner join {{ ref('dim_performances') }} as performances
    on tickets.performance_id = performances.performance_id
