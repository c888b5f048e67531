-- How many orders were placed on the day.
--
-- grain:  dt
-- check:  orders >= 0
-- check:  select orders, having_user
--         from (select orders from dws_order_day where dt = $dt)
--         cross join (
--             select coalesce(sum(orders), 0) as having_user
--             from dws_buyer_day
--             where dt = $dt
--         )
--         where orders < having_user
-- tags:   orders

-- Kept apart from the orders, which change with every payment: what only counts them stays fresh.
with placed as (
    select order_id from dwd_order where dt = $dt
)

select
    $dt as dt, -- business day
    count(*) as orders -- orders placed on dt, whatever became of them
from placed
