-- How often goods were viewed on the day, and how many of those who viewed them ordered them.
--
-- grain:  dt, goods_id
-- check:  views >= viewers and viewers >= converting and buyers >= converting
-- check:  view_to_buy is null or view_to_buy between 0 and 1
-- check:  select viewed, shown
--         from (
--             select count(*) as viewed
--             from dwd_goods_view
--             where dt = $dt and goods_id is not null
--         )
--         cross join (
--             select coalesce(sum(views), 0) as shown
--             from app_goods_conversion
--             where dt = $dt
--         )
--         where viewed <> shown
-- check:  select sold.goods_id, sold.orders, shown.buyers
--         from (select goods_id, orders from dws_goods_day where dt = $dt) as sold
--         left join (
--             select goods_id, buyers from app_goods_conversion where dt = $dt
--         ) as shown on sold.goods_id = shown.goods_id
--         where shown.buyers is null or shown.buyers > sold.orders
-- check:  select converting, buyers
--         from (
--             select max(converting) as converting
--             from app_goods_conversion
--             where dt = $dt
--         )
--         cross join (select buyers from app_conversion where dt = $dt)
--         where converting > buyers
-- export: metrics
-- tags:   audience, orders

with view as (
    select goods_id, uid from dwd_goods_view where dt = $dt and goods_id is not null
),

line as (
    select goods_id, user_id from dws_order_line where dt = $dt
),

catalogue as (
    select goods_id, goods_name
    from dws_goods_catalogue
    where dt = latest_snapshot('dws_goods_catalogue', $dt)
),

-- Anonymous views have no user, and the rows without one match nothing below.
viewer as (
    select goods_id, uid as user_id, count(*) as views from view group by goods_id, uid
),

buyer as (
    select distinct goods_id, user_id from line
),

goods as (
    select
        coalesce(viewer.goods_id, buyer.goods_id) as goods_id,
        coalesce(sum(viewer.views), 0) as views,
        count(viewer.user_id) as viewers,
        count(buyer.user_id) as buyers,
        count(*) filter (where viewer.user_id is not null and buyer.user_id is not null)
            as converting
    from viewer
    -- Full: most who view do not buy, and some buy without having viewed on the day.
    full join buyer on viewer.goods_id = buyer.goods_id and viewer.user_id = buyer.user_id
    group by coalesce(viewer.goods_id, buyer.goods_id)
)

select
    $dt as dt, -- business day
    goods.goods_id, -- the goods
    coalesce(catalogue.goods_name, 'unknown') as goods_name, -- name of the goods
    goods.views, -- distinct detail views, by anyone
    goods.viewers, -- users with one
    goods.buyers, -- users with the goods in an order placed on dt
    goods.converting, -- users who are both
    ratio(goods.converting, goods.viewers) as view_to_buy -- converting / viewers
from goods
-- Left: goods may be in no snapshot.
left join catalogue on goods.goods_id = catalogue.goods_id
