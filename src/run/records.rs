//! What is recorded of a table beside its rows, in the same commit: of each partition what it is and what it was made from,
//! and what its model meant.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};

use crate::date::{BizDate, Slot};
use crate::lake::Lake;
use crate::plan::{Fingerprint, SlotState, TableState};

/// The beginning of the domains of the forms that a model had.
const MODEL: &str = "strata.model:";

/// What is recorded of a partition, as JSON beside its rows.
#[derive(Serialize, Deserialize)]
pub struct SlotRecord {
    /// The version of its content, 16 hexadecimal digits.
    pub version: String,
    /// The versions of the table's columns, in their order, each like that; only where some model reads the table.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub columns: String,
    /// Its rows.
    pub rows: u64,
    /// Its rows in the version before; 0 when there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows_before: Option<u64>,
    /// The run that gave it this version.
    pub run: String,
    /// The run that last made it, where a later one than that came to the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirmed: Option<String>,
    /// What it was made from; sources have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<Fingerprint>,
}

/// What is recorded of a table that is made in one go.
#[derive(Serialize, Deserialize)]
pub struct WholeRecord {
    /// The run that made it.
    pub run: String,
    /// What it was made from.
    pub fingerprint: Fingerprint,
}

/// What ingest records of a source table as a whole.
#[derive(Deserialize)]
struct SourceRecord {
    last_arrival: Option<BizDate>,
}

impl From<&SlotState> for SlotRecord {
    fn from(state: &SlotState) -> Self {
        Self {
            version: format!("{:016x}", state.version),
            columns: state.columns.iter().map(|version| format!("{version:016x}")).collect(),
            rows: state.rows,
            rows_before: state.rows_before,
            run: state.run.clone(),
            confirmed: state.confirmed.clone(),
            fingerprint: state.fingerprint.clone(),
        }
    }
}

/// The domain under which it is recorded what a table that is made in one go was made from.
pub const WHOLE: &str = "strata.whole";

/// The partition that a record is of, if it is of one.
///
/// # Errors
/// When it is not what this program writes.
pub fn slot_of(domain: &str) -> Result<Option<Slot>> {
    let Some(key) = domain.strip_prefix("strata.slot:") else { return Ok(None) };
    Ok(Some(if key == "none" { None } else { Some(key.parse()?) }))
}

/// The domain under which a partition is recorded.
pub fn slot_domain(slot: Slot) -> String {
    slot.map_or_else(|| "strata.slot:none".to_owned(), |day| format!("strata.slot:{day}"))
}

/// The domain under which it is recorded what a meaning of a model was.
pub fn model_domain(meaning: u64) -> String {
    format!("{MODEL}{meaning:016x}")
}

/// What is recorded of a table: what is in it, and of a source's when the last of it arrived.
///
/// # Errors
/// When the lake cannot be read, or a record is not what this program writes.
pub async fn read_records(lake: &Lake, name: &str) -> Result<(Option<TableState>, Option<BizDate>)> {
    let (records, columns) = lake.records_and_columns(name).await?;
    let about = || format!("records of {name}");
    let source = records.get("strata.source").map(|text| serde_json::from_str::<SourceRecord>(text)).transpose();
    let arrival = source.with_context(about)?.and_then(|source| source.last_arrival);
    Ok((table_state(&records, columns).with_context(about)?, arrival))
}

/// What a table's records say of it, given the names of its columns in their order; nothing when there are none of partitions.
///
/// # Errors
/// When one is not what this program writes.
pub fn table_state(records: &BTreeMap<String, String>, columns: Vec<String>) -> Result<Option<TableState>> {
    let mut state = TableState::default();
    for (domain, text) in records {
        if let Some(slot) = slot_of(domain)? {
            let record: SlotRecord = serde_json::from_str(text)?;
            let version = u64::from_str_radix(&record.version, 16)?;
            let columns = read_hashes(&record.columns)?;
            let SlotRecord { rows, rows_before, run, confirmed, fingerprint, .. } = record;
            let partition = SlotState { version, columns, rows, rows_before, fingerprint, run, confirmed };
            state.slots.insert(slot, partition.into());
        } else if let Some(meaning) = domain.strip_prefix(MODEL) {
            state.forms.insert(u64::from_str_radix(meaning, 16)?, Arc::new(serde_json::from_str(text)?));
        } else if domain == WHOLE {
            let record: WholeRecord = serde_json::from_str(text)?;
            state.whole = Some(record.fingerprint);
            state.run = record.run;
        }
    }
    // Names of columns that have no versions would only have to be looked through.
    if state.slots.values().any(|slot| !slot.columns.is_empty()) {
        state.columns = columns;
    }
    Ok((!state.slots.is_empty() || state.whole.is_some() || !state.forms.is_empty()).then_some(state))
}

/// Hashes in a row, 16 hexadecimal digits each.
fn read_hashes(text: &str) -> Result<Vec<u64>> {
    let (hashes, []) = text.as_bytes().as_chunks::<16>() else { bail!("`{text}` is no row of hashes") };
    hashes.iter().map(|digits| Ok(u64::from_str_radix(std::str::from_utf8(digits)?, 16)?)).collect()
}
