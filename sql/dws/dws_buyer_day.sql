-- A user who placed an order on the day.
--
-- grain:  dt, user_id
-- check:  orders >= 1
-- check:  select placed, counted
--         from (select count(*) as placed from dwd_order where dt = $dt and user_id is not null)
--         cross join (select coalesce(sum(orders), 0) as counted from dws_buyer_day where dt = $dt)
--         where placed <> counted
-- tags:   orders

with placed as (
    select user_id, order_money from dwd_order where dt = $dt and user_id is not null
)

select
    $dt as dt, -- day the orders were placed
    user_id, -- who placed them
    count(*) as orders, -- orders placed, whatever became of them
    cast(coalesce(sum(order_money), 0) as decimal(18, 2)) as order_money -- amount of the orders
from placed
group by user_id
