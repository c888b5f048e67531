-- What was paid on the day by each means of payment, and how long after the order.
--
-- grain:  dt, pay_type
-- check:  payments >= 1
-- check:  select paid_amount, shown
--         from (select paid_amount from app_gmv where dt = $dt)
--         cross join (
--             select coalesce(sum(amount), 0) as shown
--             from app_payment
--             where dt = $dt
--         )
--         where paid_amount <> shown
-- check:  select happened, shown
--         from (select count(*) as happened from dws_payment where dt = $dt)
--         cross join (
--             select coalesce(sum(payments), 0) as shown
--             from app_payment
--             where dt = $dt
--         )
--         where happened <> shown
-- check:  select count(*) as pay_types, sum(share) as share
--         from app_payment
--         where dt = $dt
--         having abs(sum(share) - 1) > 0.0000005 * count(*)
-- export: metrics
-- tags:   orders

-- Times are whole microseconds, and these are added up as decimals: exact, however many there are.
with payment as (
    select
        pay_type,
        pay_money,
        cast(
            cast(cast(pay_time as timestamp(6)) as bigint)
            - cast(cast(order_date as timestamp(6)) as bigint)
            as decimal(20, 0)
        ) as wait_us
    from dws_payment
    where dt = $dt
),

pay_type as (
    select
        pay_type,
        count(*) as payments,
        coalesce(sum(pay_money), 0) as amount,
        sum(wait_us) as wait_us,
        count(wait_us) as waits
    from payment
    group by pay_type
)

select
    $dt as dt, -- day of pay_time
    cast(pay_type as bigint) as pay_type, -- means of payment, -1 when not known
    payments, -- payments on dt
    cast(amount as decimal(18, 2)) as amount, -- sum of pay_money
    ratio(amount, sum(amount) over ()) as share, -- amount / amount of the day, NULL when that is 0
    cast(wait_us as double) / nullif(waits * 60000000, 0)
        as avg_minutes_to_pay -- mean of pay_time - order_date where known, NULL when for none
from pay_type
