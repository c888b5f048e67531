//! Exactly what an arrival touches is built: the partitions that a run builds are those which, by a plain list of what each
//! model reads, see rows that changed in columns that it looks at, and not one more.

use std::collections::{BTreeMap, BTreeSet};

use arrow::array::AsArray;
use arrow::datatypes::{DataType, Date32Type};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use strata::date::BizDate;
use strata::engine::{Engine, Seeds, query, register_lake};

use super::{House, Step, Warehouse};

type Day = Option<BizDate>;
type Records = BTreeMap<String, BTreeMap<String, String>>;
/// The rows of every partition, each by the names of its columns.
type Rows = BTreeMap<(String, Day), Vec<BTreeMap<String, String>>>;

/// What every column is, and no list names it.
const ALL: &[&str] = &["*"];

/// The columns that a model's partition looks at in one of a table, its checks included; written by hand.
fn sees(model: &str, day: Day, table: &str, other: Day) -> Option<&'static [&'static str]> {
    let ago = |days: i32| day.map(|day| day.plus_days(-days));
    let same = day == other;
    let (is_read, columns): (bool, &[&str]) = match (model, table) {
        ("dwd_event", "ods_user_action")
        | ("dwd_order_history", "ods_user_order" | "dwd_order_moved")
        | ("dwd_order", "dwd_order_history")
        | ("dwd_goods", "ods_goods_info") => (same, ALL),
        ("dws_visitor_day", "dwd_event") => (same, &["visitor_id", "act"]),
        ("dws_visitor_first", "dws_visitor_day") => (same, &["visitor_id"]),
        // They are counted, and nothing of them is read.
        ("app_active", "dws_visitor_day") | ("app_new", "dws_visitor_first") | ("app_price", "dwd_order") => {
            (same, &[])
        }
        ("app_gmv", "dwd_order") => (same, &["is_valid", "order_money"]),
        ("app_price", "app_gmv") => (same, &["orders"]),
        ("dws_visitor_first", "dws_visitor_first") => (other < day, &["visitor_id"]),
        ("dws_week", "dws_visitor_day") => (ago(2) <= other && other <= day, &["visitor_id"]),
        ("app_active", "dws_week") => (same || other == ago(1), &[]),
        ("dwd_order_moved", "ods_user_order") => (true, ALL),
        // The goods do not change here.
        _ => (false, &[]),
    };
    is_read.then_some(columns)
}

/// What is recorded of each partition: its version, and what it was made from.
fn recorded(records: &Records) -> BTreeMap<(String, Day), (String, String)> {
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

async fn rows(house: &House) -> Rows {
    let zone = "Asia/Shanghai".parse().expect("a zone");
    let session = Engine::new(&house.lake(), 1 << 30, 2, zone).expect("an engine").session();
    register_lake(&session, &house.lake(), &Seeds::default()).await.expect("a lake");
    let mut found = Rows::new();
    for table in house.records().await.keys() {
        for batch in query(&session, &format!("select * from {table}")).await.expect("rows") {
            let options = FormatOptions::default().with_null("∅");
            let schema = batch.schema();
            let text = |at: usize| ArrayFormatter::try_new(batch.column(at), &options).expect("a text");
            let texts: Vec<_> = (0..schema.fields().len()).map(text).collect();
            let day = batch.column_by_name("dt").filter(|days| *days.data_type() == DataType::Date32);
            for row in 0..batch.num_rows() {
                let day = day.map(|days| days.as_primitive::<Date32Type>());
                let day = day.and_then(|days| days.iter().nth(row).flatten()).map(BizDate::from_days);
                let named = schema.fields().iter().zip(&texts);
                let row = named.map(|(field, text)| (field.name().clone(), text.value(row).to_string())).collect();
                found.entry((table.clone(), day)).or_default().push(row);
            }
        }
    }
    found
}

/// The rows of a partition with some columns alone, in any order.
fn seen(rows: &Rows, partition: &(String, Day), columns: &[&str]) -> Vec<Vec<String>> {
    let has = |name: &str| columns == ALL || columns.contains(&name);
    let part = |row: &BTreeMap<String, String>| -> Vec<String> {
        row.iter().filter(|(name, _)| has(name)).map(|(_, value)| value.clone()).collect()
    };
    let mut parts: Vec<Vec<String>> = rows.get(partition).into_iter().flatten().map(part).collect();
    parts.sort();
    parts
}

/// Runs, and compares what was built with what had to be; how many partitions that were.
async fn runs_exactly(warehouse: &mut Warehouse, what: &str) -> usize {
    let (before, rows_before) = (warehouse.house.records().await, rows(&warehouse.house).await);
    let report = warehouse.house.succeeds().await;
    let (after, rows_after) = (warehouse.house.records().await, rows(&warehouse.house).await);
    let (old, new) = (recorded(&before), recorded(&after));
    let all: BTreeSet<&(String, Day)> = old.keys().chain(new.keys()).collect();
    let touched = |model: &str, day: Day| {
        let differs = |other: &(String, Day)| match sees(model, day, &other.0, other.1) {
            None => false,
            // Of a source, what arrived is what counts.
            Some(_) if other.0.starts_with("ods") => old.get(other).map(|of| &of.0) != new.get(other).map(|of| &of.0),
            Some(columns) => seen(&rows_before, other, columns) != seen(&rows_after, other, columns),
        };
        all.iter().any(|other| differs(other))
    };
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
    // What a run has in mind at its end is what it recorded.
    let again = warehouse.house.succeeds().await;
    assert!(
        again.models.is_empty(),
        "{what}, and nothing: {:?}",
        again.models.iter().map(|m| &m.model).collect::<Vec<_>>()
    );
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
    // Of the event and of the visitor's day: whoever counts or lists visitors has nothing to do.
    assert_eq!((unknown, known), (unknown, 2), "what came out the same ends there");

    warehouse.take(&Step::read("order 4 0 2")).await;
    assert!(runs_exactly(&mut warehouse, "an order is paid").await > 0);
    warehouse.take(&Step::read("comment 0 0 0")).await;
    assert_eq!(runs_exactly(&mut warehouse, "a comment").await, 0);
}
