-- A version of an order, with the time from which and until which it was the latest.
--
-- grain:  order_id, valid_from
-- check:  dt is not distinct from cast(order_date as date)
-- check:  valid_from is null or valid_to is null or valid_from < valid_to
-- check:  not is_current or valid_to is null
-- check:  select landed, kept
--         from (
--             select count(*) as landed
--             from (
--                 select distinct order_id, coalesce(update_time, order_date)
--                 from ods_user_order
--                 where dt is not distinct from $dt
--             )
--         )
--         cross join (
--             select count(*) as superseded
--             from (
--                 select order_id, valid_from
--                 from dwd_order_moved
--                 where dt is not distinct from $dt
--                 group by order_id, valid_from
--                 having not bool_or(is_version)
--             )
--         )
--         cross join (
--             select count(*) as kept from dwd_order_history where dt is not distinct from $dt
--         )
--         where landed <> kept + superseded
-- check:  select landed, kept, superseded
--         from (
--             select coalesce(sum(order_money), 0) as landed
--             from ods_user_order
--             where dt is not distinct from $dt
--         )
--         cross join (
--             select coalesce(sum(order_money), 0) as kept
--             from dwd_order_history
--             where dt is not distinct from $dt
--         )
--         cross join (
--             select coalesce(sum(received.order_money), 0) as superseded
--             from (
--                 select file, row_number, order_money
--                 from ods_user_order
--                 where dt is not distinct from $dt
--             ) as received
--             left anti join (
--                 select file, row_number from dwd_order_history where dt is not distinct from $dt
--             ) as version
--                 on received.file = version.file and received.row_number = version.row_number
--         )
--         where landed <> kept + superseded
-- tags:   orders

with received as (
    select *, coalesce(update_time, order_date) as change_time
    from ods_user_order
    where dt is not distinct from $dt
),

moved as (
    select * from dwd_order_moved where dt is not distinct from $dt
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
        lead(change_time) over sorted as next_change_time
    from stayed
    window sorted as (order by order_id, change_time nulls first, arrival_dt, file, row_number)
),

version as (
    select
        order_id,
        change_time as valid_from,
        case when next_order_id = order_id then next_change_time end as valid_to,
        next_order_id is distinct from order_id as is_current,
        order_date,
        user_id,
        order_type,
        order_status,
        pay_id,
        update_time,
        order_money,
        arrival_dt,
        file,
        row_number
    from ordered
    -- Of the rows with one change time the last received is the version.
    where (next_order_id is distinct from order_id)
        or (next_change_time is distinct from change_time)
    union all
    select
        order_id,
        valid_from,
        valid_to,
        is_current,
        order_date,
        user_id,
        order_type,
        order_status,
        pay_id,
        update_time,
        order_money,
        arrival_dt,
        file,
        row_number
    from moved
    where is_version
)

select
    $dt as dt, -- day of this version's order_date, NULL on no day
    order_id, -- the order
    valid_from, -- when it became so: update_time, else order_date
    valid_to, -- when the next version took over, NULL for the latest
    is_current, -- whether it is the latest version
    order_date, -- when the order was placed
    user_id, -- who placed it
    order_type, -- type, as the shop codes it
    order_status, -- status, as the shop codes it
    pay_id, -- the payment
    update_time, -- when the order was last changed, NULL while unpaid
    order_money, -- amount of the order
    arrival_dt, -- day the file arrived
    file, -- file it came in
    row_number -- its row in the file
from version
