-- How many of a day's new visitors are active again so many days later.
--
-- grain:  dt, cohort_dt, day_n
-- check:  dt - cohort_dt = day_n
-- check:  retained between 0 and cohort_size
-- check:  retention_rate between 0 and 1
-- check:  select fresh.cohort_dt, fresh.new_visitors, shown.cohort_dt as shown, shown.cohort_size
--         from (
--             select dt as cohort_dt, new_visitors
--             from app_new_visitor
--             where dt between $dt - interval '30 days' and $dt - interval '1 day'
--                 and new_visitors > 0
--                 and $dt - dt in (1, 2, 3, 4, 5, 6, 7, 14, 30)
--         ) as fresh
--         full join (
--             select cohort_dt, cohort_size from app_retention where dt = $dt
--         ) as shown on fresh.cohort_dt = shown.cohort_dt
--         where fresh.new_visitors is distinct from shown.cohort_size
-- check:  select cohort.retained, growth.retained as of_all
--         from (select retained from app_retention where dt = $dt and day_n = 1) as cohort
--         cross join (select retained from app_growth where dt = $dt) as growth
--         where cohort.retained > growth.retained
-- export: metrics
-- tags:   audience

with cohort as (
    select dt as cohort_dt, cast($dt - dt as bigint) as day_n, visitor_id
    from dws_visitor_first
    where dt between $dt - interval '30 days' and $dt - interval '1 day'
        and dt >= first_loaded_day('logs')
),

active as (
    select visitor_id from dws_visitor_day where dt = $dt
),

returned as (
    select
        cohort.cohort_dt,
        cohort.day_n,
        count(*) as cohort_size,
        count(active.visitor_id) as retained
    from cohort
    -- Left: a visitor who did not come back still belongs to the cohort.
    left join active on cohort.visitor_id = active.visitor_id
    where cohort.day_n <= 7 or cohort.day_n in (14, 30)
    group by cohort.cohort_dt, cohort.day_n
)

select
    $dt as dt, -- business day
    cohort_dt, -- day the visitors were new
    day_n, -- days from cohort_dt to dt: 1 to 7, 14 or 30
    cohort_size, -- visitors new on cohort_dt
    retained, -- those of them active on dt
    ratio(retained, cohort_size) as retention_rate -- retained / cohort_size
from returned
