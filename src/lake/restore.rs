//! Bringing a table back to what it was: one commit that takes away the files that came since, adds again those that
//! went, and leaves columns and records as they were then.
//!
//! A file that a commit took out of a table stays in its folder until it is vacuumed; so nothing is copied.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, bail};
use futures::{StreamExt, TryStreamExt};
use object_store::ObjectStoreExt;

use super::commit::{Commit, StagedFile};
use super::table::{FileRef, Table, TableSpec};

/// Files that are looked for at once.
const CONCURRENT_LOOKS: usize = 32;

/// What has to be done to a table for it to be what it was.
#[derive(Default)]
pub struct Restoration {
    /// Files to add again.
    pub adds: Vec<StagedFile>,
    /// Files to take away.
    pub removes: Vec<FileRef>,
    /// Records to write again, or to take away.
    pub records: Vec<(String, Option<String>)>,
    /// What it was, where columns or descriptions differ.
    pub shape: Option<TableSpec>,
}

impl Restoration {
    /// Compares a table, and what is recorded of it, with what it was then; `None` is a table that did not exist: it
    /// becomes one without rows and records.
    ///
    /// # Errors
    /// When it was laid out in another way.
    pub fn of(
        now: (&Table, &BTreeMap<String, String>),
        then: Option<(&Table, &BTreeMap<String, String>)>,
    ) -> Result<Self> {
        let (table, records_now) = now;
        let Some((before, records_then)) = then else {
            let records = records_now.keys().map(|domain| (domain.clone(), None)).collect();
            return Ok(Self { removes: table.files().to_vec(), records, ..Self::default() });
        };
        if before.partitioned() != table.partitioned() {
            bail!("{} was laid out in another way: one folder a day or many days a file", table.name());
        }
        let (here, there) = (paths(table), paths(before));
        let mut adds = before.staged()?;
        adds.retain(|file| !here.contains(file.path.as_str()));
        let removes = table.files().iter().filter(|file| !there.contains(file.path.as_str())).cloned().collect();
        let back = records_then.iter().filter(|(domain, text)| records_now.get(*domain) != Some(text));
        let gone = records_now.keys().filter(|domain| !records_then.contains_key(*domain));
        let back = back.map(|(domain, text)| (domain.clone(), Some(text.clone())));
        let records = back.chain(gone.map(|domain| (domain.clone(), None))).collect();
        let is_alike = before.schema() == table.schema() && before.description() == table.description();
        Ok(Self { adds, removes, records, shape: (!is_alike).then(|| before.spec()) })
    }

    /// Whether the table is what it was.
    pub fn is_empty(&self) -> bool {
        self.adds.is_empty() && self.removes.is_empty() && self.records.is_empty() && self.shape.is_none()
    }
}

fn paths(table: &Table) -> BTreeSet<&str> {
    table.files().iter().map(|file| file.path.as_str()).collect()
}

impl Table {
    /// Those of some files that are no longer in the table's folder.
    ///
    /// # Errors
    /// When the storage cannot be asked.
    pub async fn missing(&self, files: &[StagedFile]) -> Result<Vec<String>> {
        let store = self.lake().store();
        let store = &store;
        let look = |file: &StagedFile| {
            let (path, at) = (file.path.clone(), self.object_path(&file.path));
            async move {
                match store.head(&at).await {
                    Ok(_) => Ok(None),
                    Err(object_store::Error::NotFound { .. }) => Ok(Some(path)),
                    Err(error) => Err(error.into()),
                }
            }
        };
        let looks: Vec<_> = files.iter().map(look).collect();
        let looks = futures::stream::iter(looks).buffered(CONCURRENT_LOOKS);
        looks.try_filter_map(|missing| async move { Ok(missing) }).try_collect().await
    }

    /// Brings the table back, in one commit.
    ///
    /// # Errors
    /// When somebody else committed meanwhile, or the storage fails; the table is as it was then.
    pub async fn restore(&mut self, restoration: Restoration, run: &str, now_ms: i64) -> Result<()> {
        let Restoration { adds, removes, records, shape } = restoration;
        self.becomes(shape);
        self.commit(Commit { adds, removes, records, run: run.to_owned(), operation: "undo", now_ms }).await
    }
}
