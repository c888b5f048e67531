//! A folder of extracts and a lake, for tests of whole ingests.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, UNIX_EPOCH};

use tempfile::TempDir;

use super::{cell, shop};
use crate::config::source::TableSource;
use crate::ingest::orders::{OrdersIngest, OrdersOutcome, Origin, ingest_orders, replay_orders};
use crate::ingest::replay::{Replayed, Wanted};
use crate::lake::{Lake, read_batches};
use crate::progress::{Event, Reporter};

/// 2026-01-05T00:00 in Shanghai.
pub const MONDAY_MS: u64 = 1_767_542_400_000;

/// Keeps what was told.
#[derive(Default)]
pub struct Told(pub Mutex<Vec<Event>>);

impl Reporter for Told {
    fn report(&self, event: Event) {
        self.0.lock().unwrap().push(event);
    }
}

/// Extracts and the lake they go to.
pub struct Shop {
    pub extracts: TempDir,
    pub lake_folder: TempDir,
    pub source: TableSource,
    clock: std::cell::Cell<u64>,
    runs: std::cell::Cell<u64>,
}

impl Shop {
    /// An empty shop that declares some of the tables.
    pub fn new(tables: &[&str]) -> Self {
        let mut source = shop();
        source.tables.retain(|table| tables.contains(&table.name.as_str()));
        let (extracts, lake_folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        Self { extracts, lake_folder, source, clock: MONDAY_MS.into(), runs: 0.into() }
    }

    /// Writes an extract; each write has a modification time of its own.
    pub fn write(&self, path: &str, text: &str) {
        let target = self.extracts.path().join(path);
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::write(&target, text).unwrap();
        self.touch(path);
    }

    /// Gives a file another modification time.
    pub fn touch(&self, path: &str) {
        self.clock.set(self.clock.get() + 1_000);
        self.date(path, self.clock.get());
    }

    pub fn date(&self, path: &str, epoch_ms: u64) {
        let file = File::options().append(true).open(self.extracts.path().join(path)).unwrap();
        file.set_modified(UNIX_EPOCH + Duration::from_millis(epoch_ms)).unwrap();
    }

    pub fn lake(&self) -> Lake {
        Lake::open(self.lake_folder.path().to_str().unwrap()).unwrap()
    }

    /// Ingests; the outcome and the warnings.
    pub async fn ingest(&self) -> (OrdersOutcome, Vec<String>) {
        self.runs.set(self.runs.get() + 1);
        let (outcome, told) = self.ingest_into(&self.lake(), &format!("r{}", self.runs.get())).await;
        (outcome.unwrap(), told)
    }

    pub async fn ingest_into(&self, lake: &Lake, run: &str) -> (anyhow::Result<OrdersOutcome>, Vec<String>) {
        let told = Told::default();
        let job = OrdersIngest {
            lake,
            name: "orders",
            source: &self.source,
            origin: Origin::Folder(self.extracts.path()),
            zone: "Asia/Shanghai".parse().unwrap(),
            run,
            now_ms: 1_767_600_000_000,
            threads: 2,
            reporter: &told,
        };
        let outcome = ingest_orders(&job).await;
        let events = told.0.into_inner().unwrap();
        let warnings = events.into_iter().filter_map(|event| match event {
            Event::Warning(text) => Some(text.replace(&format!("{}/", self.extracts.path().display()), "")),
            _ => None,
        });
        (outcome, warnings.collect())
    }

    /// Gives rejects another chance.
    pub async fn replay(&self, wanted: &Wanted) -> Vec<Replayed> {
        self.runs.set(self.runs.get() + 1);
        let (lake, run) = (self.lake(), format!("r{}", self.runs.get()));
        let job = OrdersIngest {
            lake: &lake,
            name: "orders",
            source: &self.source,
            origin: Origin::Folder(self.extracts.path()),
            zone: "Asia/Shanghai".parse().unwrap(),
            run: &run,
            now_ms: 1_767_600_000_000,
            threads: 2,
            reporter: &Told::default(),
        };
        replay_orders(&job, wanted).await.unwrap()
    }

    /// All rows of a table as text, sorted: `dt: values`.
    pub async fn rows(&self, table: &str) -> Vec<String> {
        rows(&self.lake(), table).await
    }

    /// What is recorded beside a table's rows.
    pub async fn records(&self, table: &str) -> BTreeMap<String, String> {
        self.lake().records(table).await.unwrap()
    }

    /// What a lake that is built at once from today's extracts holds in the tables.
    pub async fn scratch_rows(&self, tables: &[&str]) -> Vec<Vec<String>> {
        let folder = tempfile::tempdir().unwrap();
        let lake = Lake::open(folder.path().to_str().unwrap()).unwrap();
        let (outcome, _) = self.ingest_into(&lake, "scratch").await;
        assert_eq!(outcome.unwrap().failures, Vec::<String>::new());
        let mut all = Vec::new();
        for table in tables {
            all.push(rows(&lake, table).await);
        }
        all
    }

    /// The failures of an outcome with paths relative to the folder of extracts.
    pub fn failures(&self, outcome: &OrdersOutcome) -> Vec<String> {
        let root = format!("{}/", self.extracts.path().display());
        outcome.failures.iter().map(|failure| failure.replace(&root, "")).collect()
    }

    /// Copies a table's folder into another lake's.
    pub fn copy_table(&self, table: &str, to: &Self) {
        copy(&self.lake_folder.path().join("ods").join(table), &to.lake_folder.path().join("ods").join(table));
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

async fn rows(lake: &Lake, name: &str) -> Vec<String> {
    let table = lake.table(name).await.unwrap().unwrap();
    let mut rows = Vec::new();
    for file in table.files() {
        let slot = file.slot.map_or("∅".to_owned(), |day| day.to_string());
        for batch in read_batches(&*lake.store(), &table.object_path(&file.path)).await.unwrap() {
            for row in 0..batch.num_rows() {
                let cells: Vec<String> = batch.columns().iter().map(|c| cell(c, row)).collect();
                rows.push(format!("{slot}: {}", cells.join(",")));
            }
        }
    }
    rows.sort();
    rows
}
