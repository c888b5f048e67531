-- A received row of the lines of an order that do not all lie on one day.
--
-- All days have to be looked at for these few; every other one is settled within its own day.
--
-- grain:  file, row_number
-- check:  dt is not distinct from cast(create_time as date)
-- check:  select order_id, goods_id, count(*) filter (where is_current) as current
--         from dwd_order_item_moved
--         group by order_id, goods_id
--         having count(*) filter (where is_current) <> 1
-- tags:   orders

with moved as (
    select order_id
    from ods_order_item
    group by order_id
    having min(dt) <> max(dt) or (count(dt) > 0 and count(dt) < count(*))
),

received as (
    select ods_order_item.*
    from moved
    right semi join ods_order_item on moved.order_id = ods_order_item.order_id
),

ordered as (
    select
        *,
        lead(order_id) over sorted as next_order_id,
        lead(goods_id) over sorted as next_goods_id
    from received
    window sorted as (
        order by order_id, goods_id, create_time nulls first, arrival_dt, file, row_number
    )
)

select
    dt, -- day of create_time, NULL on no day
    order_id, -- the order
    goods_id, -- the goods
    create_time, -- when the line was written
    goods_amount, -- number of pieces
    curr_price, -- price of the whole line, not of one piece
    (next_order_id is distinct from order_id)
        or (next_goods_id is distinct from goods_id)
        as is_current, -- whether it is the latest version
    arrival_dt, -- day the file arrived
    file, -- file it came in
    row_number -- its row in the file
from ordered
