-- The delivery of an order, in its latest version.
--
-- grain:  order_id
-- check:  dt is not distinct from cast(create_time as date)
-- check:  select landed, kept
--         from (select count(*) as landed from (select distinct order_id from ods_order_delivery))
--         cross join (select count(*) as kept from dwd_delivery)
--         where landed <> kept
-- tags:   orders

with version as (
    select
        *,
        lead(order_id) over sorted as next_order_id
    from ods_order_delivery
    window sorted as (order by order_id, create_time nulls first, arrival_dt, file, row_number)
)

select
    dt, -- day of create_time, NULL on no day
    order_id, -- the order
    user_id, -- the user it goes to
    addr_id, -- the address it goes to
    create_time, -- when it was handed over
    carriage_money, -- cost of the carriage
    arrival_dt, -- day the file arrived
    file, -- file it came in
    row_number -- its row in the file
from version
-- The last version of a key is the latest.
where next_order_id is distinct from order_id
