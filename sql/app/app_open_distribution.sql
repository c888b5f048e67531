-- The visitors who opened the app, by how often they did.
--
-- grain:  dt, bucket
-- check:  visitors >= 0
-- check:  select openers, spread
--         from (select sum(visitors) as openers from app_open where dt = $dt)
--         cross join (select sum(visitors) as spread from app_open_distribution where dt = $dt)
--         where openers <> spread
-- export: metrics
-- tags:   audience

with bucket as (
    select bucket from (values ('1'), ('2'), ('3+')) as bucket (bucket)
),

opener as (
    select case when opens >= 3 then '3+' else cast(opens as varchar) end as bucket
    from dws_visitor_day
    where dt = $dt and opens > 0
),

spread as (
    select bucket, count(*) as visitors from opener group by bucket
)

select
    $dt as dt, -- business day
    bucket.bucket, -- number of opens: 1, 2 or 3+
    coalesce(spread.visitors, 0) as visitors -- visitors with so many opens
from bucket
-- Left: a bucket may be empty.
left join spread on bucket.bucket = spread.bucket
