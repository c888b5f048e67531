-- A line of an order together with the order, on the order's day.
--
-- grain:  order_id, goods_id
-- check:  dt is not distinct from cast(order_date as date)
-- check:  select written, elsewhere, kept
--         from (
--             select count(*) as written
--             from dws_line_created
--             where (dt is not distinct from $dt)
--                 and (order_dt is not distinct from $dt)
--                 and is_order_loaded
--         )
--         cross join (
--             select count(*) as elsewhere
--             from dws_line_elsewhere
--             where dt is not distinct from $dt
--         )
--         cross join (
--             select count(*) as kept from dws_order_line where dt is not distinct from $dt
--         )
--         where kept <> written + elsewhere
-- tags:   orders

with line as (
    select
        order_id,
        goods_id,
        is_order_loaded,
        user_id,
        order_date,
        status,
        is_valid,
        create_time,
        units,
        line_money
    from dws_line_created
    where (dt is not distinct from $dt)
        and (order_dt is not distinct from $dt)
        and is_order_loaded
    union all
    select
        order_id,
        goods_id,
        is_order_loaded,
        user_id,
        order_date,
        status,
        is_valid,
        create_time,
        units,
        line_money
    from dws_line_elsewhere
    where dt is not distinct from $dt
)

select
    $dt as dt, -- day of the order's order_date, NULL on no day
    order_id, -- the order
    goods_id, -- the goods
    is_order_loaded, -- whether the order has arrived; if not, the line waits on no day
    user_id, -- who placed the order
    order_date, -- when the order was placed
    status, -- the order's status in words
    is_valid, -- whether it is paid, shipped or completed
    create_time, -- when the line was written
    units, -- number of pieces
    line_money -- price of the whole line
from line
