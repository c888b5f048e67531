-- An address of a user, as the day's snapshot has it.
--
-- grain:  dt, addr_id, user_id
-- check:  select landed, kept
--         from (
--             select count(*) as landed
--             from (select distinct addr_id, user_id from ods_user_addr where dt = $dt)
--         )
--         cross join (select count(*) as kept from dwd_user_address where dt = $dt)
--         where landed <> kept
-- tags:   orders

with snapshot as (
    select
        *,
        lead(addr_id) over sorted as next_addr_id,
        lead(user_id) over sorted as next_user_id
    from ods_user_addr
    where dt = $dt
    window sorted as (order by addr_id, user_id, file, row_number)
)

select
    $dt as dt, -- day the snapshot describes
    addr_id, -- the address
    user_id, -- the user it belongs to
    addr_name, -- the address, masked
    order_flag, -- whether orders go there, as the shop codes it
    user_name, -- name of the recipient, masked
    mobile, -- telephone number of the recipient, masked
    file, -- file it came in
    row_number -- its row in the file
from snapshot
-- A key repeated within a snapshot: its last row wins.
where (next_addr_id is distinct from addr_id)
    or (next_user_id is distinct from user_id)
