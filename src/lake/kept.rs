//! What was read of tables and need not be read again: a version of a table never changes.
//!
//! A run asks for the same tables before, in and after its ingest, for every model that reads them and for the exports.
//! That a version is still the newest one is asked each time, by looking for the next: one request in place of a listing
//! and of a log that is put together anew.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::head::About;
use super::records::Told;
use super::table::Snapshot;

/// The layer whose records are kept: those of models are asked for once, and are many.
const RECORDS_OF: &str = "ods_";

/// What was read, by table. Cheap to clone; clones share it.
#[derive(Clone, Default)]
pub struct Kept(Arc<Mutex<BTreeMap<String, Version>>>);

/// What was read of the newest version of a table that is known.
#[derive(Clone, Default)]
struct Version {
    number: u64,
    about: Option<Arc<About>>,
    records: Option<Arc<BTreeMap<String, String>>>,
    snapshot: Option<Snapshot>,
    /// How long the commits are, in bytes, that whoever opens the table reads besides a checkpoint.
    commits: u64,
}

impl Kept {
    /// The newest version that is known of a table.
    pub fn newest(&self, table: &str) -> Option<u64> {
        self.all().get(table).map(|version| version.number)
    }

    /// What a table is at a version.
    pub fn about(&self, table: &str, number: u64) -> Option<Arc<About>> {
        self.version(table, number)?.about
    }

    /// What is recorded of a table at a version.
    pub fn records(&self, table: &str, number: u64) -> Option<Arc<BTreeMap<String, String>>> {
        self.version(table, number)?.records
    }

    /// A table with its files at a version.
    pub fn snapshot(&self, table: &str, number: u64) -> Option<Snapshot> {
        self.version(table, number)?.snapshot
    }

    /// Keeps what a pass over the log of a table told.
    pub fn keep_pass(&self, table: &str, number: u64, about: Option<Arc<About>>, told: &Told) {
        let records = table.starts_with(RECORDS_OF).then(|| Arc::new(told.records.clone()));
        self.keep(table, number, |version| {
            version.about = about;
            version.records = records;
            version.commits = told.commits;
        });
    }

    /// Adds the length of a commit of a table, in bytes, to that of the others since a checkpoint, as far as they are known.
    pub fn add_commit(&self, table: &str, bytes: u64) -> u64 {
        let mut all = self.all();
        let version = all.entry(table.to_owned()).or_default();
        version.commits += bytes;
        version.commits
    }

    /// Notes that a table's log was summed up in a checkpoint.
    pub fn note_checkpoint(&self, table: &str) {
        self.all().entry(table.to_owned()).or_default().commits = 0;
    }

    /// Keeps a table that was opened.
    pub fn keep_snapshot(&self, table: &str, number: u64, snapshot: Snapshot) {
        self.keep(table, number, |version| version.snapshot = Some(snapshot));
    }

    fn keep(&self, table: &str, number: u64, change: impl FnOnce(&mut Version)) {
        let mut all = self.all();
        let version = all.entry(table.to_owned()).or_default();
        if version.number < number {
            *version = Version { number, commits: version.commits, ..Version::default() };
        }
        // Of the past nothing is kept: it is asked for once.
        if version.number == number {
            change(version);
        }
    }

    fn version(&self, table: &str, number: u64) -> Option<Version> {
        self.all().get(table).filter(|version| version.number == number).cloned()
    }

    fn all(&self) -> MutexGuard<'_, BTreeMap<String, Version>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
