//! What is recorded beside the rows, in the commit that brings them: the files taken and the versions of partitions.
//!
//! A record is one Delta domain metadata: its domain names the thing, its text is JSON. Paths are relative to the
//! source's folder.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use super::tally::Tally;
use crate::date::{BizDate, Slot};

const FILE: &str = "strata.file:";
const SLOT: &str = "strata.slot:";
/// The domain of a [`SourceRecord`].
pub const SOURCE: &str = "strata.source";

/// A file that was taken: a file with this size and time is not even opened again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileRecord {
    /// Its path.
    pub path: String,
    /// Its size in bytes, as stored.
    pub size: u64,
    /// Its modification time in epoch milliseconds.
    pub mtime_ms: i64,
    /// The day it arrived.
    pub arrival: BizDate,
    /// The xxh3-128 of its decompressed content, in hex.
    pub hash: String,
    /// What came of its rows; nothing when it is a copy.
    #[serde(flatten)]
    pub tally: Tally,
    /// The file of the same day with the same content whose rows stand for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub same_as: Option<String>,
    /// The run that took it.
    pub run: String,
}

/// The rejects of a file, recorded with them so that a crash before the rows land does not double them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RejectRecord {
    /// The day it arrived: the partition of its rejects.
    pub arrival: BizDate,
    /// The content that they are of.
    pub hash: String,
    /// How many there are, by reason.
    pub rejected: BTreeMap<String, u64>,
    /// The run that took it.
    pub run: String,
}

/// A partition's version, which changes whenever a file touches it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlotRecord {
    /// 64 bits in hex.
    pub version: String,
    /// All its rows.
    pub rows: u64,
    /// Its rows in the version before; 0 when there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows_before: Option<u64>,
    /// The run that touched it last.
    pub run: String,
}

/// What a table knows of its source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceRecord {
    /// The latest arrival date of a file taken.
    pub last_arrival: BizDate,
}

impl SlotRecord {
    /// The record of a partition after files touched it: each file is named by its hash, `-` before one that left.
    pub fn after(before: Option<&Self>, files: impl IntoIterator<Item = String>, rows: u64, run: &str) -> Self {
        let mut files: Vec<String> = files.into_iter().collect();
        files.sort_unstable();
        let text = format!("{}\n{}", before.map_or("", |record| &record.version), files.join("\n"));
        let version = format!("{:016x}", xxh3_64(text.as_bytes()));
        let rows_before = Some(before.map_or(0, |record| record.rows));
        Self { version, rows, rows_before, run: run.to_owned() }
    }
}

/// The domain of a file's record in its own table.
pub fn file_domain(path: &str) -> String {
    format!("{FILE}{path}")
}

/// The domain of a file's record in `ods_reject`, which many tables share.
pub fn reject_domain(table: &str, path: &str) -> String {
    format!("{FILE}{table}/{path}")
}

/// The domain of a partition's record.
pub fn slot_domain(slot: Slot) -> String {
    slot.map_or_else(|| format!("{SLOT}none"), |day| format!("{SLOT}{day}"))
}

/// The file records among a table's, by path.
///
/// # Errors
/// When one is not what this module writes.
pub fn files(records: &BTreeMap<String, String>) -> Result<BTreeMap<String, FileRecord>> {
    let of_files = records.iter().filter(|(domain, _)| domain.starts_with(FILE));
    of_files
        .map(|(domain, text)| {
            let record: FileRecord = serde_json::from_str(text).with_context(|| format!("record `{domain}`"))?;
            Ok((record.path.clone(), record))
        })
        .collect()
}

/// The records of a table's rejects among those of `ods_reject`, by the path of their file.
///
/// # Errors
/// When one is not what this module writes.
pub fn rejects_of(records: &BTreeMap<String, String>, table: &str) -> Result<BTreeMap<String, RejectRecord>> {
    let prefix = reject_domain(table, "");
    let of_table = records.iter().filter_map(|(domain, text)| Some((domain.strip_prefix(&prefix)?, domain, text)));
    of_table
        .map(|(path, domain, text)| {
            let record = serde_json::from_str(text).with_context(|| format!("record `{domain}`"))?;
            Ok((path.to_owned(), record))
        })
        .collect()
}

/// One record, if it is there.
///
/// # Errors
/// When it is not what this module writes.
pub fn find<'a, T: Deserialize<'a>>(records: &'a BTreeMap<String, String>, domain: &str) -> Result<Option<T>> {
    let text = records.get(domain).map(|text| serde_json::from_str(text));
    text.transpose().with_context(|| format!("record `{domain}`"))
}

/// A record as a commit takes it.
///
/// # Errors
/// Never in practice: everything recorded here has a JSON form.
pub fn entry(domain: String, record: &impl Serialize) -> Result<(String, Option<String>)> {
    Ok((domain, Some(serde_json::to_string(record)?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_gets_a_new_version_whichever_files_touch_it_in_any_order() {
        let one = SlotRecord::after(None, ["a".to_owned(), "b".to_owned()], 2, "r1");
        assert_eq!(one, SlotRecord::after(None, ["b".to_owned(), "a".to_owned()], 2, "r1"));
        let two = SlotRecord::after(Some(&one), ["a".to_owned()], 3, "r2");
        assert_ne!(one.version, two.version);
        assert_eq!(two.version.len(), 16);
    }

    #[test]
    fn a_file_record_survives_being_written_down() {
        let record = FileRecord {
            path: "2026-01-05/user.csv".to_owned(),
            size: 7,
            mtime_ms: -1,
            arrival: BizDate::from_days(20_458),
            hash: "00".repeat(16),
            tally: Tally::for_columns(["pay_money"].into_iter()),
            same_as: None,
            run: "r1".to_owned(),
        };
        let (domain, text) = entry(file_domain(&record.path), &record).unwrap();
        let records = BTreeMap::from([(domain, text.unwrap()), (SOURCE.to_owned(), "{}".to_owned())]);
        assert_eq!(files(&records).unwrap()[&record.path], record);
        assert!(records.keys().any(|domain| domain == "strata.file:2026-01-05/user.csv"));
    }
}
