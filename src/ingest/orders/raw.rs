//! The extracts of a table that were taken, for those who want to ingest just these again.

use std::collections::BTreeMap;

use anyhow::Result;

use super::extract::fingerprint;
use super::record::files;
use crate::ingest::files::open;
use crate::ingest::raw::Folder;

/// Writes every extract that landed rows; says why it cannot, where one is not what it was.
///
/// # Errors
/// When the records are not this program's, or the folder cannot be written.
pub fn restore(records: &BTreeMap<String, String>, folder: &Folder<'_>) -> Result<Option<String>> {
    let taken = files(records)?;
    let landed: Vec<_> = taken.values().filter(|record| record.same_as.is_none()).collect();
    if records.contains_key("strata.source") && landed.is_empty() {
        return Ok(Some("its rows did not come from files".to_owned()));
    }
    for record in &landed {
        let Some(file) = folder.find(&record.path) else {
            return Ok(Some(format!("`{}` is there no more", record.path)));
        };
        let is_touched = file.size != record.size || file.mtime_ms != record.mtime_ms;
        if is_touched && fingerprint(file)? != record.hash {
            return Ok(Some(format!("`{}` is not what it was", record.path)));
        }
    }
    for record in &landed {
        if let Some(file) = folder.find(&record.path) {
            folder.write(&record.path, record.arrival, &mut open(file)?)?;
        }
    }
    Ok(None)
}
