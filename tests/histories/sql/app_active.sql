-- The visitors of three days, against those of the day before.
--
-- grain:  dt
-- check:  select shown.active, counted.active as today
--         from (select active from app_active where dt = $dt) as shown
--         cross join (select count(*) as active from dws_visitor_day where dt = $dt) as counted
--         where shown.active < counted.active
-- export: metrics

select
    $dt as dt, -- business day
    count(*) filter (where dt = $dt) as active, -- active in three days
    count(*) filter (where dt < $dt) as before -- the same of the day before
from dws_week
where dt between $dt - interval '1 day' and $dt
