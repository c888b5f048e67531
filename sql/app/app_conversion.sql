-- The day's funnel of logged-in users: active, viewed goods, placed an order, paid.
--
-- grain:  dt
-- check:  active_users >= viewers and viewers >= buyers and buyers >= payers and payers >= 0
-- check:  overall is null or overall between 0 and 1
-- check:  select active_users, counted
--         from (select active_users from app_conversion where dt = $dt)
--         cross join (select count(*) as counted from dws_user_day where dt = $dt)
--         where active_users <> counted
-- export: metrics
-- tags:   audience, orders

with active as (
    select user_id, views from dws_user_day where dt = $dt
),

buyer as (
    select user_id from dws_buyer_day where dt = $dt
),

payer as (
    select distinct user_id from dws_payment where dt = $dt and user_id is not null
),

-- Each step is a subset of the one before it.
funnel as (
    select
        active.views > 0 as viewed,
        active.views > 0 and buyer.user_id is not null as bought,
        active.views > 0 and buyer.user_id is not null and payer.user_id is not null as paid
    from active
    -- Left: most users who are active neither buy nor pay.
    left join buyer on active.user_id = buyer.user_id
    left join payer on active.user_id = payer.user_id
),

step as (
    select
        count(*) as active_users,
        count(*) filter (where viewed) as viewers,
        count(*) filter (where bought) as buyers,
        count(*) filter (where paid) as payers
    from funnel
)

select
    $dt as dt, -- business day
    active_users, -- users with an event
    viewers, -- those of them with a goods detail view
    buyers, -- those of them who placed an order
    payers, -- those of them with a payment of any of their orders
    ratio(viewers, active_users) as active_to_view, -- viewers / active_users
    ratio(buyers, viewers) as view_to_buy, -- buyers / viewers
    ratio(payers, buyers) as buy_to_pay, -- payers / buyers
    ratio(payers, active_users) as overall -- payers / active_users
from step
