//! The content of a MySQL target, counted and summed by the server at one moment.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use futures::StreamExt;

use super::checksum::{Sum, Summed, question};
use super::ddl::{LongTexts, Present, Wanted, WantedColumn};
use super::plan::settled;
use super::target::{cells, present};
use super::text::{Format, Limit, Rows};
use crate::engine::Engine;
use crate::export::changes::{portions, slot_text};
use crate::export::compare::{Content, Found, Told, Unlike};
use crate::export::{ExportTable, METADATA_TABLE, stream};
use crate::mysql::{Server, Session};

/// Rows that are asked of the lake at once.
const PORTION_ROWS: u64 = 200_000;

/// What the target and the lake have of some tables, and what is recorded there.
pub async fn found(server: &Server, engine: &Engine, tables: &[ExportTable]) -> Result<BTreeMap<String, Found>> {
    let mut session = server.connect().await?;
    let names: Vec<String> = tables.iter().map(|table| table.head.name().to_owned()).collect();
    let there = present(&mut session, &names).await?;
    let has_metadata = !present(&mut session, &[METADATA_TABLE.to_owned()]).await?.is_empty();
    // All that follows is seen as of one moment.
    session.execute("start transaction with consistent snapshot").await?;
    let mut records = if has_metadata { told(&mut session).await? } else { BTreeMap::new() };
    let mut all = BTreeMap::new();
    for table in tables {
        let name = table.head.name();
        let mut found = Found { recorded: records.remove(name).unwrap_or_default(), ..Found::default() };
        let wanted = Wanted::of(table, there.get(name), &LongTexts::new())?;
        found.columns = there.get(name).map(|have| misfits(&wanted, have)).unwrap_or_default();
        let fields = table.head.schema().fields();
        let has = |column: &str| there.get(name).is_some_and(|table| table.column(column).is_some());
        // A table that lacks a column has nothing as it should be.
        if fields.iter().all(|field| has(field.name())) {
            let kinds = settled(&wanted, there.get(name));
            let summed: Vec<Summed<'_>> =
                fields.iter().zip(&kinds).map(|(field, kind)| Summed { field, kind, in_key: false }).collect();
            for row in session.texts(question(name, &summed, None)).await? {
                let [day, rows, sum] = cells(row);
                let sum = Sum { rows: rows.parse()?, sum: sum.parse().unwrap_or_default() };
                if sum.rows > 0 {
                    found.target.insert(day, (sum.rows, sum.hex()));
                }
            }
        }
        found.lake = contents(engine, table).await.with_context(|| format!("read {name}"))?;
        all.insert(name.to_owned(), found);
    }
    session.close().await;
    Ok(all)
}

/// The columns that the next export would have to widen, or cannot write.
fn misfits(wanted: &Wanted, have: &Present) -> Vec<Unlike> {
    let misfit = |column: &WantedColumn| {
        let present = have.column(&column.name)?;
        let fits = present.kind.widened(&column.kind).is_some_and(|wide| wide == present.kind);
        let (target, wanted) = (present.declared.clone(), column.kind.sql());
        (!fits).then(|| Unlike::Column { column: column.name.clone(), target, wanted })
    };
    wanted.columns.iter().filter_map(misfit).collect()
}

/// What the target tells of every exported partition, by table.
async fn told(session: &mut Session) -> Result<BTreeMap<String, BTreeMap<String, Told>>> {
    let mut all: BTreeMap<String, BTreeMap<String, Told>> = BTreeMap::new();
    let sql = format!("select table_name, dt, `rows`, checksum, version from {METADATA_TABLE}");
    for row in session.texts(sql).await? {
        let [table, day, rows, checksum, version] = cells(row);
        all.entry(table).or_default().insert(day, Told { version, content: (rows.parse()?, checksum) });
    }
    Ok(all)
}

/// Rows and checksum of every partition in the lake.
async fn contents(engine: &Engine, table: &ExportTable) -> Result<BTreeMap<String, Content>> {
    let slots: Vec<_> = table.slots.keys().copied().collect();
    let limits = vec![Limit::default(); table.head.schema().fields().len()];
    let mut sums: BTreeMap<String, Sum> = BTreeMap::new();
    let (mut line, mut canonical) = (Vec::new(), Vec::new());
    for part in portions(&table.slots, &slots, PORTION_ROWS) {
        let mut batches = stream(engine, table, part).await?;
        while let Some(batch) = batches.next().await {
            let batch = batch?;
            let rows = Rows::of(&batch, &limits)?;
            for row in 0..rows.len() {
                line.clear();
                canonical.clear();
                rows.write(row, Format::Lines, &mut line, &mut canonical)?;
                sums.entry(slot_text(rows.slot(row))).or_default().add(&canonical);
            }
        }
    }
    Ok(sums.into_iter().map(|(slot, sum)| (slot, (sum.rows, sum.hex()))).collect())
}
