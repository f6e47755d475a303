with

-- Parallel floating-point sums differ in their last digits, so the thresholds apply to rounded chances.
chances as (
    select
        chances.venue_id,
        chances.band_id,
        levels.performances,
        round(chances.p_best, 3) as p_best,
        round(chances.p_top_group, 3) as p_top_group,
        round(chances.p_stands_out, 3) as p_stands_out
    from {{ ref('band_chances') }} as chances
    inner join {{ ref('band_levels') }} as levels
        on chances.venue_id = levels.venue_id and chances.band_id = levels.band_id
),

bands as (
    select
        venue_id,
        band_id,
        performances,
        p_best,
        p_top_group,
        p_best >= {{ var('must_invite_p_best') }}
        and p_stands_out >= {{ var('must_invite_p_stands_out') }} as is_leader,
        p_top_group >= {{ var('near_equals_p_top_group') }} as is_near_best
    from chances
),

venues as (
    select
        venue_id,
        sum(case when is_leader then performances else 0 end) as performances_of_leader,
        sum(case when is_near_best then 1 else 0 end) as near_best_bands,
        round(sum(case when is_near_best then p_best else 0 end), 3) as near_best_p_best
    from bands
    group by venue_id
),

venue_verdicts as (
    select
        venue_id,
        case
            when performances_of_leader > 1 then 'must invite'
            when performances_of_leader = 1 then 'leads on one show'
            when
                near_best_bands between 2 and {{ var('near_equals_max_bands') }}
                and near_best_p_best >= {{ var('near_equals_p_best') }}
                then 'near-equals'
            else 'no clear lead'
        end as venue_verdict
    from venues
)

select
    bands.venue_id,
    bands.band_id,
    venue_verdicts.venue_verdict,
    case
        when bands.is_leader then venue_verdicts.venue_verdict
        when venue_verdicts.venue_verdict = 'near-equals' and bands.is_near_best then 'near-equals'
        when bands.p_top_group >= {{ var('safe_to_invite_p_top_group') }} then 'safe to invite'
        when bands.p_top_group >= {{ var('possible_p_top_group') }} then 'possible'
        else 'reserve'
    end as verdict
from bands
inner join venue_verdicts
    on bands.venue_id = venue_verdicts.venue_id
