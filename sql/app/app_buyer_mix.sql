-- The day's buyers and what they ordered: those who bought for the first time, and the others.
--
-- grain:  dt
-- check:  new_buyers >= 0 and returning_buyers >= 0
-- check:  select buyers, new_buyers, returning_buyers
--         from (select new_buyers, returning_buyers from app_buyer_mix where dt = $dt)
--         cross join (select buyers from app_gmv where dt = $dt)
--         where buyers <> new_buyers + returning_buyers
-- check:  select fresh, new_buyers
--         from (select new_buyers from app_buyer_mix where dt = $dt)
--         cross join (select count(*) as fresh from dws_buyer_first where dt = $dt)
--         where fresh <> new_buyers
-- check:  select order_money, new_amount, returning_amount
--         from (select new_amount, returning_amount from app_buyer_mix where dt = $dt)
--         cross join (
--             select coalesce(sum(order_money), 0) as order_money
--             from dwd_order
--             where dt = $dt and user_id is not null
--         )
--         where order_money <> new_amount + returning_amount
-- export: metrics
-- tags:   orders

with buyer as (
    select user_id, order_money from dws_buyer_day where dt = $dt
),

fresh as (
    select user_id from dws_buyer_first where dt = $dt
),

mix as (
    select fresh.user_id is not null as is_new, buyer.order_money
    from buyer
    -- Left: whoever is not fresh bought before.
    left join fresh on buyer.user_id = fresh.user_id
),

total as (
    select
        count(*) filter (where is_new) as new_buyers,
        count(*) filter (where not is_new) as returning_buyers,
        coalesce(sum(order_money) filter (where is_new), 0) as new_amount,
        coalesce(sum(order_money) filter (where not is_new), 0) as returning_amount
    from mix
)

select
    $dt as dt, -- business day
    new_buyers, -- users whose first placed order ever is of dt
    returning_buyers, -- users with an order placed on dt and one on an earlier day
    cast(new_amount as decimal(18, 2)) as new_amount, -- order_money the new ones placed on dt
    cast(returning_amount as decimal(18, 2))
        as returning_amount -- order_money the others placed on dt
from total
