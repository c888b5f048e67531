//! What must not matter: the same events delivered in other lines, files, names, packings and orders, and worked on by
//! 1, 2 or 8 threads, make the same tables and the same rejects.
//!
//! One thing may matter by the contract: of two deliveries of one event id that differ, the first read is kept.
//! `reshape.py settle` drops such deliveries from the sample; all others (repeated lines, ids sent again, late
//! events, every kind of reject) stay. File names and byte offsets are in no exported table.

mod shop;

use std::fs;
use std::sync::LazyLock;

use shop::{Shop, exports, python};

const DAYS: [&str; 3] = ["2025-12-31", "2026-01-01", "2026-01-02"];

/// What the shop comes to when nothing is changed and one thread is at work.
static PLAIN: LazyLock<Outcome> = LazyLock::new(|| {
    let shop = settled();
    let plain = outcome(&shop, &["--threads", "1"]);
    for has_id in ["event_id is null", "event_id is not null"] {
        let repeated = format!("select count(*) > 0 as some from dwd_event where copies > 1 and {has_id}");
        let found = shop.succeeds(&["query", &repeated, "--format", "csv"]);
        assert_eq!(found.trim(), "some\ntrue", "an event comes again: {has_id}");
    }
    for reason in ["not_utf8", "malformed_json", "bad_type", "no_visitor", "too_long", "acttime_out_of_range"] {
        assert!(plain.rejects.contains(reason), "the shop is messy: {reason} in {}", plain.rejects);
    }
    assert!(plain.exports.lines().count() > 100, "there is something to compare");
    plain
});

struct Outcome {
    exports: String,
    /// How many lines were rejected, by reason.
    rejects: String,
}

#[test]
fn the_order_of_a_files_lines_does_not_matter() {
    delivered("shuffle", &[]);
}

#[test]
fn how_a_file_is_cut_does_not_matter_on_two_threads() {
    delivered("split", &["--threads", "2"]);
}

#[test]
fn one_file_a_day_in_folders_named_otherwise_does_not_matter_on_eight_threads() {
    delivered("merge", &["--threads", "8"]);
}

#[test]
fn a_file_delivered_again_under_another_name_or_packed_otherwise_does_not_matter() {
    delivered("copy", &[]);
}

#[test]
fn the_order_in_which_days_are_delivered_does_not_matter() {
    let shop = settled();
    let waiting = shop.path("waiting");
    fs::rename(shop.path("in"), &waiting).expect("moves");
    for source in ["user_action", "orders"] {
        fs::create_dir_all(shop.path(&format!("in/{source}"))).expect("a folder");
    }
    for (turn, day) in DAYS.iter().rev().enumerate() {
        for source in ["user_action", "orders"] {
            let to = shop.path(&format!("in/{source}/{day}"));
            fs::rename(format!("{waiting}/{source}/{day}"), to).expect("moves");
        }
        // The tables begin a day earlier with every run.
        if turn + 1 < DAYS.len() {
            shop.succeeds(&["run", "--quiet"]);
        }
    }
    same(&outcome(&shop, &[]), "the last day first, a run after each");
}

/// The shop all tests begin with.
fn settled() -> Shop {
    let options = "--seed 5 --days 3 --devices 40 --events 160 --orders 6 --messy 0.4";
    let options: Vec<&str> = ["--start", DAYS[0]].into_iter().chain(options.split(' ')).collect();
    let shop = Shop::sample(&options);
    reshape("settle", &shop);
    shop
}

/// Delivers the log in another way and asserts that it comes to the same.
fn delivered(way: &str, options: &[&str]) {
    let shop = settled();
    reshape(way, &shop);
    same(&outcome(&shop, options), &format!("{way} {}", options.join(" ")));
}

fn reshape(way: &str, shop: &Shop) {
    let done = python(&["tests/shop/reshape.py", way, &shop.path("in/user_action")]);
    assert!(done.status.success(), "{way}: {}", String::from_utf8_lossy(&done.stderr));
}

/// Runs the shop.
fn outcome(shop: &Shop, options: &[&str]) -> Outcome {
    shop.succeeds(&[&["run", "--quiet"], options].concat());
    let rejects = "select reason, count(*) as lines from ods_reject group by reason order by reason";
    Outcome { exports: exports(shop), rejects: shop.succeeds(&["query", rejects, "--format", "csv"]) }
}

/// Asserts that a shop came to what the plain one does; tells the first table that differs.
fn same(found: &Outcome, what: &str) {
    assert_eq!(found.rejects, PLAIN.rejects, "{what}: rejects by reason");
    for (expected, table) in PLAIN.exports.split("# ").zip(found.exports.split("# ")) {
        assert_eq!(table, expected, "{what}");
    }
    assert_eq!(found.exports, PLAIN.exports, "{what}");
}
