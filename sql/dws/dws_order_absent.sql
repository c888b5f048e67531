-- An order that a line or a payment of the day names, and that was not placed on the day.
--
-- grain:  dt, order_id
-- check:  select named.order_id
--         from dws_order_absent as named
--         inner join dwd_order as placed on named.order_id = placed.order_id
--         where (named.dt is not distinct from $dt) and (placed.dt is not distinct from $dt)
-- tags:   orders

with placed as (
    select order_id from dwd_order where dt is not distinct from $dt
),

named as (
    select order_id from dwd_order_item where dt is not distinct from $dt
    union
    select order_id
    from dwd_payment
    where (dt is not distinct from $dt) and order_id is not null
)

select
    $dt as dt, -- day of the line or the payment, NULL on no day
    named.order_id -- the order
from placed
right anti join named on placed.order_id = named.order_id
