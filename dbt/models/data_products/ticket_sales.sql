{{ config(materialized='view') }}

{#- A view stores the names of its relations. Without the database name it also works in a renamed copy of the file. -#}
{%- set sales = ref('fct_ticket_sales').include(database=false) -%}
{%- set performances = ref('dim_performances').include(database=false) -%}
{%- set bands = ref('dim_bands').include(database=false) -%}
{%- set venues = ref('dim_venues').include(database=false) -%}

select
    sales.ticket_id,
    sales.ticketnum,
    sales.ticket_price,
    sales.purchase_id,
    sales.person_id,
    sales.purchased_at,
    sales.sale_date,
    cast(date_trunc('month', sales.sale_date) as date) as sale_month,
    sales.performance_id,
    performances.performance_start,
    performances.performance_date,
    performances.festival_year,
    performances.is_completed,
    sales.band_id,
    bands.band_name,
    sales.venue_id,
    venues.venue_name,
    venues.capacity
from {{ sales }} as sales
inner join {{ performances }} as performances
    on sales.performance_id = performances.performance_id
inner join {{ bands }} as bands
    on sales.band_id = bands.band_id
inner join {{ venues }} as venues
    on sales.venue_id = venues.venue_id
