//! The tables beside the data: what every partition is, what tables and columns mean, which run was the last. Written in
//! the same transaction as the rows.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;

use super::fill::Sums;
use super::plan::Work;
use super::target::{RUN_TABLE, STAGED_TABLE, Target, cells};
use crate::export::changes::{slot_text, version_text};
use crate::export::{COLUMNS_TABLE, ExportRun, METADATA_TABLE, TABLES_TABLE, one_line};
use crate::mysql::literal;

/// Days that one statement names: it stays far below the smallest packet.
pub const DAYS_AT_ONCE: usize = 50;

/// Bytes of rows that one statement inserts.
const STATEMENT_BYTES: usize = 8 << 10;

/// Records what was written of a table and what was taken away; for one that waits for its name, beside what is told.
///
/// # Errors
/// When the server refuses.
pub async fn record(target: &mut Target, work: &Work, sums: &Sums, run: &ExportRun) -> Result<()> {
    let name = literal(work.name());
    let into = if work.is_staged() { STAGED_TABLE } else { METADATA_TABLE };
    if work.is_staged() {
        target.session.execute(format!("delete from {into} where table_name = {name}")).await?;
    } else {
        let days: Vec<String> = work.changes.texts().collect();
        for days in days.chunks(DAYS_AT_ONCE) {
            let days = days.iter().map(|day| literal(day)).collect::<Vec<_>>().join(", ");
            let sql = format!("delete from {METADATA_TABLE} where table_name = {name} and dt in ({days})");
            target.session.execute(sql).await?;
        }
    }
    let at = run.exported_at()?;
    let rows = work.changes.write.iter().map(|slot| {
        let sum = sums.get(slot).copied().unwrap_or_default();
        let version = work.table.slots.get(slot).map_or(0, |(version, _)| *version);
        format!(
            "({name}, '{}', {}, '{}', '{}', {}, {}, true, '{at}')",
            slot_text(*slot),
            sum.rows,
            sum.hex(),
            version_text(version),
            literal(&run.run),
            literal(&run.data_as_of)
        )
    });
    insert(target, into, rows.collect()).await
}

/// What the dictionary should say, and what it says otherwise.
pub struct Dictionary {
    wanted: Vec<(String, String, Vec<Entry>)>,
    different: BTreeSet<String>,
}

/// A column: its name, type and meaning.
type Entry = [String; 3];

impl Dictionary {
    /// Compares what tables and columns mean with what the target says.
    ///
    /// # Errors
    /// When the target cannot be asked.
    pub async fn compare(target: &mut Target, plan: &[Work]) -> Result<Self> {
        let mut about: BTreeMap<String, String> = BTreeMap::new();
        for row in target.session.texts(format!("select table_name, comment from {TABLES_TABLE}")).await? {
            let [table, comment] = cells(row);
            about.insert(table, comment);
        }
        let mut columns: BTreeMap<String, Vec<Entry>> = BTreeMap::new();
        let sql =
            format!("select table_name, column_name, type, comment from {COLUMNS_TABLE} order by table_name, position");
        for row in target.session.texts(sql).await? {
            let [table, entry @ ..] = cells::<4>(row);
            columns.entry(table).or_default().push(entry);
        }
        let wanted: Vec<_> = plan
            .iter()
            .map(|work| {
                let entries = work.wanted.columns.iter().zip(&work.kinds).map(|(column, kind)| {
                    [column.name.clone(), kind.sql().to_uppercase(), work.table.meaning(&column.name)]
                });
                (work.name().to_owned(), one_line(&work.table.description), entries.collect::<Vec<_>>())
            })
            .collect();
        let differs = |(name, comment, entries): &&(String, String, Vec<Entry>)| {
            about.get(name) != Some(comment) || columns.get(name) != Some(entries)
        };
        let different = wanted.iter().filter(differs).map(|(name, ..)| name.clone()).collect();
        Ok(Self { wanted, different })
    }

    /// Whether the target says all of it already.
    pub fn is_told(&self) -> bool {
        self.different.is_empty()
    }

    /// Writes what differs.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn write(&self, target: &mut Target) -> Result<()> {
        for (name, comment, entries) in self.wanted.iter().filter(|(name, ..)| self.different.contains(name)) {
            let name = literal(name);
            for table in [TABLES_TABLE, COLUMNS_TABLE] {
                target.session.execute(format!("delete from {table} where table_name = {name}")).await?;
            }
            insert(target, TABLES_TABLE, vec![format!("({name}, {})", literal(comment))]).await?;
            let rows = entries.iter().enumerate().map(|(at, entry)| {
                let [column, kind, meaning] = entry.each_ref().map(|text| literal(text));
                format!("({name}, {}, {column}, {kind}, {meaning})", at + 1)
            });
            insert(target, COLUMNS_TABLE, rows.collect()).await?;
        }
        Ok(())
    }
}

/// Records the run that changes the database, and which tables wait for their names.
///
/// # Errors
/// When the server refuses.
pub async fn record_run(target: &mut Target, run: &ExportRun, to_rename: &[&str]) -> Result<()> {
    let export = literal(&run.export);
    target.session.execute(format!("delete from {RUN_TABLE} where export = {export}")).await?;
    let (at, names) = (run.exported_at()?, literal(&to_rename.join(",")));
    insert(target, RUN_TABLE, vec![format!("({export}, {}, '{at}', {names})", literal(&run.run))]).await
}

async fn insert(target: &mut Target, table: &str, rows: Vec<String>) -> Result<()> {
    let mut rows = rows.into_iter().peekable();
    while let Some(mut values) = rows.next() {
        while let Some(row) = rows.next_if(|row| values.len() + row.len() < STATEMENT_BYTES) {
            values.push_str(", ");
            values.push_str(&row);
        }
        target.session.execute(format!("insert into {table} values {values}")).await?;
    }
    Ok(())
}
