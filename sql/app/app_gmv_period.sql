-- What was ordered and paid in the week, month, quarter and year to date, against the ones before.
--
-- grain:  dt, period
-- check:  period_start <= dt
-- check:  previous_gmv is not null or period_ratio is null
-- check:  last_year_gmv is not null or year_ratio is null
-- check:  select count(*) as periods
--         from app_gmv_period
--         where dt = $dt and period in ('week', 'month', 'quarter', 'year')
--         having count(*) <> 4
-- check:  select shown.period, shown.orders, today.orders as orders_today
--         from (select * from app_gmv_period where dt = $dt) as shown
--         cross join (select orders, gmv, paid_amount from app_gmv where dt = $dt) as today
--         where shown.orders < today.orders
--             or (shown.period_start = shown.dt and shown.gmv <> today.gmv)
--             or (shown.period_start = shown.dt and shown.paid_amount <> today.paid_amount)
-- check:  select placed, shown
--         from (
--             select coalesce(sum(orders), 0) as placed
--             from dws_order_day
--             where dt between date_trunc('month', $dt) and $dt
--                 and dt >= first_loaded_day('orders')
--         )
--         cross join (
--             select sum(orders) as shown
--             from app_gmv_period
--             where dt = $dt and period = 'month'
--         )
--         where placed <> shown
-- export: metrics
-- tags:   orders

-- Last year's week may begin before last year: 364 days before a Monday.
with daily as (
    select dt as day, orders, gmv, paid_amount
    from app_gmv
    where dt between least(
        cast(date_trunc('year', $dt) as date) - interval '1 year',
        $dt - interval '370 days'
    ) and $dt
        and dt >= first_loaded_day('orders')
),

period as (
    select
        period,
        cast(period_start as date) as period_start,
        cast(previous_start as date) as previous_start,
        cast(last_year_start as date) as last_year_start,
        cast(last_year_end as date) as last_year_end
    from (
        values
            (
                'week',
                date_trunc('week', $dt),
                date_trunc('week', $dt) - interval '7 days',
                date_trunc('week', $dt) - interval '364 days',
                cast($dt as date) - interval '364 days'
            ),
            (
                'month',
                date_trunc('month', $dt),
                date_trunc('month', $dt) - interval '1 month',
                date_trunc('month', $dt) - interval '1 year',
                year_before($dt)
            ),
            (
                'quarter',
                date_trunc('quarter', $dt),
                date_trunc('quarter', $dt) - interval '3 months',
                date_trunc('quarter', $dt) - interval '1 year',
                year_before($dt)
            ),
            (
                'year',
                date_trunc('year', $dt),
                date_trunc('year', $dt) - interval '1 year',
                date_trunc('year', $dt) - interval '1 year',
                year_before($dt)
            )
    ) as start (period, period_start, previous_start, last_year_start, last_year_end)
),

-- The previous period ends with the day that lies as far from its start as dt, or with its last.
total as (
    select
        period.period,
        period.period_start,
        period.previous_start >= first_loaded_day('orders') as is_previous_loaded,
        period.last_year_start >= first_loaded_day('orders') as is_last_year_loaded,
        coalesce(sum(daily.orders) filter (where daily.day >= period.period_start), 0) as orders,
        coalesce(sum(daily.gmv) filter (where daily.day >= period.period_start), 0) as gmv,
        coalesce(sum(daily.paid_amount) filter (where daily.day >= period.period_start), 0)
            as paid_amount,
        coalesce(
            sum(daily.gmv) filter (
                where daily.day >= period.previous_start
                    and daily.day < period.period_start
                    and daily.day - period.previous_start <= $dt - period.period_start
            ),
            0
        ) as previous_gmv,
        coalesce(
            sum(daily.gmv) filter (
                where daily.day between period.last_year_start and period.last_year_end
            ),
            0
        ) as last_year_gmv
    from period
    cross join daily
    group by period.period, period.period_start, period.previous_start, period.last_year_start
),

-- What is not loaded from its first day on is not known.
compared as (
    select
        period,
        period_start,
        orders,
        gmv,
        paid_amount,
        case when is_previous_loaded then previous_gmv end as previous_gmv,
        case when is_last_year_loaded then last_year_gmv end as last_year_gmv
    from total
)

select
    $dt as dt, -- business day
    period, -- week (from Monday), month, quarter or year
    period_start, -- its first day
    orders, -- orders placed from period_start to dt
    cast(gmv as decimal(18, 2)) as gmv, -- sum of their order_money
    cast(paid_amount as decimal(18, 2)) as paid_amount, -- sum of the payments of these days
    cast(previous_gmv as decimal(18, 2))
        as previous_gmv, -- gmv of as many days of the period before, NULL unless all are loaded
    ratio(gmv - previous_gmv, previous_gmv) as period_ratio, -- change against previous_gmv
    cast(last_year_gmv as decimal(18, 2))
        as last_year_gmv, -- gmv of the same days a year before, NULL unless all are loaded
    ratio(gmv - last_year_gmv, last_year_gmv) as year_ratio -- change against last_year_gmv
from compared
