-- What was ordered and what was paid on the day.
--
-- grain:  dt
-- check:  orders >= buyers and payers <= paid_orders
-- check:  net_gmv = gmv - cancelled_amount - refunded_amount
-- check:  (aov is null) = (orders = 0)
-- check:  select buyers, counted
--         from (select buyers from app_gmv where dt = $dt)
--         cross join (select count(*) as counted from dws_buyer_day where dt = $dt)
--         where buyers <> counted
-- check:  select orders, placed, gmv, order_money
--         from (select orders, gmv from app_gmv where dt = $dt)
--         cross join (
--             select count(*) as placed, coalesce(sum(order_money), 0) as order_money
--             from dwd_order
--             where dt = $dt
--         )
--         where orders <> placed or gmv <> order_money
-- check:  select units, sold
--         from (select * from app_gmv where dt = $dt)
--         cross join (
--             select coalesce(sum(cast(units as decimal(38, 0))), 0) as sold
--             from dws_goods_day
--             where dt = $dt
--         )
--         where units <> sold
-- export: metrics
-- tags:   orders

with placed as (
    select * from dwd_order where dt = $dt
),

line as (
    select units from dws_order_line where dt = $dt
),

payment as (
    select order_id, user_id, pay_money from dws_payment where dt = $dt
),

placed_total as (
    select
        count(*) as orders,
        count(distinct user_id) as buyers,
        coalesce(sum(order_money), 0) as gmv,
        coalesce(sum(order_money) filter (where is_cancelled), 0) as cancelled_amount,
        coalesce(sum(order_money) filter (where is_refunded), 0) as refunded_amount
    from placed
),

line_total as (
    select cast(coalesce(sum(cast(units as decimal(38, 0))), 0) as bigint) as units from line
),

payment_total as (
    select
        count(distinct order_id) as paid_orders,
        count(distinct user_id) as payers,
        coalesce(sum(pay_money), 0) as paid_amount
    from payment
)

select
    $dt as dt, -- business day
    placed_total.orders, -- orders placed on dt, whatever became of them
    placed_total.buyers, -- users who placed them
    line_total.units, -- pieces in their lines
    cast(placed_total.gmv as decimal(18, 2)) as gmv, -- sum of order_money
    payment_total.paid_orders, -- orders with a payment on dt, whenever placed
    payment_total.payers, -- users of those that are loaded
    cast(payment_total.paid_amount as decimal(18, 2)) as paid_amount, -- sum of pay_money
    cast(placed_total.cancelled_amount as decimal(18, 2))
        as cancelled_amount, -- order_money of the orders of dt that were cancelled
    cast(placed_total.refunded_amount as decimal(18, 2))
        as refunded_amount, -- order_money of the orders of dt that were refunded
    cast(
        placed_total.gmv - placed_total.cancelled_amount - placed_total.refunded_amount
        as decimal(18, 2)
    ) as net_gmv, -- gmv less cancelled_amount and refunded_amount
    money_ratio(placed_total.gmv, placed_total.orders) as aov -- gmv / orders
from placed_total
cross join line_total
cross join payment_total
