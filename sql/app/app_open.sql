-- How often the app was opened, and by how many visitors.
--
-- grain:  dt
-- check:  opens >= visitors
-- check:  (opens_per_visitor is null) = (visitors = 0)
-- check:  select happened, shown
--         from (select count(*) as happened from dwd_app_open where dt = $dt)
--         cross join (select sum(opens) as shown from app_open where dt = $dt)
--         where happened <> shown
-- export: metrics
-- tags:   audience

with opener as (
    select opens from dws_visitor_day where dt = $dt and opens > 0
),

total as (
    select coalesce(sum(opens), 0) as opens, count(*) as visitors from opener
)

select
    $dt as dt, -- business day
    opens, -- distinct app opens
    visitors, -- visitors who opened it
    ratio(opens, visitors) as opens_per_visitor -- opens / visitors
from total
