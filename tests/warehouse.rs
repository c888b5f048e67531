//! The warehouse through its binary: the sample shop, its promises, and the end of every bad input.

mod shop;

use std::fs;
use std::process::Stdio;
use std::time::Duration;

use shop::{Shop, exports, python, sqlite};

#[test]
fn the_sample_shop_equals_a_second_implementation_cell_by_cell() {
    let shop = Shop::sample(&["--days", "9", "--devices", "60", "--events", "160", "--orders", "12", "--messy", "0.1"]);
    shop.succeeds(&["run", "--quiet"]);
    let compared = python(&[
        "tests/oracle/compare.py",
        &shop.path("in/user_action"),
        &shop.path("in/orders"),
        &shop.path("warehouse/metrics.db"),
        "--lake",
        &shop.path("warehouse/lake"),
    ]);
    assert!(compared.status.success(), "{}", String::from_utf8_lossy(&compared.stdout));
    let seen = python(&["tests/oracle/check_lake.py", &shop.path("warehouse/lake")]);
    assert!(seen.status.success(), "another engine opens every table: {}", String::from_utf8_lossy(&seen.stderr));
}

#[test]
fn day_by_day_and_all_at_once_and_any_number_of_threads_give_the_same_tables() {
    let options = ["--days", "4", "--devices", "30", "--events", "60", "--orders", "6", "--messy", "0.1"];
    let at_once = Shop::sample(&options);
    at_once.succeeds(&["run", "--quiet", "--threads", "1"]);
    let expected = exports(&at_once);
    assert!(expected.lines().count() > 100, "there is something to compare");

    let threads = Shop::sample(&options);
    threads.succeeds(&["run", "--quiet", "--threads", "4"]);
    assert_eq!(exports(&threads), expected, "4 threads");

    // The files of a day are there only when the day is over, and each night is a run.
    let nightly = Shop::sample(&options);
    let waiting = nightly.path("waiting");
    fs::rename(nightly.path("in"), &waiting).expect("moves");
    for source in ["user_action", "orders"] {
        fs::create_dir_all(nightly.path(&format!("in/{source}"))).expect("a folder");
    }
    for day in ["2026-01-01", "2026-01-02", "2026-01-03", "2026-01-04"] {
        for source in ["user_action", "orders"] {
            let to = nightly.path(&format!("in/{source}/{day}"));
            fs::rename(format!("{waiting}/{source}/{day}"), to).expect("moves");
        }
        nightly.succeeds(&["run", "--quiet"]);
    }
    assert_eq!(exports(&nightly), expected, "night after night");
    let again = nightly.succeeds(&["run"]);
    assert!(again.contains("nothing new"), "{again}");
    assert_eq!(exports(&nightly), expected, "once more");
}

#[test]
fn a_run_killed_at_any_moment_is_finished_by_the_next() {
    let options = ["--days", "3", "--devices", "20", "--events", "40", "--orders", "5", "--messy", "0.1"];
    let whole = Shop::sample(&options);
    let since = std::time::Instant::now();
    whole.succeeds(&["run", "--quiet"]);
    let took = since.elapsed();
    let expected = exports(&whole);
    let moments = if std::env::var_os("STRATA_TEST_LONG").is_some() { 20 } else { 6 };
    let shop = Shop::sample(&options);
    for moment in 0..moments {
        // Each attempt goes on from where the one before was killed, and is killed a little later into its work.
        let mut child =
            shop.command(&["run", "--quiet"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("starts");
        std::thread::sleep(took.mul_f64(0.05 + 0.9 * f64::from(moment % 5) / 5.0).min(Duration::from_secs(20)));
        child.kill().expect("kills");
        child.wait().expect("ends");
        if moment % 3 == 2 {
            shop.empty_warehouse();
        }
    }
    shop.succeeds(&["run", "--quiet"]);
    assert_eq!(exports(&shop), expected);
}

#[test]
fn a_failing_check_publishes_nothing_and_names_what_was_skipped() {
    let shop = Shop::sample(&["--days", "2", "--devices", "20", "--events", "40", "--orders", "5"]);
    shop.succeeds(&["run", "--quiet"]);
    let before = exports(&shop);
    shop.edit("sql/dws/dws_order_line.sql", "-- grain:", "-- check:  units > 1000000\n-- grain:");
    let (code, said) = shop.runs(&["run"]);
    assert_eq!(code, 1, "{said}");
    for part in ["sql/dws/dws_order_line.sql", "units > 1000000", "a check", "app_gmv", "app_goods_sales", "skipped"] {
        assert!(said.contains(part), "`{part}` in:\n{said}");
    }
    assert_eq!(exports(&shop), before, "the dashboards keep what passed");
}

#[test]
fn rows_that_share_the_grain_are_never_published() {
    let shop = Shop::sample(&["--days", "2", "--devices", "20", "--events", "40", "--orders", "5"]);
    // One with `dt` in its grain, and one without: the two are found in different ways.
    shop.edit("sql/dws/dws_user_day.sql", "from event\n", "from event\ncross join (values (1), (2)) as twice (n)\n");
    shop.edit("sql/dws/dws_user_day.sql", "group by uid", "group by uid, n");
    shop.edit("sql/dwd/dwd_delivery.sql", "from latest\n", "from latest\ncross join (values (1), (2)) as twice (n)\n");
    let (code, said) = shop.runs(&["run"]);
    assert_eq!(code, 1, "{said}");
    for part in ["`grain: dt, user_id is unique`", "`grain: order_id is unique`", "app_conversion skipped"] {
        assert!(said.contains(part), "`{part}` in:\n{said}");
    }
    for table in ["dws_user_day", "dwd_delivery"] {
        let said = shop.succeeds(&["query", &format!("select count(*) as rows from {table}"), "--format", "json"]);
        assert!(said.contains("\"rows\":0"), "{said}");
    }
}

#[test]
fn a_wrong_model_is_told_with_its_file_and_line_before_anything_is_done() {
    let shop = Shop::sample(&["--days", "1", "--devices", "10", "--events", "20", "--orders", "2"]);
    shop.edit("sql/app/app_open.sql", "with ", "wiht ");
    let (code, said) = shop.runs(&["run"]);
    assert_eq!(code, 2, "{said}");
    assert!(said.contains("sql/app/app_open.sql:") && said.contains("wiht"), "{said}");
    shop.edit("sql/app/app_open.sql", "wiht ", "with ");
    shop.edit("sql/app/app_open.sql", "from dws_visitor_day", "from dws_visitor_dya");
    let (code, said) = shop.runs(&["run"]);
    assert_eq!(code, 2, "{said}");
    assert!(said.contains("did you mean `dws_visitor_day`"), "{said}");
}

#[test]
fn a_column_that_no_input_has_fails_its_model_with_the_place_and_nothing_else() {
    let shop = Shop::sample(&["--days", "1", "--devices", "10", "--events", "20", "--orders", "2"]);
    shop.edit("sql/app/app_open.sql", "select opens from", "select opens, openz from");
    let (code, said) = shop.runs(&["run"]);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("sql/app/app_open.sql:") && said.contains("openz"), "{said}");
    let gmv = shop.succeeds(&["query", "select count(*) as days from app_gmv", "--format", "csv"]);
    assert_eq!(gmv.trim(), "days\n1");
}

#[test]
fn every_bad_input_has_its_end() {
    let shop = Shop::sample(&["--days", "1", "--devices", "10", "--events", "20", "--orders", "2"]);

    // A folder that is not there, and one that is empty.
    let missing = shop.path("nowhere");
    let (code, said) = shop.runs(&["run", "--set", &format!("sources.user_action.path={missing}")]);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("nowhere") && said.contains("hint"), "{said}");
    let empty = shop.path("empty");
    fs::create_dir_all(&empty).expect("a folder");
    let (code, said) = shop.runs(&["ingest", "logs", "--set", &format!("sources.user_action.path={empty}")]);
    assert_eq!(code, 0, "{said}");

    // Lines that are no events.
    let mut log = b"this is not JSON\n\xff\xfe\n".to_vec();
    log.extend(vec![b'x'; 2 << 20]);
    log.push(b'\n');
    fs::create_dir_all(shop.path("in/user_action/2026-01-01")).expect("a folder");
    fs::write(shop.path("in/user_action/2026-01-01/bad.log"), log).expect("writes");
    let orders = "order_id,order_date,user_id,order_money,order_type,order_status,pay_id,update_time\n\
                  1,2026-01-01 10:00:00,7,12.50,1,1,5,\n2,yesterday,7,12.50,1,1,5,\n";
    fs::write(shop.path("in/orders/2026-01-01/user_order.csv"), orders).expect("writes");
    let renamed = "pay_id,order_id,trade_number,pay_money,pay_type,pay_time\n1,1,1,1.00,1,2026-01-01 10:00:00\n";
    fs::write(shop.path("in/orders/2026-01-01/payment_flow.csv"), renamed).expect("writes");
    let _ = fs::remove_file(shop.path("in/orders/2026-01-01/payment_flow.csv.gz"));
    let (code, said) = shop.runs(&["ingest"]);
    assert_eq!(code, 1, "a file without a declared column is a failure:\n{said}");
    assert!(said.contains("payment_flow.csv") && said.contains("trade_no"), "file and column:\n{said}");
    let kept = shop.succeeds(&["rejects", "ls", "--format", "csv"]);
    for reason in ["malformed_json", "not_utf8", "too_long", "bad_type"] {
        assert!(kept.contains(reason), "{reason} in:\n{kept}");
    }
    let shown = shop.succeeds(&["rejects", "show", "--reason", "bad_type", "--format", "csv"]);
    assert!(shown.contains("order_date") && shown.contains("user_order.csv"), "{shown}");

    // A key that is not known.
    shop.edit("conf/warehouse.toml", "timezone", "timezoen = \"UTC\"\ntimezone");
    let (code, said) = shop.runs(&["run"]);
    assert_eq!(code, 2, "{said}");
    assert!(said.contains("conf/warehouse.toml:") && said.contains("did you mean `timezone`"), "{said}");
}

#[test]
fn what_reads_an_extract_that_could_not_be_taken_waits_and_the_rest_goes_on() {
    let shop = Shop::sample(&["--days", "2", "--devices", "20", "--events", "40", "--orders", "5"]);
    let extract = shop.path("in/orders/2026-01-02/user_order.csv");
    let whole = fs::read_to_string(&extract).expect("an extract");
    fs::write(&extract, whole.replace("order_money", "order_sum")).expect("writes");
    let (code, said) = shop.runs(&["run"]);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("user_order.csv") && said.contains("order_money") && said.contains("app_gmv"), "{said}");
    let tables =
        "select distinct table_name from information_schema.tables where table_name in ('app_gmv', 'app_open')";
    assert_eq!(shop.succeeds(&["query", tables, "--format", "csv"]).trim(), "table_name\napp_open");
    fs::write(&extract, whole).expect("writes");
    shop.succeeds(&["run", "--quiet"]);
    assert!(shop.succeeds(&["query", "select count(*) as days from app_gmv", "--format", "csv"]).contains('2'));
}

#[test]
fn a_schema_that_changes_with_a_failing_check_changes_nothing_that_is_published() {
    let shop = Shop::sample(&["--days", "2", "--devices", "20", "--events", "40", "--orders", "5"]);
    shop.succeeds(&["run", "--quiet"]);
    let before = exports(&shop);
    shop.edit("sql/app/app_open.sql", "    opens, --", "    cast(opens as decimal(18, 2)) as opened, --");
    shop.edit("sql/app/app_open.sql", "-- check:  opens >= visitors", "-- check:  opened < 0");
    shop.edit("sql/app/app_open.sql", "select sum(opens) as shown", "select sum(opened) as shown");
    let (code, said) = shop.runs(&["run"]);
    assert_eq!(code, 1, "{said}");
    assert_eq!(exports(&shop), before);
    fs::copy(concat!(env!("CARGO_MANIFEST_DIR"), "/sql/app/app_open.sql"), shop.path("sql/app/app_open.sql"))
        .expect("copies");
    shop.succeeds(&["run", "--quiet"]);
    assert_eq!(exports(&shop), before);
}

#[test]
fn days_that_have_not_happened_are_not_built() {
    let shop = Shop::sample(&["--days", "1", "--devices", "10", "--events", "20", "--orders", "2"]);
    let (code, said) = shop.runs(&["build", "--to", "9999-12-31"]);
    assert_eq!(code, 2, "{said}");
    assert!(said.contains("today is"), "{said}");
}

#[test]
fn a_second_run_is_told_who_is_at_work() {
    let shop = Shop::sample(&["--days", "1", "--devices", "10", "--events", "20", "--orders", "2"]);
    shop.succeeds(&["ingest", "--quiet"]);
    let lock =
        fs::File::options().read(true).write(true).open(shop.path("warehouse/lake/_strata.lock")).expect("a lock");
    lock.lock().expect("locks");
    let (code, said) = shop.runs(&["run"]);
    assert_eq!(code, 4, "{said}");
    assert!(said.contains("another run holds the lock"), "{said}");
    let read = shop.succeeds(&["query", "select count(*) > 0 as some from ods_user_action", "--format", "csv"]);
    assert_eq!(read.trim(), "some\ntrue", "readers take no lock");
    lock.unlock().expect("unlocks");
    shop.succeeds(&["run", "--quiet"]);
}

#[test]
fn a_late_event_changes_its_own_day_and_what_looks_back_at_it() {
    let shop = Shop::sample(&["--days", "3", "--devices", "20", "--events", "40", "--orders", "4"]);
    shop.succeeds(&["run", "--quiet"]);
    // 2026-01-02 12:00 in Shanghai, delivered a day later.
    let line = r#"{"act":1,"acttime":1767326400000,"xaid":"late-device","platform":1,"net":1,"ad_status":1}"#;
    fs::write(shop.path("in/user_action/2026-01-03/late.log"), format!("{line}\n")).expect("writes");
    let said = shop.succeeds(&["run"]);
    let built =
        |model: &str| said.lines().find(|line| line.contains(&format!(" {model} "))).unwrap_or_default().to_owned();
    assert!(built("dwd_event").contains("2026-01-02"), "{said}");
    assert!(!built("dwd_event").contains(".."), "one day of it:\n{said}");
    assert!(built("app_gmv").is_empty(), "orders are untouched:\n{said}");
    let opens = "select dt, opens from app_open order by dt";
    let fresh = shop.succeeds(&["query", opens, "--format", "csv"]);
    shop.empty_warehouse();
    shop.succeeds(&["run", "--quiet"]);
    assert_eq!(shop.succeeds(&["query", opens, "--format", "csv"]), fresh, "as if built from nothing");
}

#[test]
fn what_a_column_means_is_beside_the_data_and_follows_its_model() {
    let shop = Shop::sample(&["--days", "1", "--devices", "20", "--events", "40", "--orders", "5"]);
    shop.succeeds(&["run", "--quiet", "+app_open"]);
    let meaning = "select type, comment from strata_column where table_name = 'app_open' and column_name = 'dt'";
    assert_eq!(sqlite(&shop, meaning), "DATE|business day\n");
    let created = sqlite(&shop, "select sql from sqlite_master where name = 'app_open'");
    assert!(created.contains("    -- business day\n    \"dt\" DATE not null,\n"), "{created}");
    let about = "select comment from strata_table where table_name = 'app_open'";
    assert!(sqlite(&shop, about).starts_with("How often the app was opened"));

    let written = sqlite(&shop, "select * from strata_export");
    shop.edit("sql/app/app_open.sql", "-- business day", "-- day in the shop's zone");
    shop.succeeds(&["run", "--quiet", "+app_open"]);
    assert_eq!(sqlite(&shop, meaning), "DATE|day in the shop's zone\n");
    assert_eq!(sqlite(&shop, "select * from strata_export"), written, "no row is written again");
}
