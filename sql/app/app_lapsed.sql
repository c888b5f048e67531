-- The visitors who have been away for a week: since exactly seven days, and in all.
--
-- grain:  dt
-- check:  lapsed_today >= 0 and lapsed_today <= lapsed_total
-- export: metrics
-- tags:   audience

with recent as (
    select
        coalesce(sum(visitors) filter (where last_active_dt = $dt - interval '7 days'), 0)
            as lapsed_today,
        coalesce(sum(visitors) filter (where last_active_dt > $dt - interval '7 days'), 0)
            as active_within_week
    from dws_audience_recency
    where dt = $dt
),

ever as (
    select count(*) as visitors from dws_visitor_first where dt <= $dt
)

select
    $dt as dt, -- business day
    recent.lapsed_today, -- visitors whose latest active day is exactly dt - 7
    ever.visitors - recent.active_within_week
        as lapsed_total -- visitors whose latest active day is dt - 7 or earlier
from recent
cross join ever
