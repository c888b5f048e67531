-- The hundred pairs of goods that were most often in one order in the last thirty days.
--
-- grain:  dt, rank
-- check:  goods_a < goods_b and orders_together >= 2
-- check:  rank between 1 and 100
-- check:  support between 0 and 1 and confidence between 0 and 1 and lift >= 0
-- check:  select count(*) as pairs, max(rank) as rank
--         from app_goods_pair
--         where dt = $dt
--         having count(*) <> max(rank)
-- check:  select missed.goods_a, missed.goods_b, missed.orders_together, lowest.orders_together
--         from (
--             select goods_a, goods_b, orders_together
--             from dws_goods_pair_day
--             where dt = $dt and orders_together >= 2
--         ) as missed
--         left anti join (
--             select goods_a, goods_b from app_goods_pair where dt = $dt
--         ) as listed on missed.goods_a = listed.goods_a and missed.goods_b = listed.goods_b
--         cross join (
--             select count(*) as ranks, min(orders_together) as orders_together
--             from app_goods_pair
--             where dt = $dt
--         ) as lowest
--         where lowest.ranks < 100 or missed.orders_together > lowest.orders_together
-- export: metrics
-- tags:   orders

with pair_day as (
    select goods_a, goods_b, orders_together
    from dws_goods_pair_day
    where dt between $dt - interval '29 days' and $dt and dt >= first_loaded_day('orders')
),

goods_day as (
    select goods_id, orders
    from dws_goods_day
    where dt between $dt - interval '29 days' and $dt and dt >= first_loaded_day('orders')
),

order_day as (
    select orders
    from dws_order_day
    where dt between $dt - interval '29 days' and $dt and dt >= first_loaded_day('orders')
),

placed as (
    select sum(orders) as orders from order_day
),

goods as (
    select goods_id, sum(orders) as orders from goods_day group by goods_id
),

pair as (
    select goods_a, goods_b, sum(orders_together) as orders_together
    from pair_day
    group by goods_a, goods_b
    having sum(orders_together) >= 2
),

ranked as (
    select
        *,
        row_number() over (order by orders_together desc, goods_a, goods_b) as rank
    from pair
)

select
    $dt as dt, -- last day of the thirty
    cast(ranked.rank as bigint) as rank, -- by orders_together descending, then goods_a, goods_b
    ranked.goods_a, -- the goods with the smaller number
    ranked.goods_b, -- the other goods
    ranked.orders_together, -- orders with both
    ratio(ranked.orders_together, placed.orders) as support, -- their share of all orders
    ratio(ranked.orders_together, a.orders)
        as confidence, -- their share of the orders with goods_a
    ratio(ranked.orders_together * placed.orders, a.orders * b.orders)
        as lift -- confidence / share of all orders that have goods_b
from ranked
inner join goods as a on ranked.goods_a = a.goods_id
inner join goods as b on ranked.goods_b = b.goods_id
cross join placed
where ranked.rank <= 100
