//! The second chance of rejects, and the books of every run.

mod shop;

use std::fs;

use serde_json::Value;
use shop::{Shop, exports};

const LOG: &str = "conf/sources/user_action.toml";
const ORDERS: &str = "conf/sources/orders.toml";

/// What the lake holds of some tables, row for row, with what their files came to.
fn landed(shop: &Shop) -> String {
    let mut text = String::new();
    for (table, order) in [
        ("ods_user_action", "file, byte_offset, element"),
        ("ods_user_order", "file, row_number"),
        ("ods_reject", "dt, file, byte_offset, row_number, element"),
    ] {
        let sql = format!("select * from {table} order by {order}");
        text.push_str(&shop.succeeds(&["query", &sql, "--format", "csv"]));
    }
    text
}

/// The last run's record.
fn last_run(shop: &Shop) -> Value {
    let runs = shop.path("target/runs");
    let newest = fs::read_dir(runs).expect("runs").map(|e| e.expect("an entry").path()).max().expect("a run");
    serde_json::from_slice(&fs::read(newest.join("run.json")).expect("a record")).expect("JSON")
}

/// Asserts that the books of the last run close, and that there are some.
fn books_close(shop: &Shop) {
    let record = last_run(shop);
    assert_eq!(record["ledger"]["closes"], true, "{record}");
    assert!(!record["ledger"]["accounts"].as_array().expect("accounts").is_empty(), "{record}");
}

/// A shop whose declarations are mistaken: a kind of event that there is is not declared, and orders without a payment
/// are said to lack their key.
fn mistaken(options: &[&str]) -> Shop {
    let shop = Shop::sample(options);
    shop.edit(LOG, "kinds = [1, 2, 3, 4, 5]", "kinds = [1, 2, 3, 5]");
    shop.edit(ORDERS, r#"key = ["order_id"]"#, r#"key = ["order_id", "pay_id"]"#);
    shop
}

fn mend(shop: &Shop) {
    shop.edit(LOG, "kinds = [1, 2, 3, 5]", "kinds = [1, 2, 3, 4, 5]");
    shop.edit(ORDERS, r#"key = ["order_id", "pay_id"]"#, r#"key = ["order_id"]"#);
}

const MESSY: [&str; 10] = ["--days", "3", "--devices", "30", "--events", "80", "--orders", "8", "--messy", "0.1"];
const CLEAN: [&str; 10] = ["--days", "3", "--devices", "30", "--events", "80", "--orders", "8", "--messy", "0"];

#[test]
fn what_mended_rules_accept_lands_as_if_they_had_been_there_from_the_start() {
    let shop = mistaken(&MESSY);
    shop.succeeds(&["run", "--quiet"]);
    books_close(&shop);
    let mistaken_exports = exports(&shop);
    let before = landed(&shop);
    for reason in ["unknown_act", "missing_key"] {
        assert!(before.contains(reason), "{reason}");
    }

    // Nothing was mended: nothing changes, and nobody is told to build.
    let said = shop.succeeds(&["rejects", "replay"]);
    assert!(said.contains(" = 0 landed + ") && !said.contains("stale"), "{said}");
    assert_eq!(landed(&shop), before);
    assert!(shop.succeeds(&["run"]).contains("nothing new"));

    mend(&shop);
    let said = shop.succeeds(&["rejects", "replay", "--dry-run"]);
    assert!(said.contains("would land") && said.contains("nothing was changed"), "{said}");
    assert_eq!(landed(&shop), before, "a dry run changes nothing");
    let said = shop.succeeds(&["rejects", "replay"]);
    assert!(
        said.contains("ods_user_action") && said.contains("ods_user_order") && said.contains("`strata run`"),
        "{said}"
    );
    books_close(&shop);
    let after = landed(&shop);
    let rejects = |text: &str, reason: &str| text.matches(&format!(",{reason},")).count();
    for reason in ["unknown_act", "missing_key"] {
        let (had, left) = (rejects(&before, reason), rejects(&after, reason));
        assert!(left > 0 && left < had / 2, "{reason}: {left} of {had}");
    }
    let said = shop.succeeds(&["run"]);
    assert!(!said.contains("ingest   "), "no file is taken twice:\n{said}");
    books_close(&shop);
    let replayed = (landed(&shop), exports(&shop));
    assert_eq!(replayed.0, after);
    assert_ne!(replayed.1, mistaken_exports);
    assert!(shop.succeeds(&["rejects", "replay"]).contains(" = 0 landed + "), "once more");

    let records = |shop: &Shop| file_records(shop);
    let recorded = records(&shop);
    shop.empty_warehouse();
    shop.succeeds(&["run", "--quiet"]);
    assert_eq!((landed(&shop), exports(&shop)), replayed, "as if built from nothing");
    assert_eq!(records(&shop), recorded, "and so are the books of each file");
}

/// What is recorded of every file, without the runs: `table file: read landed rejected`.
fn file_records(shop: &Shop) -> Vec<String> {
    let mut all = Vec::new();
    for table in ["ods_user_action", "ods_user_order", "ods_reject"] {
        let mut newest = std::collections::BTreeMap::new();
        let log = shop.path(&format!("warehouse/lake/ods/{table}/_delta_log"));
        let mut commits: Vec<_> = fs::read_dir(log).expect("a log").map(|e| e.expect("an entry").path()).collect();
        commits.retain(|path| path.extension().is_some_and(|e| e == "json"));
        commits.sort();
        for line in commits
            .iter()
            .flat_map(|p| fs::read_to_string(p).expect("reads").lines().map(str::to_owned).collect::<Vec<_>>())
        {
            let action: Value = serde_json::from_str(&line).expect("JSON");
            let metadata = &action["domainMetadata"];
            let Some(domain) = metadata["domain"].as_str().filter(|d| d.starts_with("strata.file:")) else { continue };
            if metadata["removed"] == true {
                newest.remove(domain);
                continue;
            }
            let record: Value = serde_json::from_str(metadata["configuration"].as_str().expect("text")).expect("JSON");
            newest.insert(
                domain.to_owned(),
                format!("{} {} {} {}", record["read"], record["landed"], record["rejected"], record["sums"]),
            );
        }
        all.extend(newest.into_iter().map(|(domain, text)| format!("{table} {domain}: {text}")));
    }
    all
}

#[test]
fn only_what_is_asked_for_is_replayed() {
    let shop = mistaken(&CLEAN);
    shop.succeeds(&["ingest", "--quiet"]);
    mend(&shop);
    let count = |reason: &str, days: &str| {
        let sql = format!("select count(*) as n from ods_reject where reason = '{reason}' and dt {days}");
        shop.succeeds(&["query", &sql, "--format", "csv"])
            .lines()
            .nth(1)
            .expect("a row")
            .parse::<u64>()
            .expect("a count")
    };
    let (first, later) = ("= date '2026-01-01'", "> date '2026-01-01'");
    let lines = (count("unknown_act", first), count("unknown_act", later), count("missing_key", first));
    assert!(lines.0 > 0 && lines.1 > 0 && lines.2 > 0, "{lines:?}");
    let said = shop.succeeds(&["rejects", "replay", "--reason", "unknown_act", "--from", "2026-01-02"]);
    // One of them may be of nobody, which is a reason of its own.
    assert!(said.contains(&format!("ods_user_action: {} rejects = ", lines.1)), "{said}");
    assert_eq!((count("unknown_act", first), count("unknown_act", later)), (lines.0, 0));
    assert_eq!(count("missing_key", first), lines.2);
    shop.succeeds(&["rejects", "replay", "--table", "user_order"]);
    assert_eq!((count("unknown_act", first), count("missing_key", first)), (lines.0, 0));
    for (option, wrong) in [("--source", "user_acton"), ("--table", "user_ordr")] {
        let (code, said) = shop.runs(&["rejects", "replay", option, wrong]);
        assert!(code == 2 && said.contains("did you mean"), "{said}");
    }
}

#[test]
fn an_extract_that_is_gone_keeps_its_rejects_and_is_told_and_lines_need_no_file() {
    let shop = mistaken(&CLEAN);
    shop.succeeds(&["ingest", "--quiet"]);
    mend(&shop);
    fs::rename(shop.path("in"), shop.path("elsewhere")).expect("moves");
    let said = shop.succeeds(&["rejects", "replay"]);
    assert!(said.contains("user_order.csv") && said.contains("the extract is gone"), "{said}");
    let left = shop.succeeds(&["query", "select distinct reason from ods_reject order by 1", "--format", "csv"]);
    assert!(left.contains("missing_key") && !left.contains("unknown_act"), "{left}");
}

#[test]
fn a_run_shows_its_books() {
    let shop = Shop::sample(&["--days", "2", "--devices", "20", "--events", "40", "--orders", "5", "--messy", "0.1"]);
    shop.succeeds(&["run", "--quiet"]);
    books_close(&shop);
    let record = last_run(&shop);
    let run = record["run"].as_str().expect("a name");
    let shown = shop.succeeds(&["history", run]);
    for part in ["books", "ods_user_order.order_money", "checks of dwd_event", "metrics", "difference"] {
        assert!(shown.contains(part), "`{part}` in:\n{shown}");
    }
    let all = shop.succeeds(&["history", run, "--ledger", "--format", "csv"]);
    let is_even = |line: &str| line.ends_with(",0") || line.ends_with(",0.00");
    assert!(all.lines().skip(1).all(|line| is_even(line) || line.starts_with("laws,")), "{all}");
    assert!(all.contains("file,2026-01-01/"), "{all}");
    let rows =
        |table: &str| shop.succeeds(&["query", &format!("select count(*) as n from {table}"), "--format", "csv"]);
    let landed = rows("ods_user_action").lines().nth(1).expect("a row").to_owned();
    assert!(all.contains(&format!("lake,ods_user_action,{landed},{landed},")), "{all}");
    shop.succeeds(&["run", "--quiet"]);
    let idle = last_run(&shop);
    assert_eq!(idle["ledger"]["accounts"].as_array().map(Vec::len), Some(0), "an idle run looks at nothing: {idle}");
}
