-- An order, in its latest version.
--
-- grain:  order_id
-- check:  not (is_valid and (is_cancelled or is_refunded))
-- check:  dt is not distinct from cast(order_date as date)
-- check:  select latest, kept
--         from (
--             select count(*) as latest
--             from dwd_order_history
--             where (dt is not distinct from $dt) and is_current
--         )
--         cross join (select count(*) as kept from dwd_order where dt is not distinct from $dt)
--         where latest <> kept
-- check:  select latest, kept
--         from (
--             select coalesce(sum(order_money), 0) as latest
--             from dwd_order_history
--             where (dt is not distinct from $dt) and is_current
--         )
--         cross join (
--             select coalesce(sum(order_money), 0) as kept
--             from dwd_order
--             where dt is not distinct from $dt
--         )
--         where latest <> kept
-- warn:   status <> 'unknown'
-- tags:   orders

with latest as (
    select * from dwd_order_history where (dt is not distinct from $dt) and is_current
),

status as (
    select code, label, is_valid, is_cancelled, is_refunded from seed_order_status
)

select
    $dt as dt, -- day of order_date, NULL on no day
    latest.order_id, -- the order
    latest.order_date, -- when it was placed
    latest.user_id, -- who placed it
    latest.order_type, -- type, as the shop codes it
    latest.order_status, -- status, as the shop codes it
    coalesce(status.label, 'unknown') as status, -- status in words
    coalesce(status.is_valid, false) as is_valid, -- paid, shipped or completed
    coalesce(status.is_cancelled, false) as is_cancelled, -- cancelled
    coalesce(status.is_refunded, false) as is_refunded, -- refunded
    latest.pay_id, -- the payment
    latest.update_time, -- when it was last changed, NULL while unpaid
    latest.order_money, -- amount of the order
    latest.arrival_dt, -- day the file of this version arrived
    latest.file, -- file this version came in
    latest.row_number -- its row in the file
from latest
-- Left: a shop may use a code that the seed does not list; the order stays.
left join status on latest.order_status = status.code
