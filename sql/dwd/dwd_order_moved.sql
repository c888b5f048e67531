-- A received row of an order whose rows do not all lie on one day, with what became of it.
--
-- All days have to be looked at for these few; every other order is settled within its own day.
--
-- grain:  file, row_number
-- check:  not is_version or valid_from is null or valid_to is null or valid_from < valid_to
-- check:  select order_id, count(*) filter (where is_current) as current
--         from dwd_order_moved
--         group by order_id
--         having count(*) filter (where is_current) <> 1 or count(*) < 2
-- tags:   orders

with moved as (
    select order_id
    from ods_user_order
    group by order_id
    having min(dt) <> max(dt) or (count(dt) > 0 and count(dt) < count(*))
),

received as (
    select
        ods_user_order.*,
        coalesce(ods_user_order.update_time, ods_user_order.order_date) as change_time
    from moved
    right semi join ods_user_order on moved.order_id = ods_user_order.order_id
),

ordered as (
    select
        *,
        lead(order_id) over sorted as next_order_id,
        lead(change_time) over sorted as next_change_time
    from received
    window sorted as (order by order_id, change_time nulls first, arrival_dt, file, row_number)
)

select
    dt, -- day of this row's order_date, NULL on no day
    order_id, -- the order
    change_time as valid_from, -- when it became so: update_time, else order_date
    case when next_order_id = order_id then next_change_time end
        as valid_to, -- when the next version took over, NULL for the latest
    next_order_id is distinct from order_id as is_current, -- whether it is the latest version
    (next_order_id is distinct from order_id) or (next_change_time is distinct from change_time)
        as is_version, -- whether it is the last received of its change time
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
from ordered
