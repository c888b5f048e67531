-- A registered user with all that is known of them, as of the day of the user snapshot.
--
-- grain:  dt, user_id
-- check:  addresses >= 0
-- check:  select registered, kept
--         from (select count(*) as registered from dwd_user where dt = $dt)
--         cross join (select count(*) as kept from dws_user_profile where dt = $dt)
--         where registered <> kept
-- tags:   orders

with registered as (
    select * from dwd_user where dt = $dt
),

extend as (
    select * from dwd_user_extend where dt = latest_snapshot('dwd_user_extend', $dt)
),

address as (
    select user_id, count(*) as addresses
    from dwd_user_address
    where dt = latest_snapshot('dwd_user_address', $dt)
    group by user_id
)

select
    $dt as dt, -- day the user snapshot describes
    registered.user_id, -- the user
    registered.user_name, -- name, masked
    registered.user_gender, -- gender, as the shop codes it
    registered.user_birthday, -- birthday
    registered.e_mail, -- e-mail address, masked
    registered.mobile, -- telephone number, masked
    registered.register_time, -- when they registered
    registered.is_blacklist, -- 1 on the blacklist
    extend.is_pregnant_woman, -- 1 if pregnant
    extend.is_have_children, -- 1 with children
    extend.is_have_car, -- 1 with a car
    extend.phone_brand, -- brand of the telephone
    extend.phone_cnt, -- number of telephones
    extend.change_phone_cnt, -- how often they changed it
    extend.weight, -- weight
    extend.height, -- height
    coalesce(address.addresses, 0) as addresses -- number of addresses
from registered
-- Left: a user may have told nothing more, and may have no address.
left join extend on registered.user_id = extend.user_id
left join address on registered.user_id = address.user_id
