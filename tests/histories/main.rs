//! Random histories of a warehouse through the real engine: whatever arrives, is edited, crashes or is done by halves, a
//! run that ends leaves what a warehouse built from nothing of the same inputs would have.
//!
//! A history is a list of steps, a verb and three numbers each; every list makes sense, so that one that fails can be
//! shortened by leaving steps out. What failed once is kept in `regressions.txt` and is run first.
//!
//! The shop is tiny: models of this repository where they are small, others of `sql/` beside this file, so that together
//! they read their inputs in every way there is: the same day, windows, their own past, the latest snapshot, all of it.
//! A file that begins like another one is another file, unless it is all of it: so copies do not grow here.

#![allow(clippy::panic, reason = "a test that fails panics, in its helpers too")]

mod exact;
#[path = "../house/mod.rs"]
mod house;
mod inputs;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use futures::FutureExt;
use house::store::{ERRORS, Fault};
use house::{Contents, House, request};
use inputs::{Inputs, date};
use strata::run::{RunRequest, Step as Part};
use tempfile::TempDir;

/// Histories of the short form, and steps of each.
const HISTORIES: u64 = 5;
const STEPS: usize = 24;

/// Models of this repository that are part of the shop.
const REAL: [&str; 6] = [
    "dwd/dwd_event",
    "dwd/dwd_order_moved",
    "dwd/dwd_order_history",
    "dwd/dwd_order",
    "dwd/dwd_goods",
    "dws/dws_visitor_first",
];

/// Edits of models: file, text, and what takes its place.
const EDITS: [(&str, &str, &str); 7] = [
    ("dwd/dwd_order", "'unknown'", "'odd'"),
    ("dws/dws_visitor_day", "where act = 1", "where act = 3"),
    ("dws/dws_week", "interval '2 days'", "interval '1 day'"),
    ("app/app_gmv", "sum(case", "1 + sum(case"),
    ("app/app_active", "interval '1 day'", "interval '2 days'"),
    // A column goes, which others keep in the same files; and one is looked at that was not.
    ("app/app_active", ACTIVE_BEFORE, " -- active, and alone"),
    ("dws/dws_week", "count(*) as days", "sum(least(events, 1)) as days"),
];

const ACTIVE_BEFORE: &str = ", -- active in three days
    count(*) filter (where dt < $dt) as before -- the same of the day before";

/// What steps do, with how often of a hundred.
const VERBS: [(&str, u64); 20] = [
    ("log", 9),
    ("append", 10),
    ("mess", 4),
    ("rename", 4),
    ("copy", 3),
    ("order", 14),
    ("redo", 4),
    ("goods", 4),
    ("edit", 5),
    ("comment", 2),
    ("back", 3),
    ("run", 14),
    ("ingest", 3),
    ("part", 6),
    ("crash", 7),
    ("error", 5),
    ("undo", 4),
    ("maintain", 4),
    ("mend", 2),
    ("clock", 3),
];

#[derive(Clone, Debug, PartialEq, Eq)]
struct Step {
    verb: &'static str,
    numbers: [u64; 3],
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c] = self.numbers;
        write!(f, "{} {a} {b} {c}", self.verb)
    }
}

impl Step {
    fn read(line: &str) -> Self {
        let mut words = line.split_whitespace();
        let word = words.next().expect("a verb");
        let (verb, _) = VERBS.iter().find(|(verb, _)| *verb == word).unwrap_or_else(|| panic!("the verb of `{line}`"));
        let mut number = || words.next().expect("a number").parse().expect("a number");
        Self { verb, numbers: [number(), number(), number()] }
    }
}

struct Chance(u64);

impl Chance {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }

    fn step(&mut self) -> Step {
        let mut point = self.below(VERBS.iter().map(|(_, often)| often).sum());
        let mut verb = VERBS[0].0;
        for (next, often) in VERBS {
            verb = next;
            match point.checked_sub(often) {
                Some(rest) => point = rest,
                None => break,
            }
        }
        Step { verb, numbers: [self.below(240), self.below(240), self.below(240)] }
    }
}

fn history(seed: u64) -> Vec<Step> {
    let mut chance = Chance(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15));
    // Something is there to begin with.
    let begin = ["log 0 0 3", "log 1 1 2", "order 1 0 1", "order 1 1 2", "goods 1 5 0"];
    let begin = begin.iter().map(|line| Step::read(line));
    begin.chain((0..STEPS).map(|_| chance.step())).chain([Step::read("run 0 0 0")]).collect()
}

/// The shop's project in a folder: only what it needs of the repository's declarations.
fn project(folder: &Path) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    house::copy(&root.join("conf"), &folder.join("conf"));
    let orders = fs::read_to_string(root.join("conf/sources/orders.toml")).expect("a declaration");
    let (head, tables) = orders.split_once("[[table]]").expect("tables");
    let wanted = |table: &&str| table.contains("name = \"user_order\"") || table.contains("name = \"goods_info\"");
    let kept: Vec<&str> = tables.split("[[table]]").filter(wanted).collect();
    let text = format!("{head}[[table]]{}", kept.join("[[table]]"));
    fs::write(folder.join("conf/sources/orders.toml"), text).expect("writes");
    for layer in ["dwd", "dws", "app"] {
        fs::create_dir_all(folder.join("sql").join(layer)).expect("a folder");
    }
    for model in REAL {
        fs::copy(root.join(format!("sql/{model}.sql")), folder.join(format!("sql/{model}.sql"))).expect("copies");
    }
    for entry in fs::read_dir(root.join("tests/histories/sql")).expect("models") {
        let name = entry.expect("a model").file_name().into_string().expect("a name");
        let layer = name.split('_').next().expect("a layer");
        fs::copy(root.join("tests/histories/sql").join(&name), folder.join("sql").join(layer).join(&name))
            .expect("copies");
    }
    folder.to_owned()
}

/// A warehouse with its past.
struct Warehouse {
    folder: TempDir,
    house: House,
    inputs: Inputs,
    compared: usize,
    /// Runs that ended, and are not undone.
    runs: Vec<String>,
    /// A rule of the source was mended: what it rejected has a second chance before each run, since an undo takes one back.
    is_mended: bool,
}

impl Warehouse {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let project = project(&folder.path().join("project"));
        let inputs = folder.path().join("in");
        let house = House::new(&project, &inputs);
        Self { inputs: Inputs::new(&inputs), house, folder, compared: 0, runs: Vec::new(), is_mended: false }
    }

    fn path(&self, inside: &str) -> PathBuf {
        self.folder.path().join(inside)
    }

    /// Does a step; after a run that ended, compares all that there is with a warehouse built from nothing.
    async fn take(&mut self, step: &Step) {
        let [a, b, c] = step.numbers;
        if self.inputs.take(step.verb, step.numbers) {
            return;
        }
        match step.verb {
            "edit" | "comment" | "back" => self.edit(step.verb, a),
            "run" => {
                if self.is_mended {
                    self.house.replays().await;
                }
                let report = self.house.succeeds().await;
                self.compare().await;
                self.runs.extend((!report.did_nothing()).then_some(report.run));
            }
            // What is undone lies at the sources still: the next run takes it again.
            "undo" if !self.runs.is_empty() => {
                let at = (a % self.runs.len() as u64) as usize;
                let run = self.runs.split_off(at).swap_remove(0);
                self.house.undoes(&run).await;
            }
            "undo" => {}
            // Of three times, once all of the past goes.
            "maintain" if a % 3 == 0 => {
                self.house.maintains(Duration::ZERO).await;
                self.runs.clear();
            }
            "maintain" => self.house.maintains(Duration::from_secs(10_000 * 86_400)).await,
            "mend" => {
                let path = self.path("project/conf/sources/user_action.toml");
                let text = fs::read_to_string(&path).expect("a declaration");
                fs::write(&path, text.replace("days_late = 30", "days_late = 120")).expect("writes");
                self.is_mended = true;
            }
            "ingest" => self.does(&request(&[Part::Ingest])).await,
            "part" => {
                let models =
                    ["dws_week", "app_active+", "+app_gmv", "dws_visitor_first", "app", "dwd_order+", "app_price"];
                // A day after all arrivals is built where it is asked for, and nowhere else.
                let Some(last) = self.inputs.last_arrival() else { return };
                let (from, to) = (b % (last + 1), (b % (last + 1) + c % 3).min(last));
                let day = |day: u64| date(day).parse().ok();
                let select = vec![models[(a % models.len() as u64) as usize].to_owned()];
                let of = RunRequest { select, from: day(from), to: day(to), ..request(&[Part::Build]) };
                self.does(&of).await;
            }
            "crash" => {
                self.house.store.fail_at(a as usize, Fault::Killed).await;
                let _ = self.house.run().await;
                self.house.store.heal().await;
            }
            "error" => {
                self.house.store.fail_at(a as usize, ERRORS[(b % 4) as usize]).await;
                let _ = self.house.run().await;
                self.house.store.heal().await;
            }
            "clock" => self.house.now_ms -= i64::try_from(1 + a % 48).expect("small") * 3_600_000,
            other => panic!("nobody does `{other}`"),
        }
    }

    async fn does(&mut self, request: &RunRequest) {
        let nothing_there = |text: &str| text.contains("nothing was ever ingested");
        let report = match self.house.does(request).await {
            // A build before the first ingest has nothing to read.
            Err(error) if nothing_there(&error.to_string()) => return,
            report => report.expect("a run"),
        };
        let nothing_there = report.failures.iter().any(|text| nothing_there(text));
        assert!(report.failures.is_empty() || nothing_there, "{}", report.failures.join("\n"));
    }

    fn edit(&self, how: &str, which: u64) {
        let (model, from, to) = EDITS[(which % EDITS.len() as u64) as usize];
        let path = self.path(&format!("project/sql/{model}.sql"));
        let text = fs::read_to_string(&path).expect("a model");
        let text = match how {
            "edit" => text.replacen(from, to, 1),
            "back" => text.replacen(to, from, 1),
            _ => format!("{text}-- said once more\n"),
        };
        fs::write(&path, text).expect("writes");
    }

    async fn compare(&mut self) {
        let mut fresh = House::new(&self.path("project"), &self.path("in"));
        fresh.succeeds().await;
        let landed = same_files(&fresh, &self.house).await;
        let mut expected = fresh.contents().await;
        let renamed = |row: &String| {
            let names = row.split('|').map(|cell| landed.get(cell).map_or(cell, String::as_str));
            names.collect::<Vec<_>>().join("|")
        };
        for rows in expected.tables.values_mut() {
            *rows = rows.iter().map(renamed).collect();
            rows.sort();
        }
        let found = self.house.contents().await;
        comparable(found).must_equal(&comparable(expected), "after a run");
        self.compared += 1;
    }
}

/// The names by which one warehouse knows the files of another one's logs: a file keeps the name it landed by, and of
/// several copies one stands for all.
async fn same_files(fresh: &House, house: &House) -> BTreeMap<String, String> {
    let (fresh, house) = (files(fresh).await, files(house).await);
    let mut same = BTreeMap::new();
    for (landed, (path, copy_of)) in &fresh {
        if copy_of.is_some() {
            continue;
        }
        let copies = fresh.values().filter(|(_, of)| of.as_ref() == Some(landed)).map(|(path, _)| path);
        let alike: BTreeSet<&String> = copies.chain([path]).collect();
        if let Some((name, _)) = house.iter().find(|(_, (path, copy_of))| copy_of.is_none() && alike.contains(path)) {
            same.insert(landed.clone(), name.clone());
        }
    }
    same
}

/// The files of the log by the name they landed by: where they are, and of which they are a copy.
async fn files(house: &House) -> BTreeMap<String, (String, Option<String>)> {
    let records = house.lake().records("ods_user_action").await.expect("records");
    let of_file = |(domain, text): (String, String)| {
        let record: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        let word = |key: &str| record[key].as_str().map(str::to_owned);
        Some((domain.strip_prefix("strata.file:")?.to_owned(), (word("path")?, word("copy_of"))))
    };
    records.into_iter().filter_map(of_file).collect()
}

/// What two warehouses of different pasts have in common: all rows, and how many are recorded of each partition.
fn comparable(mut contents: Contents) -> Contents {
    for (table, records) in &mut contents.records {
        records.retain(|domain, _| domain.starts_with("strata.slot:"));
        for text in records.values_mut() {
            let record: serde_json::Value = serde_json::from_str(text).expect("JSON");
            // A version is the content's where no names of files are in it.
            let version = if table.starts_with("app") { record["version"].to_string() } else { String::new() };
            *text = format!("{} rows {version}", record["rows"]);
        }
        // Of a source, a partition whose rows all left is as one that never was.
        records.retain(|_, text| !(table.starts_with("ods") && text.starts_with("0 rows")));
    }
    // Which checksum an export records follows from its rows, and its version from the lake's.
    contents.exported.remove("strata_export");
    contents
}

/// Runs a history; what went wrong, if anything did, and how often the warehouse was compared.
async fn outcome(history: &[Step]) -> Result<usize, String> {
    let run = async {
        let mut warehouse = Warehouse::new();
        for step in history {
            warehouse.take(step).await;
        }
        warehouse.compared
    };
    AssertUnwindSafe(run).catch_unwind().await.map_err(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()
    })
}

/// Leaves out steps as long as the history still fails.
async fn shortest(mut history: Vec<Step>) -> Vec<Step> {
    let mut length = history.len() / 2;
    while length > 0 {
        let mut at = 0;
        while at < history.len() {
            let mut shorter = history.clone();
            shorter.drain(at..(at + length).min(history.len()));
            if outcome(&shorter).await.is_err() { history = shorter } else { at += length }
        }
        length /= 2;
    }
    history
}

async fn must_hold(name: &str, history: Vec<Step>) -> usize {
    match outcome(&history).await {
        Ok(compared) => compared,
        Err(_) => {
            let history = shortest(history).await;
            let said = outcome(&history).await.expect_err("it fails");
            let steps: Vec<String> = history.iter().map(ToString::to_string).collect();
            panic!("{name}, as lines of regressions.txt:\n{}\n\n{said}", steps.join("\n"));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn histories_that_failed_once_hold() {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/histories/regressions.txt"));
    let text = text.expect("a list of histories");
    for case in text.split("\n\n") {
        let lines: Vec<&str> = case.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).collect();
        let name = case.lines().next().unwrap_or_default();
        must_hold(name, lines.into_iter().map(Step::read).collect()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn after_any_history_the_warehouse_equals_one_built_from_nothing() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    let first = number("STRATA_TEST_SEED").unwrap_or(0);
    let usual = if std::env::var_os("STRATA_TEST_LONG").is_some() { 200 } else { HISTORIES };
    let count = number("STRATA_TEST_HISTORIES").unwrap_or(usual);
    let since = Instant::now();
    let mut compared = 0;
    for seed in first..first + count {
        compared += must_hold(&format!("seed {seed}"), history(seed)).await;
        println!("seed {seed}: {:?}", since.elapsed());
    }
    println!("{count} histories, {compared} times equal to a warehouse built from nothing");
}
