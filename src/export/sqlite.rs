//! The embedded target: a `SQLite` file. Readers see the state before the transaction until it commits (WAL).

mod compare;
mod dictionary;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Schema};
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, ToSql, Transaction, params, params_from_iter};

use super::changes::{Changes, NO_DAY, changes, portions, slot_text, version_text};
use super::rows::{Checksum, Value, decimal_text, rows};
use super::{ExportRun, ExportTable, Exported, Key, METADATA_TABLE, Outcome, has_key, identifier, one_line};
pub use compare::found;

use super::compare::Content;
use crate::date::Slot;
use crate::engine::sql_type;

/// How long a writer waits for another one.
const BUSY: Duration = Duration::from_secs(30);

/// Rows that are read from the lake at once.
const PORTION_ROWS: u64 = 250_000;

/// Brings the database to the state of the lake in one transaction; `read` gives the rows of partitions.
pub fn export(
    path: &Path,
    tables: &[ExportTable],
    run: &ExportRun,
    read: impl Fn(&ExportTable, &[Slot]) -> Result<Vec<RecordBatch>>,
) -> Result<Outcome> {
    let mut connection = Connection::open(path).with_context(|| format!("open {}", path.display()))?;
    connection.busy_timeout(BUSY)?;
    connection.pragma_update(None, "journal_mode", "WAL").with_context(|| format!("open {}", path.display()))?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    let transaction = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    create_metadata(&transaction)?;
    dictionary::create(&transaction)?;
    let mut exported = Vec::new();
    for table in tables {
        let name = table.head.name();
        let done = export_table(&transaction, table, run, &read).with_context(|| format!("export {name}"))?;
        dictionary::write(&transaction, table).with_context(|| format!("describe {name}"))?;
        exported.extend(done);
    }
    let recorded = transaction
        .prepare(&format!("select distinct table_name from {METADATA_TABLE}"))?
        .query_map([], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    transaction.commit().with_context(|| format!("commit the export to {}", path.display()))?;
    Ok(Outcome { done: exported, recorded })
}

fn create_metadata(transaction: &Transaction<'_>) -> Result<()> {
    transaction.execute_batch(&format!(
        "create table if not exists {METADATA_TABLE} (
            table_name text not null, dt text not null, rows bigint not null, checksum text not null,
            version text not null, run text not null, data_as_of text not null, checks_passed boolean not null,
            exported_at text not null, primary key (table_name, dt))"
    ))?;
    Ok(())
}

fn export_table(
    transaction: &Transaction<'_>,
    table: &ExportTable,
    run: &ExportRun,
    read: &impl Fn(&ExportTable, &[Slot]) -> Result<Vec<RecordBatch>>,
) -> Result<Option<Exported>> {
    let name = table.head.name();
    let recreated = migrate(transaction, table)?;
    let known = recorded(transaction, name)?;
    let Changes { write: changed, gone } = changes(&table.slots, &table.forced, &known, recreated);
    if changed.is_empty() && gone.is_empty() {
        return Ok(None);
    }
    let has_day = table.head.schema().column_with_name("dt").is_some();
    for text in changed.iter().map(|slot| slot_text(*slot)).chain(gone.iter().cloned()) {
        if has_day {
            transaction.execute(&format!("delete from {} where dt = ?1", identifier(name)), [&text])?;
        } else {
            transaction.execute(&format!("delete from {}", identifier(name)), [])?;
        }
        transaction
            .execute(&format!("delete from {METADATA_TABLE} where table_name = ?1 and dt = ?2"), [name, &text])?;
    }
    let mut written = BTreeMap::new();
    for part in portions(&table.slots, &changed, PORTION_ROWS) {
        written.extend(insert(transaction, table, &read(table, part)?)?);
    }
    let (mut rows, mut read_back) = (0, 0);
    for slot in &changed {
        let sum = written.get(&slot_text(*slot)).copied().unwrap_or_default();
        let expected = table.slots.get(slot).map_or(0, |(_, rows)| *rows);
        if sum.rows != expected {
            bail!("dt={}: {} rows read from the lake, {expected} recorded there", slot_text(*slot), sum.rows);
        }
        read_back += verify(transaction, table, *slot, sum)?;
        record(transaction, table, *slot, sum, run)?;
        rows += sum.rows;
    }
    Ok(Some(Exported { table: name.to_owned(), partitions: changed.len() + gone.len(), rows, read_back }))
}

/// Creates the table, adds columns it lacks, or makes it anew when its key or types changed (then `true`).
fn migrate(transaction: &Transaction<'_>, table: &ExportTable) -> Result<bool> {
    let recreated = shaped(transaction, table)?;
    index_days(transaction, table)?;
    Ok(recreated)
}

/// Has the rows of a day found by an index, where the key does not begin with it.
fn index_days(transaction: &Transaction<'_>, table: &ExportTable) -> Result<()> {
    let name = table.head.name();
    let first = "select count(*) from pragma_table_info(?1) where name = 'dt' and pk <> 1
                 and exists (select 1 from sqlite_master where name = ?1 and type = 'table')";
    if transaction.query_row(first, [name], |row| row.get::<_, i64>(0))? > 0 {
        let index = identifier(&format!("strata_dt_{name}"));
        transaction.execute(&format!("create index if not exists {index} on {} (dt)", identifier(name)), [])?;
    }
    Ok(())
}

fn shaped(transaction: &Transaction<'_>, table: &ExportTable) -> Result<bool> {
    let name = table.head.name();
    let wanted = columns(table)?;
    let mut statement = transaction.prepare("select name, type, pk from pragma_table_info(?1) order by cid")?;
    let present: Vec<(String, String, u32)> =
        statement.query_map([name], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?.collect::<Result<_, _>>()?;
    drop(statement);
    let mut key: Vec<(u32, &str)> = present.iter().filter(|c| c.2 > 0).map(|c| (c.2, c.0.as_str())).collect();
    key.sort_unstable();
    let present_key: Vec<String> = key.iter().map(|k| k.1.to_owned()).collect();
    let wanted_key = table.key_beside(&present_key);
    let same_key = present_key == wanted_key;
    let kept = present.iter().zip(&wanted).all(|(have, want)| have.0 == want.0 && have.1 == want.1);
    if !present.is_empty() && same_key && kept && present.len() <= wanted.len() {
        let added = &wanted[present.len()..];
        for (column, kind) in added {
            transaction
                .execute(&format!("alter table {} add column {} {kind}", identifier(name), identifier(column)), [])?;
        }
        return Ok(!added.is_empty());
    }
    transaction.execute(&format!("drop table if exists {}", identifier(name)), [])?;
    transaction.execute(&format!("delete from {METADATA_TABLE} where table_name = ?1"), [name])?;
    transaction.execute(&create(table, &wanted, &wanted_key), [])?;
    Ok(true)
}

/// The statement that creates a table. `SQLite` keeps its text, and with it what the columns mean.
fn create(table: &ExportTable, columns: &[(String, String)], key: &[String]) -> String {
    let name = identifier(table.head.name());
    let mut sql = format!("create table {name} (\n    -- {}\n", one_line(&table.description));
    for (at, (column, kind)) in columns.iter().enumerate() {
        // Above the column and not beside it: a column that is added later is put behind the last one, on its line.
        let meaning = table.meaning(column);
        if !meaning.is_empty() {
            sql.push_str(&format!("    -- {meaning}\n"));
        }
        let required = if key.contains(column) { " not null" } else { "" };
        let comma = if at + 1 == columns.len() && key.is_empty() { "" } else { "," };
        sql.push_str(&format!("    {} {kind}{required}{comma}\n", identifier(column)));
    }
    let key: Vec<String> = key.iter().map(|column| identifier(column)).collect();
    sql + &if key.is_empty() { ")".to_owned() } else { format!("    primary key ({})\n)", key.join(", ")) }
}

/// The columns of a table with their declared types.
fn columns(table: &ExportTable) -> Result<Vec<(String, String)>> {
    table.head.schema().fields().iter().map(|field| Ok((field.name().clone(), declared(field)?))).collect()
}

/// The declared type of a column. Decimals have NUMERIC affinity so that they sort and add as numbers.
fn declared(field: &Field) -> Result<String> {
    match field.data_type() {
        DataType::Utf8 => Ok("TEXT".to_owned()),
        DataType::Int32
        | DataType::Int64
        | DataType::Boolean
        | DataType::Float64
        | DataType::Decimal128(..)
        | DataType::Date32
        | DataType::Timestamp(_, None) => Ok(sql_type(field.data_type())),
        other => bail!("column {} of type {other} cannot be exported", field.name()),
    }
}

/// The recorded version of every exported partition.
fn recorded(transaction: &Transaction<'_>, name: &str) -> Result<BTreeMap<String, String>> {
    let mut statement =
        transaction.prepare(&format!("select dt, version from {METADATA_TABLE} where table_name = ?1"))?;
    let rows = statement.query_map([name], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Rows and checksum of every partition as the lake has it; `read` gives the rows of partitions.
pub fn contents(
    table: &ExportTable,
    read: impl Fn(&[Slot]) -> Result<Vec<RecordBatch>>,
) -> Result<BTreeMap<String, Content>> {
    let day = table.head.schema().index_of("dt").ok();
    let slots: Vec<Slot> = table.slots.keys().copied().collect();
    let mut sums: BTreeMap<String, Checksum> = BTreeMap::new();
    for part in portions(&table.slots, &slots, PORTION_ROWS) {
        for batch in read(part)? {
            for row in rows(&batch)? {
                sums.entry(slot_of(&row, day).to_owned()).or_default().add(&row);
            }
        }
    }
    Ok(sums.into_iter().map(|(slot, sum)| (slot, (sum.rows, sum.hex()))).collect())
}

/// The partition of a row, as the target names it.
fn slot_of(row: &[Value], day: Option<usize>) -> &str {
    match day.map(|index| &row[index]) {
        Some(Value::Text(text)) => text,
        _ => NO_DAY,
    }
}

/// Inserts rows; the checksum of each partition as it came from the lake.
fn insert(
    transaction: &Transaction<'_>,
    table: &ExportTable,
    batches: &[RecordBatch],
) -> Result<BTreeMap<String, Checksum>> {
    let schema = table.head.schema();
    let columns: Vec<String> = schema.fields().iter().map(|f| identifier(f.name())).collect();
    let marks: Vec<String> = (1..=columns.len()).map(|i| format!("?{i}")).collect();
    let sql =
        format!("insert into {} ({}) values ({})", identifier(table.head.name()), columns.join(", "), marks.join(", "));
    let mut statement = transaction.prepare(&sql)?;
    let day = schema.index_of("dt").ok();
    let mut sums: BTreeMap<String, Checksum> = BTreeMap::new();
    let (Key::Grain(key) | Key::Earlier(key)) = &table.key;
    for batch in batches {
        has_key(batch, key)?;
        for row in rows(batch)? {
            sums.entry(slot_of(&row, day).to_owned()).or_default().add(&row);
            statement.execute(params_from_iter(&row))?;
        }
    }
    Ok(sums)
}

impl ToSql for Value {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(match self {
            Self::Null => ToSqlOutput::Borrowed(ValueRef::Null),
            Self::Integer(number) => ToSqlOutput::Borrowed(ValueRef::Integer(*number)),
            Self::Double(number) => ToSqlOutput::Borrowed(ValueRef::Real(*number)),
            Self::Text(text) => ToSqlOutput::Borrowed(ValueRef::Text(text.as_bytes())),
        })
    }
}

/// Reads a partition back and compares it with what the lake holds; how many rows were read.
fn verify(transaction: &Transaction<'_>, table: &ExportTable, slot: Slot, expected: Checksum) -> Result<u64> {
    let schema = table.head.schema();
    let columns: Vec<String> = schema.fields().iter().map(|f| identifier(f.name())).collect();
    let filter = if schema.column_with_name("dt").is_some() { "where dt = ?1" } else { "where ?1 is not null" };
    let sql = format!("select {} from {} {filter}", columns.join(", "), identifier(table.head.name()));
    let mut statement = transaction.prepare(&sql)?;
    let mut found = Checksum::default();
    let mut result = statement.query([slot_text(slot)])?;
    while let Some(row) = result.next()? {
        found.add(&read_back(row, schema)?);
    }
    if found != expected {
        bail!(
            "dt={}: read back {} rows (checksum {}) where the lake has {} ({}); a decimal may be beyond what SQLite holds exactly",
            slot_text(slot),
            found.rows,
            found.hex(),
            expected.rows,
            expected.hex()
        );
    }
    Ok(found.rows)
}

/// A row of the database in the canonical spelling of the lake's types.
fn read_back(row: &rusqlite::Row<'_>, schema: &Schema) -> Result<Vec<Value>> {
    let mut values = Vec::with_capacity(schema.fields().len());
    for (index, field) in schema.fields().iter().enumerate() {
        values.push(match (row.get_ref(index)?, field.data_type()) {
            (ValueRef::Null, _) => Value::Null,
            (ValueRef::Integer(number), DataType::Decimal128(_, scale)) => Value::Text(rescaled(number, *scale)?),
            (ValueRef::Real(number), DataType::Decimal128(_, scale)) => {
                Value::Text(format!("{number:.*}", usize::try_from(*scale).unwrap_or_default()))
            }
            (ValueRef::Integer(number), DataType::Float64) => Value::Double(number as f64),
            (ValueRef::Integer(number), _) => Value::Integer(number),
            (ValueRef::Real(number), _) => Value::Double(number),
            (ValueRef::Text(text), _) => Value::Text(String::from_utf8_lossy(text).into_owned()),
            (ValueRef::Blob(_), _) => bail!("column {} reads back as bytes", field.name()),
        });
    }
    Ok(values)
}

fn rescaled(number: i64, scale: i8) -> Result<String> {
    let power = 10_i128.checked_pow(u32::try_from(scale).unwrap_or_default()).context("decimal scale")?;
    Ok(decimal_text(i128::from(number) * power, scale))
}

fn record(
    transaction: &Transaction<'_>,
    table: &ExportTable,
    slot: Slot,
    sum: Checksum,
    run: &ExportRun,
) -> Result<()> {
    let version = table.slots.get(&slot).map_or(0, |(version, _)| *version);
    transaction.execute(
        &format!(
            "insert into {METADATA_TABLE} (table_name, dt, rows, checksum, version, run, data_as_of, checks_passed, exported_at)
             values (?1, ?2, ?3, ?4, ?5, ?6, ?7, true, ?8)"
        ),
        params![
            table.head.name(),
            slot_text(slot),
            i64::try_from(sum.rows)?,
            sum.hex(),
            version_text(version),
            run.run,
            run.data_as_of,
            run.exported_at()?
        ],
    )?;
    Ok(())
}
