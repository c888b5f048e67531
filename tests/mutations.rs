//! Whether the cases of `tests/models` notice anything: models made wrong on purpose, and the case each one must fail.
//!
//! The mistakes are those that people make: `<` for `<=`, a wrong offset of days, an inner join for a left one, a join
//! that doubles lines, a forgotten `distinct`, a tie broken the other way round, `or` for `and`, rounding twice.

mod shop;

use std::fs;
use std::path::Path;
use std::process::Command;

use shop::copy;

/// A model, a text that it has once, the wrong text in its place, and the case that must fail.
type Mistake = (&'static str, &'static str, &'static str, &'static str);

#[rustfmt::skip]
const DWD: &[Mistake] = &[
    ("dwd_app_crash", "where dt = $dt and act = 5", "where dt = $dt or act = 5", "only_crashes_are_kept"),
    ("dwd_category", "order by third_category_id, file, row_number",
     "order by third_category_id, file desc, row_number",
     "of_a_key_in_two_files_of_a_snapshot_the_last_file_wins"),
    ("dwd_event", "            partition by event_hash, event_id, acttime_without_id",
     "            partition by event_hash, event_id",
     "equal_hashes_at_other_times_are_not_one_event"),
    ("dwd_event", "order by arrival_dt, file, byte_offset, element",
     "order by file, arrival_dt, byte_offset, element",
     "of_duplicates_the_one_that_arrived_on_the_earlier_date_is_kept"),
    ("dwd_event", "right join landed\n", "inner join landed\n", "a_late_event_joins_its_own_day"),
    ("dwd_event", "coalesce(ranked.copies, 1)", "coalesce(ranked.copies, 0)",
     "an_event_at_midnight_is_of_the_new_day"),
    ("dwd_event", "or ranked.arrival_rank = 1", "or ranked.arrival_rank >= 1",
     "events_with_one_id_are_one_whatever_else_they_say"),
    ("dwd_event", "        else 'other'", "        else 'pc'",
     "an_unknown_platform_is_other_and_an_unknown_network_is_unknown"),
    ("dwd_goods_view", "act = 3", "act >= 3", "only_views_are_kept"),
    ("dwd_order_history", "coalesce(update_time, order_date) as", "coalesce(order_date, update_time) as",
     "each_change_takes_over_from_the_one_before"),
    ("dwd_order_moved", "count(dt) < count(*))", "count(dt) > count(*))",
     "an_order_that_got_an_order_date_moved_from_no_day"),
    ("dwd_order_moved", "min(dt) <> max(dt)", "min(dt) = max(dt)", "an_order_whose_rows_lie_on_one_day_is_not_here"),
    ("dwd_payment", "right anti join received", "right join received",
     "a_payment_that_moved_away_is_no_longer_on_its_old_day"),
    ("dwd_payment", "coalesce(pay_type, -1)", "coalesce(pay_type, 0)", "a_payment_without_a_type_has_type_minus_one"),
    ("dwd_user", "file, row_number)", "file, row_number desc)", "of_a_key_repeated_in_a_snapshot_the_last_row_wins"),
];

#[rustfmt::skip]
const DWS: &[Mistake] = &[
    ("dws_audience_recency", "interval '29 days'", "interval '30 days'",
     "the_window_is_thirty_days_with_the_day_itself"),
    ("dws_audience_recency", "max(active_dt)", "min(active_dt)", "a_visitor_counts_on_the_latest_active_day_only"),
    ("dws_buyer_day", "count(*) as orders", "count(distinct user_id) as orders",
     "all_orders_of_a_buyer_count_whatever_became_of_them"),
    ("dws_buyer_first", "left anti join bought_before", "left semi join bought_before", "a_buyer_of_long_ago_is_not_new_again"),
    ("dws_goods_pair_day", "a.goods_id < b.goods_id", "a.goods_id <= b.goods_id", "every_two_goods_of_an_order_once"),
    ("dws_line_created", "right join line", "inner join line", "a_line_whose_order_is_not_loaded_is_kept_and_told"),
    ("dws_line_elsewhere", "or not is_order_loaded\n", "and is_order_loaded\n",
     "a_line_whose_order_is_not_loaded_waits_on_no_day"),
    ("dws_order_absent", "    union\n", "    union all\n",
     "an_order_that_lines_and_payments_name_is_there_once"),
    ("dws_payment", "right join payment", "inner join payment",
     "a_payment_without_an_order_or_of_one_not_loaded_is_kept"),
    ("dws_goods_day", "left join catalogue", "inner join catalogue",
     "goods_that_are_in_no_snapshot_are_unknown_and_sold_all_the_same"),
    ("dws_goods_day", "coalesce(sold.units, 0)", "sold.units", "a_missing_amount_adds_nothing"),
    ("dws_user_day", "act from dwd_event where dt = $dt and uid is not null",
     "act from dwd_event where dt = $dt or uid is not null",
     "only_events_of_the_day_count"),
    ("dws_user_profile", "left join address", "inner join address",
     "a_user_who_told_nothing_more_has_unknown_attributes_and_no_address"),
    ("dws_visitor_day", "max(event.brand) filter", "min(event.brand) filter",
     "of_latest_events_at_one_time_each_attribute_takes_its_greatest"),
    ("dws_visitor_day", "moment.last_user_acttime) as user_id", "moment.last_acttime) as user_id",
     "the_user_is_that_of_the_latest_event_that_has_one"),
    ("dws_visitor_day", " and event.platform = moment.platform", "",
     "of_latest_events_on_several_platforms_the_greatest_label_wins"),
    ("dws_visitor_day", "coalesce(nullif(brand, ''), 'unknown')", "coalesce(brand, 'unknown')",
     "a_missing_or_empty_attribute_is_unknown"),
    ("dws_visitor_day", "max(visitor_platform.platform)", "min(visitor_platform.platform)",
     "of_latest_events_on_several_platforms_the_greatest_label_wins"),
    ("dws_visitor_first", "from dws_visitor_first where dt < $dt\n",
     "from dws_visitor_first where dt between $dt - interval '365 days' and $dt - interval '1 day'\n",
     "a_visitor_who_comes_back_after_years_is_not_new"),
    ("dws_visitor_platform_day", "sum(case when act = 5 then copies else 0 end)", "count(*) filter (where act = 5)",
     "copies_count_in_crash_reports_only"),
    ("dws_visitor_platform_day", "case when uid is not null then acttime end", "acttime",
     "a_visitor_on_two_platforms_has_a_row_for_each"),
];

#[rustfmt::skip]
const APP: &[Mistake] = &[
    ("app_active_distribution", "only_platform is null or only_platform", "only_platform is null and only_platform",
     "pc_and_other_have_no_version_dimension"),
    ("app_active_distribution", "over (partition by dimension)", "over ()",
     "a_visitor_counts_once_in_every_dimension"),
    ("app_active_visitor", "interval '6 days'", "interval '7 days'", "the_week_begins_six_days_before"),
    ("app_active_visitor", "$dt - interval '7 days' >= first_loaded_day",
     "$dt - interval '7 days' > first_loaded_day",
     "a_loaded_day_without_visitors_is_zero_and_its_ratio_unknown"),
    ("app_attention_effect", "where dt between $dt - interval '1 day' and $dt", "where dt = $dt",
     "the_list_before_midnight_is_of_yesterdays_last_window"),
    ("app_attention_effect", "window_start + interval '4 hours' as shown_from", "window_start as shown_from",
     "the_list_of_the_window_before_decides"),
    ("app_buyer_mix", "left join fresh", "inner join fresh", "first_order_ever_or_one_on_an_earlier_day"),
    ("app_category_sales", "sales desc, first_category_name)", "sales desc, first_category_name desc)",
     "a_tie_is_decided_by_the_code_points_of_the_name"),
    ("app_category_sales", "count(distinct line.order_id)", "count(line.order_id)",
     "an_order_counts_once_in_each_of_its_categories"),
    ("app_conversion", "active.views > 0 and buyer.user_id is not null as bought",
     "active.views > 0 or buyer.user_id is not null as bought",
     "each_step_is_a_subset_of_the_one_before"),
    ("app_conversion", "select distinct user_id from dws_payment", "select user_id from dws_payment",
     "a_user_who_paid_twice_counts_once"),
    ("app_crash", "left join total", "inner join total", "a_day_without_visitors_has_three_rows"),
    ("app_crash", "where crashes > 0", "where crashes > 1", "the_rate_is_rounded_once"),
    ("app_crash", "    union\n", "    union all\n", "a_visitor_may_be_active_on_two_platforms"),
    ("app_crash_version", "count(distinct visitor_id)", "count(visitor_id)",
     "crashes_are_counted_by_version_and_build"),
    ("app_gmv", "count(distinct order_id) as paid_orders", "count(order_id) as paid_orders",
     "placed_and_paid_are_two_different_things"),
    ("app_gmv", "count(distinct user_id) as payers", "count(user_id) as payers",
     "a_payer_pays_once_however_many_orders"),
    ("app_gmv", "money_ratio(placed_total.gmv, placed_total.orders)",
     "cast(placed_total.gmv / nullif(placed_total.orders, 0) - 0.005 as decimal(18, 2))",
     "the_aov_rounds_half_away_from_zero"),
    ("app_gmv", "select * from dwd_order where dt = $dt\n",
     "select dwd_order.* from dwd_order cross join (values (1), (2)) as twice (n) where dt = $dt\n",
     "placed_and_paid_are_two_different_things"),
    ("app_gmv", "select units from", "select distinct units from", "lines_of_equal_units_all_count"),
    ("app_gmv_period", "date_trunc('week', $dt) - interval '364 days'", "date_trunc('week', $dt) - interval '1 year'",
     "a_week_may_begin_in_the_old_year"),
    ("app_gmv_period", "and daily.day < period.period_start", "and daily.day <= period.period_start",
     "the_31st_of_march_against_the_whole_of_february"),
    ("app_goods_conversion", "full join buyer", "left join buyer", "who_viewed_and_who_bought_the_same_goods"),
    ("app_goods_conversion", "select distinct goods_id, user_id from line", "select goods_id, user_id from line",
     "who_viewed_and_who_bought_the_same_goods"),
    ("app_goods_counter_4h", "full join bought", "left join bought", "goods_with_either_a_view_or_a_line"),
    ("app_goods_counter_4h", "date_bin(interval '4 hours', create_time)",
     "date_bin(interval '4 hours', create_time + interval '1 hour')",
     "a_window_ends_before_the_next_begins"),
    ("app_goods_high_attention", "transaction_items desc, goods_id\n", "transaction_items desc, goods_id desc\n",
     "by_views_then_lines_then_goods"),
    ("app_goods_high_attention", "partition by window_start\n            order by", "order by",
     "by_views_then_lines_then_goods"),
    ("app_goods_pair", "order by orders_together desc, goods_a, goods_b) as rank",
     "order by orders_together desc, goods_b, goods_a) as rank",
     "a_tie_is_decided_by_the_smaller_goods_first"),
    ("app_goods_pair", "having sum(orders_together) >= 2", "having sum(orders_together) >= 1",
     "by_orders_together_and_then_by_the_goods"),
    ("app_goods_top10", "sales desc, goods_id)", "sales desc, goods_id desc)",
     "a_tie_for_the_tenth_place_is_decided_by_goods"),
    ("app_goods_top10", "where rank <= 10", "where rank < 10", "a_tie_for_the_tenth_place_is_decided_by_goods"),
    ("app_growth", "where last_active_dt = $dt - interval '1 day'", "where last_active_dt = $dt - interval '2 days'",
     "new_retained_resurrected_and_churned"),
    ("app_lapsed", "last_active_dt > $dt - interval '7 days'", "last_active_dt >= $dt - interval '7 days'",
     "exactly_a_week_and_longer"),
    ("app_lapsed_visitor", "interval '6 days' and $dt", "interval '7 days' and $dt",
     "last_active_exactly_a_week_ago"),
    ("app_load_time", "(ordered.events - 1) / 100", "ordered.events / 100", "percentiles_lie_between_two_events"),
    ("app_load_time", "loading_time, count(*) as events", "loading_time, count(distinct loading_time) as events",
     "equal_times_are_as_many_events"),
    ("app_new_visitor", "where dt = year_before($dt)", "where dt = $dt - interval '365 days'",
     "a_year_before_a_leap_day_is_the_28th_of_february"),
    ("app_new_visitor", "where dt = $dt - interval '7 days'", "where dt = $dt - interval '6 days'",
     "against_the_day_the_week_and_the_year_before"),
    ("app_new_visitor_period", "and daily.dt < period.period_start\n", "and daily.dt <= period.period_start\n",
     "the_31st_of_march_against_the_whole_of_february"),
    ("app_open", "opens > 0", "opens >= 0", "opens_and_those_who_opened"),
    ("app_open_distribution", "opens >= 3", "opens > 3", "three_opens_and_more_are_one_bucket"),
    ("app_payment", "sum(amount) over ()", "sum(amount) over (partition by pay_type)",
     "the_mean_is_over_the_payments_whose_order_is_loaded"),
    ("app_payment", "nullif(waits * 60000000, 0)", "nullif(payments * 60000000, 0)",
     "an_order_without_a_date_has_no_wait"),
    ("app_repurchase", "interval '89 days'", "interval '90 days'", "the_edges_of_the_three_windows"),
    ("app_repurchase", "orders_7 >= 2", "orders_7 > 2", "two_orders_on_one_day_are_a_repurchase"),
    ("app_retention", "in (14, 30)", "in (14, 28)", "a_week_then_two_then_thirty_days"),
    ("app_retention", "left join active", "inner join active", "nobody_came_back"),
    ("app_retention", "count(active.visitor_id)", "count(*)", "nobody_came_back"),
    ("app_splash_ad", "total.shown + total.failed", "total.shown", "shown_against_shown_and_failed"),
    ("app_user_count", "<= $dt", "< $dt", "registered_before_the_end_of_the_day"),
];

#[test]
fn mistakes_in_the_detail_layer_are_noticed() {
    all_noticed("dwd", DWD);
}

#[test]
fn mistakes_in_the_service_layer_are_noticed() {
    all_noticed("dws", DWS);
}

#[test]
fn mistakes_in_the_application_layer_are_noticed() {
    all_noticed("app", APP);
}

/// Makes each mistake in a project of its own and asserts that its case fails; tells all that do not.
fn all_noticed(layer: &str, mistakes: &[Mistake]) {
    let missed: Vec<String> = mistakes.iter().filter_map(|mistake| missed(layer, mistake)).collect();
    assert!(missed.is_empty(), "{} of {} mistakes:\n{}", missed.len(), mistakes.len(), missed.join("\n"));
}

/// What is wrong about the case of a mistake, if anything.
fn missed(layer: &str, &(model, from, to, case): &Mistake) -> Option<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let project = tempfile::tempdir().expect("a folder");
    for folder in ["sql", "conf", &format!("tests/models/{model}/{case}")] {
        copy(&root.join(folder), &project.path().join(folder));
    }
    let file = format!("sql/{layer}/{model}.sql");
    let text = fs::read_to_string(root.join(&file)).expect("a model");
    if text.matches(from).count() != 1 {
        return Some(format!("{file} has not once `{from}`: the table of mistakes is out of date"));
    }
    fs::write(project.path().join(&file), text.replace(from, to)).expect("writes");
    let done = Command::new(env!("CARGO_BIN_EXE_strata"))
        .args(["test", model])
        .current_dir(project.path())
        .env("NO_COLOR", "1")
        .output()
        .expect("starts");
    let said = format!("{}{}", String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    let is_noticed = done.status.code() == Some(1) && said.contains(&format!("{model}/{case}"));
    (!is_noticed).then(|| format!("{file} with `{to}` for `{from}`: {case} says\n{said}"))
}
