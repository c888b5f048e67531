//! Readers of a MySQL target during exports: two of them, on different tables, never see two runs in one consistent read,
//! never an empty table, never a missing day.

mod server;
mod shop;
#[path = "server/warehouse.rs"]
mod warehouse;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, IsolationLevel, Opts, TxOpts};
use server::Database;
use warehouse::{DAYS, Warehouse};

/// Exports in which every partition of both tables is rebuilt.
fn exports() -> usize {
    if std::env::var_os("STRATA_TEST_LONG").is_some() { 50 } else { 10 }
}

#[test]
fn two_pollers_see_one_run_at_a_time_and_every_day() {
    let database = Database::new("pollers");
    let (odd, even) = (Warehouse::of(1, &database.url()), Warehouse::of(2, &database.url()));
    odd.succeeds(&["export"]);
    let (is_over, reads) = (AtomicBool::new(false), [AtomicUsize::new(0), AtomicUsize::new(0)]);
    let (is_over, reads, url) = (&is_over, &reads, &database.strict_url());
    let seen = thread::scope(|scope| {
        let pollers = [("app_day", "app_visitor"), ("app_visitor", "app_day")]
            .into_iter()
            .enumerate()
            .map(|(number, (first, second))| scope.spawn(move || poll(url, first, second, is_over, &reads[number])));
        let pollers: Vec<_> = pollers.collect();
        for number in 1..=exports() {
            if number % 2 == 1 { &even } else { &odd }.succeeds(&["export"]);
        }
        is_over.store(true, Ordering::SeqCst);
        pollers.into_iter().map(|poller| poller.join().expect("a poller")).collect::<Vec<usize>>()
    });
    assert!(seen.iter().all(|generations| *generations >= exports() / 2), "they saw the changes: {seen:?}");
    assert!(reads.iter().all(|count| count.load(Ordering::SeqCst) > exports()), "they read all the time: {reads:?}");
}

/// Reads both tables and what is recorded of them in one snapshot, again and again; how often they had changed.
fn poll(url: &str, first: &str, second: &str, is_over: &AtomicBool, reads: &AtomicUsize) -> usize {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let mut conn = Conn::new(Opts::from_url(url).expect("a URL")).await.expect("logs in");
        let (mut changes, mut last) = (0, String::new());
        while !is_over.load(Ordering::SeqCst) {
            let mut options = TxOpts::new();
            options.with_consistent_snapshot(true).with_isolation_level(IsolationLevel::RepeatableRead);
            let mut snapshot = conn.start_transaction(options).await.expect("begins");
            let mut generations = Vec::new();
            for table in [first, second] {
                let sql = format!("select min(generation), max(generation), count(distinct dt), count(*) from {table}");
                let row: Option<(u64, u64, usize, usize)> = snapshot.query_first(sql).await.expect("a table with rows");
                let (least, most, days, rows) = row.expect("a row");
                assert_eq!((least, days), (most, DAYS), "{table} has one generation and every day");
                assert!(rows >= DAYS, "{table}");
                generations.push(least);
            }
            assert_eq!(generations[0], generations[1], "one generation in both tables");
            let sql = "select count(distinct run), min(run), (select run from strata_run where export = 'metrics'), \
                       sum(`rows`) - (select count(*) from app_day) - (select count(*) from app_visitor) \
                       from strata_export";
            let row: Option<(usize, String, String, i64)> = snapshot.query_first(sql).await.expect("recorded");
            let (runs, run, last_run, surplus) = row.expect("a row");
            assert_eq!((runs, &run, surplus), (1, &last_run, 0), "one run in all of it");
            snapshot.rollback().await.expect("ends");
            if run != last {
                (changes, last) = (changes + 1, run);
            }
            reads.fetch_add(1, Ordering::SeqCst);
        }
        conn.disconnect().await.expect("ends");
        changes
    })
}
