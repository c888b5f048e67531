-- A visitor active on the day.
--
-- grain:  dt, visitor_id
-- check:  events >= opens

select
    $dt as dt, -- business day
    visitor_id, -- the visitor
    count(*) as events, -- distinct events
    count(*) filter (where act = 1) as opens -- distinct opens
from dwd_event
where dt = $dt
group by visitor_id
