-- A line of an order together with the order, on the order's day.
--
-- grain:  order_id, goods_id
-- check:  dt is not distinct from cast(order_date as date)
-- check:  select loaded, kept
--         from (select count(*) as loaded from dwd_order_item)
--         cross join (select count(*) as kept from dws_order_line)
--         where loaded <> kept
-- warn:   is_order_loaded
-- tags:   orders

with line as (
    select * from dwd_order_item
),

placed as (
    select * from dwd_order
)

select
    placed.dt, -- day of the order's order_date, NULL on no day
    line.order_id, -- the order
    line.goods_id, -- the goods
    placed.order_id is not null as is_order_loaded, -- whether the order has arrived
    placed.user_id, -- who placed the order
    placed.order_date, -- when the order was placed
    placed.status, -- the order's status in words
    coalesce(placed.is_valid, false) as is_valid, -- whether it is paid, shipped or completed
    line.create_time, -- when the line was written
    line.units, -- number of pieces
    line.line_money -- price of the whole line
from placed
-- Right: a line whose order has not arrived yet waits, on no day until then.
right join line on placed.order_id = line.order_id
