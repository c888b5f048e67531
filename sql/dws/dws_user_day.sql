-- A logged-in user active on the day.
--
-- grain:  dt, user_id
-- check:  events >= 1 and events >= views
-- check:  select happened, counted
--         from (select count(*) as happened from dwd_event where dt = $dt and uid is not null)
--         cross join (select coalesce(sum(events), 0) as counted from dws_user_day where dt = $dt)
--         where happened <> counted
-- tags:   audience

with event as (
    select uid, act from dwd_event where dt = $dt and uid is not null
)

select
    $dt as dt, -- business day
    uid as user_id, -- the user
    count(*) as events, -- distinct events while logged in
    count(*) filter (where act = 3) as views -- distinct goods detail views while logged in
from event
group by uid
