-- The active visitors by what they used: platform, system version, brand, model or network.
--
-- grain:  dt, dimension, value
-- check:  visitors > 0
-- check:  share between 0 and 1
-- check:  select due.dimension, spread.visitors, audience.dau
--         from (values ('platform'), ('brand'), ('model'), ('network')) as due (dimension)
--         cross join (select dau from app_active_visitor where dt = $dt) as audience
--         left join (
--             select dimension, sum(visitors) as visitors
--             from app_active_distribution
--             where dt = $dt
--             group by dimension
--         ) as spread on due.dimension = spread.dimension
--         where coalesce(spread.visitors, 0) <> audience.dau
-- check:  select platform.value as platform, platform.visitors, version.visitors as of_versions
--         from (
--             select value || '_version' as dimension, value, visitors
--             from app_active_distribution
--             where dt = $dt and dimension = 'platform' and value in ('android', 'ios')
--         ) as platform
--         full join (
--             select dimension, sum(visitors) as visitors
--             from app_active_distribution
--             where dt = $dt and dimension in ('android_version', 'ios_version')
--             group by dimension
--         ) as version on platform.dimension = version.dimension
--         where platform.visitors is distinct from version.visitors
-- check:  select dimension, sum(share) as share
--         from app_active_distribution
--         where dt = $dt
--         group by dimension
--         having abs(sum(share) - 1) > 0.0000005 * count(*)
-- export: metrics
-- tags:   audience

with visitor as (
    select platform, osver, brand, model, network from dws_visitor_day where dt = $dt
),

-- One row for each combination that occurs, so that the day is read once.
combination as (
    select platform, osver, brand, model, network, count(*) as visitors
    from visitor
    group by platform, osver, brand, model, network
),

-- Each combination counts once in every dimension it belongs to.
dimension as (
    select
        dimension,
        visitors,
        case dimension
            when 'platform' then platform
            when 'brand' then brand
            when 'model' then model
            when 'network' then network
            else osver
        end as value
    from combination
    cross join (
        values
            ('platform', null),
            ('android_version', 'android'),
            ('ios_version', 'ios'),
            ('brand', null),
            ('model', null),
            ('network', null)
    ) as dimension (dimension, only_platform)
    where only_platform is null or only_platform = platform
),

spread as (
    select dimension, value, sum(visitors) as visitors from dimension group by dimension, value
)

select
    $dt as dt, -- business day
    dimension, -- platform, android_version, ios_version, brand, model or network
    value, -- its value at the visitor's latest event of the day
    visitors, -- active visitors with the value
    ratio(visitors, sum(visitors) over (partition by dimension))
        as share -- visitors / visitors of the whole dimension
from spread
