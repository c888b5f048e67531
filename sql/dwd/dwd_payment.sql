-- A payment, in its latest version.
--
-- grain:  pay_id
-- check:  dt is not distinct from cast(pay_time as date)
-- check:  select landed, kept
--         from (
--             select count(*) as landed
--             from (
--                 select distinct pay_id
--                 from ods_payment_flow
--                 where dt is not distinct from $dt
--             )
--         )
--         cross join (
--             select count(*) as superseded
--             from (
--                 select pay_id
--                 from dwd_payment_moved
--                 where dt is not distinct from $dt
--                 group by pay_id
--                 having not bool_or(is_current)
--             )
--         )
--         cross join (
--             select count(*) as kept from dwd_payment where dt is not distinct from $dt
--         )
--         where landed <> kept + superseded
-- check:  select landed, kept, superseded
--         from (
--             select coalesce(sum(pay_money), 0) as landed
--             from ods_payment_flow
--             where dt is not distinct from $dt
--         )
--         cross join (
--             select coalesce(sum(pay_money), 0) as kept
--             from dwd_payment
--             where dt is not distinct from $dt
--         )
--         cross join (
--             select coalesce(sum(received.pay_money), 0) as superseded
--             from (
--                 select file, row_number, pay_money
--                 from ods_payment_flow
--                 where dt is not distinct from $dt
--             ) as received
--             left anti join (
--                 select file, row_number from dwd_payment where dt is not distinct from $dt
--             ) as version
--                 on received.file = version.file and received.row_number = version.row_number
--         )
--         where landed <> kept + superseded
-- tags:   orders

with received as (
    select * from ods_payment_flow where dt is not distinct from $dt
),

moved as (
    select * from dwd_payment_moved where dt is not distinct from $dt
),

stayed as (
    select received.*
    from moved
    right anti join received on moved.pay_id = received.pay_id
),

ordered as (
    select
        *,
        lead(pay_id) over sorted as next_pay_id
    from stayed
    window sorted as (
        order by pay_id, pay_time nulls first, arrival_dt, file, row_number
    )
),

latest as (
    select
        pay_id,
        order_id,
        trade_no,
        pay_type,
        pay_time,
        pay_money,
        arrival_dt,
        file,
        row_number
    from ordered
    -- The last version of a key is the latest.
    where next_pay_id is distinct from pay_id
    union all
    select
        pay_id,
        order_id,
        trade_no,
        pay_type,
        pay_time,
        pay_money,
        arrival_dt,
        file,
        row_number
    from moved
    where is_current
)

select
    $dt as dt, -- day of pay_time, NULL on no day
    pay_id, -- the payment
    order_id, -- the order paid, NULL when not known
    trade_no, -- number of the transaction at the payment service
    coalesce(pay_type, -1) as pay_type, -- means of payment, -1 when not known
    pay_time, -- when it was paid
    pay_money, -- amount paid
    arrival_dt, -- day the file arrived
    file, -- file it came in
    row_number -- its row in the file
from latest
