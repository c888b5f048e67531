//! The bottom of an explanation: the raw lines and rows of extracts behind a number, and what never landed.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::Date32Type;

use super::Reached;
use super::desk::{DELETED_TABLE, Desk, quoted, same};
use super::told::{Account, Part, Told, days as days_in_words};
use crate::config::source::Source;
use crate::date::{BizDate, Slot, slot_words};
use crate::ingest::rejects::REJECT_TABLE;
use crate::run::cells::text;
use crate::run::project::Context;

/// Tells of a source table: the rows that took part with their places, and what was rejected or deleted.
pub async fn source(
    ctx: &Context,
    desk: &Desk,
    table: &str,
    asked: &Reached,
    limit: usize,
    account: &mut Account,
) -> Result<()> {
    if !desk.has(table) {
        return Ok(());
    }
    if desk.project.seeds.get(table).is_some() {
        account.note(table, "read from conf/seeds");
        return Ok(());
    }
    let found = if asked.rows.is_empty() { None } else { Some(desk.distinct(&asked.rows).await?) };
    account.table(desk, table, asked, found.as_deref()).await?;
    let mut arrivals = asked.read.clone();
    if let Some(found) = &found {
        let has_arrival = desk.columns(table).is_some_and(|columns| columns.iter().any(|c| c == "arrival_dt"));
        if has_arrival {
            let rows = desk.ask(&format!("select distinct arrival_dt from {found}"), None).await?;
            // Where nothing landed that counts, the days that were read are as good a place to look.
            arrivals = days_in(&rows);
        }
        lines(ctx, desk, table, found, limit, account).await?;
    }
    rejected(desk, table, &arrivals, account).await?;
    deleted(desk, table, &asked.read, account).await
}

/// The first of the rows, by where they came in.
async fn lines(
    ctx: &Context,
    desk: &Desk,
    table: &str,
    found: &str,
    limit: usize,
    account: &mut Account,
) -> Result<()> {
    let identity = desk.identity(table);
    let has = |column: &str| identity.iter().any(|known| known == column);
    if !has("file") || limit == 0 {
        return Ok(());
    }
    let keys = key_of(ctx, table);
    let place: Vec<&str> =
        ["file", "byte_offset", "element", "row_number"].into_iter().filter(|column| has(column)).collect();
    let order: Vec<String> = place.iter().map(|column| format!("t.{}", quoted(column))).collect();
    let shown = place.iter().copied().chain(keys.iter().map(String::as_str));
    let list: Vec<String> = shown.map(|column| format!("t.{}", quoted(column))).collect();
    let day = if has("dt") { "t.dt" } else { "cast(null as date) as dt" };
    let on = same("t", "f", &identity);
    let sql = format!(
        "select {day}, {} from {table} as t inner join {found} as f on {on} order by {} limit {limit}",
        list.join(", "),
        order.join(", ")
    );
    for batch in desk.ask(&sql, None).await? {
        for row in 0..batch.num_rows() {
            let says = placed(&batch, row, &place, &keys);
            let days = text(batch.column(0), 0).map(|_| text(batch.column(0), row).unwrap_or_default());
            let days = days.unwrap_or_default();
            account.told.push(Told { part: Part::Line, table: table.to_owned(), days, says, ..Told::default() });
        }
    }
    let rows = desk.number(&format!("select count(*) as rows from {found}"), None).await?;
    if rows > limit as u64 {
        account.note(table, &format!("the first {limit} of {rows} rows; --limit shows more"));
    }
    Ok(())
}

/// Where a row came in: `file:offset (element)`, or the row of an extract with its key.
fn placed(batch: &RecordBatch, row: usize, place: &[&str], keys: &[String]) -> String {
    let cell = |name: &str| batch.column_by_name(name).and_then(|column| text(column, row)).unwrap_or_default();
    let file = cell("file");
    let at = if place.contains(&"byte_offset") {
        let element = Some(cell("element")).filter(|element| !["", "0"].contains(&element.as_str()));
        let element = element.map(|element| format!(" element {element}")).unwrap_or_default();
        format!("{file}:{}{element}", cell("byte_offset"))
    } else {
        format!("{file} row {}", cell("row_number"))
    };
    let keys: Vec<String> = keys.iter().map(|key| format!("{key}={}", cell(key))).collect();
    if keys.is_empty() { at } else { format!("{at}, {}", keys.join(", ")) }
}

/// The key that a source table declares.
fn key_of(ctx: &Context, table: &str) -> Vec<String> {
    let tables = ctx.config.sources.values().filter_map(|source| match &source.source {
        Source::Tables(tables) => Some(&tables.tables),
        Source::Log(_) => None,
    });
    let found = tables.flatten().find(|declared| format!("ods_{}", declared.name) == table);
    found.map(|declared| declared.key.clone()).unwrap_or_default()
}

async fn rejected(desk: &Desk, table: &str, days: &BTreeSet<Slot>, account: &mut Account) -> Result<()> {
    let Some(days) = listed(days).filter(|_| desk.has(REJECT_TABLE)) else { return Ok(()) };
    let sql = format!(
        "select reason, dt, count(*) as rows from {REJECT_TABLE} where table_name = {} and dt in ({days}) \
         group by reason, dt order by reason, dt",
        literal(table)
    );
    let mut by_reason: BTreeMap<String, (u64, BTreeSet<Slot>)> = BTreeMap::new();
    for batch in desk.ask(&sql, None).await? {
        for row in 0..batch.num_rows() {
            let cell = |at: usize| text(batch.column(at), row).unwrap_or_default();
            let (rows, days) = by_reason.entry(cell(0)).or_default();
            *rows += cell(2).parse::<u64>().unwrap_or_default();
            days.insert(Some(cell(1).parse()?));
        }
    }
    for (reason, (rows, on)) in by_reason {
        let says = format!("rejected on arrival: {reason}; `strata rejects show --reason {reason}`");
        let told = Told { days: days_in_words(&on), rows: Some(rows), says, ..Told::default() };
        account.told.push(Told { part: Part::Excluded, table: table.to_owned(), ..told });
    }
    Ok(())
}

async fn deleted(desk: &Desk, table: &str, days: &BTreeSet<Slot>, account: &mut Account) -> Result<()> {
    let Some(days) = listed(days).filter(|_| desk.has(DELETED_TABLE)) else { return Ok(()) };
    let sql = format!(
        "select count(*) as rows from {DELETED_TABLE} where table_name = {} and dt in ({days})",
        literal(table)
    );
    let rows = desk.number(&sql, None).await?;
    if rows > 0 {
        let says = format!("deleted at the source: see {DELETED_TABLE}");
        let told = Told { rows: Some(rows), says, ..Told::default() };
        account.told.push(Told { part: Part::Excluded, table: table.to_owned(), ..told });
    }
    Ok(())
}

fn listed(days: &BTreeSet<Slot>) -> Option<String> {
    let days: Vec<String> =
        days.iter().filter(|day| day.is_some()).map(|day| format!("cast('{}' as date)", slot_words(*day))).collect();
    (!days.is_empty()).then(|| days.join(", "))
}

fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

fn days_in(rows: &[RecordBatch]) -> BTreeSet<Slot> {
    let days = rows.iter().flat_map(|batch| batch.column(0).as_primitive::<Date32Type>().iter());
    days.map(|day| day.map(BizDate::from_days)).collect()
}
