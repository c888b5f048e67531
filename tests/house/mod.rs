//! A warehouse driven in this process, its lake in memory, its clock and its storage in the hands of the test.

#![allow(dead_code, reason = "each file of tests uses a part of it")]

pub mod store;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use anyhow::Result;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use object_store::memory::InMemory;
use rusqlite::types::Value;
use strata::config::{Config, ExportTarget, Location};
use strata::date::BizDate;
use strata::engine::{Engine, Seeds, query, register_lake};
use strata::ingest::replay::Wanted;
use strata::lake::Lake;
use strata::progress::Silent;
use strata::run::{
    Context, MaintainRequest, ReplayRequest, RunReport, RunRequest, Step, maintain, plan, replay, run, run_name, undo,
};
use tempfile::TempDir;

use store::Store;

/// 2026-03-01 12:00 UTC: all inputs of tests are of days before.
pub const NOON: i64 = 1_772_366_400_000;

static HOUSES: AtomicU64 = AtomicU64::new(0);

/// A project's warehouse.
pub struct House {
    /// The lake's storage.
    pub store: Store,
    /// The clock.
    pub now_ms: i64,
    /// Runs so far; their names sort.
    pub runs: u64,
    project: PathBuf,
    inputs: PathBuf,
    own: TempDir,
    number: u64,
}

/// Everything that a warehouse says, as text, without the names of runs and what was before them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contents {
    /// Of each table of the lake, its rows in order.
    pub tables: BTreeMap<String, Vec<String>>,
    /// Of each table of the lake, what is recorded of its partitions.
    pub records: BTreeMap<String, BTreeMap<String, String>>,
    /// Of each exported table, its rows in order.
    pub exported: BTreeMap<String, Vec<String>>,
}

impl House {
    /// An empty warehouse of the project in a folder, with its inputs in another.
    pub fn new(project: &Path, inputs: &Path) -> Self {
        Self::with(project, inputs, InMemory::new())
    }

    /// A warehouse whose lake holds something already.
    pub fn with(project: &Path, inputs: &Path, content: InMemory) -> Self {
        let own = tempfile::tempdir().expect("a folder");
        fs::create_dir(own.path().join("lake")).expect("a folder for the lock");
        let number = HOUSES.fetch_add(1, Ordering::Relaxed);
        let (project, inputs) = (project.to_owned(), inputs.to_owned());
        Self { store: Store::of(content), now_ms: NOON, runs: 0, project, inputs, own, number }
    }

    /// Where the exported tables are.
    pub fn exported(&self) -> PathBuf {
        self.own.path().join("metrics.db")
    }

    /// The lake.
    pub fn lake(&self) -> Lake {
        let root = "memory:///lake/".parse().expect("a URL");
        Lake::over(root, Arc::new(self.store.clone())).expect("a lake in memory")
    }

    fn config(&self) -> Config {
        let threads = ("resources.threads".to_owned(), "2".to_owned());
        let mut config = Config::load(&self.project, &[threads]).expect("a project");
        config.lake = Location::Local(self.own.path().join("lake"));
        for target in config.exports.values_mut() {
            *target = ExportTarget::Sqlite(self.exported());
        }
        for (name, source) in &mut config.sources {
            source.location = Location::Local(self.inputs.join(name));
        }
        config
    }

    /// A whole run.
    pub async fn run(&mut self) -> Result<RunReport> {
        self.does(&request(&[Step::Ingest, Step::Build, Step::Export])).await
    }

    /// Does what is asked, a minute after the run before.
    pub async fn does(&mut self, request: &RunRequest) -> Result<RunReport> {
        self.now_ms += 60_000;
        self.runs += 1;
        self.does_as(&self.name(), request).await
    }

    /// A name for a run of this moment.
    fn name(&self) -> String {
        run_name(self.now_ms, u32::try_from(self.number).expect("few houses"))
    }

    /// Does what is asked under a name.
    pub async fn does_as(&self, name: &str, request: &RunRequest) -> Result<RunReport> {
        run(&self.context(name), request).await
    }

    fn context(&self, name: &str) -> Context {
        let (config, now_ms, run) = (self.config(), self.now_ms, name.to_owned());
        Context { config, now_ms, run, reporter: Arc::new(Silent), lake: Some(self.lake()) }
    }

    /// Brings everything to the state before a run.
    pub async fn undoes(&mut self, run: &str) {
        self.now_ms += 60_000;
        self.runs += 1;
        let context = self.context(&self.name());
        let report = undo(&context, run, &request(&[Step::Export])).await.expect("an undo");
        assert!(report.failures.is_empty(), "{}", report.failures.join("\n"));
    }

    /// Merges small files and takes away what is older than so long.
    pub async fn maintains(&mut self, keep: Duration) {
        self.now_ms += 60_000;
        self.runs += 1;
        let (grace, wait, command) = (Duration::ZERO, Duration::ZERO, "maintain".to_owned());
        let request = MaintainRequest { keep, grace, runs: false, dry_run: false, wait, command };
        maintain(&self.context(&self.name()), &request).await.expect("maintenance");
    }

    /// Gives all rejects another chance.
    pub async fn replays(&mut self) {
        self.now_ms += 60_000;
        self.runs += 1;
        let wanted = Wanted { table: None, reason: None, from: None, to: None, dry_run: false };
        let request = ReplayRequest { source: None, wanted, wait: Duration::ZERO, command: "replay".to_owned() };
        let report = replay(&self.context(&self.name()), &request).await.expect("a replay");
        assert!(report.failures.is_empty(), "{}", report.failures.join("\n"));
    }

    /// What the next run would build.
    pub async fn plan(&self) -> String {
        plan(&self.context("plan"), &request(&[Step::Build])).await.expect("a plan").to_string()
    }

    /// Takes in what is new, and builds nothing.
    pub async fn ingests(&mut self) {
        let report = self.does(&request(&[Step::Ingest])).await.expect("a run");
        assert!(report.failures.is_empty(), "{}", report.failures.join("\n"));
    }

    /// A whole run, which must do all that there is to do.
    pub async fn succeeds(&mut self) -> RunReport {
        let report = self.run().await.expect("a run");
        assert!(report.failures.is_empty(), "{}", report.failures.join("\n"));
        report
    }

    /// Everything the warehouse says.
    pub async fn contents(&self) -> Contents {
        Contents { tables: self.tables().await, records: self.records().await, exported: self.exports() }
    }

    async fn table_names(&self) -> Vec<String> {
        let mut names = Vec::new();
        for layer in ["ods", "dwd", "dws", "app"] {
            for name in self.lake().tables(layer).await.expect("a listing") {
                // The folder of a table that was never created holds no log.
                if self.lake().table(&name).await.expect("a lake").is_some() {
                    names.push(name);
                }
            }
        }
        names
    }

    /// The rows of every table of the lake.
    pub async fn tables(&self) -> BTreeMap<String, Vec<String>> {
        let zone = "Asia/Shanghai".parse().expect("a zone");
        let engine = Engine::new(&self.lake(), 1 << 30, 2, zone).expect("an engine");
        let session = engine.session();
        register_lake(&session, &self.lake(), &Seeds::default()).await.expect("a lake");
        let mut tables = BTreeMap::new();
        for name in self.table_names().await {
            let batches = query(&session, &format!("select * from {name}")).await.expect("rows");
            let mut rows = Vec::new();
            for batch in &batches {
                let options = FormatOptions::default().with_null("∅");
                let columns = (batch.schema().fields().iter().zip(batch.columns()))
                    .filter(|(field, _)| field.name() != "run" && field.name() != "run_at")
                    .map(|(_, column)| ArrayFormatter::try_new(column, &options).expect("a text"))
                    .collect::<Vec<_>>();
                rows.extend((0..batch.num_rows()).map(|row| {
                    columns.iter().map(|column| column.value(row).to_string()).collect::<Vec<_>>().join("|")
                }));
            }
            rows.sort();
            tables.insert(name, rows);
        }
        tables
    }

    /// What is recorded of every table's partitions, without the runs: version, rows, what each was made from.
    pub async fn records(&self) -> BTreeMap<String, BTreeMap<String, String>> {
        let mut tables = BTreeMap::new();
        for name in self.table_names().await {
            let records = self.lake().records(&name).await.expect("records");
            let of_rows = records.into_iter().filter(|(domain, _)| domain.starts_with("strata."));
            let without_runs = of_rows.map(|(domain, text)| {
                // A replay that is not done yet is noted by its run's name alone.
                let mut record = serde_json::from_str(&text).unwrap_or(serde_json::Value::String(text));
                if let Some(object) = record.as_object_mut() {
                    // What went before is not what there is.
                    ["run", "confirmed", "rows_before"].iter().for_each(|key| drop(object.remove(*key)));
                }
                (domain, record.to_string())
            });
            tables.insert(name, without_runs.collect());
        }
        tables
    }

    /// The rows of every exported table.
    pub fn exports(&self) -> BTreeMap<String, Vec<String>> {
        let mut tables = BTreeMap::new();
        if !self.exported().exists() {
            return tables;
        }
        let database = rusqlite::Connection::open(self.exported()).expect("a database");
        let mut names = database.prepare("select name from sqlite_master where type = 'table'").expect("a database");
        let names: Vec<String> =
            names.query_map([], |row| row.get(0)).expect("names").collect::<Result<_, _>>().expect("names");
        for name in names {
            let mut statement = database.prepare(&format!("select * from {name}")).expect("a table");
            let columns: Vec<String> = statement.column_names().iter().map(|c| (*c).to_owned()).collect();
            let wanted = |column: &String| column != "run" && column != "exported_at";
            let kept: Vec<usize> = (0..columns.len()).filter(|at| wanted(&columns[*at])).collect();
            let mut rows: Vec<String> = statement
                .query_map([], |row| {
                    let values = kept.iter().map(|at| row.get::<_, Value>(*at));
                    Ok(values.map(|v| v.map(|v| format!("{v:?}"))).collect::<Result<Vec<_>, _>>()?.join("|"))
                })
                .expect("rows")
                .collect::<Result<_, _>>()
                .expect("rows");
            rows.sort();
            tables.insert(name, rows);
        }
        tables
    }
}

/// A request for steps, of everything.
pub fn request(steps: &[Step]) -> RunRequest {
    RunRequest {
        steps: steps.to_vec(),
        sources: Vec::new(),
        select: Vec::new(),
        exclude: Vec::new(),
        from: None,
        to: None,
        force: false,
        wait: Duration::ZERO,
        command: "a test".to_owned(),
    }
}

impl Contents {
    /// The first difference from what is expected, in words; `None` where there is none.
    pub fn differs(&self, expected: &Self) -> Option<String> {
        let rows = |what: &str, found: &BTreeMap<String, Vec<String>>, expected: &BTreeMap<String, Vec<String>>| {
            let names: Vec<&String> = found.keys().chain(expected.keys()).collect();
            names.into_iter().find_map(|name| {
                let none = Vec::new();
                let (found, expected) = (found.get(name).unwrap_or(&none), expected.get(name).unwrap_or(&none));
                let more: Vec<&String> = found.iter().filter(|row| !expected.contains(row)).take(3).collect();
                let less: Vec<&String> = expected.iter().filter(|row| !found.contains(row)).take(3).collect();
                let counts = format!("{} rows, {} expected", found.len(), expected.len());
                (found != expected)
                    .then(|| format!("{what} {name}: {counts}\n  too much: {more:#?}\n  missing: {less:#?}"))
            })
        };
        let records = || {
            let names: Vec<&String> = self.records.keys().chain(expected.records.keys()).collect();
            names.into_iter().find_map(|name| {
                let none = BTreeMap::new();
                let found = self.records.get(name).unwrap_or(&none);
                let expected = expected.records.get(name).unwrap_or(&none);
                let key = found.keys().chain(expected.keys()).find(|key| found.get(*key) != expected.get(*key))?;
                Some(format!("{name}: {key}: recorded {:?}\n  expected {:?}", found.get(key), expected.get(key)))
            })
        };
        rows("table", &self.tables, &expected.tables)
            .or_else(records)
            .or_else(|| rows("exported", &self.exported, &expected.exported))
    }

    /// Panics with the first difference from what is expected.
    pub fn must_equal(&self, expected: &Self, when: &str) {
        if let Some(difference) = self.differs(expected) {
            panic!("{when}: {difference}");
        }
    }
}

/// A copy of this repository's project in a folder.
pub fn own_project(folder: &Path) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for part in ["sql", "conf"] {
        copy(&root.join(part), &folder.join(part));
    }
    folder.to_owned()
}

/// Copies a folder with all that is in it.
pub fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), &target).expect("copies");
        }
    }
}

/// Gives every file beneath dated folders the time of its folder's noon, so that a copy is the same file.
pub fn settle_times(folder: &Path) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            settle_times(&path);
        } else {
            let day = path.components().rev().find_map(|part| part.as_os_str().to_str()?.parse::<BizDate>().ok());
            let seconds = day.map_or(0, |day| i64::from(day.days()) * 86_400 + 14_400);
            let time = UNIX_EPOCH + Duration::from_secs(seconds.unsigned_abs());
            File::options().write(true).open(&path).and_then(|file| file.set_modified(time)).expect("a file");
        }
    }
}
