//! What an export has to do in a target, table by table: how to migrate, what to write, under which name.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use anyhow::{Context, Result, anyhow};

use super::checksum::Summed;
use super::ddl::{LongTexts, Migration, Present, STAGED, Wanted, aside};
use super::target::{Target, described, present, recorded};
use super::types::Type;
use crate::error::Advice;
use crate::export::ExportTable;
use crate::export::changes::{Changes, changes};

/// What is to be done for one table.
pub struct Work {
    /// The table in the lake.
    pub table: Arc<ExportTable>,
    /// The table as it should be.
    pub wanted: Wanted,
    /// The types that its columns have once it is migrated.
    pub kinds: Vec<Type>,
    /// What that takes.
    pub migration: Migration,
    /// The partitions to write and to take away.
    pub changes: Changes,
    /// The name under which it is filled.
    pub into: String,
}

impl Work {
    /// The table's name.
    pub fn name(&self) -> &str {
        &self.wanted.name
    }

    /// Whether it is filled under another name than its own.
    pub fn is_staged(&self) -> bool {
        self.into != self.wanted.name
    }

    /// Its columns as a checksum sees them.
    pub fn summed(&self) -> Vec<Summed<'_>> {
        let fields = self.table.head.schema().fields().iter().zip(&self.kinds);
        fields.map(|(field, kind)| Summed { field, kind, in_key: self.wanted.key.contains(field.name()) }).collect()
    }

    /// Has a table that changes filled under another name, like the one that is there.
    fn switch(&mut self, have: &Present, recorded: &BTreeMap<String, String>, collation: &str) {
        let is_due = !self.changes.is_empty() || matches!(self.migration, Migration::Alter(_));
        if self.is_staged() || !is_due {
            return;
        }
        self.migration = Migration::Rekey(self.wanted.rekey(&self.kinds, have, collation));
        self.into = aside(STAGED, self.name());
        self.changes = changes(&self.table.slots, &self.table.forced, recorded, true);
    }
}

/// Looks at the target and says what each table needs, and which tables it has partitions of.
///
/// # Errors
/// When the target cannot be asked, a table cannot be migrated, or one of its name is there that no export made.
pub async fn plan(
    target: &mut Target,
    tables: &[Arc<ExportTable>],
    long: &LongTexts,
) -> Result<(Vec<Work>, BTreeSet<String>)> {
    let names: Vec<String> = tables.iter().map(|table| table.head.name().to_owned()).collect();
    let there = present(&mut target.session, &names).await?;
    let records = recorded(&mut target.session).await?;
    let described = described(&mut target.session).await?;
    let none = BTreeMap::new();
    let plan = tables.iter().map(|table| {
        let name = table.head.name();
        let work = || -> Result<Work> {
            if there.contains_key(name) && !records.contains_key(name) && !described.contains(name) {
                return foreign(name);
            }
            let wanted = Wanted::of(table, there.get(name), long)?;
            let migration = wanted.migration(there.get(name), &target.collation)?;
            let recorded = records.get(name).unwrap_or(&none);
            let anew = migration.is_anew() || matches!(migration, Migration::Alter(_));
            let into = if migration.is_anew() { aside(STAGED, name) } else { name.to_owned() };
            let have = there.get(name).filter(|_| !migration.is_anew());
            let kinds = settled(&wanted, have);
            let changes = changes(&table.slots, &table.forced, recorded, anew);
            Ok(Work { table: Arc::clone(table), wanted, kinds, migration, changes, into })
        };
        work().with_context(|| format!("export {name}"))
    });
    let mut plan: Vec<Work> = plan.collect::<Result<_>>()?;
    if plan.iter().any(|work| matches!(work.migration, Migration::Rekey(_))) {
        // Between COMMIT and RENAME, and as long as a reader holds the old table, what is in its place would be of this run
        // and that table of another: all that changes is switched by the one RENAME.
        for work in &mut plan {
            let name = work.name().to_owned();
            let Some(have) = there.get(&name) else { continue };
            work.switch(have, records.get(&name).unwrap_or(&none), &target.collation);
        }
    }
    Ok((plan, records.into_keys().collect()))
}

/// The refusal of a table that is somebody else's: its rows are not ours to replace.
fn foreign(name: &str) -> Result<Work> {
    let error =
        anyhow!("table {name} is in the target and is not by strata: neither strata_export nor strata_table has it");
    Err(error).hint("drop it or rename it there, or give the model another name; the next export makes the table")
}

/// The types that columns have after the migration of what is there.
pub fn settled(wanted: &Wanted, have: Option<&Present>) -> Vec<Type> {
    let settled = wanted.columns.iter().map(|column| {
        let wide = have.and_then(|have| have.column(&column.name)?.kind.widened(&column.kind));
        wide.unwrap_or_else(|| column.kind.clone())
    });
    settled.collect()
}
