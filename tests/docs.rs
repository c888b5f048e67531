//! The page about metrics and tables that is kept beside the models.

use std::path::Path;
use std::process::Command;

/// What the program writes about this repository's models.
fn page(select: &[&str]) -> String {
    let lake = tempfile::tempdir().expect("a folder");
    let done = Command::new(env!("CARGO_BIN_EXE_strata"))
        .args(["docs", "--project", env!("CARGO_MANIFEST_DIR"), "--set"])
        .arg(format!("lake.url={}", lake.path().display()))
        .args(select)
        .output()
        .expect("it starts");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).expect("UTF-8")
}

#[test]
fn the_page_that_is_kept_is_the_page_that_is_written_now() {
    let kept = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/metrics.md"));
    let same = kept.is_ok_and(|kept| kept == page(&[]));
    assert!(same, "docs/metrics.md is stale; `strata docs --output docs/metrics.md` writes it anew");
}

#[test]
fn a_column_is_told_with_its_type_its_meaning_and_its_formula() {
    let page = page(&["app_gmv"]);
    for line in [
        "### app_gmv",
        "- one row for each `dt`",
        "- built a day at a time, from the first loaded day of `orders`",
        "| `gmv` | DECIMAL(18,2) | sum of order_money | `coalesce(sum(order_money), 0)` |",
        "- `net_gmv = gmv - cancelled_amount - refunded_amount`",
        "- `dwd_order`: the day",
    ] {
        assert!(page.lines().any(|other| other == line), "{line}\n{page}");
    }
    assert!(!page.contains("### dwd_order"), "only what was asked for");
}
