-- A visitor who has been away for exactly a week: the push list of the day.
--
-- grain:  dt, visitor_id
-- check:  dt - last_active_dt = 7
-- check:  select lapsed, listed
--         from (select sum(lapsed_today) as lapsed from app_lapsed where dt = $dt)
--         cross join (select count(*) as listed from app_lapsed_visitor where dt = $dt)
--         where lapsed <> listed
-- export: metrics
-- tags:   audience

with week_before as (
    select dt, visitor_id, user_id, platform
    from dws_visitor_day
    where dt = $dt - interval '7 days'
),

since as (
    select visitor_id
    from dws_visitor_day
    where dt between $dt - interval '6 days' and $dt
)

select
    $dt as dt, -- business day
    week_before.visitor_id, -- device, else u:uid
    week_before.user_id, -- user last logged in on last_active_dt, NULL if none
    week_before.platform, -- platform of their latest event
    week_before.dt as last_active_dt -- latest day they were active on: dt - 7
from week_before
left anti join since on week_before.visitor_id = since.visitor_id
