-- The daily, weekly and monthly active visitors, against yesterday and the same weekday before.
--
-- grain:  dt
-- check:  dau <= wau and wau <= mau
-- check:  stickiness is null or stickiness between 0 and 1
-- check:  select active, shown
--         from (select count(*) as active from dws_visitor_day where dt = $dt)
--         cross join (select sum(dau) as shown from app_active_visitor where dt = $dt)
--         where active <> shown
-- export: metrics
-- tags:   audience

with audience as (
    select
        coalesce(sum(visitors) filter (where last_active_dt = $dt), 0) as dau,
        coalesce(sum(visitors) filter (where last_active_dt >= $dt - interval '6 days'), 0) as wau,
        coalesce(sum(visitors), 0) as mau
    from dws_audience_recency
    where dt = $dt and last_active_dt >= first_loaded_day('logs')
),

prev_day as (
    select
        case
            when $dt - interval '1 day' >= first_loaded_day('logs') then coalesce(sum(visitors), 0)
        end as dau
    from dws_audience_recency
    where dt = $dt - interval '1 day' and last_active_dt = dt
),

prev_week as (
    select
        case
            when $dt - interval '7 days' >= first_loaded_day('logs')
                then coalesce(sum(visitors), 0)
        end as dau
    from dws_audience_recency
    where dt = $dt - interval '7 days' and last_active_dt = dt
)

select
    $dt as dt, -- business day
    audience.dau, -- visitors active on dt
    audience.wau, -- visitors active in the 7 days to dt
    audience.mau, -- visitors active in the 30 days to dt
    ratio(audience.dau, audience.mau) as stickiness, -- dau / mau
    prev_day.dau as prev_day, -- dau of dt - 1, NULL before the first loaded day
    ratio(audience.dau - prev_day.dau, prev_day.dau) as day_ratio, -- change against prev_day
    prev_week.dau as prev_week, -- dau of dt - 7, NULL before the first loaded day
    ratio(audience.dau - prev_week.dau, prev_week.dau) as week_ratio -- change against prev_week
from audience
cross join prev_day
cross join prev_week
