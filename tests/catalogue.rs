//! The catalogue of metrics, table by table: what each one says of itself, what tries it, and whether every cell of the
//! committed sample equals a second implementation. The table is kept in `target/catalogue.txt` for a person to read.

mod shop;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use serde_json::Value;
use shop::{Shop, python};

/// The tables that the people who read the exports were promised.
const PROMISED: [&str; 29] = [
    "app_active_distribution",
    "app_active_visitor",
    "app_attention_effect",
    "app_buyer_mix",
    "app_category_sales",
    "app_conversion",
    "app_crash",
    "app_crash_version",
    "app_gmv",
    "app_gmv_period",
    "app_goods_conversion",
    "app_goods_counter_4h",
    "app_goods_high_attention",
    "app_goods_pair",
    "app_goods_sales",
    "app_goods_top10",
    "app_growth",
    "app_lapsed",
    "app_lapsed_visitor",
    "app_load_time",
    "app_new_visitor",
    "app_new_visitor_period",
    "app_open",
    "app_open_distribution",
    "app_payment",
    "app_repurchase",
    "app_retention",
    "app_splash_ad",
    "app_user_count",
];

#[test]
fn every_promised_table_is_described_checked_tried_and_equal_to_a_second_implementation() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let shop = Shop::of(&root.join("sample-logs"));
    shop.succeeds(&["run", "--quiet"]);
    let report = shop.path("report.json");
    let compared = python(&[
        "tests/oracle/compare.py",
        &shop.path("in/user_action"),
        &shop.path("in/orders"),
        &shop.path("warehouse/metrics.db"),
        "--lake",
        &shop.path("warehouse/lake"),
        "--report",
        &report,
    ]);
    let said = String::from_utf8_lossy(&compared.stdout);
    assert!(compared.status.success(), "{said}{}", String::from_utf8_lossy(&compared.stderr));
    let equal: Value = serde_json::from_str(&fs::read_to_string(report).expect("a report")).expect("JSON");

    let listed = by_model(&shop.succeeds(&["ls", "layer:app", "--format", "json", "--quiet"]));
    let tried = by_model(&shop.succeeds(&["test", "layer:app", "--format", "json", "--quiet"]));
    let mut text = format!(
        "{:26} {:>6} {:>6} {:>6} {:>8}  {:34} {}\n",
        "table", "checks", "cases", "rows", "cells", "grain", "a row is"
    );
    let number = |value: &Value| value.as_u64().expect("a number");
    for table in PROMISED {
        let model = listed.get(table).expect(table);
        let description = model["description"].as_str().unwrap_or_default();
        let trial = &tried[table];
        let (checks, cases) = (number(&trial["checks"]), number(&trial["cases"]));
        let cells = &equal[table];
        assert!(!description.is_empty(), "{table} says what a row is");
        assert!(checks > 1, "{table} has a check besides that its grain is unique");
        assert!(cases > 0, "{table} has a case");
        assert!(number(&cells["rows"]) > 0 && number(&cells["differences"]) == 0, "{table}: {cells}");
        let (rows, cells, grain) = (number(&cells["rows"]), number(&cells["cells"]), grain(root, table));
        let _ = writeln!(text, "{table:26} {checks:>6} {cases:>6} {rows:>6} {cells:>8}  {grain:34} {description}");
    }
    let folder = root.join("target");
    fs::create_dir_all(&folder).expect("a folder");
    fs::write(folder.join("catalogue.txt"), text).expect("writes");
}

/// JSON lines by their `model`.
fn by_model(lines: &str) -> BTreeMap<String, Value> {
    let values = lines.lines().filter(|line| line.starts_with('{')).map(serde_json::from_str);
    let values = values.map(|value: Result<Value, _>| value.expect("JSON"));
    values.map(|value| (value["model"].as_str().unwrap_or_default().to_owned(), value)).collect()
}

fn grain(root: &Path, table: &str) -> String {
    let text = fs::read_to_string(root.join(format!("sql/app/{table}.sql"))).expect("a model");
    let grain = text.lines().find_map(|line| line.strip_prefix("-- grain:"));
    grain.expect("every model has a grain").trim().to_owned()
}
