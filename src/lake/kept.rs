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

/// Commits behind a checkpoint that are long, in bytes.
const LONG_COMMITS: u64 = 128 << 10;

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
    length: Length,
}

/// How long a log is that whoever opens the table reads, in bytes, as far as this process has seen it.
#[derive(Clone, Copy, Default)]
pub struct Length {
    /// The last checkpoint.
    pub checkpoint: u64,
    /// The commits since.
    pub commits: u64,
}

impl Length {
    /// Whether the commits are to be summed up: a backfill writes few, and long ones, which every run after it would read
    /// again. A long history is not written anew for a little.
    pub fn is_long(self) -> bool {
        self.commits > LONG_COMMITS.max(self.checkpoint / 4)
    }
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
            version.length = told.length;
        });
    }

    /// Adds a commit of so many bytes to a table's log.
    pub fn add_commit(&self, table: &str, bytes: u64) -> Length {
        let mut all = self.all();
        let length = &mut all.entry(table.to_owned()).or_default().length;
        length.commits += bytes;
        *length
    }

    /// Notes that a table's log was summed up in a checkpoint of so many bytes.
    pub fn note_checkpoint(&self, table: &str, bytes: u64) {
        self.all().entry(table.to_owned()).or_default().length = Length { checkpoint: bytes, commits: 0 };
    }

    /// Keeps a table that was opened.
    pub fn keep_snapshot(&self, table: &str, number: u64, snapshot: Snapshot) {
        self.keep(table, number, |version| version.snapshot = Some(snapshot));
    }

    fn keep(&self, table: &str, number: u64, change: impl FnOnce(&mut Version)) {
        let mut all = self.all();
        let version = all.entry(table.to_owned()).or_default();
        if version.number < number {
            *version = Version { number, length: version.length, ..Version::default() };
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
