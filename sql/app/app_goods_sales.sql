-- The sales of goods in the orders placed on the day.
--
-- grain:  dt, goods_id
-- check:  orders >= 1
-- check:  select lines, sold
--         from (select coalesce(sum(line_money), 0) as lines from dws_order_line where dt = $dt)
--         cross join (select coalesce(sum(sales), 0) as sold from app_goods_sales where dt = $dt)
--         where lines <> sold
-- warn:   select gmv, sold
--         from (select sum(gmv) as gmv from app_gmv where dt = $dt)
--         cross join (select coalesce(sum(sales), 0) as sold from app_goods_sales where dt = $dt)
--         where gmv <> sold
-- export: metrics
-- tags:   orders

with goods as (
    select * from dws_goods_day where dt = $dt
)

select
    $dt as dt, -- day the orders were placed
    goods_id, -- the goods
    goods_name, -- name of the goods
    first_category_name, -- first-level category
    second_category_name, -- second-level category
    third_category_name, -- third-level category
    orders, -- orders with the goods
    units, -- pieces
    sales -- sum of the lines
from goods
