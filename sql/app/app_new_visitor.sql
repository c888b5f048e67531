-- The visitors seen for the first time, against yesterday, the week and the year before.
--
-- grain:  dt
-- check:  new_visitors >= 0
-- check:  select new_visitors, dau
--         from (select new_visitors from app_new_visitor where dt = $dt)
--         cross join (select dau from app_active_visitor where dt = $dt)
--         where new_visitors > dau
-- export: metrics
-- tags:   audience

with today as (
    select count(*) as visitors from dws_visitor_first where dt = $dt
),

prev_day as (
    select
        case when $dt - interval '1 day' >= first_loaded_day('logs') then count(*) end as visitors
    from dws_visitor_first
    where dt = $dt - interval '1 day'
),

prev_week as (
    select
        case when $dt - interval '7 days' >= first_loaded_day('logs') then count(*) end as visitors
    from dws_visitor_first
    where dt = $dt - interval '7 days'
),

prev_year as (
    select
        case when year_before($dt) >= first_loaded_day('logs') then count(*) end as visitors
    from dws_visitor_first
    where dt = year_before($dt)
)

select
    $dt as dt, -- business day
    today.visitors as new_visitors, -- visitors whose first active day ever is dt
    prev_day.visitors as prev_day, -- the same of dt - 1, NULL before the first loaded day
    ratio(today.visitors - prev_day.visitors, prev_day.visitors)
        as day_ratio, -- change against prev_day
    prev_week.visitors as prev_week, -- the same of dt - 7, NULL before the first loaded day
    ratio(today.visitors - prev_week.visitors, prev_week.visitors)
        as week_ratio, -- change against prev_week
    prev_year.visitors as prev_year, -- the same of this date a year before, NULL likewise
    ratio(today.visitors - prev_year.visitors, prev_year.visitors)
        as year_ratio -- change against prev_year
from today
cross join prev_day
cross join prev_week
cross join prev_year
