//! `strata verify`: what is published, against what its raw inputs make; a lake that was tampered with is found out.

mod shop;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use shop::Shop;
use strata::date::BizDate;
use strata::lake::{Commit, Lake, encode_parquet, read_batches};

fn small() -> Shop {
    let shop = Shop::sample(&["--days", "3", "--devices", "12", "--events", "40", "--orders", "5", "--messy", "0.2"]);
    shop.succeeds(&["run", "--quiet"]);
    shop
}

/// The files beneath a folder with their sizes.
fn files(folder: &Path) -> BTreeMap<String, u64> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.insert(path.to_string_lossy().into_owned(), path.metadata().expect("a file").len());
        }
    }
    found
}

#[test]
fn a_warehouse_is_as_its_raw_inputs_make_it_whatever_waits_at_the_sources() {
    let shop = small();
    let line = r#"{"act":1,"acttime":1767326400000,"xaid":"late-device","platform":1,"net":1}"#;
    fs::write(shop.path("in/user_action/2026-01-03/waiting.log"), format!("{line}\n")).expect("writes");
    let log = fs::read_dir(shop.path("in/user_action/2026-01-02")).expect("a day").next().expect("a log");
    let log = log.expect("a log").path();
    fs::rename(&log, log.with_file_name("rotated")).expect("renames");
    let before = files(Path::new(&shop.path("warehouse")));
    let said = shop.succeeds(&["verify"]);
    assert!(said.contains(" of 67 models compared, all as their inputs make them"), "{said}");
    assert!(!said.contains("stands in") && !said.contains("not compared"), "{said}");
    assert_eq!(files(Path::new(&shop.path("warehouse"))), before, "nothing is left and nothing was touched");

    let said = shop.succeeds(&["verify", "--sample", "5", "--seed", "7", "--scratch", &shop.path("elsewhere")]);
    assert!(said.contains("5 partitions"), "{said}");
    assert!(files(Path::new(&shop.path("elsewhere"))).is_empty());

    shop.edit("sql/dws/dws_visitor_day.sql", "'unknown') as osver", "'no idea') as osver");
    let said = shop.succeeds(&["verify", "dws_visitor_day", "dwd_event"]);
    assert!(said.contains("partitions due for the next run not compared"), "{said}");
}

#[test]
fn where_a_raw_file_is_gone_or_says_something_else_the_landed_table_stands_in() {
    let shop = small();
    for entry in fs::read_dir(shop.path("in/orders/2026-01-02")).expect("extracts") {
        let path = entry.expect("an extract").path();
        if path.to_string_lossy().contains("user_order") {
            fs::remove_file(path).expect("removes");
        }
    }
    let said = shop.succeeds(&["verify", "dwd_order", "app_open"]);
    assert!(said.contains("ods_user_order stands in for its raw input") && said.contains("there no more"), "{said}");
    assert!(!said.contains("ods_user_action stands in"), "{said}");
}

#[test]
fn rows_that_were_changed_behind_the_back_of_the_warehouse_are_found_and_shown() {
    let shop = small();
    let day: BizDate = "2026-01-02".parse().expect("a day");
    let runtime = tokio::runtime::Runtime::new().expect("threads");
    runtime.block_on(async {
        let lake = Lake::open(&shop.path("warehouse/lake")).expect("a lake");
        let mut table = lake.table("dws_visitor_day").await.expect("a lake").expect("a table");
        let file = table.files().iter().find(|file| file.slot == Some(day)).expect("a file").clone();
        let batches = read_batches(&*lake.store(), &table.object_path(&file.path)).await.expect("rows");
        let less = batches[0].slice(1, batches[0].num_rows() - 1);
        let encoded = encode_parquet(&less.schema(), &[less]).expect("encodes");
        let staged = table.put(Some(day), encoded, "somebody").await.expect("writes");
        let commit = Commit { adds: vec![staged], removes: vec![file], operation: "tamper", ..Commit::default() };
        table.commit(commit).await.expect("commits");
    });
    let (code, said) = shop.runs(&["verify", "dws_visitor_day", "dwd_event"]);
    assert_eq!(code, 1, "{said}");
    for part in
        ["dws_visitor_day 2026-01-02\n  read back ", "; recorded ", "only made again: 2026-01-02, ", "1 differs"]
    {
        assert!(said.contains(part), "`{part}` in:\n{said}");
    }
    assert!(!said.contains("dwd_event 2026"), "{said}");
}

#[test]
fn a_damaged_file_is_found_and_stands_in_nobodys_way() {
    let shop = small();
    let folder = shop.path("warehouse/lake/app/app_open");
    let parquet = files(Path::new(&folder)).into_keys().find(|path| path.ends_with(".parquet")).expect("a file");
    let mut bytes = fs::read(&parquet).expect("a file");
    let middle = bytes.len() / 2;
    bytes[..middle].fill(7);
    fs::write(&parquet, bytes).expect("writes");
    let (code, said) = shop.runs(&["verify", "app_open", "app_active_visitor"]);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("app_open 2026-01-01\n  it cannot be read back") && said.contains("3 differ"), "{said}");
    let (code, said) = shop.runs(&["verify", "app_active_visitor"]);
    assert_eq!(code, 0, "{said}");
}
