-- A visitor active on a platform on the day, and what they did there.
--
-- grain:  dt, visitor_id, platform
-- check:  events >= opens + views + crashes
-- check:  crash_reports >= crashes
-- check:  last_user_acttime is null or last_user_acttime <= last_acttime
-- check:  select happened, counted
--         from (select count(*) as happened from dwd_event where dt = $dt)
--         cross join (
--             select coalesce(sum(events), 0) as counted
--             from dws_visitor_platform_day
--             where dt = $dt
--         )
--         where happened <> counted
-- tags:   audience

with event as (
    select visitor_id, platform, uid, act, acttime, copies from dwd_event where dt = $dt
)

select
    $dt as dt, -- business day
    visitor_id, -- device, else u:uid
    platform, -- android, ios, pc or other
    max(acttime) as last_acttime, -- time of their latest event there, epoch milliseconds
    max(case when uid is not null then acttime end)
        as last_user_acttime, -- the same while logged in, NULL if they never were
    count(*) as events, -- distinct events
    count(*) filter (where act = 1) as opens, -- distinct app opens
    count(*) filter (where act = 3) as views, -- distinct goods detail views
    count(*) filter (where act = 5) as crashes, -- distinct crashes
    sum(case when act = 5 then copies else 0 end) as crash_reports -- crashes with their copies
from event
group by visitor_id, platform
