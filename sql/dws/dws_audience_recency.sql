-- The visitors of the last thirty days, counted by the day they were active last.
--
-- grain:  dt, last_active_dt
-- check:  last_active_dt <= dt and dt - last_active_dt < 30
-- check:  visitors > 0
-- check:  select active, counted
--         from (select count(*) as active from dws_visitor_day where dt = $dt)
--         cross join (
--             select coalesce(sum(visitors), 0) as counted
--             from dws_audience_recency
--             where dt = $dt and last_active_dt = $dt
--         )
--         where active <> counted
-- tags:   audience

-- One pass over the month gives the daily, weekly and monthly audience, and who came back or left.
with visitor_day as (
    select dt as active_dt, visitor_id
    from dws_visitor_day
    where dt between $dt - interval '29 days' and $dt
),

visitor as (
    select visitor_id, max(active_dt) as last_active_dt from visitor_day group by visitor_id
)

select
    $dt as dt, -- business day
    last_active_dt, -- latest day on or before dt that they were active on
    count(*) as visitors -- visitors active on that day and not since
from visitor
group by last_active_dt
