-- The crashes on a platform, and the share of its visitors who had none.
--
-- grain:  dt, platform
-- check:  crashes >= crashing_visitors and crash_reports >= crashes
-- check:  crash_free_rate is null or crash_free_rate between 0 and 1
-- check:  select happened, shown
--         from (select count(*) as happened from dwd_app_crash where dt = $dt)
--         cross join (select sum(crashes) as shown from app_crash where dt = $dt)
--         where happened <> shown
-- export: metrics
-- tags:   audience

with active as (
    select platform, crashes, crash_reports from dws_visitor_platform_day where dt = $dt
),

total as (
    select
        platform,
        count(*) as visitors,
        count(*) filter (where crashes > 0) as crashing_visitors,
        sum(crashes) as crashes,
        sum(crash_reports) as crash_reports
    from active
    group by platform
),

platform as (
    select platform from (values ('android'), ('ios'), ('pc')) as always (platform)
    union
    select platform from total
)

select
    $dt as dt, -- business day
    platform.platform, -- android, ios, pc; other when anyone was active on it
    coalesce(total.crashes, 0) as crashes, -- distinct crashes
    coalesce(total.crash_reports, 0) as crash_reports, -- crashes with their copies
    coalesce(total.crashing_visitors, 0) as crashing_visitors, -- visitors with a crash
    ratio(total.visitors - total.crashing_visitors, total.visitors)
        as crash_free_rate -- 1 - crashing_visitors / visitors active on the platform
from platform
-- Left: nobody may have been active on a platform.
left join total on platform.platform = total.platform
