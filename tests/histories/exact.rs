//! Exactly what an arrival touches is built: the partitions that a run builds are those which, by a plain list of what each
//! model reads, see a partition that changed, and not one more.

use std::collections::{BTreeMap, BTreeSet};

use strata::date::BizDate;

use super::{Step, Warehouse};

type Day = Option<BizDate>;
type Records = BTreeMap<String, BTreeMap<String, String>>;

/// Whether a model's partition sees one of a table, its checks included; written by hand.
fn sees(model: &str, day: Day, table: &str, other: Day) -> bool {
    let ago = |days: i32| day.map(|day| day.plus_days(-days));
    let same = day == other;
    match (model, table) {
        ("dwd_event", "ods_user_action")
        | ("dwd_order_history", "ods_user_order" | "dwd_order_moved")
        | ("dwd_order", "dwd_order_history")
        | ("dwd_goods", "ods_goods_info")
        | ("dws_visitor_day", "dwd_event")
        | ("dws_visitor_first" | "app_active", "dws_visitor_day")
        | ("app_new", "dws_visitor_first")
        | ("app_gmv" | "app_price", "dwd_order")
        | ("app_price", "app_gmv") => same,
        ("dws_visitor_first", "dws_visitor_first") => other < day,
        ("dws_week", "dws_visitor_day") => ago(2) <= other && other <= day,
        ("app_active", "dws_week") => same || other == ago(1),
        ("dwd_order_moved", "ods_user_order") => true,
        // The goods do not change here.
        _ => false,
    }
}

fn partitions(records: &Records) -> BTreeMap<(String, Day), (String, String)> {
    let mut found = BTreeMap::new();
    for (table, records) in records {
        for (domain, text) in records {
            let record: serde_json::Value = serde_json::from_str(text).expect("JSON");
            if let Some(day) = domain.strip_prefix("strata.slot:") {
                let parts = (record["version"].to_string(), record["fingerprint"].to_string());
                found.insert((table.clone(), day.parse().ok()), parts);
            }
        }
    }
    found
}

/// Runs, and compares what was built with what had to be; how many partitions that were.
async fn runs_exactly(warehouse: &mut Warehouse, what: &str) -> usize {
    let before = warehouse.house.records().await;
    let report = warehouse.house.succeeds().await;
    let after = warehouse.house.records().await;
    let (old, new) = (partitions(&before), partitions(&after));
    let version = |all: &BTreeMap<(String, Day), (String, String)>, key| all.get(key).map(|parts| parts.0.clone());
    let changed: BTreeSet<&(String, Day)> =
        old.keys().chain(new.keys()).filter(|key| version(&old, key) != version(&new, key)).collect();
    let touched = |model: &str, day: Day| changed.iter().any(|(table, other)| sees(model, day, table, *other));
    let mut built = 0;
    for model in report.models.iter().filter(|model| model.model != "dwd_order_moved") {
        let of_model = new.iter().filter(|((table, _), _)| *table == model.model);
        let recorded: BTreeSet<Day> = of_model
            .filter(|(key, parts)| old.get(*key).map(|parts| &parts.1) != Some(&parts.1))
            .map(|((_, day), _)| *day)
            .collect();
        assert_eq!(model.built, recorded.len(), "{what}: {} was built as recorded", model.model);
        built += model.built;
    }
    for ((table, day), parts) in new.iter().filter(|((table, _), _)| !table.starts_with("ods")) {
        if table != "dwd_order_moved" {
            let was_built = old.get(&(table.clone(), *day)).map(|parts| &parts.1) != Some(&parts.1);
            assert_eq!(was_built, touched(table, *day), "{what}: {table} {day:?}");
        }
    }
    let whole = |records: &Records| records["dwd_order_moved"].get("strata.whole").cloned();
    assert_eq!(whole(&before) != whole(&after), touched("dwd_order_moved", None), "{what}: dwd_order_moved");
    built
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_builds_what_sees_a_changed_partition_and_not_one_more() {
    let mut warehouse = Warehouse::new();
    let begin =
        "log 0 0 3\nlog 1 0 3\nlog 2 0 3\nlog 3 0 3\nlog 4 0 3\norder 0 0 1\norder 1 1 2\norder 4 2 1\ngoods 0 5 0";
    for line in begin.lines() {
        warehouse.take(&Step::read(line)).await;
    }
    warehouse.house.succeeds().await;
    assert_eq!(runs_exactly(&mut warehouse, "nothing").await, 0);

    warehouse.inputs.event(4, 1, "nobody-knew");
    let unknown = runs_exactly(&mut warehouse, "a late event of somebody unknown").await;
    // What was there already: the visitor is not new, and their days are as many as before.
    warehouse.inputs.event(4, 1, "nobody-knew");
    let known = runs_exactly(&mut warehouse, "one more event of theirs").await;
    assert!(0 < known && known < unknown, "{known} of {unknown}: what came out the same ends there");

    warehouse.take(&Step::read("order 4 0 2")).await;
    assert!(runs_exactly(&mut warehouse, "an order is paid").await > 0);
    warehouse.take(&Step::read("comment 0 0 0")).await;
    assert_eq!(runs_exactly(&mut warehouse, "a comment").await, 0);
}
