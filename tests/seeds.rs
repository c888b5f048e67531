//! Fresh shops against the second implementation: every table, every cell, over the dates and sizes where formulas break.

mod shop;

use shop::{Shop, python};

#[test]
fn a_shop_over_new_year_equals_a_second_implementation() {
    // A month shows the cohorts and windows of 14 and 30 days as well.
    let days = if std::env::var_os("STRATA_TEST_LONG").is_some() { 35 } else { 12 };
    let rest = "--seed 11 --start 2025-12-24 --devices 40 --events 120 --orders 8 --messy 0.1";
    equals_a_second_implementation(&format!("{rest} --days {days}"));
}

#[test]
fn a_shop_over_a_leap_day_equals_a_second_implementation() {
    equals_a_second_implementation(
        "--seed 12 --start 2024-02-25 --days 9 --devices 50 --events 140 --orders 8 --goods 12 --messy 0.4",
    );
}

#[test]
fn a_larger_shop_over_a_quarters_end_equals_a_second_implementation() {
    equals_a_second_implementation(
        "--seed 13 --start 2026-03-25 --days 9 --devices 300 --events 1500 --orders 120 --goods 200 --messy 0.05",
    );
}

#[test]
fn a_shop_that_is_all_dirt_equals_a_second_implementation() {
    equals_a_second_implementation(
        "--seed 14 --start 2026-06-28 --days 5 --devices 60 --events 150 --orders 12 --messy 1",
    );
}

#[test]
fn a_shop_with_a_history_before_the_start_equals_a_second_implementation() {
    let options = "--seed 15 --start 2025-12-28 --days 18 --devices 60 --events 150 --orders 12 --messy 0.3";
    let shop = simulated(options);
    shop.edit("conf/warehouse.toml", "timezone = ", "start = \"2026-01-05\"\ntimezone = ");
    equals(&shop, options, &["--start", "2026-01-05"]);
}

/// Simulates a shop, runs it and compares all that it exports.
fn equals_a_second_implementation(options: &str) {
    equals(&simulated(options), options, &[]);
}

fn simulated(options: &str) -> Shop {
    Shop::sample(&options.split(' ').collect::<Vec<_>>())
}

/// Runs a shop and compares all that it exports; tells table, key, column and both values.
fn equals(shop: &Shop, options: &str, told: &[&str]) {
    shop.succeeds(&["run", "--quiet"]);
    let (logs, orders) = (shop.path("in/user_action"), shop.path("in/orders"));
    let (database, lake) = (shop.path("warehouse/metrics.db"), shop.path("warehouse/lake"));
    let compared = ["tests/oracle/compare.py", &logs, &orders, &database, "--lake", &lake];
    let compared = python(&[&compared, told].concat());
    let said = String::from_utf8_lossy(&compared.stdout);
    let failed = String::from_utf8_lossy(&compared.stderr);
    assert!(compared.status.success(), "strata sample {options}\n{said}{failed}");
}
