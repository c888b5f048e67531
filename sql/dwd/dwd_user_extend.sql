-- What is known of a user beyond the registration, as the day's snapshot has it.
--
-- grain:  dt, user_id
-- check:  select landed, kept
--         from (
--             select count(*) as landed
--             from (select distinct user_id from ods_user_extend where dt = $dt)
--         )
--         cross join (select count(*) as kept from dwd_user_extend where dt = $dt)
--         where landed <> kept
-- tags:   orders

with snapshot as (
    select
        *,
        lead(user_id) over sorted as next_user_id
    from ods_user_extend
    where dt = $dt
    window sorted as (order by user_id, file, row_number)
)

select
    $dt as dt, -- day the snapshot describes
    user_id, -- the user
    is_pregnant_woman, -- 1 if pregnant
    is_have_children, -- 1 with children
    is_have_car, -- 1 with a car
    phone_brand, -- brand of the telephone
    phone_cnt, -- number of telephones
    change_phone_cnt, -- how often they changed it
    weight, -- weight
    height, -- height
    file, -- file it came in
    row_number -- its row in the file
from snapshot
-- A key repeated within a snapshot: its last row wins.
where next_user_id is distinct from user_id
