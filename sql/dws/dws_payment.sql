-- A payment together with its order, on the day it was paid.
--
-- grain:  pay_id
-- check:  dt is not distinct from cast(pay_time as date)
-- check:  select loaded, kept
--         from (select count(*) as loaded from dwd_payment where dt is not distinct from $dt)
--         cross join (
--             select count(*) as kept from dws_payment where dt is not distinct from $dt
--         )
--         where loaded <> kept
-- tags:   orders

with payment as (
    select * from dwd_payment where dt is not distinct from $dt
),

placed as (
    select order_id, user_id, order_date from dwd_order where dt is not distinct from $dt
    union all
    select order_id, user_id, order_date
    from dws_order_elsewhere
    where dt is not distinct from $dt
)

select
    $dt as dt, -- day of pay_time, NULL on no day
    payment.pay_id, -- the payment
    payment.order_id, -- the order paid, NULL when not known
    placed.order_id is not null as is_order_loaded, -- whether the order has arrived
    placed.user_id, -- who placed the order
    placed.order_date, -- when the order was placed
    payment.pay_type, -- means of payment, -1 when not known
    payment.pay_time, -- when it was paid
    payment.pay_money -- amount paid
from placed
-- Right: a payment counts even if its order is not known or has not arrived.
right join payment on placed.order_id = payment.order_id
