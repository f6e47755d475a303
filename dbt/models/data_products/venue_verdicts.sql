{%- set most_named = 8 -%}
{%- set equal_within = '%g' | format(100 * (var('equal_within') | float)) -%}

with

verdicts as (
    select distinct
        venue_id,
        venue_verdict
    from {{ ref('band_verdicts') }}
),

bands as (
    select
        sales.venue_id,
        sales.venue_rank,
        sales.venue_name,
        sales.band_id,
        sales.band_name,
        verdicts.venue_verdict,
        sales.p_best,
        sales.p_top_group,
        case
            when verdicts.venue_verdict = 'no clear lead' then sales.verdict = 'safe to invite'
            else sales.verdict = verdicts.venue_verdict
        end as is_named
    from {{ ref('band_sales_by_venue') }} as sales
    inner join verdicts
        on sales.venue_id = verdicts.venue_id
    where sales.is_top_venue
),

placed_bands as (
    select
        *,
        row_number() over (
            partition by venue_id, is_named
            order by p_top_group desc, p_best desc, band_id asc
        ) as place
    from bands
),

venues as (
    select
        venue_rank,
        venue_id,
        venue_name,
        venue_verdict,
        count(*) as all_bands,
        cast(sum(case when is_named then 1 else 0 end) as bigint) as bands,
        max(p_best) as highest_p_best,
        {{ joined_names('band_name', 'case when is_named then place end', most_named) }} as band_names
    from placed_bands
    group by venue_rank, venue_id, venue_name, venue_verdict
),

counted_venues as (
    select
        *,
        band_names || case
            when bands > {{ most_named }} then ' and ' || cast(bands - {{ most_named }} as string) || ' more'
            else ''
        end as named_bands
    from venues
)

select
    venue_rank,
    venue_id,
    venue_name,
    venue_verdict as verdict,
    bands,
    band_names,
    highest_p_best,
    case venue_verdict
        when 'must invite'
            then
                'Invite ' || band_names || ': the chance that no other band sells more here is '
                || case
                    when highest_p_best >= 0.995 then 'over 99'
                    else cast(cast(round(100 * highest_p_best) as int) as string)
                end || ' %.'
        when 'near-equals'
            then
                cast(bands as string) || ' bands are probably within {{ equal_within }} % of the best: '
                || named_bands || '.'
        when 'leads on one show'
            then band_names || ' leads on a single performance. A second one would show whether that lasts.'
        else
            'The records cannot tell which of ' || cast(all_bands as string)
            || ' bands is best; more performances might.'
            || case
                when bands > 0 then ' Safe to invite: ' || named_bands || '.'
                else ' None is safe to invite yet.'
            end
    end as sentence
from counted_venues
