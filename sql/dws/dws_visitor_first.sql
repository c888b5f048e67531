-- A visitor new on the day: never active before.
--
-- grain:  dt, visitor_id
-- check:  visitor_id <> ''
-- check:  select active, fresh
--         from (select count(*) as active from dws_visitor_day where dt = $dt)
--         cross join (select count(*) as fresh from dws_visitor_first where dt = $dt)
--         where active < fresh
-- tags:   audience

with active as (
    select visitor_id from dws_visitor_day where dt = $dt
),

seen_before as (
    select visitor_id from dws_visitor_first where dt < $dt
)

select
    $dt as dt, -- first day the visitor was ever active
    active.visitor_id -- device, else u:uid
from active
left anti join seen_before on active.visitor_id = seen_before.visitor_id
