-- A line of an order together with the order, on the day the line was written.
--
-- grain:  order_id, goods_id
-- check:  dt is not distinct from cast(create_time as date)
-- check:  select loaded, kept
--         from (
--             select count(*) as loaded from dwd_order_item where dt is not distinct from $dt
--         )
--         cross join (
--             select count(*) as kept from dws_line_created where dt is not distinct from $dt
--         )
--         where loaded <> kept
-- warn:   is_order_loaded
-- tags:   orders

with line as (
    select * from dwd_order_item where dt is not distinct from $dt
),

placed as (
    select order_id, dt as order_dt, order_date, user_id, status, is_valid
    from dwd_order
    where dt is not distinct from $dt
    union all
    select order_id, order_dt, order_date, user_id, status, is_valid
    from dws_order_elsewhere
    where dt is not distinct from $dt
)

select
    $dt as dt, -- day of the line's create_time, NULL on no day
    line.order_id, -- the order
    line.goods_id, -- the goods
    line.create_time, -- when the line was written
    placed.order_id is not null as is_order_loaded, -- whether the order has arrived
    placed.order_dt, -- day of the order's order_date, NULL on no day
    placed.order_date, -- when the order was placed
    placed.user_id, -- who placed the order
    placed.status, -- the order's status in words
    coalesce(placed.is_valid, false) as is_valid, -- whether it is paid, shipped or completed
    line.units, -- number of pieces
    line.line_money -- price of the whole line
from placed
-- Right: a line is there even if its order has not arrived yet.
right join line on placed.order_id = line.order_id
