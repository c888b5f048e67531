//! What waits at a source: seen by the eyes of the ingest that will take it, and left where it is.

use std::collections::BTreeSet;

use crate::date::{BizDate, Slot};

/// Larger files are not read to see which days their events happened on, and
const FILE_BYTES: u64 = 4 << 20;
/// neither is more than this of a source, as stored.
const SOURCE_BYTES: u64 = 16 << 20;

/// What waits for one table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Waiting {
    /// The table.
    pub table: String,
    /// Files that are new, have grown or say something else.
    pub files: usize,
    /// What is to be read of them, in bytes as stored.
    pub bytes: u64,
    /// The partitions that they are for.
    pub slots: BTreeSet<Slot>,
    /// Whether some of them were not read: their day and the one before stand for the days that they are really for.
    pub at_least: bool,
    /// The latest day on which one of them arrived.
    pub last_arrival: Option<BizDate>,
}

impl Waiting {
    /// Nothing, yet.
    pub fn new(table: &str) -> Self {
        Self { table: table.to_owned(), ..Self::default() }
    }

    /// Notes a file and how much of it is new.
    pub fn add(&mut self, arrival: BizDate, bytes: u64) {
        self.files += 1;
        self.bytes += bytes;
        self.last_arrival = self.last_arrival.max(Some(arrival));
    }

    /// Supposes that a file is for the day of its arrival and the day before, as most logs and changes are.
    pub fn suppose(&mut self, arrival: BizDate) {
        self.slots.extend([Some(arrival.plus_days(-1)), Some(arrival)]);
        self.at_least = true;
    }
}

/// How much may still be read to know days.
pub struct Allowance(u64);

impl Allowance {
    /// All of it.
    pub fn new() -> Self {
        Self(SOURCE_BYTES)
    }

    /// Whether so many bytes may be read; then they are used up.
    pub fn grants(&mut self, bytes: u64) -> bool {
        let granted = bytes <= FILE_BYTES.min(self.0);
        self.0 -= if granted { bytes } else { 0 };
        granted
    }
}
