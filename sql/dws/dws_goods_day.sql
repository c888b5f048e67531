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

catalogue as (
    select
        goods_id, goods_name, first_category_name, second_category_name, third_category_name
    from dws_goods_catalogue
    where dt = latest_snapshot('dws_goods_catalogue', $dt)
),

sold as (
    select
        goods_id,
        count(distinct order_id) as orders,
        sum(cast(units as decimal(38, 0))) as units,
        sum(line_money) as sales
    from line
    group by goods_id
)

select
    $dt as dt, -- day the orders were placed
    sold.goods_id, -- the goods
    coalesce(catalogue.goods_name, 'unknown') as goods_name, -- name of the goods
    coalesce(catalogue.first_category_name, 'unknown')
        as first_category_name, -- first-level category
    coalesce(catalogue.second_category_name, 'unknown')
        as second_category_name, -- second-level category
    coalesce(catalogue.third_category_name, 'unknown')
        as third_category_name, -- third-level category
    sold.orders, -- orders with the goods
    cast(coalesce(sold.units, 0) as bigint) as units, -- pieces
    cast(coalesce(sold.sales, 0) as decimal(18, 2)) as sales -- sum of the lines
from sold
-- Left: goods may be in no snapshot.
left join catalogue on sold.goods_id = catalogue.goods_id
