-- A visitor active on the day or the two days before.
--
-- grain:  dt, visitor_id
-- check:  days between 1 and 3

select
    $dt as dt, -- business day
    visitor_id, -- the visitor
    count(*) as days -- days active
from dws_visitor_day
where dt between $dt - interval '2 days' and $dt
group by visitor_id
