-- How long pages took to load on a network: the median, and what the slowest waited for.
--
-- grain:  dt, page, network
-- check:  events >= 1
-- check:  p50_ms <= p90_ms and p90_ms <= p99_ms
-- check:  select measured.page, measured.events, counted.events as counted
--         from (
--             select 'splash' as page, count(*) as events
--             from dwd_app_open
--             where dt = $dt and loading_time is not null
--             union all
--             select 'detail' as page, count(*) as events
--             from dwd_goods_view
--             where dt = $dt and loading_time is not null
--             union all
--             select 'list' as page, count(*) as events
--             from dwd_goods_list
--             where dt = $dt and loading_time is not null
--         ) as measured
--         left join (
--             select page, sum(events) as events from app_load_time where dt = $dt group by page
--         ) as counted on measured.page = counted.page
--         where measured.events <> coalesce(counted.events, 0)
-- export: metrics
-- tags:   audience

with loading as (
    select 'splash' as page, network, loading_time
    from dwd_app_open
    where dt = $dt and loading_time is not null
    union all
    select 'detail' as page, network, loading_time
    from dwd_goods_view
    where dt = $dt and loading_time is not null
    union all
    select 'list' as page, network, loading_time
    from dwd_goods_list
    where dt = $dt and loading_time is not null
),

-- Many events share a number of milliseconds, so the numbers are sorted and not the events.
distinct_time as (
    select page, network, loading_time, count(*) as events
    from loading
    group by page, network, loading_time
),

ordered as (
    select
        page,
        network,
        loading_time,
        sum(events) over (
            partition by page, network
            order by loading_time
            rows between unbounded preceding and current row
        ) as events_so_far,
        sum(events) over (partition by page, network) as events
    from distinct_time
),

-- The rank p * (n - 1), counted from 0, lies `beyond` hundredths behind a whole number.
ranked as (
    select
        ordered.*,
        percent,
        percent * (ordered.events - 1) / 100 as below,
        percent * (ordered.events - 1) % 100 as beyond
    from ordered
    cross join (values (50), (90), (99)) as percentile (percent)
),

neighbour as (
    select
        page,
        network,
        events,
        percent,
        beyond,
        cast(min(loading_time) filter (where events_so_far > below) as decimal(20, 0)) as lower,
        cast(
            min(loading_time) filter (where events_so_far > least(below + 1, events - 1))
            as decimal(20, 0)
        ) as upper
    from ranked
    group by page, network, events, percent, beyond
),

-- Interpolated in hundredths, exactly; the division by 100 is all that is rounded.
interpolated as (
    select
        page,
        network,
        events,
        percent,
        cast(lower * (100 - beyond) + upper * beyond as double) / 100 as loading_ms
    from neighbour
)

select
    $dt as dt, -- business day
    page, -- splash, detail or list
    network, -- WIFI, 2G, 3G, 4G, 5G or unknown
    events, -- distinct events that say how long it took
    max(loading_ms) filter (where percent = 50) as p50_ms, -- half of them took no longer
    max(loading_ms) filter (where percent = 90) as p90_ms, -- nine of ten took no longer
    max(loading_ms) filter (where percent = 99) as p99_ms -- 99 of a hundred took no longer
from interpolated
group by page, network, events
