-- The sales of a first-level category in the orders placed on the day.
--
-- grain:  dt, first_category_name
-- check:  orders >= 1 and rank >= 1
-- check:  select lines, sold
--         from (select coalesce(sum(line_money), 0) as lines from dws_order_line where dt = $dt)
--         cross join (
--             select coalesce(sum(sales), 0) as sold
--             from app_category_sales
--             where dt = $dt
--         )
--         where lines <> sold
-- check:  select shown.first_category_name, shown.units, goods.units as units_of_goods
--         from (select * from app_category_sales where dt = $dt) as shown
--         full join (
--             select
--                 first_category_name,
--                 sum(orders) as orders,
--                 sum(cast(units as decimal(38, 0))) as units,
--                 sum(sales) as sales
--             from app_goods_sales
--             where dt = $dt
--             group by first_category_name
--         ) as goods on shown.first_category_name = goods.first_category_name
--         where (shown.units is distinct from goods.units)
--             or (shown.sales is distinct from goods.sales)
--             or shown.orders > goods.orders
-- check:  select count(*) as categories, sum(share) as share
--         from app_category_sales
--         where dt = $dt
--         having abs(sum(share) - 1) > 0.0000005 * count(*)
-- export: metrics
-- tags:   orders

with line as (
    select order_id, goods_id, units, line_money from dws_order_line where dt = $dt
),

goods as (
    select goods_id, first_category_name from dws_goods_day where dt = $dt
),

category as (
    select
        goods.first_category_name,
        count(distinct line.order_id) as orders,
        coalesce(sum(cast(line.units as decimal(38, 0))), 0) as units,
        coalesce(sum(line.line_money), 0) as sales
    from line
    inner join goods on line.goods_id = goods.goods_id
    group by goods.first_category_name
)

select
    $dt as dt, -- day the orders were placed
    first_category_name, -- first-level category
    orders, -- orders with a line in it
    cast(units as bigint) as units, -- pieces
    cast(sales as decimal(18, 2)) as sales, -- sum of the lines
    ratio(sales, sum(sales) over ()) as share, -- sales / sales of the day, NULL when these are 0
    cast(row_number() over (order by sales desc, first_category_name) as bigint)
        as rank -- by sales descending, then name
from category
