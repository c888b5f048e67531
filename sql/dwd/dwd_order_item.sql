-- A line of an order: goods bought, in its latest version.
--
-- grain:  order_id, goods_id
-- check:  dt is not distinct from cast(create_time as date)
-- check:  select landed, kept
--         from (
--             select count(*) as landed
--             from (
--                 select distinct order_id, goods_id
--                 from ods_order_item
--                 where dt is not distinct from $dt
--             )
--         )
--         cross join (
--             select count(*) as superseded
--             from (
--                 select order_id, goods_id
--                 from dwd_order_item_moved
--                 where dt is not distinct from $dt
--                 group by order_id, goods_id
--                 having not bool_or(is_current)
--             )
--         )
--         cross join (
--             select count(*) as kept from dwd_order_item where dt is not distinct from $dt
--         )
--         where landed <> kept + superseded
-- check:  select landed, kept, superseded
--         from (
--             select coalesce(sum(curr_price), 0) as landed
--             from ods_order_item
--             where dt is not distinct from $dt
--         )
--         cross join (
--             select coalesce(sum(line_money), 0) as kept
--             from dwd_order_item
--             where dt is not distinct from $dt
--         )
--         cross join (
--             select coalesce(sum(received.curr_price), 0) as superseded
--             from (
--                 select file, row_number, curr_price
--                 from ods_order_item
--                 where dt is not distinct from $dt
--             ) as received
--             left anti join (
--                 select file, row_number from dwd_order_item where dt is not distinct from $dt
--             ) as version
--                 on received.file = version.file and received.row_number = version.row_number
--         )
--         where landed <> kept + superseded
-- tags:   orders

with received as (
    select * from ods_order_item where dt is not distinct from $dt
),

moved as (
    select * from dwd_order_item_moved where dt is not distinct from $dt
),

stayed as (
    select received.*
    from moved
    right anti join received on moved.order_id = received.order_id
),

ordered as (
    select
        *,
        lead(order_id) over sorted as next_order_id,
        lead(goods_id) over sorted as next_goods_id
    from stayed
    window sorted as (
        order by order_id, goods_id, create_time nulls first, arrival_dt, file, row_number
    )
),

latest as (
    select
        order_id,
        goods_id,
        create_time,
        goods_amount,
        curr_price,
        arrival_dt,
        file,
        row_number
    from ordered
    -- The last version of a key is the latest.
    where (next_order_id is distinct from order_id)
        or (next_goods_id is distinct from goods_id)
    union all
    select
        order_id,
        goods_id,
        create_time,
        goods_amount,
        curr_price,
        arrival_dt,
        file,
        row_number
    from moved
    where is_current
)

select
    $dt as dt, -- day of create_time, NULL on no day
    order_id, -- the order
    goods_id, -- the goods
    create_time, -- when the line was written
    goods_amount as units, -- number of pieces
    curr_price as line_money, -- price of the whole line, not of one piece
    arrival_dt, -- day the file arrived
    file, -- file it came in
    row_number -- its row in the file
from latest
