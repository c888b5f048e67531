-- An article of the shop, as the day's snapshot has it.
--
-- grain:  dt, goods_id
-- check:  select landed, kept
--         from (
--             select count(*) as landed
--             from (select distinct goods_id from ods_goods_info where dt = $dt)
--         )
--         cross join (select count(*) as kept from dwd_goods where dt = $dt)
--         where landed <> kept
-- tags:   orders

with snapshot as (
    select
        *,
        lead(goods_id) over sorted as next_goods_id
    from ods_goods_info
    where dt = $dt
    window sorted as (order by goods_id, file, row_number)
)

select
    $dt as dt, -- day the snapshot describes
    goods_id, -- the goods
    goods_no, -- number in the catalogue
    goods_name, -- name
    third_category_id, -- third-level category
    goods_desc, -- description
    create_time, -- when it was added
    curr_price, -- current price of one
    file, -- file it came in
    row_number -- its row in the file
from snapshot
-- A key repeated within a snapshot: its last row wins.
where next_goods_id is distinct from goods_id
