-- The splash ads on a platform: how many were shown, how many failed.
--
-- grain:  dt, platform
-- check:  shown >= 0 and failed >= 0
-- check:  (success_rate is null) = (shown + failed = 0)
-- check:  select tried, counted
--         from (
--             select count(*) as tried from dwd_app_open where dt = $dt and ad_status in (1, 2)
--         )
--         cross join (
--             select sum(shown + failed) as counted from app_splash_ad where dt = $dt
--         )
--         where tried <> counted
-- check:  select ad.platform, crash.platform as of_crash
--         from (select platform from app_splash_ad where dt = $dt) as ad
--         full join (
--             select platform from app_crash where dt = $dt
--         ) as crash on ad.platform = crash.platform
--         where ad.platform is null or crash.platform is null
-- export: metrics
-- tags:   audience

with ad as (
    select platform, ad_status from dwd_app_open where dt = $dt and ad_status in (1, 2)
),

active as (
    select distinct platform from dws_visitor_platform_day where dt = $dt
),

total as (
    select
        platform,
        count(*) filter (where ad_status = 1) as shown,
        count(*) filter (where ad_status = 2) as failed
    from ad
    group by platform
),

platform as (
    select platform from (values ('android'), ('ios'), ('pc')) as always (platform)
    union
    select platform from active
)

select
    $dt as dt, -- business day
    platform.platform, -- android, ios, pc; other when anyone was active on it
    coalesce(total.shown, 0) as shown, -- app opens whose splash ad was shown
    coalesce(total.failed, 0) as failed, -- app opens whose splash ad failed
    ratio(total.shown, total.shown + total.failed) as success_rate -- shown / (shown + failed)
from platform
-- Left: no app with an ad may have been opened on a platform.
left join total on platform.platform = total.platform
