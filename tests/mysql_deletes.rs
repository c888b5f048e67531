//! Rows that are deleted at an order database: they leave the lake when that is wanted, and only they; what was there is
//! kept.

mod server;
mod shop;

use std::fs;
use std::path::PathBuf;

use serde_json::Value;
use server::Database;
use shop::{Shop, exports};

const DAYS: [&str; 3] = ["2026-01-01", "2026-01-02", "2026-01-03"];
const OPTIONS: [&str; 8] = ["--days", "3", "--devices", "6", "--events", "12", "--orders", "12"];
const CHANGES: [&str; 4] = ["user_order", "order_item", "order_delivery", "payment_flow"];

/// A database with three days of the simulated shop.
fn mall(name: &str) -> Database {
    let files = Shop::sample(&OPTIONS);
    let database = Database::new(name).with_mall();
    for day in DAYS {
        database.lay(&PathBuf::from(files.path(&format!("in/orders/{day}"))));
    }
    database
}

/// A project that reads the database and looks for deleted rows of the tables that come as changes.
fn watching(database: &Database) -> Shop {
    let shop = heedless(database);
    for table in CHANGES {
        declare(&shop, table, "deletes = true");
    }
    shop
}

/// A project that reads the database.
fn heedless(database: &Database) -> Shop {
    let shop = Shop::sample(&OPTIONS);
    shop.edit("conf/warehouse.toml", "url = \"in/orders\"", &format!("url = \"{}\"", database.url()));
    shop
}

fn declare(shop: &Shop, table: &str, line: &str) {
    let kind = format!("name = \"{table}\"\nkind = \"changes\"\n");
    shop.edit("conf/sources/orders.toml", &kind, &format!("{kind}{line}\n"));
}

fn run(shop: &Shop) -> String {
    shop.succeeds(&["run", "--to", DAYS[2]])
}

/// What a query says, as CSV.
fn asked(shop: &Shop, sql: &str) -> String {
    shop.succeeds(&["query", "--quiet", "--format", "csv", sql])
}

/// The number of a valid order of the second day, with its money.
fn order_of_the_second_day(database: &Database) -> (String, String) {
    let sql = "select order_id, order_money from user_order where date(order_date) = '2026-01-02' and order_status in \
               (1, 2, 3) and pay_id in (select pay_id from payment_flow where date(pay_time) = '2026-01-02') order \
               by order_id limit 1";
    let row = database.root(sql);
    let (order, money) = row.trim().split_once('\t').expect("a valid order");
    (order.to_owned(), money.to_owned())
}

fn delete(database: &Database, order: &str) {
    let each = CHANGES.map(|table| format!("delete from {table} where order_id = {order};"));
    database.root(&each.concat());
}

/// What the newest run's record says.
fn newest_run(shop: &Shop) -> Value {
    let runs = fs::read_dir(shop.path("target/runs")).expect("a folder").flatten().map(|entry| entry.path());
    let newest = runs.filter(|path| path.join("run.json").is_file()).max().expect("a run");
    serde_json::from_slice(&fs::read(newest.join("run.json")).expect("a record")).expect("JSON")
}

/// The partitions that the newest run built of a model, the first and the last.
fn built(record: &Value, model: &str) -> Option<(u64, String, String)> {
    let model = record["models"].as_array()?.iter().find(|m| m["model"] == model)?;
    let text = |key: &str| model[key].as_str().unwrap_or_default().to_owned();
    Some((model["built"].as_u64()?, text("first"), text("last")))
}

#[test]
fn a_deleted_order_leaves_the_sales_of_its_own_day_and_of_no_other() {
    let database = mall("gone_order");
    let shop = watching(&database);
    let first = run(&shop);
    assert!(!first.contains("deleted"), "{first}");
    // Nothing is deleted: nothing is done.
    let idle = run(&shop);
    assert!(idle.contains("nothing new"), "{idle}");
    assert!(!PathBuf::from(shop.path("warehouse/lake/ods/ods_deleted")).exists());

    let gmv = "select dt, gmv, orders from app_gmv order by dt";
    let before = asked(&shop, gmv);
    let (order, money) = order_of_the_second_day(&database);
    let items = database.root(&format!("select count(*) from order_item where order_id = {order}"));
    let versions = asked(&shop, &format!("select count(*) as n from ods_user_order where order_id = {order}"));
    delete(&database, &order);
    let said = run(&shop);
    assert!(said.contains("ods_user_order") && said.contains("; 1 key deleted"), "{said}");
    let after = asked(&shop, gmv);
    let other_days = |text: &str| text.lines().filter(|l| !l.starts_with("2026-01-02")).collect::<Vec<_>>().join("\n");
    assert_eq!(other_days(&after), other_days(&before));
    let of_the_day = |text: &str| -> (f64, u64) {
        let line = text.lines().find(|line| line.starts_with("2026-01-02")).expect("the day");
        let fields: Vec<&str> = line.split(',').collect();
        (fields[1].parse().expect("an amount"), fields[2].parse().expect("a number"))
    };
    let ((gmv_before, orders_before), (gmv_after, orders_after)) = (of_the_day(&before), of_the_day(&after));
    let money: f64 = money.parse().expect("an amount");
    assert_eq!((gmv_before * 100.0 - money * 100.0).round(), (gmv_after * 100.0).round());
    assert_eq!(orders_before - 1, orders_after);

    let record = newest_run(&shop);
    for model in ["dwd_order", "app_gmv"] {
        let day = "2026-01-02".to_owned();
        assert_eq!(built(&record, model), Some((1, day.clone(), day)), "{model}");
    }
    let kept = asked(
        &shop,
        &format!(
            "select table_name, count(*) as keys, min(dt) as dt, sum(versions) as versions from ods_deleted \
             where row like '%\"order_id\":{order},%' group by 1 order by 1"
        ),
    );
    assert!(kept.contains(&format!("ods_order_item,{},2026-01-02,", items.trim())), "{kept}");
    let versions = versions.lines().last().expect("a number");
    assert!(kept.contains(&format!("ods_user_order,1,2026-01-02,{versions}")), "{kept}");
    assert!(kept.contains("ods_payment_flow,1,"), "{kept}");
    let key = asked(&shop, "select key from ods_deleted where table_name = 'ods_user_order'");
    assert_eq!(key, format!("key\n\"{{\"\"order_id\"\":{order}}}\"\n"));

    // A warehouse that never saw the order is the same.
    let unaware = heedless(&database);
    run(&unaware);
    assert_eq!(exports(&shop), exports(&unaware));
    let idle = run(&shop);
    assert!(idle.contains("nothing new"), "{idle}");
}

#[test]
fn a_key_that_comes_back_lands_again_and_may_be_deleted_again() {
    let database = mall("comes_back");
    let shop = watching(&database);
    run(&shop);
    let before = exports(&shop);
    let (order, _) = order_of_the_second_day(&database);
    for table in CHANGES {
        database.root(&format!("create table kept_{table} as select * from {table} where order_id = {order}"));
    }
    for tombstones in 1..=2 {
        delete(&database, &order);
        run(&shop);
        assert_ne!(exports(&shop), before);
        for table in CHANGES {
            database.root(&format!("insert into {table} select * from kept_{table}"));
        }
        // Its times are those of long ago: they are asked for by their days.
        shop.succeeds(&["ingest", "orders", "--quiet", "--from", DAYS[0], "--to", DAYS[2]]);
        run(&shop);
        assert_eq!(exports(&shop), before);
        let sql = format!(
            "select count(*) as n from ods_deleted where key = '{{\"order_id\":{order}}}' \
                           and table_name = 'ods_user_order'"
        );
        assert_eq!(asked(&shop, &sql), format!("n\n{tombstones}\n"));
    }
}

#[test]
fn without_being_asked_for_nothing_leaves() {
    let database = mall("not_asked");
    let shop = heedless(&database);
    run(&shop);
    let before = exports(&shop);
    delete(&database, &order_of_the_second_day(&database).0);
    let said = run(&shop);
    assert!(said.contains("nothing new"), "{said}");
    assert_eq!(exports(&shop), before);
}

#[test]
fn more_than_half_of_a_table_does_not_leave_unless_that_is_allowed() {
    let database = mall("mass");
    let shop = watching(&database);
    run(&shop);
    let rows = "select count(*) as n from ods_payment_flow";
    let before = asked(&shop, rows);
    database.root("delete from payment_flow");
    let (code, said) = shop.runs(&["run", "--to", DAYS[2]]);
    assert_eq!(code, 1, "{said}");
    assert!(
        said.contains("table `payment_flow`: ") && said.contains("are not at the source any more (100 %)"),
        "{said}"
    );
    assert!(said.contains("`deletes_at_most = 1` in [[table]] payment_flow of conf/sources"), "{said}");
    assert_eq!(asked(&shop, rows), before);
    shop.edit(
        "conf/sources/orders.toml",
        "name = \"payment_flow\"\n",
        "name = \"payment_flow\"\ndeletes_at_most = 1.0\n",
    );
    run(&shop);
    assert_eq!(asked(&shop, rows), "n\n0\n");
    let paid = asked(&shop, "select sum(paid_orders) as n from app_gmv");
    assert_eq!(paid, "n\n0\n");
}

#[test]
fn a_run_that_ends_between_tombstones_and_rows_is_finished_without_doubling_them() {
    let database = mall("interrupted");
    let shop = watching(&database);
    run(&shop);
    let (order, _) = order_of_the_second_day(&database);
    let row = database.root(&format!("select count(*) from user_order where order_id = {order}"));
    assert_eq!(row.trim(), "1");
    database.root(&format!("create table kept as select * from user_order where order_id = {order}"));
    database.root(&format!("delete from user_order where order_id = {order}"));
    shop.succeeds(&["ingest", "orders", "--quiet", "--to", DAYS[2]]);
    let tombstones = "select count(*) as n from ods_deleted";
    let rows = format!("select count(*) > 0 as there from ods_user_order where order_id = {order}");
    let undo = || {
        // The last commit to the table never came to be.
        let log = fs::read_dir(shop.path("warehouse/lake/ods/ods_user_order/_delta_log")).expect("a log").flatten();
        let commits = log.map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|e| e == "json"));
        fs::remove_file(commits.max().expect("a commit")).expect("removes");
    };
    undo();
    assert_eq!((asked(&shop, tombstones), asked(&shop, &rows)), ("n\n1\n".to_owned(), "there\ntrue\n".to_owned()));
    shop.succeeds(&["ingest", "orders", "--quiet", "--to", DAYS[2]]);
    assert_eq!((asked(&shop, tombstones), asked(&shop, &rows)), ("n\n1\n".to_owned(), "there\nfalse\n".to_owned()));
    // Interrupted, and there again before the next run: it was never gone.
    undo();
    database.root("insert into user_order select * from kept");
    shop.succeeds(&["ingest", "orders", "--quiet", "--to", DAYS[2]]);
    assert_eq!((asked(&shop, tombstones), asked(&shop, &rows)), ("n\n0\n".to_owned(), "there\ntrue\n".to_owned()));
}

#[test]
fn keys_of_many_ranges_of_files_and_of_rejected_rows_are_told_apart() {
    let database = Database::new("ranges").with_mall();
    let shop = watching(&database);
    // Some rows came from files, which the database does not have all of.
    shop.edit("conf/warehouse.toml", &database.url(), "in/orders");
    shop.succeeds(&["ingest", "orders", "--quiet"]);
    let of_files = "select count(*) as n from ods_payment_flow where file like '%.csv'";
    assert_ne!(asked(&shop, of_files), "n\n0\n");
    shop.edit("conf/warehouse.toml", "url = \"in/orders\"", &format!("url = \"{}\"", database.url()));
    for day in DAYS {
        database.lay(&PathBuf::from(shop.path(&format!("in/orders/{day}"))));
    }
    database.root(
        "insert into payment_flow select seq * 1000003 + 1000000000, seq, seq, 1, 1, '2026-01-02' + interval seq second
         from seq_1_to_70000;
         set sql_mode = 'ALLOW_INVALID_DATES';
         insert into payment_flow values (1000000001, 1, 1, 1, 1, '2026-02-31'), (-5, 1, 1, 1, 1, '2026-02-31')",
    );
    shop.succeeds(&["ingest", "orders", "--to", DAYS[2]]);
    let landed =
        |shop: &Shop| asked(shop, "select count(*) as n, count(distinct pay_id) as keys from ods_payment_flow");
    let all = landed(&shop);
    let again = shop.succeeds(&["ingest", "orders", "--to", DAYS[2]]);
    assert_eq!(landed(&shop), all, "{again}");
    database.root(
        "delete from payment_flow where pay_id in (10 * 1000003 + 1000000000, 40000 * 1000003 + 1000000000,
             70000 * 1000003 + 1000000000);
         insert into payment_flow select seq * 1000003 + 1000000001, seq, seq, 1, 1, now() from seq_30000_to_30100",
    );
    let said = shop.succeeds(&["ingest", "orders", "--to", DAYS[2]]);
    assert!(said.contains("; 3 keys deleted"), "{said}");
    let gone = asked(&shop, "select key from ods_deleted order by key");
    assert_eq!(gone.lines().count(), 4, "{gone}");
    let there = database.root("select count(*) - 2 from payment_flow");
    let keys = asked(&shop, "select count(distinct pay_id) as keys from ods_payment_flow");
    assert_eq!(keys, format!("keys\n{there}"));
    // What only the files had is deleted, too; what both have stays.
    database.root("delete from payment_flow where pay_time < '2026-01-02' limit 1");
    let said = shop.succeeds(&["ingest", "orders", "--to", DAYS[2]]);
    assert!(said.contains("; 1 key deleted"), "{said}");
}

#[test]
fn a_select_in_the_place_of_a_table_says_what_is_there() {
    let database = mall("selected");
    let shop = watching(&database);
    run(&shop);
    let (order, _) = order_of_the_second_day(&database);
    declare(&shop, "order_item", &format!("select = \"select * from order_item where order_id <> {order}\""));
    let said = shop.succeeds(&["ingest", "orders", "--to", DAYS[2]]);
    let items = database.root(&format!("select count(*) from order_item where order_id = {order}"));
    let sql = "select count(*) as n, max(table_name) as left from ods_deleted";
    assert_eq!(asked(&shop, sql), format!("n,left\n{},ods_order_item\n", items.trim()), "{said}");
}
