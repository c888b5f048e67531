//! Reading the order database itself: what lands is what is there, at one moment, no row missing or double.

mod drift;
#[path = "../server/proxy.rs"]
mod proxy;
#[path = "../server/mod.rs"]
mod server;
#[path = "../shop/mod.rs"]
mod shop;
mod trouble;

use std::fs;
use std::path::PathBuf;

use proxy::{At, Cut, Proxy};
use server::{CANARY, Database, leaks};
use shop::{Shop, exports};

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
    assert!(!leaks(said), "{said}");
    let mut folders = vec![PathBuf::from(shop.path("target")), PathBuf::from(shop.path("warehouse"))];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            if entry.path().is_dir() {
                folders.push(entry.path());
            } else {
                let bytes = fs::read(entry.path()).expect("a file");
                assert!(!leaks(&bytes), "{}", entry.path().display());
            }
        }
    }
}

#[test]
fn ten_days_read_from_the_database_equal_the_same_days_read_from_extracts() {
    let options = ["--days", "10", "--devices", "6", "--events", "12", "--orders", "8"];
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

/// A small shop of a day on the server, and a project that reads it.
fn small(name: &str) -> (Database, Shop) {
    let options = ["--days", "1", "--devices", "4", "--events", "8", "--orders", "6"];
    let database = Database::new(name).with_mall();
    let shop = reading(&database, &options);
    database.root(&format!("grant binlog monitor on *.* to '{}'@'%'", database.name));
    database.lay(&PathBuf::from(shop.path("in/orders/2026-01-01")));
    (database, shop)
}

/// The sum of a column over the latest versions that landed.
fn latest_sum(table: &str, key: &str, money: &str, changed: &str) -> String {
    format!(
        "(select sum({money}) as total from (select {money}, row_number() over (partition by {key} order by {changed} desc, \
         arrival_dt desc, file desc, row_number desc) as n from ods_{table}) where n = 1)"
    )
}

#[test]
fn transfers_between_two_tables_never_show_half_done() {
    let (database, shop) = small("transfers");
    database.root(
        "delete from user_order; delete from payment_flow;
         insert into user_order select seq, '2026-01-01 10:00:00', 1, 100, 0, 1, seq, '2026-01-01 10:00:00' from seq_1_to_50;
         insert into payment_flow select seq, seq, seq, 100, 1, '2026-01-01 10:00:00' from seq_1_to_50",
    );
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let writers: Vec<_> = (0..3_u64)
        .map(|seed| {
            let (url, stop) = (database.strict_url(), std::sync::Arc::clone(&stop));
            std::thread::spawn(move || transfer(&url, seed, &stop))
        })
        .collect();
    let rounds = if std::env::var_os("STRATA_TEST_LONG").is_some() { 100 } else { 10 };
    let orders = latest_sum("user_order", "order_id", "order_money", "update_time");
    let payments = latest_sum("payment_flow", "pay_id", "pay_money", "pay_time");
    let sql = format!("select o.total + p.total as total from {orders} o cross join {payments} p");
    for round in 0..rounds {
        shop.succeeds(&["ingest", "orders", "--quiet"]);
        assert_eq!(asked(&shop, &sql), "total\n10000.00\n", "round {round}");
    }
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    let transfers: u64 = writers.into_iter().map(|writer| writer.join().expect("ends")).sum();
    assert!(transfers > rounds * 5, "{transfers} transfers went on meanwhile");
}

/// Moves money between orders and payments, each move one transaction; how many there were.
fn transfer(url: &str, seed: u64, stop: &std::sync::atomic::AtomicBool) -> u64 {
    use mysql_async::prelude::Queryable;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let mut session = mysql_async::Conn::from_url(format!("{url}?prefer_socket=false")).await.expect("logs in");
        let (mut done, mut state) = (0, seed + 1);
        while !stop.load(std::sync::atomic::Ordering::Relaxed) {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let (from, to, amount) = ((state >> 33) % 50 + 1, (state >> 41) % 50 + 1, (state >> 50) % 20);
            // Always the orders first, so that no two wait for one another.
            for sql in [
                "start transaction".to_owned(),
                format!("update user_order set order_money = order_money - {amount}, update_time = now() where order_id = {from}"),
                format!("update payment_flow set pay_money = pay_money + {amount}, pay_time = now() where pay_id = {to}"),
            ] {
                session.query_drop(sql).await.expect("is done");
            }
            session.query_drop("commit").await.expect("is done");
            done += 1;
        }
        done
    })
}

#[test]
fn rows_committed_later_than_they_are_stamped_are_neither_missed_nor_doubled() {
    let (database, shop) = small("late");
    database.root("delete from payment_flow");
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let writers: Vec<_> = (0..4_u64)
        .map(|writer| {
            let (url, stop) = (database.strict_url(), std::sync::Arc::clone(&stop));
            std::thread::spawn(move || commit_late(&url, writer, &stop))
        })
        .collect();
    for _ in 0..6 {
        shop.succeeds(&["ingest", "orders", "--quiet"]);
    }
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    let written: u64 = writers.into_iter().map(|writer| writer.join().expect("ends")).sum();
    let said = shop.succeeds(&["ingest", "orders"]);
    assert!(said.contains("unchanged"), "the overlap was read again:\n{said}");
    let landed = asked(&shop, "select count(*) as rows, count(distinct pay_id) as keys from ods_payment_flow");
    assert_eq!(landed, format!("rows,keys\n{written},{written}\n"));
    assert!(written > 20, "{written} rows were written meanwhile");
    let again = shop.succeeds(&["ingest", "orders"]);
    assert!(again.contains("nothing new"), "{again}");
}

/// Inserts payments stamped up to a minute ago, and commits each a while after.
fn commit_late(url: &str, writer: u64, stop: &std::sync::atomic::AtomicBool) -> u64 {
    use mysql_async::prelude::Queryable;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let mut session = mysql_async::Conn::from_url(format!("{url}?prefer_socket=false")).await.expect("logs in");
        session.query_drop("set time_zone = '+08:00'").await.expect("is done");
        let mut done = 0;
        while !stop.load(std::sync::atomic::Ordering::Relaxed) {
            let (id, age, wait) = (writer * 1_000_000 + done, done * 7 % 61, done * 13 % 60);
            session.query_drop("start transaction").await.expect("is done");
            let row = format!("insert into payment_flow values ({id}, 1, 1, 1.00, 1, now() - interval {age} second)");
            session.query_drop(row).await.expect("is done");
            tokio::time::sleep(std::time::Duration::from_millis(wait)).await;
            session.query_drop("commit").await.expect("is done");
            done += 1;
        }
        done
    })
}

#[test]
fn every_type_lands_exactly_as_a_column_taken_up() {
    let (database, shop) = small("types");
    let columns = [
        ("c_tiny", "tinyint(1)", "-128", "-128"),
        ("c_utiny", "tinyint unsigned", "255", "255"),
        ("c_uint", "int unsigned", "4294967295", "4294967295"),
        ("c_big", "bigint", "-9223372036854775808", "-9223372036854775808"),
        ("c_ubig", "bigint unsigned", "18446744073709551615", "18446744073709551615"),
        (
            "c_dec",
            "decimal(38,10)",
            "-1234567890123456789012345678.0123456789",
            "-1234567890123456789012345678.0123456789",
        ),
        ("c_wide", "decimal(65,30)", "1.000000000000000000000000000001", "1.000000000000000000000000000001"),
        ("c_bit1", "bit(1)", "b'1'", "true"),
        ("c_bit33", "bit(33)", "b'100000000000000000000000000000001'", "4294967297"),
        ("c_bit64", "bit(64)", "18446744073709551615", "18446744073709551615"),
        ("c_year", "year", "2155", "2155"),
        ("c_enum", "enum('a','b,c','ü')", "'b,c'", "\"b,c\""),
        ("c_set", "set('x','y')", "'y,x'", "\"x,y\""),
        ("c_json", "json", "'{\"k\": [1, 2]}'", "\"{\"\"k\"\": [1, 2]}\""),
        ("c_time", "time(6)", "'-838:59:59'", "-838:59:59"),
        ("c_date", "date", "'9999-12-31'", "9999-12-31"),
        ("c_dt6", "datetime(6)", "'1969-12-31 23:59:59.999999'", "1969-12-31 23:59:59.999999"),
        // An instant, written at UTC: on the business clock it is eight hours later.
        ("c_ts", "timestamp(3) null", "'2026-01-01 00:00:00.125'", "2026-01-01 08:00:00.125"),
        ("c_float", "float", "0.1", "0.1"),
        ("c_double", "double", "0.1", "0.1"),
        ("c_text", "mediumtext", "'𝄞 漢字 😀'", "𝄞 漢字 😀"),
        ("c_bin", "varbinary(8)", "x'00ff80'", "00ff80"),
        ("c_null", "int", "null", ""),
    ];
    let defined: Vec<String> = columns.iter().map(|(name, kind, ..)| format!("add column {name} {kind}")).collect();
    database.root(&format!("alter table goods_info {}", defined.join(", ")));
    let set: Vec<String> = columns.iter().map(|(name, _, value, _)| format!("{name} = {value}")).collect();
    database.root(&format!("set time_zone = '+00:00'; update goods_info set {}", set.join(", ")));
    let said = shop.succeeds(&["ingest", "orders", "--to", "2026-01-01"]);
    assert!(said.contains("column `c_ubig` is not declared; it is taken up as decimal(20,0), unmasked"), "{said}");
    let names: Vec<&str> = columns.iter().map(|(name, ..)| *name).collect();
    let expected: Vec<&str> = columns.iter().map(|(.., landed)| *landed).collect();
    let landed = asked(&shop, &format!("select distinct {} from ods_goods_info", names.join(", ")));
    assert_eq!(landed, format!("{}\n{}\n", names.join(","), expected.join(",")));
    // Nothing changed: nothing is said or done again. A file extract beside does not take the columns away.
    let again = shop.succeeds(&["ingest", "orders", "--to", "2026-01-01"]);
    assert!(again.contains("nothing new") && !again.contains("taken up"), "{again}");
    shop.edit("conf/warehouse.toml", &database.url(), "in/orders");
    shop.succeeds(&["ingest", "orders"]);
    assert_eq!(asked(&shop, "select count(distinct c_ubig) as n from ods_goods_info"), "n\n1\n");
}

#[test]
fn zero_dates_become_null_counted_by_column_and_impossible_ones_are_rejected() {
    let (database, shop) = small("zero_dates");
    database.root(
        "set sql_mode = 'ALLOW_INVALID_DATES';
         update user_order set update_time = '0000-00-00 00:00:00' limit 2;
         update order_item set create_time = 0 limit 1;
         update payment_flow set pay_time = '2026-02-31 00:00:00' limit 1;
         alter table category_code engine = MyISAM",
    );
    let said = shop.succeeds(&["ingest", "orders"]);
    assert!(said.contains("category_code: is kept by MyISAM, which knows no snapshots"), "{said}");
    assert!(!said.contains("user_order: is kept by"), "{said}");
    assert!(said.contains("order_item.create_time: 1 zero date (0000-00-00) became NULL"), "{said}");
    assert!(said.contains("ingest orders: 9 tables: ") && !said.contains(" file"), "{said}");
    assert!(said.contains("user_order.update_time: 2 zero dates (0000-00-00) became NULL"), "{said}");
    assert!(
        said.contains("payment_flow: 1 of") && said.contains("column `pay_time`: not a day of the calendar"),
        "{said}"
    );
    let rejected = asked(&shop, "select table_name, reason, row_number from ods_reject");
    assert!(rejected.contains("ods_payment_flow,bad_type,"), "{rejected}");
    // The same bad row once more is nothing new.
    shop.succeeds(&["ingest", "orders"]);
    assert_eq!(asked(&shop, "select table_name, reason, row_number from ods_reject"), rejected);
    // Nor is it beside rows that are new.
    database.root("insert into payment_flow values (8001, 1, 1, 1, 1, now())");
    let more = shop.succeeds(&["ingest", "orders"]);
    assert!(more.contains("1 row landed"), "{more}");
    assert_eq!(asked(&shop, "select table_name, reason, row_number from ods_reject"), rejected);
    // A row without a real change time is read each time, since nothing tells when it changed.
    database.root("set sql_mode = ''; update user_order set order_money = 4711 where update_time = 0");
    shop.succeeds(&["ingest", "orders"]);
    assert_eq!(asked(&shop, "select count(*) as n from ods_user_order where order_money = 4711"), "n\n2\n");
}

#[test]
fn rejects_of_a_snapshot_are_there_once_when_a_run_ended_before_its_rows_were_committed() {
    let (database, shop) = small("rejects_once");
    database.root("set sql_mode = 'ALLOW_INVALID_DATES'; update goods_info set create_time = '2026-02-31' limit 3");
    let rejects = "select table_name, reason, count(*) as n from ods_reject group by 1, 2";
    let taken = ["ingest", "orders", "--quiet", "--to", "2026-01-01"];
    shop.succeeds(&taken);
    assert_eq!(asked(&shop, rejects), "table_name,reason,n\nods_goods_info,bad_type,3\n");
    // Rejects are committed first: what a run leaves that is killed right after.
    fs::remove_dir_all(shop.path("warehouse/lake/ods/ods_goods_info")).expect("the table goes");
    shop.succeeds(&taken);
    assert_eq!(asked(&shop, rejects), "table_name,reason,n\nods_goods_info,bad_type,3\n");
    let again = shop.succeeds(&["ingest", "orders", "--to", "2026-01-01"]);
    assert!(!again.contains("has changed since"), "{again}");
}

#[test]
fn an_order_that_moves_to_another_day_and_back_is_found_where_it_is() {
    let (database, shop) = small("moves");
    database.root("insert into user_order values (9001, '2026-01-01 10:00:00', 1, 5, 0, 1, 1, '2026-01-05 00:00:00')");
    let latest = "select max(dt) as dt from (select dt, row_number() over (order by arrival_dt desc, file desc, \
                  row_number desc) as n from ods_user_order where order_id = 9001) where n = 1";
    for day in ["2026-01-01", "2026-01-02", "2026-01-01", "2026-01-01"] {
        database.root(&format!("update user_order set order_date = '{day} 10:00:00' where order_id = 9001"));
        shop.succeeds(&["ingest", "orders", "--quiet"]);
        assert_eq!(asked(&shop, latest), format!("dt\n{day}\n"));
    }
    let landed = asked(&shop, "select count(*) as n from ods_user_order where order_id = 9001");
    assert_eq!(landed, "n\n3\n", "what did not change did not land again");
}

#[test]
fn refusals_of_the_server_are_told_with_what_to_do() {
    let (database, shop) = small("refusals");
    database.root(
        "revoke all on t_refusals.* from 't_refusals'@'%';
         grant select on t_refusals.user_order to 't_refusals'@'%'",
    );
    let (code, said) = shop.runs(&["ingest", "orders"]);
    assert_eq!(code, 1, "{said}");
    let grants: Vec<&str> = said.split(" hint: ").skip(1).filter_map(|hint| hint.lines().next()).collect();
    assert!(grants.contains(&"GRANT SELECT ON `t_refusals`.`order_item` TO 't_refusals'@'%';"), "{said}");
    database.root(&grants.concat());
    shop.succeeds(&["ingest", "orders", "--quiet", "--to", "2026-01-01"]);
    assert!(asked(&shop, "select count(*) > 0 as landed from ods_user_order").contains("true"));
    let (_, hidden) = shop.runs(&[
        "ingest",
        "orders",
        "--set",
        &format!("sources.orders.url={}", database.url_of(&format!("t_refusals:{CANARY}x"), "127.0.0.1")),
    ]);
    assert!(hidden.contains("wrong user or password"), "{hidden}");
    let closed = format!("sources.orders.url=mysql://u:{CANARY}@127.0.0.1:1/x");
    // Doctor and plan do not fail of it.
    shop.succeeds(&["plan", "--set", &closed]);
    let (_, examined) = shop.runs(&["doctor", "--set", &closed]);
    seen_by_nobody(&shop, &format!("{said}{hidden}{examined}"));
}

#[test]
fn a_range_is_read_again_and_a_select_stands_for_its_table() {
    let (database, shop) = small("range");
    shop.succeeds(&["ingest", "orders", "--quiet"]);
    // A row that was changed behind the change time's back, long before the watermark.
    database.root(
        "insert into payment_flow values (1, 1, 1, 1, 1, now());
         update payment_flow set pay_type = 77 where pay_time < '2026-01-02'",
    );
    let changed = "select count(*) as n from ods_payment_flow where pay_type = 77";
    shop.succeeds(&["ingest", "orders", "--quiet"]);
    shop.succeeds(&["ingest", "orders", "--quiet"]);
    let missed = asked(&shop, changed);
    shop.succeeds(&["ingest", "orders", "--quiet", "--from", "2026-01-01", "--to", "2026-01-02"]);
    let found = asked(&shop, changed);
    let all = database.root("select count(*) from payment_flow where pay_type = 77");
    assert_eq!(found, format!("n\n{all}"), "and before {missed}");
    shop.edit(
        "conf/sources/orders.toml",
        "name = \"category_code\"\n",
        "name = \"category_code\"\nselect = \"\"\"select c.*, 7 as seven from category_code c where third_category_id < 10200 -- small\"\"\"\n",
    );
    shop.succeeds(&["ingest", "orders", "--quiet", "--to", "today"]);
    let seen = "select max(third_category_id) < 10200 as small, max(seven) as seven from ods_category_code \
                where dt = (select max(dt) from ods_category_code)";
    assert_eq!(asked(&shop, seen), "small,seven\ntrue,7\n");
}

#[test]
fn a_large_table_is_read_in_parts_that_are_numbered_in_the_order_of_the_key() {
    let (database, shop) = small("parts");
    database.root(
        "delete from order_item;
         insert into order_item select seq div 2 + 7, seq, 1, seq / 100, '2026-01-01' + interval seq div 1000 hour
         from seq_1_to_450000; analyze table order_item",
    );
    let sql = "select count(*) as n, count(distinct row_number) as numbers, max(row_number) as last, sum(curr_price) as money, \
               count(*) filter (where goods_id <> row_number) as out_of_order from ods_order_item";
    // Two that read, one that reads while another counts, one alone, and one of rows that do not come in order.
    for (threads, connections, before) in [("4", 2, ""), ("2", 2, ""), ("2", 1, ""), ("2", 2, "drop primary key")] {
        if !before.is_empty() {
            database.root(&format!("alter table order_item {before}"));
        }
        let set = format!("sources.orders.connections={connections}");
        let said = shop.succeeds(&["ingest", "orders", "--to", "2026-01-01", "--threads", threads, "--set", &set]);
        assert!(said.contains(&format!("over {connections} connection")) && said.contains("450,000"), "{said}");
        assert_eq!(asked(&shop, sql), "n,numbers,last,money,out_of_order\n450000,450000,450000,1012502250.00,0\n");
        fs::remove_dir_all(shop.path("warehouse")).expect("the lake goes");
    }
}

#[test]
fn a_key_that_is_not_unique_fails_its_table() {
    let (_database, shop) = small("not_unique");
    let doubled =
        "name = \"payment_flow\"\nselect = \"select p.* from payment_flow p join (select 1 union all select 2) x\"\n";
    shop.edit("conf/sources/orders.toml", "name = \"payment_flow\"\n", doubled);
    let (code, said) = shop.runs(&["ingest", "orders", "--to", "2026-01-01"]);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("table `payment_flow`: key `pay_id` is not unique: row 2, pay_id `"), "{said}");
    assert!(said.contains("nothing of it landed\n") && said.contains("does the key lack a column"), "{said}");
    assert_eq!(asked(&shop, "select count(*) as n from ods_payment_flow"), "n\n0\n");
}

#[test]
fn a_snapshot_of_which_no_row_can_land_does_not_take_the_place_of_a_good_one() {
    let (database, shop) = small("all_bad");
    let taken = ["ingest", "orders", "--quiet", "--to", "2026-01-01"];
    shop.succeeds(&taken);
    let rows = "select count(*) > 0 as good, count(distinct file) as files from ods_goods_info";
    assert_eq!(asked(&shop, rows), "good,files\ntrue,1\n");
    database.root("set sql_mode = 'ALLOW_INVALID_DATES'; update goods_info set create_time = '2026-02-31'");
    let (code, said) = shop.runs(&taken);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("table `goods_info`: none of its") && said.contains("not a day of the calendar"), "{said}");
    assert!(said.contains("an empty snapshot is an error, not an empty world; nothing of it landed"), "{said}");
    assert_eq!(asked(&shop, rows), "good,files\ntrue,1\n");
    assert_eq!(asked(&shop, "select count(*) as n from ods_reject"), "n\n0\n");
}

#[test]
fn columns_whose_names_differ_by_case_only_are_one() {
    let (database, shop) = small("case");
    let taken = ["ingest", "orders", "--to", "2026-01-01"];
    database.root(
        "alter table payment_flow add column Note varchar(9) default 'a', add column File varchar(9) default 'b'",
    );
    let said = shop.succeeds(&taken);
    assert!(said.contains("payment_flow: column `File` has a name that a table of the lake cannot have"), "{said}");
    database.root(
        "alter table payment_flow rename column Note to note;
         insert into payment_flow (pay_id, pay_time, note) values (8001, now(), 'c')",
    );
    let said = shop.succeeds(&taken);
    assert!(!said.contains("is taken up"), "{said}");
    let sql = "select \"Note\" as note, count(distinct \"file\") as files from ods_payment_flow group by 1 order by 1";
    assert_eq!(asked(&shop, sql), "note,files\na,1\nc,1\n");
}

#[test]
fn a_watermark_is_that_of_its_database_and_question() {
    let (database, shop) = small("watermark");
    let taken = ["ingest", "orders", "--to", "2026-01-01"];
    shop.succeeds(&taken);
    // Another port, another user and another spelling of the host lead to the same database.
    let proxy = Proxy::new(database.port(), At::Never, Cut::Before, || {});
    let by_proxy = format!("sources.orders.url={}", database.url_by(proxy.port).replace("127.0.0.1", "localhost"));
    let said = shop.succeeds(&[&taken[..], &["--set", &by_proxy]].concat());
    assert!(!said.contains("everything is read"), "{said}");
    // Another database has rows of long ago that this one did not have.
    let other = Database::new("watermark_other").with_mall();
    other.lay(&PathBuf::from(shop.path("in/orders/2026-01-01")));
    other.root("insert into payment_flow values (9001, 1, 1, 7, 1, '2020-01-01')");
    let elsewhere = format!("sources.orders.url={}", other.url());
    let elsewhere = [&taken[..], &["--set", &elsewhere]].concat();
    let said = shop.succeeds(&elsewhere);
    assert!(said.contains("ods_payment_flow: the database is another than at the last extraction"), "{said}");
    let old = "select count(*) as n from ods_payment_flow where pay_id in (9001, 9002)";
    assert_eq!(asked(&shop, old), "n\n1\n");
    let said = shop.succeeds(&elsewhere);
    assert!(!said.contains("everything is read"), "{said}");
    // Another question may have a row that the one before left out, also when nothing else changed.
    other.root("insert into payment_flow values (9002, 1, 1, 7, 1, '2020-01-01')");
    shop.edit("conf/sources/orders.toml", "changed = \"pay_time\"", "changed = \"pay_time + interval 0 second\"");
    let said = shop.succeeds(&elsewhere);
    assert!(said.contains("ods_payment_flow: `changed` is another than at the last extraction"), "{said}");
    assert!(!said.contains("ods_user_order: `changed`"), "{said}");
    assert_eq!(asked(&shop, old), "n\n2\n");
}

#[test]
fn a_server_without_tables_of_zones_is_warned_of_where_clocks_turn() {
    let (_database, shop) = small("zones");
    let taken = ["ingest", "orders", "--to", "2026-01-01", "--set"];
    for (zone, is_odd) in [("Asia/Shanghai", false), ("Europe/Berlin", true)] {
        let zone = format!("timezone={zone}");
        let said = shop.succeeds(&[&taken[..], &[&zone]].concat());
        assert_eq!(said.matches("mariadb-tzinfo-to-sql").count(), usize::from(is_odd), "{said}");
        let (_, said) = shop.runs(&["doctor", "--set", &zone]);
        assert_eq!(said.contains("mariadb-tzinfo-to-sql"), is_odd, "{said}");
    }
}

#[test]
fn the_doctor_asks_what_the_next_run_asks() {
    let (database, shop) = small("asks");
    let (_, said) = shop.runs(&["doctor"]);
    assert!(said.contains("granted: SELECT on all 9 tables"), "{said}");
    database.root(
        "alter table goods_info rename column goods_name to goods_title; alter table payment_flow drop column pay_time",
    );
    let (code, said) = shop.runs(&["doctor"]);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("table `goods_info`") && said.contains("column `goods_name` is not there"), "{said}");
    assert!(said.contains("table `payment_flow`") && said.contains("pay_time"), "{said}");
}
