-- The ten goods with the highest sales of the day.
--
-- grain:  dt, rank
-- check:  rank between 1 and 10
-- check:  select missed.goods_id, missed.sales, lowest.sales as lowest
--         from (select goods_id, sales from app_goods_sales where dt = $dt) as missed
--         left anti join (
--             select goods_id from app_goods_top10 where dt = $dt
--         ) as listed on missed.goods_id = listed.goods_id
--         cross join (
--             select count(*) as ranks, min(sales) as sales from app_goods_top10 where dt = $dt
--         ) as lowest
--         where lowest.ranks < 10 or missed.sales > lowest.sales
-- export: metrics
-- tags:   orders

with goods as (
    select * from app_goods_sales where dt = $dt
),

ranked as (
    select *, row_number() over (order by sales desc, goods_id) as rank from goods
)

select
    $dt as dt, -- day the orders were placed
    cast(rank as bigint) as rank, -- by sales descending, then goods_id
    goods_id, -- the goods
    goods_name, -- name of the goods
    first_category_name, -- first-level category
    orders, -- orders with the goods
    units, -- pieces
    sales -- sum of the lines
from ranked
where rank <= 10
