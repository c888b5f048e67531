//! What a number was made from, through the binary: the rows that are shown add up to it.

mod shop;

use std::fs;

use shop::Shop;

/// A line of an explanation.
#[derive(Debug)]
struct Line {
    part: String,
    table: String,
    rows: Option<u64>,
    says: String,
}

fn explained(shop: &Shop, arguments: &[&str]) -> Vec<Line> {
    let mut all = vec!["why", "--quiet", "--format", "json"];
    all.extend(arguments);
    let said = shop.succeeds(&all);
    let line = |text: &str| {
        let value: serde_json::Value = serde_json::from_str(text).expect("JSON");
        let word = |name: &str| value[name].as_str().unwrap_or_default().to_owned();
        Line { part: word("part"), table: word("table"), rows: value["rows"].as_u64(), says: word("says") }
    };
    said.lines().map(line).collect()
}

/// The rows of a table that took part.
fn rows<'a>(lines: &'a [Line], table: &str) -> &'a Line {
    let found = lines.iter().find(|line| line.part == "rows" && line.table == table);
    found.unwrap_or_else(|| panic!("rows of {table} in {lines:#?}"))
}

fn asked(shop: &Shop, sql: &str) -> String {
    let said = shop.succeeds(&["query", "--quiet", "--format", "csv", sql]);
    said.lines().nth(1).unwrap_or_default().to_owned()
}

const DAY: &str = "2026-01-02";

#[test]
fn the_rows_behind_a_number_add_up_to_it() {
    let shop = Shop::sample(&["--days", "3", "--devices", "20", "--events", "60", "--orders", "10"]);
    shop.succeeds(&["run", "--quiet"]);
    let of_day = |column: &str, table: &str| asked(&shop, &format!("select {column} from {table} where dt = '{DAY}'"));

    let gmv = of_day("gmv", "app_gmv");
    let lines = explained(&shop, &["app_gmv.gmv", "--dt", DAY, "--limit", "1000"]);
    assert!(lines[0].says.starts_with(&format!("gmv = {gmv} ")), "{lines:#?}");
    for table in ["dwd_order", "dwd_order_history", "ods_user_order"] {
        let found = rows(&lines, table);
        assert_eq!(found.says, format!("sum(order_money) = {gmv}"), "{table}");
        assert_eq!(found.rows, of_day("orders", "app_gmv").parse().ok(), "{table}");
    }
    let places = lines.iter().filter(|line| line.part == "line" && line.table == "ods_user_order").count() as u64;
    assert_eq!(Some(places), rows(&lines, "ods_user_order").rows);

    let dau = of_day("dau", "app_active_visitor");
    let lines = explained(&shop, &["app_active_visitor.dau", "--dt", DAY, "--limit", "3"]);
    assert_eq!(rows(&lines, "dws_audience_recency").says, format!("sum(visitors) = {dau}"));
    assert_eq!(rows(&lines, "dws_visitor_day").rows, dau.parse().ok());
    let events = of_day("count(*)", "dwd_event");
    assert_eq!(rows(&lines, "dwd_event").rows, events.parse().ok(), "every event of the day is a visitor's");
    assert_eq!(rows(&lines, "ods_user_action").rows, events.parse().ok(), "one raw element each: copies are left out");
    let copies = of_day("sum(copies) - count(*)", "dwd_event");
    assert!(rows(&lines, "dwd_event").says.contains(&format!("copies dropped: {copies}")), "{lines:#?}");
    assert!(lines.iter().any(|line| line.part == "line" && line.says.contains(".log:")), "{lines:#?}");

    let opens = of_day("opens", "app_open");
    let lines = explained(&shop, &["app_open.opens", "--dt", DAY]);
    assert_eq!(rows(&lines, "dws_visitor_day").says, format!("sum(opens) = {opens}"));
    assert_eq!(rows(&lines, "dws_visitor_platform_day").says, format!("sum(opens) = {opens}"));
    assert_eq!(rows(&lines, "ods_user_action").rows, opens.parse().ok());

    let key =
        asked(&shop, &format!("select goods_id from app_goods_sales where dt = '{DAY}' order by goods_id limit 1"));
    let condition = format!("goods_id = {key}");
    let units = of_day(&format!("max(units) filter (where {condition})"), "app_goods_sales");
    let lines = explained(&shop, &["app_goods_sales.units", "--dt", DAY, "--where", &condition]);
    assert_eq!(rows(&lines, "dws_goods_day").says, format!("sum(units) = {units}"));
    assert_eq!(rows(&lines, "dws_order_line").says, format!("sum(units) = {units}"));
    assert_eq!(rows(&lines, "ods_order_item").says, format!("sum(goods_amount) = {units}"));

    // Parts of a ratio, and what is known of a percentile.
    let lines = explained(&shop, &["app_active_visitor.stickiness", "--dt", DAY]);
    assert!(
        lines.iter().any(|line| line.part == "formula" && line.says.starts_with(&format!("audience.dau = {dau}: ")))
    );
    assert!(lines.iter().any(|line| line.says.starts_with("stickiness") && line.says.contains("ratio(")));
    let page =
        asked(&shop, &format!("select page || ''' and network = ''' || network from app_load_time where dt = '{DAY}'"));
    let condition = format!("page = '{page}'");
    let lines = explained(&shop, &["app_load_time.p50_ms", "--dt", DAY, "--where", &condition]);
    let why = "not by rows: app_load_time (ordered): events_so_far is computed over other rows";
    assert!(lines.iter().any(|line| line.table == "dwd_app_open" && line.says.starts_with(why)), "{lines:#?}");

    // What a person gets wrong is told.
    for (arguments, words) in [
        (&["app_goods_sales.units", "--dt", DAY][..], "several rows of app_goods_sales are meant"),
        (&["app_gmv.gnv", "--dt", DAY], "did you mean `gmv`?"),
        (&["app_gmv.gmv"], "add --dt"),
        (&["app_gmv.gmv", "--dt", "2025-01-01"], "was not built"),
    ] {
        let (code, said) = shop.runs(&[&["why", "--quiet"], arguments].concat());
        assert!(code == 2 && said.contains(words), "{arguments:?}: {code}\n{said}");
    }

    // A late version of an order: another sum, the line that came late, and the version that it took the place of.
    let first = fs::read_to_string(shop.path(&format!("in/orders/{DAY}/user_order.csv"))).expect("an extract");
    let (header, row) = first.split_once('\n').expect("a header");
    let mut cells: Vec<String> = row.lines().next().expect("a row").split(',').map(str::to_owned).collect();
    let place = |name: &str| header.split(',').position(|column| column == name).expect("a column");
    cells[place("order_money")] = "5000.00".to_owned();
    cells[place("update_time")] = "2026-01-09 20:00:00".to_owned();
    fs::create_dir_all(shop.path("in/orders/2026-01-09")).expect("a folder");
    fs::write(shop.path("in/orders/2026-01-09/user_order.csv"), format!("{header}\n{}\n", cells.join(",")))
        .expect("written");
    shop.succeeds(&["run", "--quiet"]);
    let late = of_day("gmv", "app_gmv");
    assert_ne!(gmv, late);
    let lines = explained(&shop, &["app_gmv.gmv", "--dt", DAY, "--limit", "1000"]);
    assert_eq!(rows(&lines, "ods_user_order").says, format!("sum(order_money) = {late}"));
    assert!(lines.iter().any(|line| line.part == "line" && line.says.starts_with("2026-01-09/user_order.csv row 1")));
    let superseded =
        |line: &&Line| line.part == "excluded" && line.table == "dwd_order" && line.says.contains("is_current");
    assert!(lines.iter().any(|line| superseded(&line)), "{lines:#?}");
}
