-- A received row of a delivery whose rows do not all lie on one day.
--
-- All days have to be looked at for these few; every other one is settled within its own day.
--
-- grain:  file, row_number
-- check:  dt is not distinct from cast(create_time as date)
-- check:  select order_id, count(*) filter (where is_current) as current
--         from dwd_delivery_moved
--         group by order_id
--         having count(*) filter (where is_current) <> 1
-- tags:   orders

with moved as (
    select order_id
    from ods_order_delivery
    group by order_id
    having min(dt) <> max(dt) or (count(dt) > 0 and count(dt) < count(*))
),

received as (
    select ods_order_delivery.*
    from moved
    right semi join ods_order_delivery on moved.order_id = ods_order_delivery.order_id
),

ordered as (
    select
        *,
        lead(order_id) over sorted as next_order_id
    from received
    window sorted as (
        order by order_id, create_time nulls first, arrival_dt, file, row_number
    )
)

select
    dt, -- day of create_time, NULL on no day
    order_id, -- the order
    user_id, -- the user it goes to
    addr_id, -- the address it goes to
    create_time, -- when it was handed over
    carriage_money, -- cost of the carriage
    next_order_id is distinct from order_id as is_current, -- whether it is the latest version
    arrival_dt, -- day the file arrived
    file, -- file it came in
    row_number -- its row in the file
from ordered
