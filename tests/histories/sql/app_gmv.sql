-- The valid orders of the day.
--
-- grain:  dt
-- check:  orders >= 0
-- export: metrics

select
    $dt as dt, -- business day
    count(*) filter (where is_valid) as orders, -- valid orders
    sum(case when is_valid then order_money else 0 end) as gmv -- their sum
from dwd_order
where dt = $dt
