-- The goods by their latest prices, beside the orders of the day.
--
-- grain:  dt, goods_id
-- check:  select goods_id, app_price.orders, app_gmv.orders as valid
--         from app_price
--         cross join app_gmv
--         where app_price.dt = $dt and app_gmv.dt = $dt and app_price.orders < app_gmv.orders
-- export: metrics

with ordered as (
    select count(*) as orders from dwd_order where dt = $dt
)

select
    $dt as dt, -- business day
    goods.goods_id, -- the goods
    goods.curr_price, -- its latest price
    ordered.orders -- orders of the day
from (
    select goods_id, curr_price from dwd_goods where dt = latest_snapshot('dwd_goods', $dt)
) as goods
cross join ordered
