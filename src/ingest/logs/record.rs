//! What is recorded beside the rows, in the commit that brings them: how far each file was taken, and what of it.
//!
//! A record is one Delta domain metadata: its domain names the thing, its text is JSON. A file is known by its content,
//! so its record keeps fingerprints; the name under which it landed first stays its name in the lake for good.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use super::decode::Counts;
use super::rejects::REASONS;
use crate::date::BizDate;

const FILE: &str = "strata.file:";
const SLOT: &str = "strata.slot:";
/// The domain of a [`SourceRecord`].
pub const SOURCE: &str = "strata.source";

/// How far a file was read when it was last looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum End {
    /// Not to its end: a commit came in between.
    Partial,
    /// To its last line end; a line without one waits behind it.
    Waiting,
    /// As far as it could be decompressed.
    Broken,
    /// To its end.
    Complete,
}

/// Events by what became of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Events read.
    pub read: u64,
    /// Events landed.
    pub landed: u64,
    /// Events rejected, by reason; only reasons that occurred.
    #[serde(default)]
    pub rejected: BTreeMap<String, u64>,
}

impl Tally {
    /// Adds what a decoder counted.
    pub fn add(&mut self, counts: &Counts, reasons: &[String; REASONS]) {
        self.read += counts.read;
        self.landed += counts.landed;
        for (reason, count) in reasons.iter().zip(counts.rejected).filter(|(_, count)| *count > 0) {
            *self.rejected.entry(reason.clone()).or_default() += count;
        }
    }

    /// Adds another tally.
    pub fn merge(&mut self, other: &Self) {
        self.read += other.read;
        self.landed += other.landed;
        for (reason, count) in &other.rejected {
            *self.rejected.entry(reason.clone()).or_default() += count;
        }
    }

    /// All rejected events.
    pub fn rejected_total(&self) -> u64 {
        self.rejected.values().sum()
    }
}

/// What the beginning of a file looked like.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Print {
    /// How many bytes of the decompressed stream were taken.
    pub consumed: u64,
    /// Their xxh3-128.
    pub hash: String,
    /// How many bytes of the beginning are hashed apart: finding a file by its first bytes is cheap.
    pub head_len: u64,
    /// The xxh3-128 of these.
    pub head_hash: String,
}

/// A file, under the name it landed by, in the table of its events.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileRecord {
    /// Where its content was last seen; empty when something else is there now.
    pub path: String,
    /// Its size in bytes, as stored.
    pub size: u64,
    /// Its modification time in epoch milliseconds.
    pub mtime_ms: i64,
    /// The day it arrived.
    pub arrival: BizDate,
    /// Its content as far as it was taken.
    #[serde(flatten)]
    pub print: Print,
    /// How far that is.
    pub end: End,
    /// The landed name of the file whose rows stand for its first bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copy_of: Option<String>,
    /// What came of its events.
    #[serde(flatten)]
    pub tally: Tally,
    /// The run that took it last.
    pub run: String,
}

/// How far the rejects of a file were taken, in `ods_reject`: they are committed before the events.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RejectRecord {
    /// Where its content was last seen.
    pub path: String,
    /// The day it arrived.
    pub arrival: BizDate,
    /// Its content as far as it was taken.
    #[serde(flatten)]
    pub print: Print,
    /// How many there are, by reason.
    pub rejected: BTreeMap<String, u64>,
    /// The run that took it last.
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

impl SlotRecord {
    /// The record of a partition after stretches of files, each `name from to hash`, brought it `rows` more.
    pub fn after(before: Option<&Self>, mut stretches: Vec<String>, rows: u64, run: &str) -> Self {
        stretches.sort_unstable();
        let text = format!("{}\n{}", before.map_or("", |record| &record.version), stretches.join("\n"));
        let version = format!("{:016x}", xxh3_64(text.as_bytes()));
        let had = before.map_or(0, |record| record.rows);
        Self { version, rows: had + rows, rows_before: Some(had), run: run.to_owned() }
    }
}

/// What a table knows of its source.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceRecord {
    /// The latest arrival date of a file taken.
    pub last_arrival: Option<BizDate>,
    /// All events ever read.
    #[serde(flatten)]
    pub tally: Tally,
}

/// The domain of a file's record in the table of its events.
pub fn file_domain(landed: &str) -> String {
    format!("{FILE}{landed}")
}

/// The domain of a file's record in `ods_reject`, which many tables share.
pub fn reject_domain(table: &str, landed: &str) -> String {
    format!("{FILE}{table}/{landed}")
}

/// The domain of a partition's record.
pub fn slot_domain(day: BizDate) -> String {
    format!("{SLOT}{day}")
}

/// The records of files by landed name.
///
/// # Errors
/// When one is not what this module writes.
pub fn files(records: &BTreeMap<String, String>) -> Result<BTreeMap<String, FileRecord>> {
    parsed(records, FILE)
}

/// The records of a table's files in `ods_reject`, by landed name.
///
/// # Errors
/// When one is not what this module writes.
pub fn reject_files(records: &BTreeMap<String, String>, table: &str) -> Result<BTreeMap<String, RejectRecord>> {
    parsed(records, &reject_domain(table, ""))
}

fn parsed<T: for<'a> Deserialize<'a>>(records: &BTreeMap<String, String>, prefix: &str) -> Result<BTreeMap<String, T>> {
    let of_files = records.iter().filter_map(|(domain, text)| Some((domain.strip_prefix(prefix)?, text)));
    of_files
        .map(|(landed, text)| {
            let record = serde_json::from_str(text).with_context(|| format!("record `{prefix}{landed}`"))?;
            Ok((landed.to_owned(), record))
        })
        .collect()
}

/// One record, if it is there.
///
/// # Errors
/// When it is not what this module writes.
pub fn find<T: for<'a> Deserialize<'a>>(records: &BTreeMap<String, String>, domain: &str) -> Result<Option<T>> {
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

/// A 128-bit hash as records keep it.
pub fn hex(hash: u128) -> String {
    format!("{hash:032x}")
}
