-- How many of those who ordered in the last 7, 30 and 90 days did so more than once.
--
-- grain:  dt, days
-- check:  repeat_buyers between 0 and buyers
-- check:  repurchase_rate is null or repurchase_rate between 0 and 1
-- check:  select count(*) as windows
--         from app_repurchase
--         where dt = $dt and days in (7, 30, 90)
--         having count(*) <> 3
-- check:  select shorter.days, shorter.buyers, longer.buyers as buyers_of_longer
--         from (select * from app_repurchase where dt = $dt) as shorter
--         inner join (
--             select * from app_repurchase where dt = $dt
--         ) as longer on shorter.days < longer.days
--         where shorter.buyers > longer.buyers or shorter.repeat_buyers > longer.repeat_buyers
-- check:  select shown.days, shown.buyers, today.buyers as buyers_today
--         from (select days, buyers from app_repurchase where dt = $dt) as shown
--         cross join (select buyers from app_gmv where dt = $dt) as today
--         where shown.buyers < today.buyers
-- check:  select shown.buyers, shown.repeat_buyers, week.buyers as buyers_of_week, week.orders
--         from (select * from app_repurchase where dt = $dt and days = 7) as shown
--         cross join (
--             select count(distinct user_id) as buyers, coalesce(sum(orders), 0) as orders
--             from dws_buyer_day
--             where dt between $dt - interval '6 days' and $dt
--                 and dt >= first_loaded_day('orders')
--         ) as week
--         where shown.buyers <> week.buyers
--             or shown.buyers + shown.repeat_buyers > week.orders
-- export: metrics
-- tags:   orders

with span as (
    select days from (values (7), (30), (90)) as span (days)
),

buyer_day as (
    select dt as order_dt, user_id, orders
    from dws_buyer_day
    where dt between $dt - interval '89 days' and $dt and dt >= first_loaded_day('orders')
),

-- All three windows in one pass over the longest.
buyer as (
    select
        coalesce(sum(orders) filter (where order_dt >= $dt - interval '6 days'), 0) as orders_7,
        coalesce(sum(orders) filter (where order_dt >= $dt - interval '29 days'), 0) as orders_30,
        sum(orders) as orders_90
    from buyer_day
    group by user_id
),

total as (
    select
        count(*) filter (where orders_7 >= 1) as buyers_7,
        count(*) filter (where orders_7 >= 2) as repeat_buyers_7,
        count(*) filter (where orders_30 >= 1) as buyers_30,
        count(*) filter (where orders_30 >= 2) as repeat_buyers_30,
        count(*) as buyers_90,
        count(*) filter (where orders_90 >= 2) as repeat_buyers_90
    from buyer
),

spread as (
    select
        span.days,
        case span.days
            when 7 then total.buyers_7
            when 30 then total.buyers_30
            else total.buyers_90
        end as buyers,
        case span.days
            when 7 then total.repeat_buyers_7
            when 30 then total.repeat_buyers_30
            else total.repeat_buyers_90
        end as repeat_buyers
    from total
    cross join span
)

select
    $dt as dt, -- business day
    cast(days as bigint) as days, -- length of the window that ends with dt: 7, 30 or 90
    buyers, -- users who placed an order in the window
    repeat_buyers, -- users who placed at least two
    ratio(repeat_buyers, buyers) as repurchase_rate -- repeat_buyers / buyers
from spread
