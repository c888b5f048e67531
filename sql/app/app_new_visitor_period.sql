-- The new visitors of the week, month, quarter and year so far, against the periods before.
--
-- grain:  dt, period
-- check:  period_start <= dt
-- check:  (period_ratio is null) = (coalesce(previous, 0) = 0)
-- check:  (year_ratio is null) = (coalesce(last_year, 0) = 0)
-- check:  select of_period.period, of_period.new_visitors, of_day.new_visitors as of_day
--         from (select * from app_new_visitor_period where dt = $dt) as of_period
--         cross join (select new_visitors from app_new_visitor where dt = $dt) as of_day
--         where of_period.new_visitors < of_day.new_visitors
--             or (of_period.period_start = $dt and of_period.new_visitors <> of_day.new_visitors)
-- check:  select shorter.period, shorter.new_visitors, longer.period as within
--         from (select * from app_new_visitor_period where dt = $dt) as shorter
--         cross join (select * from app_new_visitor_period where dt = $dt) as longer
--         where shorter.period_start >= longer.period_start
--             and shorter.new_visitors > longer.new_visitors
-- export: metrics
-- tags:   audience

-- A week's last year is 364 days before, so it may begin up to a week before that year does.
with daily as (
    select dt, new_visitors
    from app_new_visitor
    where dt between date_trunc('year', $dt) - interval '1 year' - interval '7 days' and $dt
        and dt >= first_loaded_day('logs')
),

period as (
    select
        'week' as period,
        cast(date_trunc('week', $dt) as date) as period_start,
        cast(date_trunc('week', $dt) - interval '7 days' as date) as previous_start,
        cast(date_trunc('week', $dt) - interval '364 days' as date) as last_year_start,
        cast($dt - interval '364 days' as date) as last_year_end
    union all
    select
        period,
        period_start,
        cast(period_start - length as date) as previous_start,
        year_before(period_start) as last_year_start,
        year_before($dt) as last_year_end
    from (
        values
            ('month', cast(date_trunc('month', $dt) as date), interval '1 month'),
            ('quarter', cast(date_trunc('quarter', $dt) as date), interval '3 months'),
            ('year', cast(date_trunc('year', $dt) as date), interval '1 year')
    ) as calendar (period, period_start, length)
),

total as (
    select
        period.period,
        period.period_start,
        period.previous_start,
        period.last_year_start,
        sum(daily.new_visitors) filter (where daily.dt >= period.period_start) as new_visitors,
        -- As many days as the period has had so far, but not beyond the end of the previous one.
        sum(daily.new_visitors) filter (
            where daily.dt >= period.previous_start
                and daily.dt < period.period_start
                and daily.dt - period.previous_start <= $dt - period.period_start
        ) as previous,
        sum(daily.new_visitors) filter (
            where daily.dt between period.last_year_start and period.last_year_end
        ) as last_year
    from period
    cross join daily
    group by
        period.period, period.period_start, period.previous_start, period.last_year_start
),

-- A sum is known when all of its days are loaded.
known as (
    select
        period,
        period_start,
        coalesce(new_visitors, 0) as new_visitors,
        case when previous_start >= first_loaded_day('logs') then coalesce(previous, 0) end
            as previous,
        case when last_year_start >= first_loaded_day('logs') then coalesce(last_year, 0) end
            as last_year
    from total
)

select
    $dt as dt, -- business day
    period, -- week, month, quarter or year
    period_start, -- its first day
    new_visitors, -- visitors new from period_start to dt
    previous, -- the same in as many days of the previous period, NULL before the first loaded day
    ratio(new_visitors - previous, previous) as period_ratio, -- change against previous
    last_year, -- the same in these days of the year before, NULL likewise
    ratio(new_visitors - last_year, last_year) as year_ratio -- change against last_year
from known
