//! Maintenance: folders become small, and nothing that anybody reads changes.

mod shop;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use shop::{Shop, exports, python};

/// A shop whose days came one by one, so that its tables have many small files.
fn nightly() -> Shop {
    let shop = Shop::sample(&["--days", "4", "--devices", "30", "--events", "60", "--orders", "6", "--messy", "0.1"]);
    let waiting = shop.path("waiting");
    fs::rename(shop.path("in"), &waiting).expect("moves");
    for source in ["user_action", "orders"] {
        fs::create_dir_all(shop.path(&format!("in/{source}"))).expect("a folder");
    }
    for day in ["2026-01-01", "2026-01-02", "2026-01-03", "2026-01-04"] {
        for source in ["user_action", "orders"] {
            let to = shop.path(&format!("in/{source}/{day}"));
            fs::rename(format!("{waiting}/{source}/{day}"), to).expect("moves");
        }
        shop.succeeds(&["run", "--quiet"]);
    }
    shop
}

/// The rows of some tables of every layer.
fn rows(shop: &Shop) -> String {
    let mut text = exports(shop);
    for (table, order) in [
        ("ods_user_action", "file, byte_offset, element"),
        ("ods_reject", "dt, file, byte_offset, row_number, element"),
        ("ods_user_order", "file, row_number"),
        ("dwd_event", "dt, file, byte_offset, element"),
        ("dws_visitor_day", "dt, visitor_id"),
    ] {
        let sql = format!("select * from {table} order by {order}");
        text.push_str(&shop.succeeds(&["query", &sql, "--format", "csv"]));
    }
    text
}

/// All data files beneath a folder.
fn data_files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() && !path.ends_with("_delta_log") {
            found.extend(data_files(&path));
        } else if path.extension().is_some_and(|e| e == "parquet") {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn age(path: &Path, hours: u64) {
    let file = fs::File::options().append(true).open(path).expect("opens");
    file.set_modified(SystemTime::now() - Duration::from_secs(hours * 3600)).expect("sets");
}

/// How many rows another engine reads of a version of a table.
fn rows_of_version(shop: &Shop, table: &str, version: u64) -> Result<String, String> {
    // It leaves without taking its threads down one by one, of which one sometimes aborts it.
    let script = "import os, sys; from deltalake import DeltaTable; \
                  print(DeltaTable(sys.argv[1], version=int(sys.argv[2])).to_pyarrow_table().num_rows, flush=True); \
                  os._exit(0)";
    let folder = shop.path(&format!("warehouse/lake/{table}"));
    let done = python(&["-c", script, &folder, &version.to_string()]);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if done.status.success() { Ok(text(&done.stdout)) } else { Err(text(&done.stderr)) }
}

#[test]
fn small_files_become_one_garbage_goes_and_every_number_stays() {
    let shop = nightly();
    let lake = PathBuf::from(shop.path("warehouse/lake"));
    let events = lake.join("ods/ods_user_action");
    let before = rows(&shop);
    let old_files = data_files(&events);
    let old_rows = rows_of_version(&shop, "ods/ods_user_action", 2).expect("another engine reads version 2");

    // What a run that died left behind: long ago, and just now.
    let (old, new) = (events.join("dt=2026-01-01/r0-old.parquet"), events.join("dt=2026-01-01/r0-new.parquet"));
    for leftover in [&old, &new] {
        fs::copy(&old_files[0], leftover).expect("copies");
    }
    age(&old, 48);

    let said = shop.succeeds(&["maintain", "--dry-run"]);
    assert!(said.contains("ods_user_action") && said.contains("nothing was changed"), "{said}");
    assert_eq!(data_files(&events).len(), old_files.len() + 2, "a dry run changes nothing");

    let said = shop.succeeds(&["maintain"]);
    assert!(said.contains("ods_user_action") && said.contains("done"), "{said}");
    assert!(!old.exists() && new.exists(), "the grace period decides");
    assert!(old_files.iter().all(|file| file.exists()), "earlier versions are within the retention");
    assert_eq!(rows(&shop), before);
    assert!(shop.succeeds(&["run"]).contains("nothing new"), "nothing is stale, nothing is taken twice");
    assert_eq!(rows_of_version(&shop, "ods/ods_user_action", 2), Ok(old_rows), "an earlier version still reads");
    let again = shop.succeeds(&["maintain"]);
    assert!(again.contains("nothing to do"), "{again}");

    // Without any retention only the newest version is left.
    fs::remove_file(&new).expect("removes");
    shop.succeeds(&["maintain", "--keep", "0s"]);
    assert!(old_files.iter().all(|file| file.exists()), "an open reader may need them");
    shop.succeeds(&["maintain", "--keep", "0s", "--grace", "0s"]);
    let left = data_files(&events);
    assert!(left.len() < old_files.len() && left.len() <= 6, "{left:#?}");
    assert!(rows_of_version(&shop, "ods/ods_user_action", 2).is_err(), "it was let go");
    assert_eq!(rows(&shop), before);
    let seen = python(&["tests/oracle/check_lake.py", &shop.path("warehouse/lake")]);
    assert!(seen.status.success(), "another engine opens every table: {}", String::from_utf8_lossy(&seen.stderr));

    // The warehouse goes on.
    let line = r#"{"act":1,"acttime":1767326400000,"xaid":"late-device","platform":1,"net":1,"ad_status":1}"#;
    fs::write(shop.path("in/user_action/2026-01-03/late.log"), format!("{line}\n")).expect("writes");
    shop.succeeds(&["run", "--quiet"]);
    let maintained = rows(&shop);
    shop.empty_warehouse();
    shop.succeeds(&["run", "--quiet"]);
    assert_eq!(rows(&shop), maintained, "as if built from nothing");
}

#[test]
fn nobody_maintains_while_a_run_is_at_work() {
    let shop = Shop::sample(&["--days", "1", "--devices", "10", "--events", "20", "--orders", "2"]);
    shop.succeeds(&["ingest", "--quiet"]);
    let lock =
        fs::File::options().read(true).write(true).open(shop.path("warehouse/lake/_strata.lock")).expect("a lock");
    lock.lock().expect("locks");
    let (code, said) = shop.runs(&["maintain"]);
    assert_eq!(code, 4, "{said}");
    shop.succeeds(&["maintain", "--dry-run"]);
}
