-- A user whose first placed order ever is of the day.
--
-- grain:  dt, user_id
-- check:  user_id is not null
-- check:  select user_id
--         from (select user_id from dws_buyer_first where dt = $dt) as fresh
--         left anti join (
--             select user_id from dws_buyer_day where dt = $dt
--         ) as buyer on fresh.user_id = buyer.user_id
-- check:  select fresh.user_id
--         from (select user_id from dws_buyer_first where dt = $dt) as fresh
--         left semi join (
--             select user_id
--             from dws_buyer_day
--             where dt between $dt - interval '30 days' and $dt - interval '1 day'
--         ) as earlier on fresh.user_id = earlier.user_id
-- tags:   orders

with buyer as (
    select user_id from dws_buyer_day where dt = $dt
),

bought_before as (
    select user_id from dws_buyer_first where dt < $dt
)

select
    $dt as dt, -- day of the user's first placed order
    buyer.user_id -- who placed it
from buyer
left anti join bought_before on buyer.user_id = bought_before.user_id
