//! What tables and columns mean, as rows beside the data: `SQLite` has no comments that a dashboard could ask for.
//!
//! Meanings change without the data changing, so they are compared at every export and written where they differ.

use anyhow::Result;
use rusqlite::{OptionalExtension, Transaction, params};

use super::super::{COLUMNS_TABLE, ExportTable, TABLES_TABLE, one_line};
use super::columns;

/// A column: position from 1, name, type, meaning.
type Entry = (i64, String, String, String);

/// Creates the tables of the dictionary where they are missing.
pub fn create(transaction: &Transaction<'_>) -> Result<()> {
    transaction.execute_batch(&format!(
        "create table if not exists {TABLES_TABLE} (table_name text not null primary key, comment text not null);
         create table if not exists {COLUMNS_TABLE} (
            table_name text not null, position bigint not null, column_name text not null, type text not null,
            comment text not null, primary key (table_name, position))"
    ))?;
    Ok(())
}

/// Brings the entries of a table to what its model says now.
pub fn write(transaction: &Transaction<'_>, table: &ExportTable) -> Result<()> {
    let name = table.head.name();
    let about = one_line(&table.description);
    let known: Option<String> = transaction
        .query_row(&format!("select comment from {TABLES_TABLE} where table_name = ?1"), [name], |row| row.get(0))
        .optional()?;
    if known.as_ref() != Some(&about) {
        transaction.execute(&format!("insert or replace into {TABLES_TABLE} values (?1, ?2)"), [name, &about])?;
    }
    let entry = |(at, (column, kind)): (usize, (String, String))| {
        let meaning = table.meaning(&column);
        Ok((i64::try_from(at)? + 1, column, kind, meaning))
    };
    let wanted: Vec<Entry> = columns(table)?.into_iter().enumerate().map(entry).collect::<Result<_>>()?;
    if recorded(transaction, name)? == wanted {
        return Ok(());
    }
    transaction.execute(&format!("delete from {COLUMNS_TABLE} where table_name = ?1"), [name])?;
    let mut statement = transaction.prepare(&format!("insert into {COLUMNS_TABLE} values (?1, ?2, ?3, ?4, ?5)"))?;
    for (position, column, kind, meaning) in &wanted {
        statement.execute(params![name, position, column, kind, meaning])?;
    }
    Ok(())
}

fn recorded(transaction: &Transaction<'_>, name: &str) -> Result<Vec<Entry>> {
    let sql = format!(
        "select position, column_name, type, comment from {COLUMNS_TABLE} where table_name = ?1 order by position"
    );
    let mut statement = transaction.prepare(&sql)?;
    let rows = statement.query_map([name], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}
