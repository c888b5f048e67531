-- The visitors new on the day, and since the logs begin.
--
-- grain:  dt
-- check:  fresh >= 0
-- export: metrics

select
    $dt as dt, -- business day
    count(*) as fresh, -- new on the day
    first_loaded_day('logs') as since -- where the logs begin
from dws_visitor_first
where dt = $dt
