-- The crashes of an app version and build on a platform.
--
-- grain:  dt, platform, ver, vercode
-- check:  crashing_visitors between 1 and crashes and crash_reports >= crashes
-- check:  select total.platform, total.crashes, spread.crashes as spread
--         from (select platform, crashes from app_crash where dt = $dt) as total
--         full join (
--             select platform, sum(crashes) as crashes
--             from app_crash_version
--             where dt = $dt
--             group by platform
--         ) as spread on total.platform = spread.platform
--         where coalesce(total.crashes, 0) <> coalesce(spread.crashes, 0)
-- export: metrics
-- tags:   audience

with crash as (
    select
        platform,
        coalesce(nullif(ver, ''), 'unknown') as ver,
        coalesce(nullif(vercode, ''), 'unknown') as vercode,
        visitor_id,
        copies
    from dwd_app_crash
    where dt = $dt
)

select
    $dt as dt, -- business day
    platform, -- android, ios, pc or other
    ver, -- app version
    vercode, -- app build
    count(*) as crashes, -- distinct crashes
    sum(copies) as crash_reports, -- crashes with their copies
    count(distinct visitor_id) as crashing_visitors -- visitors with a crash
from crash
group by platform, ver, vercode
