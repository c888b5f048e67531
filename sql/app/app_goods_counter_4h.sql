-- The attention that goods had in four hours of the day: detail views and lines of valid orders.
--
-- grain:  window_start, goods_id
-- check:  cast(window_start as date) = dt and extract(hour from window_start) % 4 = 0
-- check:  details_views + transaction_items >= 1
-- check:  select viewed, counted
--         from (
--             select count(*) as viewed
--             from dwd_goods_view
--             where dt = $dt and goods_id is not null
--         )
--         cross join (
--             select coalesce(sum(details_views), 0) as counted
--             from app_goods_counter_4h
--             where dt = $dt
--         )
--         where viewed <> counted
-- check:  select lines, counted
--         from (select count(*) as lines from dws_line_created where dt = $dt and is_valid)
--         cross join (
--             select coalesce(sum(transaction_items), 0) as counted
--             from app_goods_counter_4h
--             where dt = $dt
--         )
--         where lines <> counted
-- export: metrics
-- tags:   audience, orders

with detail_view as (
    select date_bin(interval '4 hours', local_time) as window_start, goods_id
    from dwd_goods_view
    where dt = $dt and goods_id is not null
),

line as (
    select date_bin(interval '4 hours', create_time) as window_start, goods_id
    from dws_line_created
    where dt = $dt and is_valid
),

viewed as (
    select window_start, goods_id, count(*) as details_views
    from detail_view
    group by window_start, goods_id
),

bought as (
    select window_start, goods_id, count(*) as transaction_items
    from line
    group by window_start, goods_id
),

counter as (
    select
        coalesce(viewed.window_start, bought.window_start) as window_start,
        coalesce(viewed.goods_id, bought.goods_id) as goods_id,
        coalesce(viewed.details_views, 0) as details_views,
        coalesce(bought.transaction_items, 0) as transaction_items
    from viewed
    -- Full: goods may be viewed and not bought, and bought without a view.
    full join bought
        on viewed.window_start = bought.window_start
        and viewed.goods_id = bought.goods_id
)

select
    $dt as dt, -- business day
    window_start, -- start of the four hours on the clock of the business zone
    window_start + interval '4 hours' as window_end, -- their end, no longer part of them
    goods_id, -- the goods
    details_views, -- distinct goods detail views, by anyone
    transaction_items -- order lines written in the window whose order is valid
from counter
