-- Where the day's visitors come from, and how many of yesterday's stayed away.
--
-- grain:  dt
-- check:  new_visitors >= 0 and retained >= 0 and resurrected >= 0 and churned >= 0
-- check:  select dau, new_visitors, retained, resurrected
--         from (select * from app_growth where dt = $dt)
--         cross join (select dau from app_active_visitor where dt = $dt)
--         where dau <> new_visitors + retained + resurrected
-- check:  select dau, prev_day, new_visitors, resurrected, churned
--         from (select * from app_growth where dt = $dt)
--         cross join (select dau, prev_day from app_active_visitor where dt = $dt)
--         where dau <> coalesce(prev_day, 0) + new_visitors + resurrected - churned
-- check:  select growth.new_visitors, fresh.new_visitors as of_day
--         from (select new_visitors from app_growth where dt = $dt) as growth
--         cross join (select new_visitors from app_new_visitor where dt = $dt) as fresh
--         where growth.new_visitors <> fresh.new_visitors
-- export: metrics
-- tags:   audience

with today as (
    select
        coalesce(sum(visitors) filter (where last_active_dt = $dt), 0) as active,
        coalesce(sum(visitors) filter (where last_active_dt = $dt - interval '1 day'), 0)
            as active_yesterday_only
    from dws_audience_recency
    where dt = $dt and last_active_dt >= first_loaded_day('logs')
),

yesterday as (
    select coalesce(sum(visitors), 0) as active
    from dws_audience_recency
    where dt = $dt - interval '1 day'
        and last_active_dt = dt
        and last_active_dt >= first_loaded_day('logs')
),

fresh as (
    select count(*) as visitors from dws_visitor_first where dt = $dt
)

select
    $dt as dt, -- business day
    fresh.visitors as new_visitors, -- active on dt and never before
    yesterday.active - today.active_yesterday_only as retained, -- active on dt and on dt - 1
    today.active - fresh.visitors - (yesterday.active - today.active_yesterday_only)
        as resurrected, -- active on dt, not on dt - 1, but earlier
    today.active_yesterday_only as churned -- active on dt - 1, not on dt
from today
cross join yesterday
cross join fresh
