-- A third-level category with the two above it, as the day's snapshot has it.
--
-- grain:  dt, third_category_id
-- check:  select landed, kept
--         from (
--             select count(*) as landed
--             from (select distinct third_category_id from ods_category_code where dt = $dt)
--         )
--         cross join (select count(*) as kept from dwd_category where dt = $dt)
--         where landed <> kept
-- tags:   orders

with snapshot as (
    select
        *,
        lead(third_category_id) over sorted as next_third_category_id
    from ods_category_code
    where dt = $dt
    window sorted as (order by third_category_id, file, row_number)
)

select
    $dt as dt, -- day the snapshot describes
    third_category_id, -- the third-level category
    third_category_name, -- its name
    second_category_id, -- the second-level category
    second_catery_name as second_category_name, -- its name
    first_category_id, -- the first-level category
    first_category_name, -- its name
    file, -- file it came in
    row_number -- its row in the file
from snapshot
-- A key repeated within a snapshot: its last row wins.
where next_third_category_id is distinct from third_category_id
