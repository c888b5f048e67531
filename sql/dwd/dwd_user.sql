-- A registered user, as the day's snapshot has them.
--
-- grain:  dt, user_id
-- check:  select landed, kept
--         from (
--             select count(*) as landed
--             from (select distinct user_id from ods_user where dt = $dt)
--         )
--         cross join (select count(*) as kept from dwd_user where dt = $dt)
--         where landed <> kept
-- tags:   orders

with snapshot as (
    select
        *,
        lead(user_id) over sorted as next_user_id
    from ods_user
    where dt = $dt
    window sorted as (order by user_id, file, row_number)
)

select
    $dt as dt, -- day the snapshot describes
    user_id, -- the user
    user_name, -- name, masked
    user_gender, -- gender, as the shop codes it
    user_birthday, -- birthday
    e_mail, -- e-mail address, masked
    mobile, -- telephone number, masked
    register_time, -- when they registered
    is_blacklist, -- 1 on the blacklist
    file, -- file it came in
    row_number -- its row in the file
from snapshot
-- A key repeated within a snapshot: its last row wins.
where next_user_id is distinct from user_id
