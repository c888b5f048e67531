//! Reading the order database itself: what lands is what is there, at one moment, no row missing or double.

mod server;
mod shop;

use std::fs;
use std::path::PathBuf;

use server::{CANARY, Database};
use shop::{Shop, exports};

const DAYS: [&str; 3] = ["--days", "10", "--seed"];

/// A project that reads the database, beside the simulated shop's logs.
fn reading(database: &Database, options: &[&str]) -> Shop {
    let shop = Shop::sample(options);
    shop.edit("conf/warehouse.toml", "url = \"in/orders\"", &format!("url = \"{}\"", database.url()));
    shop
}

/// What a query says, as CSV.
fn asked(shop: &Shop, sql: &str) -> String {
    shop.succeeds(&["query", "--quiet", "--format", "csv", sql])
}

fn seen_by_nobody(shop: &Shop, said: &str) {
    assert!(!said.contains(CANARY), "{said}");
    let mut folders = vec![PathBuf::from(shop.path("target")), PathBuf::from(shop.path("warehouse"))];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            if entry.path().is_dir() {
                folders.push(entry.path());
            } else {
                let bytes = fs::read(entry.path()).expect("a file");
                let found = bytes.windows(CANARY.len()).any(|window| window == CANARY.as_bytes());
                assert!(!found, "{}", entry.path().display());
            }
        }
    }
}

#[test]
fn ten_days_read_from_the_database_equal_the_same_days_read_from_extracts() {
    let options = [DAYS[0], DAYS[1], "--devices", "12", "--events", "24", "--orders", "8"];
    let files = Shop::sample(&options);
    let database = Database::new("ten_days").with_mall();
    let live = reading(&database, &options);
    let mut said = String::new();
    for day in 1..=10 {
        let day = format!("2026-01-{day:02}");
        database.lay(&PathBuf::from(files.path(&format!("in/orders/{day}"))));
        said.push_str(&live.succeeds(&["ingest", "orders", "--to", &day]));
    }
    said.push_str(&live.succeeds(&["run", "--to", "2026-01-10"]));
    files.succeeds(&["run", "--quiet", "--to", "2026-01-10"]);
    assert_eq!(exports(&live), exports(&files));
    for (table, columns) in [
        ("user", "user_id, user_name, user_gender, user_birthday, e_mail, mobile, register_time, is_blacklist"),
        ("user_addr", "addr_id, user_id, addr_name, order_flag, user_name, mobile"),
        ("goods_info", "goods_id, goods_no, goods_name, curr_price, third_category_id, goods_desc, create_time"),
        ("user_order", "order_id, order_date, user_id, order_money, order_type, order_status, pay_id, update_time"),
        ("order_item", "order_id, goods_id, goods_amount, curr_price, create_time"),
        ("order_delivery", "order_id, addr_id, user_id, carriage_money, create_time"),
        ("payment_flow", "pay_id, order_id, trade_no, pay_money, pay_type, pay_time"),
    ] {
        let sql = format!("select dt, arrival_dt, {columns} from ods_{table} order by 1, 2, 3, 4, 5, 6");
        assert_eq!(asked(&live, &sql), asked(&files, &sql), "{table}");
    }
    let again = live.succeeds(&["run", "--to", "2026-01-10"]);
    assert!(again.contains("nothing new"), "{again}");
    seen_by_nobody(&live, &said);
}
