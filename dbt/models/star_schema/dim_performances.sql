with

newest_export as (
    select max(exported_at) as exported_at
    from {{ ref('stg_ticketing__export_batches') }}
),

dated_performances as (
    select
        performances.performance_id,
        performances.band_id,
        performances.venue_id,
        {{ to_utc('performances.performance_start') }} as performance_start,
        {{ to_festival_date('performances.performance_start') }} as performance_date,
        coalesce(performances.performance_start < newest_export.exported_at, false) as is_completed
    from {{ ref('stg_ticketing__performances') }} as performances
    cross join newest_export
)

select
    performance_id,
    band_id,
    venue_id,
    performance_start,
    performance_date,
    cast(extract(year from performance_date) as int) as festival_year,
    is_completed
from dated_performances
