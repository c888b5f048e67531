-- A payment, in its latest version.
--
-- grain:  pay_id
-- check:  dt is not distinct from cast(pay_time as date)
-- check:  select landed, kept
--         from (select count(*) as landed from (select distinct pay_id from ods_payment_flow))
--         cross join (select count(*) as kept from dwd_payment)
--         where landed <> kept
-- tags:   orders

with version as (
    select
        *,
        lead(pay_id) over sorted as next_pay_id
    from ods_payment_flow
    window sorted as (order by pay_id, pay_time nulls first, arrival_dt, file, row_number)
)

select
    dt, -- day of pay_time, NULL on no day
    pay_id, -- the payment
    order_id, -- the order paid, NULL when not known
    trade_no, -- number of the transaction at the payment service
    coalesce(pay_type, -1) as pay_type, -- means of payment, -1 when not known
    pay_time, -- when it was paid
    pay_money, -- amount paid
    arrival_dt, -- day the file arrived
    file, -- file it came in
    row_number -- its row in the file
from version
-- The last version of a key is the latest.
where next_pay_id is distinct from pay_id
