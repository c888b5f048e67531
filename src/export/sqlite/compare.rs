//! The content of a `SQLite` target, read as it is committed.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use rusqlite::{Connection, OpenFlags};

use super::{columns, read_back, slot_of};
use crate::export::compare::{Content, Found, Told};
use crate::export::rows::Checksum;
use crate::export::{ExportTable, METADATA_TABLE, identifier};

/// Rows, checksums and recorded versions of some tables, all of one moment; without what the lake has.
pub fn found(path: &Path, tables: &[ExportTable]) -> Result<BTreeMap<String, Found>> {
    let mut all: BTreeMap<String, Found> =
        tables.iter().map(|table| (table.head.name().to_owned(), Found::default())).collect();
    if !path.is_file() {
        return Ok(all);
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection =
        Connection::open_with_flags(path, flags).with_context(|| format!("open {}", path.display()))?;
    let transaction = connection.transaction()?;
    let has = |table: &str| -> Result<bool> {
        let sql = "select count(*) from sqlite_master where type = 'table' and name = ?1";
        Ok(transaction.query_row(sql, [table], |row| row.get::<_, i64>(0))? > 0)
    };
    let has_metadata = has(METADATA_TABLE)?;
    for table in tables {
        let name = table.head.name();
        let Some(found) = all.get_mut(name) else { continue };
        if has_metadata {
            found.recorded = told(&transaction, name)?;
        }
        if has(name)? && has_columns(&transaction, table)? {
            found.target = content_of(&transaction, table).with_context(|| format!("read {name}"))?;
        }
    }
    Ok(all)
}

/// What the target tells of every exported partition.
fn told(connection: &Connection, name: &str) -> Result<BTreeMap<String, Told>> {
    let sql = format!("select dt, rows, checksum, version from {METADATA_TABLE} where table_name = ?1");
    let mut statement = connection.prepare(&sql)?;
    let rows = statement.query_map([name], |row| {
        let rows: i64 = row.get(1)?;
        let content = (u64::try_from(rows).unwrap_or(u64::MAX), row.get(2)?);
        Ok((row.get(0)?, Told { version: row.get(3)?, content }))
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Whether the table has the columns that the lake's has; otherwise nothing of it is as it should be.
fn has_columns(connection: &Connection, table: &ExportTable) -> Result<bool> {
    let mut statement = connection.prepare("select name from pragma_table_info(?1)")?;
    let present: Vec<String> = statement.query_map([table.head.name()], |row| row.get(0))?.collect::<Result<_, _>>()?;
    Ok(columns(table)?.iter().all(|(column, _)| present.contains(column)))
}

fn content_of(connection: &Connection, table: &ExportTable) -> Result<BTreeMap<String, Content>> {
    let schema = table.head.schema();
    let names: Vec<String> = schema.fields().iter().map(|f| identifier(f.name())).collect();
    let sql = format!("select {} from {}", names.join(", "), identifier(table.head.name()));
    let day = schema.index_of("dt").ok();
    let mut sums: BTreeMap<String, Checksum> = BTreeMap::new();
    let mut statement = connection.prepare(&sql)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let values = read_back(row, schema)?;
        sums.entry(slot_of(&values, day).to_owned()).or_default().add(&values);
    }
    Ok(sums.into_iter().map(|(slot, sum)| (slot, (sum.rows, sum.hex()))).collect())
}
