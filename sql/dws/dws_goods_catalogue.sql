-- An article of the shop with its names, on the days that a snapshot of goods or categories came.
--
-- grain:  dt, goods_id
-- check:  goods_name <> '' and first_category_name <> ''
-- check:  second_category_name <> '' and third_category_name <> ''
-- check:  select snapshots, known, kept
--         from (select count(*) as snapshots from dwd_goods where dt = $dt)
--         cross join (
--             select count(*) as known
--             from dwd_goods
--             where dt = latest_snapshot('dwd_goods', $dt)
--         )
--         cross join (select count(*) as kept from dws_goods_catalogue where dt = $dt)
--         where kept not in (0, known) or (snapshots > 0 and kept = 0)
-- tags:   orders

-- Read it as of its latest day: as long as neither snapshot comes anew, the names stay as they are.
with arrived as (
    select goods_id as key from dwd_goods where dt = $dt
    union all
    select third_category_id as key from dwd_category where dt = $dt
),

arrived_total as (
    select count(*) as rows from arrived
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
)

select
    $dt as dt, -- day that a snapshot of goods or categories describes
    goods.goods_id, -- the goods
    coalesce(nullif(goods.goods_name, ''), 'unknown') as goods_name, -- name of the goods
    coalesce(nullif(category.first_category_name, ''), 'unknown')
        as first_category_name, -- first-level category
    coalesce(nullif(category.second_category_name, ''), 'unknown')
        as second_category_name, -- second-level category
    coalesce(nullif(category.third_category_name, ''), 'unknown')
        as third_category_name -- third-level category
from goods
cross join arrived_total
-- Left: goods may have no category.
left join category on goods.third_category_id = category.third_category_id
where arrived_total.rows > 0
