-- A line of an order placed on another day than it was written, on the order's day.
--
-- A line whose order has not arrived waits here, on no day.
--
-- grain:  order_id, goods_id
-- check:  not is_order_loaded or (dt is distinct from cast(create_time as date))
-- check:  is_order_loaded or dt is null
-- tags:   orders

with line as (
    select * from dws_line_created
)

select
    order_dt as dt, -- day of the order's order_date, NULL on no day
    order_id, -- the order
    goods_id, -- the goods
    create_time, -- when the line was written
    is_order_loaded, -- whether the order has arrived
    order_date, -- when the order was placed
    user_id, -- who placed the order
    status, -- the order's status in words
    is_valid, -- whether it is paid, shipped or completed
    units, -- number of pieces
    line_money -- price of the whole line
from line
where (order_dt is distinct from dt) or not is_order_loaded
