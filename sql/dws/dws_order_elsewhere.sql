-- The order of a line or a payment that lies on another day than the order, on that other day.
--
-- All days have to be looked at for these few; all others find their order on their own day.
--
-- grain:  dt, order_id
-- check:  dt is distinct from order_dt
-- check:  order_dt is not distinct from cast(order_date as date)
-- tags:   orders

with absent as (
    select * from dws_order_absent
),

placed as (
    select * from dwd_order
)

select
    absent.dt, -- day of the line or the payment, NULL on no day
    placed.order_id, -- the order
    placed.dt as order_dt, -- day of the order's order_date, NULL on no day
    placed.order_date, -- when the order was placed
    placed.user_id, -- who placed it
    placed.status, -- its status in words
    placed.is_valid -- whether it is paid, shipped or completed
from absent
-- Inner: an order that has not arrived is nowhere.
inner join placed on absent.order_id = placed.order_id
