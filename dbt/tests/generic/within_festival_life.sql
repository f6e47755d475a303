{% test within_festival_life(model, column_name, earliest_year, days_after_export, identified_by) %}

with

source_state as (
    select max({{ to_utc('exported_at') }}) as exported_at
    from {{ source('festival', 'export_batches') }}
),

utc_times as (
    select
        {{ identified_by | join(', ') }},
        {{ to_utc(column_name) }} as {{ column_name }}
    from {{ model }}
)

select
    utc_times.*,
    source_state.exported_at
from utc_times
cross join source_state
where
    utc_times.{{ column_name }} < cast('{{ earliest_year }}-01-01' as timestamp)
    or utc_times.{{ column_name }} > {{ dbt.dateadd('day', days_after_export, 'source_state.exported_at') }}

{% endtest %}
