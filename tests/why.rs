//! What a number was made from, through the binary: the rows that are shown add up to it.

mod shop;

use std::fs;
use std::io::Read;

use serde_json::Value;
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
        let value: Value = serde_json::from_str(text).expect("JSON");
        let word = |name: &str| value[name].as_str().unwrap_or_default().to_owned();
        Line { part: word("part"), table: word("table"), rows: value["rows"].as_u64(), says: word("says") }
    };
    said.lines().map(line).collect()
}

/// The rows of a table that took part.
fn rows<'a>(lines: &'a [Line], table: &str) -> &'a Line {
    let found = lines.iter().find(|line| line.part == "rows" && line.table == table);
    assert!(found.is_some(), "rows of {table} in {lines:#?}");
    found.expect("just seen")
}

fn asked(shop: &Shop, sql: &str) -> String {
    let said = shop.succeeds(&["query", "--quiet", "--format", "csv", sql]);
    said.lines().nth(1).unwrap_or_default().to_owned()
}

const DAY: &str = "2026-01-02";

/// A file of the inputs as it was before it was compressed.
fn unpacked(shop: &Shop, inside: &str) -> Vec<u8> {
    let bytes = fs::read(shop.path(inside)).expect("a file");
    let mut text = Vec::new();
    match inside.rsplit('.').next() {
        Some("gz") => {
            flate2::read::MultiGzDecoder::new(bytes.as_slice()).read_to_end(&mut text).expect("gzip");
        }
        Some("zst") => text = zstd::decode_all(bytes.as_slice()).expect("zstd"),
        _ => text = bytes,
    }
    text
}

/// The raw events at the places that an explanation names.
fn events(shop: &Shop, lines: &[Line]) -> Vec<Value> {
    let places = lines.iter().filter(|line| line.part == "line" && line.table == "ods_user_action");
    places.map(|line| event(shop, &line.says)).collect()
}

fn event(shop: &Shop, place: &str) -> Value {
    let (place, element) = place.split_once(" element ").unwrap_or((place, "0"));
    let (file, offset) = place.rsplit_once(':').expect("file:offset");
    let text = unpacked(shop, &format!("in/user_action/{file}"));
    let offset: usize = offset.parse().expect("an offset");
    let before = &text[..offset];
    assert!([b"" as &[u8], b"\xef\xbb\xbf"].contains(&before) || before.ends_with(b"\n"), "{place}: a line starts");
    let line = text[offset..].split(|byte| *byte == b'\n').next().expect("a line");
    let line: Value = serde_json::from_slice(line).expect("JSON");
    let inner = line.as_object().and_then(|fields| fields.values().find_map(Value::as_array));
    match inner {
        Some(events) => events[element.parse::<usize>().expect("a number")].clone(),
        None => line,
    }
}

/// The cells of the row of an extract that an explanation names, by column.
fn extract_row(shop: &Shop, place: &str) -> Vec<(String, String)> {
    let (file, row) = place.split(',').next().expect("a place").split_once(" row ").expect("file row N");
    let text = String::from_utf8(unpacked(shop, &format!("in/orders/{file}"))).expect("text");
    let row: usize = row.parse().expect("a number");
    let bare = |cell: &str| cell.trim_matches(['"', '\r', '\u{feff}', ' ']).to_owned();
    let cells = |line: &str| line.split(',').map(bare).collect::<Vec<_>>();
    let header = cells(text.lines().next().expect("a header"));
    header.into_iter().zip(cells(text.lines().nth(row).expect("the row"))).collect()
}

fn said(lines: &[Line], part: &str, table: &str, words: &str) -> bool {
    lines.iter().any(|line| line.part == part && line.table == table && line.says.contains(words))
}

fn of_day(shop: &Shop, column: &str, table: &str) -> String {
    asked(shop, &format!("select {column} from {table} where dt = '{DAY}'"))
}

/// How many rows, or what they come to: of one row, its value.
fn comes_to(line: &Line, column: &str, value: &str) -> bool {
    let word = if line.rows == Some(1) { format!("{column} = {value}") } else { format!("sum({column}) = {value}") };
    line.says == word || line.says.starts_with(&format!("{word}; "))
}

#[test]
fn the_rows_behind_a_number_add_up_to_it() {
    let shop = Shop::sample(&["--days", "3", "--devices", "20", "--events", "60", "--orders", "10", "--messy", "0.1"]);
    shop.succeeds(&["run", "--quiet"]);
    visitors_and_events(&shop);
    orders_and_money(&shop);
    ratios_and_percentiles(&shop);
    nothing(&shop);
    mistakes(&shop);
}

fn visitors_and_events(shop: &Shop) {
    let dau = of_day(shop, "dau", "app_active_visitor");
    let lines = explained(shop, &["app_active_visitor.dau", "--dt", DAY, "--limit", "3"]);
    assert!(lines[0].says.starts_with(&format!("dau = {dau} ")), "{lines:#?}");
    assert!(lines.iter().all(|line| !line.says.contains("stale")), "nothing changed since: {lines:#?}");
    assert_eq!(rows(&lines, "dws_audience_recency").says, format!("visitors = {dau}"));
    assert_eq!(rows(&lines, "dws_visitor_day").rows, dau.parse().ok());
    let all = of_day(shop, "count(*)", "dwd_event");
    assert_eq!(rows(&lines, "dwd_event").rows, all.parse().ok(), "every event of the day is a visitor's");
    assert_eq!(rows(&lines, "ods_user_action").rows, all.parse().ok(), "copies are left out");
    let copies = of_day(shop, "sum(copies) - count(*)", "dwd_event");
    assert_ne!(copies, "0", "there is something to leave out");
    assert!(said(&lines, "rows", "dwd_event", &format!("copies dropped: {copies}")), "{lines:#?}");
    let duplicates = lines.iter().find(|line| line.part == "excluded" && line.table == "dwd_event");
    assert_eq!(duplicates.and_then(|line| line.rows), copies.parse().ok(), "{lines:#?}");
    assert!(said(&lines, "excluded", "ods_user_action", "rejected on arrival: "), "{lines:#?}");
    assert!(said(&lines, "note", "ods_user_action", &format!("the first 3 of {all} rows")), "{lines:#?}");
    assert_eq!(events(shop, &lines).len(), 3);

    // The lines themselves are opens, as many as the number says.
    let opens = of_day(shop, "opens", "app_open");
    let lines = explained(shop, &["app_open.opens", "--dt", DAY, "--limit", "1000"]);
    assert!(comes_to(rows(&lines, "dws_visitor_day"), "opens", &opens), "{lines:#?}");
    assert!(comes_to(rows(&lines, "dws_visitor_platform_day"), "opens", &opens), "{lines:#?}");
    assert_eq!(rows(&lines, "ods_user_action").rows, opens.parse().ok());
    let raw = events(shop, &lines);
    assert_eq!(raw.len().to_string(), opens);
    let act = |event: &Value| event["act"].as_i64().or_else(|| event["act"].as_str()?.parse().ok());
    assert!(raw.iter().all(|event| act(event) == Some(1)), "{raw:#?}");

    // Copies count where copies are counted.
    let reports = of_day(shop, "max(crash_reports)", "app_crash");
    let platform = of_day(shop, &format!("max(platform) filter (where crash_reports = {reports})"), "app_crash");
    let lines =
        explained(shop, &["app_crash.crash_reports", "--dt", DAY, "--where", &format!("platform = '{platform}'")]);
    assert!(comes_to(rows(&lines, "dwd_event"), "copies", &reports), "{lines:#?}");
}

fn orders_and_money(shop: &Shop) {
    let (gmv, orders) = (of_day(shop, "gmv", "app_gmv"), of_day(shop, "orders", "app_gmv"));
    let lines = explained(shop, &["app_gmv.gmv", "--dt", DAY, "--limit", "1000"]);
    assert!(lines[0].says.starts_with(&format!("gmv = {gmv} ")), "{lines:#?}");
    for table in ["dwd_order", "dwd_order_history", "ods_user_order"] {
        let found = rows(&lines, table);
        assert_eq!(found.says, format!("sum(order_money) = {gmv}"), "{table}");
        assert_eq!(found.rows, orders.parse().ok(), "{table}");
    }
    // The rows that are named, read from their files, add up to it too.
    let (mut cents, mut count) = (0, 0);
    for place in lines.iter().filter(|line| line.part == "line" && line.table == "ods_user_order") {
        let cells = extract_row(shop, &place.says);
        let cell = |name: &str| &cells.iter().find(|(column, _)| column == name).expect("a column").1;
        assert!(place.says.ends_with(&format!("order_id={}", cell("order_id"))), "{} {cells:?}", place.says);
        cents += cell("order_money").replace('.', "").parse::<u64>().expect("money");
        count += 1;
    }
    assert_eq!((cents, count.to_string()), (gmv.replace('.', "").parse().expect("money"), orders));

    let key = of_day(shop, "min(goods_id)", "app_goods_sales");
    let condition = format!("goods_id = {key}");
    let units = of_day(shop, &format!("max(units) filter (where {condition})"), "app_goods_sales");
    let lines = explained(shop, &["app_goods_sales.units", "--dt", DAY, "--where", &condition]);
    assert!(comes_to(rows(&lines, "dws_order_line"), "units", &units), "{lines:#?}");
    assert!(comes_to(rows(&lines, "ods_order_item"), "goods_amount", &units), "{lines:#?}");

    // Groups whose key their rows do not show.
    let lines = explained(shop, &["app_gmv_period.gmv", "--dt", DAY, "--where", "period = 'month'"]);
    let month = asked(shop, &format!("select sum(gmv) from app_gmv where dt between '2026-01-01' and '{DAY}'"));
    assert!(comes_to(rows(&lines, "app_gmv"), "gmv", &month), "{lines:#?}");
    assert!(comes_to(rows(&lines, "ods_user_order"), "order_money", &month), "{lines:#?}");
}

fn ratios_and_percentiles(shop: &Shop) {
    let dau = of_day(shop, "dau", "app_active_visitor");
    let lines = explained(shop, &["app_active_visitor.stickiness", "--dt", DAY]);
    let ratio = "stickiness: ratio(audience.dau, audience.mau)";
    assert!(said(&lines, "formula", "app_active_visitor", ratio), "{lines:#?}");
    assert!(said(&lines, "formula", "app_active_visitor", &format!("audience.dau = {dau}: ")), "{lines:#?}");

    // A percentile: how it comes from the two numbers it lies between, and every event that was ranked.
    let of_page = |column: &str| {
        let sql = format!("select {column} from app_load_time where dt = '{DAY}' order by events desc, page, network");
        asked(shop, &format!("{sql} limit 1"))
    };
    let filter = format!("page = '{}' and network = '{}'", of_page("page"), of_page("network"));
    let lines = explained(shop, &["app_load_time.p50_ms", "--dt", DAY, "--where", &filter]);
    let half = format!("interpolated.loading_ms = {}: ", of_page("p50_ms"));
    assert!(said(&lines, "formula", "app_load_time", &half), "{half} in {lines:#?}");
    assert!(said(&lines, "note", "app_load_time", "looks at all rows of the same page, network"), "{lines:#?}");
    assert_eq!(rows(&lines, "ods_user_action").rows, of_page("events").parse().ok());

    // A share: the whole that it is a share of.
    let filter = format!("pay_type = {}", of_day(shop, "min(pay_type)", "app_payment"));
    let lines = explained(shop, &["app_payment.share", "--dt", DAY, "--where", &filter]);
    assert!(said(&lines, "formula", "app_payment", "share: ratio("), "{lines:#?}");
    assert_eq!(rows(&lines, "dws_payment").rows, of_day(shop, "count(*)", "dws_payment").parse().ok());
}

/// A number that nothing went into says so.
fn nothing(shop: &Shop) {
    let lines = explained(shop, &["app_new_visitor.prev_week", "--dt", DAY]);
    assert_eq!(rows(&lines, "dws_visitor_first").says, "none of its rows took part");
}

/// What a person gets wrong is told.
fn mistakes(shop: &Shop) {
    for (arguments, words) in [
        (&["app_goods_sales.units", "--dt", DAY][..], "several rows of app_goods_sales are meant"),
        (&["app_gmv.gnv", "--dt", DAY], "did you mean `gmv`?"),
        (&["app_gmv.gmv"], "add --dt"),
        (&["app_gmv.gmv", "--dt", "2025-01-01"], "was not built"),
        (&["ods_user_order.order_money", "--dt", DAY], "its rows are as they came"),
    ] {
        let (code, said) = shop.runs(&[&["why", "--quiet"], arguments].concat());
        assert!(code == 2 && said.contains(words), "{arguments:?}: {code}\n{said}");
    }
}

#[test]
fn a_late_version_of_an_order_is_named_with_its_extract_and_row() {
    let shop = Shop::sample(&["--days", "3", "--devices", "10", "--events", "20", "--orders", "5", "--messy", "0"]);
    shop.succeeds(&["run", "--quiet"]);
    let gmv = of_day(&shop, "gmv", "app_gmv");
    let ends = ["", ".gz", ".zst"].map(|end| format!("in/orders/{DAY}/user_order.csv{end}"));
    let inside = ends.iter().find(|inside| fs::exists(shop.path(inside)).unwrap_or(false)).expect("an extract");
    let text = String::from_utf8(unpacked(&shop, inside)).expect("text");
    let header = text.lines().next().expect("a header");
    let place = |name: &str| header.split(',').position(|column| column == name).expect("a column");
    let order = of_day(&shop, "min(order_id)", "dwd_order");
    let row = text.lines().skip(1).find(|row| row.split(',').nth(place("order_id")) == Some(&order));
    let mut cells: Vec<&str> = row.expect("the order").split(',').collect();
    cells[place("order_money")] = "5000.00";
    cells[place("update_time")] = "2026-01-09 20:00:00";
    fs::create_dir_all(shop.path("in/orders/2026-01-09")).expect("a folder");
    let late = format!("{header}\n{}\n", cells.join(","));
    fs::write(shop.path("in/orders/2026-01-09/user_order.csv"), late).expect("written");
    shop.succeeds(&["run", "--quiet"]);

    let late = of_day(&shop, "gmv", "app_gmv");
    assert_ne!(gmv, late);
    let lines = explained(&shop, &["app_gmv.gmv", "--dt", DAY, "--limit", "1000"]);
    assert!(comes_to(rows(&lines, "ods_user_order"), "order_money", &late), "{lines:#?}");
    let named = format!("2026-01-09/user_order.csv row 1, order_id={order}");
    assert!(said(&lines, "line", "ods_user_order", &named), "{lines:#?}");
    // The version that it took the place of.
    assert!(said(&lines, "excluded", "dwd_order", "is_current"), "{lines:#?}");
}
