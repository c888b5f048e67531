-- A visitor active on the day: what they did, and with what they did it last.
--
-- grain:  dt, visitor_id
-- check:  events >= 1 and events >= opens + views + crashes
-- check:  platform is not null and brand is not null and model is not null
-- check:  select happened, counted
--         from (select count(*) as happened from dwd_event where dt = $dt)
--         cross join (
--             select coalesce(sum(events), 0) as counted
--             from dws_visitor_day
--             where dt = $dt
--         )
--         where happened <> counted
-- tags:   audience

with event as (
    select
        visitor_id,
        uid,
        platform,
        network,
        coalesce(nullif(brand, ''), 'unknown') as brand,
        coalesce(nullif(model, ''), 'unknown') as model,
        coalesce(nullif(osver, ''), 'unknown') as osver,
        acttime
    from dwd_event
    where dt = $dt
),

visitor_platform as (
    select * from dws_visitor_platform_day where dt = $dt
),

visitor as (
    select
        visitor_id,
        max(last_acttime) as last_acttime,
        max(last_user_acttime) as last_user_acttime,
        sum(events) as events,
        sum(opens) as opens,
        sum(views) as views,
        sum(crashes) as crashes
    from visitor_platform
    group by visitor_id
),

last_seen as (
    select
        visitor.visitor_id,
        visitor.last_acttime,
        visitor.last_user_acttime,
        max(visitor_platform.platform) as platform
    from visitor
    inner join visitor_platform
        on visitor.visitor_id = visitor_platform.visitor_id
        and visitor.last_acttime = visitor_platform.last_acttime
    group by visitor.visitor_id, visitor.last_acttime, visitor.last_user_acttime
),

-- When something of a visitor is looked up: their latest time, and their latest while logged in.
moment as (
    select visitor_id, last_acttime, last_user_acttime, platform, last_acttime as acttime
    from last_seen
    union all
    select visitor_id, last_acttime, last_user_acttime, platform, last_user_acttime as acttime
    from last_seen
    where last_user_acttime <> last_acttime
),

-- Where several events share the latest time, the greatest value is taken.
attribute as (
    select
        moment.visitor_id,
        max(moment.platform) as platform,
        max(event.uid) filter (where event.acttime = moment.last_user_acttime) as user_id,
        max(event.brand) filter (where event.acttime = moment.last_acttime) as brand,
        max(event.model) filter (where event.acttime = moment.last_acttime) as model,
        max(event.network) filter (where event.acttime = moment.last_acttime) as network,
        max(event.osver) filter (
            where event.acttime = moment.last_acttime and event.platform = moment.platform
        ) as osver
    from moment
    inner join event
        on moment.visitor_id = event.visitor_id
        and moment.acttime = event.acttime
    group by moment.visitor_id
)

select
    $dt as dt, -- business day
    visitor.visitor_id, -- device, else u:uid
    attribute.user_id, -- user logged in last, NULL if nobody did
    attribute.platform, -- latest platform: android, ios, pc or other
    attribute.osver, -- latest version of that platform's operating system
    attribute.brand, -- latest brand of the device
    attribute.model, -- latest model of the device
    attribute.network, -- latest network
    visitor.events, -- distinct events
    visitor.opens, -- distinct app opens
    visitor.views, -- distinct goods detail views
    visitor.crashes -- distinct crashes
from visitor
inner join attribute on visitor.visitor_id = attribute.visitor_id
