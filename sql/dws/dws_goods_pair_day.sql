-- Two goods that are in one order of the day, and in how many.
--
-- grain:  dt, goods_a, goods_b
-- check:  goods_a < goods_b and orders_together >= 1
-- check:  select paired, counted
--         from (
--             select coalesce(sum(lines * (lines - 1) / 2), 0) as paired
--             from (
--                 select count(*) as lines
--                 from dws_order_line
--                 where dt = $dt
--                 group by order_id
--             )
--         )
--         cross join (
--             select coalesce(sum(orders_together), 0) as counted
--             from dws_goods_pair_day
--             where dt = $dt
--         )
--         where paired <> counted
-- tags:   orders

-- An order lies on one day, so these counts add up over days.
with line as (
    select order_id, goods_id from dws_order_line where dt = $dt
)

select
    $dt as dt, -- day the orders were placed
    a.goods_id as goods_a, -- the goods with the smaller number
    b.goods_id as goods_b, -- the other goods
    count(*) as orders_together -- orders with both
from line as a
inner join line as b on a.order_id = b.order_id and a.goods_id < b.goods_id
group by a.goods_id, b.goods_id
