-- Goods in an order placed on the day, with their names and categories as of the day.
--
-- grain:  dt, goods_id
-- check:  orders >= 1
-- check:  select lines, sold
--         from (select coalesce(sum(line_money), 0) as lines from dws_order_line where dt = $dt)
--         cross join (select coalesce(sum(sales), 0) as sold from dws_goods_day where dt = $dt)
--         where lines <> sold
-- tags:   orders

with line as (
    select * from dws_order_line where dt = $dt
),

goods as (
    select goods_id, goods_name, third_category_id
    from dwd_goods
    where dt = latest_snapshot('dwd_goods', $dt)
),

category as (
    select third_category_id, third_category_name, second_category_name, first_category_name
    from dwd_category
    where dt = latest_snapshot('dwd_category', $dt)
),

sold as (
    select
        goods_id,
        count(distinct order_id) as orders,
        sum(units) as units,
        sum(line_money) as sales
    from line
    group by goods_id
)

select
    $dt as dt, -- day the orders were placed
    sold.goods_id, -- the goods
    coalesce(nullif(goods.goods_name, ''), 'unknown') as goods_name, -- name of the goods
    coalesce(nullif(category.first_category_name, ''), 'unknown')
        as first_category_name, -- first-level category
    coalesce(nullif(category.second_category_name, ''), 'unknown')
        as second_category_name, -- second-level category
    coalesce(nullif(category.third_category_name, ''), 'unknown')
        as third_category_name, -- third-level category
    sold.orders, -- orders with the goods
    coalesce(sold.units, 0) as units, -- pieces
    cast(coalesce(sold.sales, 0) as decimal(18, 2)) as sales -- sum of the lines
from sold
-- Left: goods may be in no snapshot, and may have no category.
left join goods on sold.goods_id = goods.goods_id
left join category on goods.third_category_id = category.third_category_id
