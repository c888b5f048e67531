-- The registered users, in all and of the day, as the latest user snapshot has them.
--
-- grain:  dt
-- check:  registered_new between 0 and registered_total
-- check:  select listed, registered_total, not_yet
--         from (
--             select
--                 count(*) as listed,
--                 count(*) filter (
--                     where register_time is null or register_time >= $dt + interval '1 day'
--                 ) as not_yet
--             from dwd_user
--             where dt = latest_snapshot('dwd_user', $dt)
--         )
--         cross join (
--             select sum(registered_total) as registered_total from app_user_count where dt = $dt
--         )
--         where listed <> registered_total + not_yet
-- export: metrics
-- tags:   orders

-- A snapshot may be younger than the day, and a clock may be wrong: later registrations wait.
with registered as (
    select cast(register_time as date) as registered_dt
    from dwd_user
    where dt = latest_snapshot('dwd_user', $dt)
        and cast(register_time as date) <= $dt
)

select
    $dt as dt, -- business day
    count(*) as registered_total, -- users registered before the end of dt
    count(*) filter (where registered_dt = $dt) as registered_new -- those of them registered on dt
from registered
