{% test unique_whole_number(model, column_name) %}

{#-
    As `unique`, for whole numbers in large tables, in a thirtieth of the memory: 32 neighbouring numbers share one
    group and one bit each. Where a group has more rows than bits a number may be there twice; only there are the
    rows counted number by number.
-#}
{%- set block = column_name ~ ' - (' ~ column_name ~ ' & 31)' %}

with

blocks as (
    select
        {{ column_name }} as number,
        {{ block }} as block
    from {{ model }}
    where {{ column_name }} is not null
),

crowded_blocks as (
    select block
    from blocks
    group by block
    having count(*) > bit_count(bit_or(cast(1 as bigint) << (number - block)))
)

select
    blocks.number as unique_field,
    count(*) as n_records
from blocks
inner join crowded_blocks
    on blocks.block = crowded_blocks.block
group by blocks.number
having count(*) > 1

{% endtest %}
