-- The delivery of an order, in its latest version.
--
-- grain:  order_id
-- check:  dt is not distinct from cast(create_time as date)
-- check:  select landed, kept
--         from (
--             select count(*) as landed
--             from (
--                 select distinct order_id
--                 from ods_order_delivery
--                 where dt is not distinct from $dt
--             )
--         )
--         cross join (
--             select count(*) as superseded
--             from (
--                 select order_id
--                 from dwd_delivery_moved
--                 where dt is not distinct from $dt
--                 group by order_id
--                 having not bool_or(is_current)
--             )
--         )
--         cross join (
--             select count(*) as kept from dwd_delivery where dt is not distinct from $dt
--         )
--         where landed <> kept + superseded
-- check:  select landed, kept, superseded
--         from (
--             select coalesce(sum(carriage_money), 0) as landed
--             from ods_order_delivery
--             where dt is not distinct from $dt
--         )
--         cross join (
--             select coalesce(sum(carriage_money), 0) as kept
--             from dwd_delivery
--             where dt is not distinct from $dt
--         )
--         cross join (
--             select coalesce(sum(received.carriage_money), 0) as superseded
--             from (
--                 select file, row_number, carriage_money
--                 from ods_order_delivery
--                 where dt is not distinct from $dt
--             ) as received
--             left anti join (
--                 select file, row_number from dwd_delivery where dt is not distinct from $dt
--             ) as version
--                 on received.file = version.file and received.row_number = version.row_number
--         )
--         where landed <> kept + superseded
-- tags:   orders

with received as (
    select * from ods_order_delivery where dt is not distinct from $dt
),

moved as (
    select * from dwd_delivery_moved where dt is not distinct from $dt
),

stayed as (
    select received.*
    from moved
    right anti join received on moved.order_id = received.order_id
),

ordered as (
    select
        *,
        lead(order_id) over sorted as next_order_id
    from stayed
    window sorted as (
        order by order_id, create_time nulls first, arrival_dt, file, row_number
    )
),

latest as (
    select
        order_id,
        user_id,
        addr_id,
        create_time,
        carriage_money,
        arrival_dt,
        file,
        row_number
    from ordered
    -- The last version of a key is the latest.
    where next_order_id is distinct from order_id
    union all
    select
        order_id,
        user_id,
        addr_id,
        create_time,
        carriage_money,
        arrival_dt,
        file,
        row_number
    from moved
    where is_current
)

select
    $dt as dt, -- day of create_time, NULL on no day
    order_id, -- the order
    user_id, -- the user it goes to
    addr_id, -- the address it goes to
    create_time, -- when it was handed over
    carriage_money, -- cost of the carriage
    arrival_dt, -- day the file arrived
    file, -- file it came in
    row_number -- its row in the file
from latest
