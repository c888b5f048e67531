//! A snapshot of a table copied into another lake, files and records, as the first version there.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use object_store::{ObjectStoreExt, PutPayload};
use serde_json::json;

use super::{Commit, Lake, StagedFile, Table, TableSpec};

impl Table {
    /// Copies this snapshot, with what is recorded beside its rows, into a lake that has no such table.
    ///
    /// # Errors
    /// When a file cannot be read, or the other lake not be written.
    pub async fn copy_to(&self, lake: &Lake, records: &BTreeMap<String, String>, now_ms: i64) -> Result<()> {
        let spec = TableSpec {
            name: self.name().to_owned(),
            schema: self.schema().clone(),
            partitioned: self.partitioned(),
            description: self.description(),
        };
        let mut copy = lake.ensure_table(&spec, now_ms).await?;
        let mut adds = Vec::with_capacity(self.files().len());
        for file in self.files() {
            let from = self.object_path(&file.path);
            let bytes = self.lake().store().get(&from).await.with_context(|| format!("read {from}"))?.bytes().await?;
            let to = copy.object_path(&file.path);
            lake.store().put(&to, PutPayload::from_bytes(bytes)).await.with_context(|| format!("write {to}"))?;
            let (path, slot, size, rows) = (file.path.clone(), file.slot, file.size, file.rows);
            adds.push(StagedFile { path, slot, size, rows, stats: json!({"numRecords": rows}).to_string() });
        }
        let records = records.iter().map(|(domain, text)| (domain.clone(), Some(text.clone()))).collect();
        copy.commit(Commit { adds, records, operation: "copy", now_ms, ..Commit::default() }).await
    }
}
