//! Connections that break, servers that fall silent, and servers that are set up in other ways.

use std::path::PathBuf;

use crate::proxy::{At, Cut, Proxy};
use crate::server::Database;
use crate::shop::Shop;
use crate::{asked, reading, small};

/// A command that is at work, and what it says kept.
fn begun(shop: &Shop, args: &[&str]) -> std::process::Child {
    shop.command(args).stderr(std::process::Stdio::piped()).spawn().expect("starts")
}

/// What the server answers once it is what is waited for, while a run is at work.
fn once_said(database: &Database, sql: &str, run: &mut std::process::Child, wanted: fn(&str) -> bool) -> String {
    loop {
        let said = database.root(sql);
        if wanted(said.trim()) {
            return said.trim().to_owned();
        }
        assert!(run.try_wait().expect("asked").is_none(), "it ended before");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

#[test]
fn an_extraction_whose_connection_breaks_begins_anew() {
    let (database, shop) = small("broken");
    database.root(
        "delete from payment_flow;
         insert into payment_flow select seq, 1, 1, 1, 1, '2026-01-01' from seq_1_to_400000",
    );
    let mut slow =
        shop.command(&["ingest", "orders", "--to", "2026-01-01", "--set", "sources.orders.rows_per_second=100000"]);
    let mut slow = slow.stderr(std::process::Stdio::piped()).spawn().expect("starts");
    // While it reads: its sessions are in the process list, one of them busy with the large table.
    let busy = "select ifnull(group_concat('kill ', id separator ';'), '') from information_schema.processlist \
                where user = 't_broken' and info like '%from `payment_flow`%order by%'";
    database.root(&once_said(&database, busy, &mut slow, |kill| !kill.is_empty()));
    let done = slow.wait_with_output().expect("ends");
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success() && said.contains("; again in 1 s"), "{said}");
    let landed = asked(&shop, "select count(*) as n, count(distinct pay_id) as keys from ods_payment_flow");
    assert_eq!(landed, "n,keys\n400000,400000\n");
}

#[test]
fn when_one_connection_breaks_the_others_stop_as_well() {
    let (database, shop) = small("broken_all");
    // Wide rows, so that not many of them are on their way already.
    database.root(
        "delete from payment_flow; alter table payment_flow add column wide text;
         delete from order_delivery; alter table order_delivery add column wide text;
         insert into payment_flow select seq, 1, 1, 1, 1, '2026-01-01', repeat('x', 2000) from seq_1_to_30000;
         insert into order_delivery select seq, 1, 1, 1, '2026-01-01', repeat('x', 2000) from seq_1_to_30000",
    );
    let slow =
        ["ingest", "orders", "--to", "2026-01-01", "--threads", "4", "--set", "sources.orders.rows_per_second=2000"];
    let mut slow = begun(&shop, &slow);
    let busy = "select ifnull(group_concat('kill ', id), '') from information_schema.processlist \
                where user = 't_broken_all' and info like '%wide%order by%'";
    let kill = once_said(&database, busy, &mut slow, |kill| kill.contains(','));
    database.root(kill.split(',').next().expect("one of them"));
    let since = std::time::Instant::now();
    let said = std::io::BufReader::new(slow.stderr.take().expect("piped"));
    let again = std::io::BufRead::lines(said).map_while(Result::ok).find(|line| line.contains("; again in 1 s"));
    let after = since.elapsed();
    slow.kill().expect("kills");
    slow.wait().expect("ends");
    assert!(again.expect("it begins anew").contains("the connection") && after.as_secs() < 12, "after {after:?}");
}

#[test]
fn when_the_connection_that_counts_breaks_the_one_that_reads_does_not_wait_for_it() {
    let (database, shop) = small("broken_count");
    // An amount that takes a millisecond to find.
    database.root(
        "delete from payment_flow; alter table payment_flow drop column pay_money, add column pay_money decimal(10, 2)
           generated always as (length(sha2(repeat(pay_id, 100000), 512)) / 128) virtual after trade_no;
         insert into payment_flow (pay_id, order_id, trade_no, pay_type, pay_time)
         select seq, 1, 1, 1, '2026-01-01' from seq_1_to_3000",
    );
    let mut ingest = begun(&shop, &["ingest", "orders", "--to", "2026-01-01", "--threads", "2"]);
    let counting = "select ifnull(max(concat('kill ', id)), '') from information_schema.processlist \
                    where user = 't_broken_count' and info like 'select count(*)%from `payment_flow`%'";
    database.root(&once_said(&database, counting, &mut ingest, |kill| !kill.is_empty()));
    let done = ingest.wait_with_output().expect("ends");
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success() && said.contains("over 2 connections") && said.contains("; again in 1 s"), "{said}");
    assert_eq!(
        asked(&shop, "select count(*) as n, sum(pay_money) as money from ods_payment_flow"),
        "n,money\n3000,3000.00\n"
    );
}

#[test]
fn whoever_changes_a_table_waits_for_the_reading_and_nobody_for_ever() {
    let (database, shop) = small("altered");
    // Counting it takes some seconds, in which the other session would read what is changed.
    database.root(
        "delete from goods_info; alter table goods_info drop column curr_price, add column curr_price decimal(18, 2)
           generated always as (length(sha2(repeat(goods_id, 100000), 512)) / 128) virtual after goods_name;
         insert into goods_info (goods_id, goods_no, goods_name) select seq, 1, 1 from seq_1_to_3000",
    );
    let mut ingest = begun(&shop, &["ingest", "orders", "--to", "2026-01-01", "--threads", "2"]);
    let counting = "select count(*) from information_schema.processlist \
                    where user = 't_altered' and info like 'select count(*)%from `goods_info`%'";
    once_said(&database, counting, &mut ingest, |sessions| sessions != "0");
    let since = std::time::Instant::now();
    database.root("alter table payment_flow add column note varchar(9)");
    assert!(since.elapsed().as_secs() < 60, "{:?}", since.elapsed());
    let done = ingest.wait_with_output().expect("ends");
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success() && !said.contains("; again in"), "{said}");
    assert_eq!(asked(&shop, "select count(*) as n from ods_goods_info"), "n\n3000\n");
}

/// A server of its own, stopped with the test.
struct OwnServer(tempfile::TempDir);

impl OwnServer {
    fn start(options: &str) -> (Self, String) {
        let server = Self(tempfile::tempdir().expect("a folder"));
        let said = server.script("start", options);
        let url = said.lines().find_map(|line| line.strip_prefix("export STRATA_TEST_MYSQL=")).expect("its address");
        (server, url.replace('\\', ""))
    }

    fn script(&self, word: &str, options: &str) -> String {
        let done = std::process::Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/mariadb"))
            .args([word, &self.0.path().join("server").to_string_lossy()])
            .env("STRATA_MARIADB_OPTIONS", options)
            .output()
            .expect("starts");
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8(done.stdout).expect("UTF-8")
    }
}

impl Drop for OwnServer {
    fn drop(&mut self) {
        self.script("stop", "");
    }
}

#[test]
fn without_a_binary_log_a_short_lock_aligns_the_connections_or_one_reads_alone() {
    let (_server, url) = OwnServer::start("--skip-log-bin");
    let options = ["--days", "1", "--devices", "4", "--events", "8", "--orders", "6"];
    let database = Database::of_url(&url, "no_log");
    database.root("grant all on t_no_log.* to 't_no_log'@'%'");
    let database = database.with_mall();
    let shop = reading(&database, &options);
    database.lay(&PathBuf::from(shop.path("in/orders/2026-01-01")));
    let alone = shop.succeeds(&["ingest", "orders", "--to", "2026-01-01"]);
    assert!(alone.contains("over 1 connection") && alone.contains("GRANT RELOAD ON *.* TO 't_no_log'@'%';"), "{alone}");
    database.root("grant reload on *.* to 't_no_log'@'%'");
    let locked = shop.succeeds(&["ingest", "orders", "--to", "2026-01-02"]);
    assert!(locked.contains("over 2 connections"), "{locked}");
    // Nobody is left waiting.
    database.root("update user_order set order_money = 1 limit 1");
}

#[test]
fn an_account_with_too_few_connections_is_read_over_those_it_may_have() {
    let (database, shop) = small("few");
    database.root("alter user 't_few'@'%' with max_user_connections 1");
    let one = shop.succeeds(&["ingest", "orders", "--to", "2026-01-01"]);
    assert!(one.contains("over 1 connection\n") && one.contains("1 of 2 connections, more are refused: "), "{one}");
    assert!(one.contains("max_user_connections") && !one.contains("again in"), "{one}");
    database.root("alter user 't_few'@'%' with max_user_connections 2");
    let two = ["ingest", "orders", "--to", "2026-01-02", "--threads", "4", "--set", "sources.orders.connections=3"];
    let two = shop.succeeds(&two);
    assert!(two.contains("over 2 connections") && two.contains("2 of 3 connections, more are refused"), "{two}");
}

#[test]
fn a_server_that_falls_silent_under_the_read_lock_keeps_no_writer_waiting() {
    let (_server, url) = OwnServer::start("--skip-log-bin");
    let options = ["--days", "1", "--devices", "4", "--events", "8", "--orders", "6"];
    let database = Database::of_url(&url, "held");
    database.root("grant all on t_held.* to 't_held'@'%'; grant reload on *.* to 't_held'@'%'");
    let database = database.with_mall();
    let shop = reading(&database, &options);
    database.lay(&PathBuf::from(shop.path("in/orders/2026-01-01")));
    let proxy = Proxy::new(database.port(), At::Text("start transaction"), Cut::Silent, || {});
    let by_proxy = format!("sources.orders.url={}", database.url_by(proxy.port));
    let mut run = shop.command(&["ingest", "orders", "--to", "2026-01-01", "--set", &by_proxy]);
    let run = run.stderr(std::process::Stdio::piped()).spawn().expect("starts");
    while proxy.cuts() == 0 {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let since = std::time::Instant::now();
    database.root("update user_order set order_money = 1 limit 1");
    assert!(since.elapsed().as_secs() < 20, "the writer waited for {:?}", since.elapsed());
    let done = run.wait_with_output().expect("ends");
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success() && said.contains("no answer for 3 s; again in 1 s"), "{said}");
}

#[test]
fn a_server_that_falls_silent_is_given_up_and_asked_again() {
    let (database, shop) = small("silent");
    for text in ["set names", "from `user_order`", "count(*)", "order by"] {
        let proxy = Proxy::new(database.port(), At::Text(text), Cut::Silent, || {});
        let by_proxy = format!("sources.orders.url={}", database.url_by(proxy.port));
        let limit = "sources.orders.silence=1s";
        let said = shop.succeeds(&["ingest", "orders", "--to", "2026-01-01", "--set", &by_proxy, "--set", limit]);
        assert!(said.contains("no answer") && said.contains("; again in 1 s"), "{text}: {said}");
    }
}

#[test]
fn a_limit_of_the_server_on_rows_and_invisible_columns_leave_nothing_out() {
    let (_server, url) = OwnServer::start("");
    let options = ["--days", "1", "--devices", "4", "--events", "8", "--orders", "6"];
    let database = Database::of_url(&url, "limit");
    database.root("grant all on t_limit.* to 't_limit'@'%'; set global sql_select_limit = 3");
    let database = database.with_mall();
    let shop = reading(&database, &options);
    database.lay(&PathBuf::from(shop.path("in/orders/2026-01-01")));
    database.root("alter table goods_info modify goods_desc text invisible");
    shop.succeeds(&["ingest", "orders", "--to", "2026-01-01"]);
    let all = database.root("set sql_select_limit = default; select count(*), count(goods_desc) from goods_info");
    let landed = asked(&shop, "select count(*) as n, count(goods_desc) as told from ods_goods_info");
    assert_eq!(landed, format!("n,told\n{}", all.replace('\t', ",")));
}

#[test]
fn where_commits_may_miss_the_binary_log_its_position_proves_nothing() {
    let (_server, url) = OwnServer::start("--binlog-ignore-db=left_out");
    let options = ["--days", "1", "--devices", "4", "--events", "8", "--orders", "6"];
    let database = Database::of_url(&url, "log_gaps");
    database.root("grant all on t_log_gaps.* to 't_log_gaps'@'%'; grant binlog monitor on *.* to 't_log_gaps'@'%'");
    let database = database.with_mall();
    let shop = reading(&database, &options);
    database.lay(&PathBuf::from(shop.path("in/orders/2026-01-01")));
    let said = shop.succeeds(&["ingest", "orders", "--to", "2026-01-01"]);
    assert!(said.contains("over 1 connection"), "databases are left out of the log: {said}");
}

#[test]
fn a_replica_that_does_not_log_its_updates_is_read_by_one_connection() {
    let (_server, url) = OwnServer::start("");
    let options = ["--days", "1", "--devices", "4", "--events", "8", "--orders", "6"];
    let database = Database::of_url(&url, "replica");
    database.root("grant all on t_replica.* to 't_replica'@'%'");
    let database = database.with_mall();
    let shop = reading(&database, &options);
    database.lay(&PathBuf::from(shop.path("in/orders/2026-01-01")));
    let unknown = shop.succeeds(&["ingest", "orders", "--to", "2026-01-01"]);
    assert!(unknown.contains("over 1 connection") && unknown.contains("GRANT BINLOG MONITOR"), "{unknown}");
    database.root("grant binlog monitor on *.* to 't_replica'@'%'");
    let primary = shop.succeeds(&["ingest", "orders", "--to", "2026-01-02"]);
    assert!(primary.contains("over 2 connections"), "{primary}");
    database.root("set global gtid_slave_pos = '7-7-7'");
    let replica = shop.succeeds(&["ingest", "orders", "--to", "2026-01-03"]);
    assert!(replica.contains("over 1 connection"), "{replica}");
}
