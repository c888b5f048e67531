-- The hundred goods that were viewed most in four hours of the day.
--
-- grain:  window_start, rank
-- check:  rank between 1 and 100 and details_views > 0
-- check:  goods_name <> ''
-- check:  select counter.window_start, counter.goods_id, counter.details_views
--         from (
--             select window_start, goods_id, details_views
--             from app_goods_counter_4h
--             where dt = $dt and details_views > 0
--         ) as counter
--         left anti join (
--             select window_start, goods_id from app_goods_high_attention where dt = $dt
--         ) as listed
--             on counter.window_start = listed.window_start
--             and counter.goods_id = listed.goods_id
--         left join (
--             select window_start, count(*) as ranks, min(details_views) as details_views
--             from app_goods_high_attention
--             where dt = $dt
--             group by window_start
--         ) as lowest on counter.window_start = lowest.window_start
--         where coalesce(lowest.ranks, 0) < 100 or counter.details_views > lowest.details_views
-- export: metrics
-- tags:   audience, orders

with viewed as (
    select window_start, goods_id, details_views, transaction_items
    from app_goods_counter_4h
    where dt = $dt and details_views > 0
),

catalogue as (
    select goods_id, goods_name
    from dws_goods_catalogue
    where dt = latest_snapshot('dws_goods_catalogue', $dt)
),

ranked as (
    select
        *,
        row_number() over (
            partition by window_start
            order by details_views desc, transaction_items desc, goods_id
        ) as rank
    from viewed
),

listed as (
    select * from ranked where rank <= 100
)

select
    $dt as dt, -- business day
    listed.window_start, -- start of the four hours on the clock of the business zone
    cast(listed.rank as bigint) as rank, -- by views, then lines, both descending, then goods_id
    listed.goods_id, -- the goods
    coalesce(catalogue.goods_name, 'unknown') as goods_name, -- name of the goods
    listed.details_views, -- distinct goods detail views in the window
    listed.transaction_items -- order lines written in the window whose order is valid
from listed
-- Left: goods may be in no snapshot.
left join catalogue on listed.goods_id = catalogue.goods_id
