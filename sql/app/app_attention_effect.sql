-- Whether highlighting sells: goods that were or were not in the list of the four hours before.
--
-- grain:  window_start, highlighted
-- check:  goods >= 0 and (highlighted = 0 or goods <= 100)
-- check:  correlation between -1 and 1
-- check:  correlation is null or goods >= 2
-- check:  (view_to_buy is null) = (details_views = 0)
-- check:  select counter.window_start, counter.goods, effect.goods as of_both
--         from (
--             select
--                 window_start,
--                 count(*) as goods,
--                 sum(details_views) as details_views,
--                 sum(transaction_items) as transaction_items
--             from app_goods_counter_4h
--             where dt = $dt and window_start > first_loaded_day('both')
--             group by window_start
--         ) as counter
--         left join (
--             select
--                 window_start,
--                 sum(goods) as goods,
--                 sum(details_views) as details_views,
--                 sum(transaction_items) as transaction_items
--             from app_attention_effect
--             where dt = $dt
--             group by window_start
--         ) as effect on counter.window_start = effect.window_start
--         where (effect.goods is distinct from counter.goods)
--             or (effect.details_views is distinct from counter.details_views)
--             or (effect.transaction_items is distinct from counter.transaction_items)
-- check:  select shown
--         from (select count(*) as shown from app_attention_effect where dt = $dt)
--         where shown <> case when $dt = first_loaded_day('both') then 10 else 12 end
-- export: metrics
-- tags:   audience, orders

with counter as (
    select window_start, goods_id, details_views, transaction_items
    from app_goods_counter_4h
    where dt = $dt
),

-- A list speaks to those who come in the four hours after it, across midnight too.
listed as (
    select window_start + interval '4 hours' as shown_from, goods_id
    from app_goods_high_attention
    where dt between $dt - interval '1 day' and $dt
),

-- Before the first window of all nothing was loaded, so nothing is known of its lists.
side as (
    select cast($dt as timestamp) + hours as window_start, highlighted
    from (
        values
            (interval '0 hours'),
            (interval '4 hours'),
            (interval '8 hours'),
            (interval '12 hours'),
            (interval '16 hours'),
            (interval '20 hours')
    ) as day_window (hours)
    cross join (values (0), (1)) as side (highlighted)
    where cast($dt as timestamp) + hours > first_loaded_day('both')
),

goods as (
    select
        counter.*,
        case when listed.goods_id is null then 0 else 1 end as highlighted
    from counter
    -- Left: most goods were not in the list.
    left join listed
        on counter.window_start = listed.shown_from
        and counter.goods_id = listed.goods_id
),

-- Whole numbers, so that the order of adding does not matter.
total as (
    select
        window_start,
        highlighted,
        cast(count(*) as decimal(38, 0)) as n,
        cast(sum(details_views) as decimal(38, 0)) as x,
        cast(sum(transaction_items) as decimal(38, 0)) as y,
        sum(cast(details_views as decimal(19, 0)) * details_views) as xx,
        sum(cast(transaction_items as decimal(19, 0)) * transaction_items) as yy,
        sum(cast(details_views as decimal(19, 0)) * transaction_items) as xy
    from goods
    group by window_start, highlighted
),

-- n² times the variances and the covariance; 0 for a single one and where all are the same.
spread as (
    select
        window_start,
        highlighted,
        n,
        x,
        y,
        cast(n * xx - x * x as double) as of_views,
        cast(n * yy - y * y as double) as of_items,
        cast(n * xy - x * y as double) as shared
    from total
)

select
    $dt as dt, -- business day
    side.window_start, -- start of the four hours on the clock of the business zone
    side.highlighted, -- 1 for goods that were in the list of the window before, else 0
    cast(coalesce(spread.n, 0) as bigint) as goods, -- goods viewed or bought in the window
    cast(coalesce(spread.x, 0) as bigint) as details_views, -- their detail views
    cast(coalesce(spread.y, 0) as bigint) as transaction_items, -- their lines of valid orders
    ratio(spread.y, spread.x) as view_to_buy, -- transaction_items / details_views
    case
        when spread.of_views > 0 and spread.of_items > 0
            -- Rounding may carry a perfect one past its bounds.
            then greatest(
                -1.0,
                least(1.0, spread.shared / (sqrt(spread.of_views) * sqrt(spread.of_items)))
            )
    end as correlation -- Pearson's, of the two counters; NULL when either is constant
from side
-- Left: a side may have no goods.
left join spread
    on side.window_start = spread.window_start
    and side.highlighted = spread.highlighted
