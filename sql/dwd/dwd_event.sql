-- A distinct client event of the day, as it arrived first, with the number of its copies.
--
-- grain:  dt, file, byte_offset, element
-- check:  visitor_id is not null
-- check:  act between 1 and 5
-- check:  copies >= 1
-- check:  select file, byte_offset, element, acttime
--         from dwd_event
--         where dt = $dt and (
--             acttime < day_start_ms($dt) or acttime >= day_start_ms($dt + interval '1 day')
--         )
-- check:  select landed, kept
--         from (select count(*) as landed from ods_user_action where dt = $dt)
--         cross join (select coalesce(sum(copies), 0) as kept from dwd_event where dt = $dt)
--         where landed <> kept
-- tags:   audience

with landed as (
    select * from ods_user_action where dt = $dt
),

-- Almost every event comes once: comparing hashes leaves the few that deserve a closer look.
-- The small side of a join stands on the left, where the hash table is built.
repeated_hash as (
    select event_hash from landed group by event_hash having count(*) > 1
),

repeated as (
    select
        landed.event_hash,
        landed.event_id,
        case when landed.event_id is null then landed.acttime end as acttime_without_id,
        landed.arrival_dt,
        landed.file,
        landed.byte_offset,
        landed.element
    from repeated_hash
    right semi join landed on landed.event_hash = repeated_hash.event_hash
),

ranked as (
    select
        event_hash,
        file,
        byte_offset,
        element,
        count(*) over (partition by event_hash, event_id, acttime_without_id) as copies,
        row_number() over (
            partition by event_hash, event_id, acttime_without_id
            order by arrival_dt, file, byte_offset, element
        ) as arrival_rank
    from repeated
)

select
    $dt as dt, -- business day of acttime
    landed.event_id, -- the client's own identity of the event, newer clients only
    coalesce(landed.xaid, 'u:' || cast(landed.uid as varchar)) as visitor_id, -- device, else u:uid
    landed.uid, -- logged-in user
    landed.xaid, -- device
    case landed.platform
        when 1 then 'android'
        when 2 then 'ios'
        when 3 then 'pc'
        else 'other'
    end as platform, -- android, ios, pc or other
    case landed.net
        when 1 then 'WIFI'
        when 2 then '2G'
        when 3 then '3G'
        when 4 then '4G'
        when 5 then '5G'
        else 'unknown'
    end as network, -- WIFI, 2G, 3G, 4G, 5G or unknown
    landed.ver, -- app version
    landed.vercode, -- app build
    landed.brand, -- brand of the device
    landed.model, -- model of the device
    landed.display, -- screen size
    landed.osver, -- version of the operating system
    landed.act, -- 1 open, 2 goods click, 3 goods detail view, 4 goods list, 5 crash
    landed.acttime, -- device time, epoch milliseconds
    landed.ad_status, -- opens: 1 splash ad shown, 2 failed
    landed.loading_time, -- opens, views, lists: milliseconds until loaded
    landed.goods_id, -- clicks, views: the goods
    landed.location, -- clicks: zero-based position in the list
    landed.stay_time, -- views: milliseconds on the page
    landed.loading_type, -- lists: 1 from cache, 2 from the API
    landed.goods_num, -- lists: number of goods
    landed.extra, -- undeclared fields as a JSON object
    coalesce(ranked.copies, 1) as copies, -- how many times the event arrived
    landed.arrival_dt, -- day the file arrived
    landed.file, -- file it came in, relative to the source's folder
    landed.byte_offset, -- where its line starts in the decompressed file
    landed.element -- its index within an envelope, 0 for a flat line
from ranked
-- Right: an event that came once is not ranked.
right join landed
    on ranked.event_hash = landed.event_hash
    and ranked.byte_offset = landed.byte_offset
    and ranked.element = landed.element
    and ranked.file = landed.file
where ranked.arrival_rank is null or ranked.arrival_rank = 1
