-- A received row of a payment whose rows do not all lie on one day.
--
-- All days have to be looked at for these few; every other one is settled within its own day.
--
-- grain:  file, row_number
-- check:  dt is not distinct from cast(pay_time as date)
-- check:  select pay_id, count(*) filter (where is_current) as current
--         from dwd_payment_moved
--         group by pay_id
--         having count(*) filter (where is_current) <> 1
-- tags:   orders

with moved as (
    select pay_id
    from ods_payment_flow
    group by pay_id
    having min(dt) <> max(dt) or (count(dt) > 0 and count(dt) < count(*))
),

received as (
    select ods_payment_flow.*
    from moved
    right semi join ods_payment_flow on moved.pay_id = ods_payment_flow.pay_id
),

ordered as (
    select
        *,
        lead(pay_id) over sorted as next_pay_id
    from received
    window sorted as (
        order by pay_id, pay_time nulls first, arrival_dt, file, row_number
    )
)

select
    dt, -- day of pay_time, NULL on no day
    pay_id, -- the payment
    order_id, -- the order paid, NULL when not known
    trade_no, -- number of the transaction at the payment service
    pay_type, -- means of payment, as the shop codes it
    pay_time, -- when it was paid
    pay_money, -- amount paid
    next_pay_id is distinct from pay_id as is_current, -- whether it is the latest version
    arrival_dt, -- day the file arrived
    file, -- file it came in
    row_number -- its row in the file
from ordered
