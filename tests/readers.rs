//! Readers of the lake while runs go on: another engine, which knows nothing of the tool, always reads one committed
//! version of each table.

mod shop;

use std::fs;
use std::process::{Command, Stdio};

use shop::Shop;

/// Runs during which tables are read.
fn runs() -> u64 {
    if std::env::var_os("STRATA_TEST_LONG").is_some() { 40 } else { 4 }
}

#[test]
fn another_engine_reads_one_committed_version_of_each_table_all_through_the_runs() {
    let shop = Shop::sample(&["--days", "2", "--devices", "12", "--events", "40", "--orders", "5", "--messy", "0.2"]);
    fs::create_dir_all(shop.path("warehouse/lake")).expect("a folder");
    let python =
        std::env::var("STRATA_TEST_PYTHON").expect("scripts/test installs Python packages and names them here");
    let stop = shop.path("stop");
    let poller = Command::new(python)
        .args(["tests/shop/poll_lake.py", &shop.path("warehouse/lake"), &stop])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("Python starts");
    shop.succeeds(&["run", "--quiet"]);
    for run in 0..runs() {
        // 2026-01-01 or 2026-01-02, in Shanghai, later each time.
        let at = 1_767_240_000_000 + (run % 2) * 86_400_000 + run * 1000;
        let line = format!("{{\"act\":1,\"acttime\":{at},\"xaid\":\"late-{run}\",\"platform\":1,\"net\":1}}\n");
        fs::write(shop.path(&format!("in/user_action/2026-01-02/late-{run}.log")), line).expect("writes");
        shop.succeeds(&["run", "--quiet"]);
        // Everything once more: partitions are replaced by what they were.
        shop.succeeds(&["build", "layer:dws", "--force", "--quiet"]);
    }
    fs::write(&stop, "").expect("writes");
    let done = poller.wait_with_output().expect("Python ends");
    let said = String::from_utf8_lossy(&done.stdout);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    println!("{said}");
    let numbers: Vec<u64> = said.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    let [reads, tables, changes] = numbers[..] else { panic!("{said}") };
    assert!(reads > tables && tables > 60 && changes > 0, "{said}");
}
