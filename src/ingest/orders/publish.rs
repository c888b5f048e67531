//! Commits what a table's extracts brought: the rejects first, then the rows with the records of their files.
//!
//! A crash between the two leaves rejects whose file is not recorded with the rows: the next run reads that file again
//! and puts its rejects in the place of those. Keys that are gone from the source are kept aside before, too.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};
use arrow::array::{ArrayRef, AsArray, BooleanArray, RecordBatch};
use arrow::compute::or;
use arrow::datatypes::{DataType, Date32Type};

use super::batch::Prepared;
use super::deleted::{DELETED, Deleted, publish_deleted};
use super::landing::without_rows;
use super::record::{
    RejectRecord, SOURCE, SlotRecord, SourceRecord, entry, file_domain, find, reject_domain, slot_domain,
};
use super::{Amount, OrdersIngest, TableOutcome};
use crate::config::source::Delivery;
use crate::date::{BizDate, Slot};
use crate::ingest::books::{LakeBooks, rows_of, sums_of};
use crate::ingest::rejects::REJECT_TABLE;
use crate::ingest::replay::{self, Exchange, REPLAY};
use crate::lake::{Commit, FileRef, StagedFile, Table};

/// How often a commit to the table of all sources' rejects is tried when others commit to it as well.
const REJECT_ATTEMPTS: usize = 5;

/// Commits a table's new rows, and tells what is odd about them.
///
/// # Errors
/// When the lake cannot be read or written; the table is then as it was.
pub async fn publish(job: &OrdersIngest<'_>, prepared: Prepared<'_>) -> Result<TableOutcome> {
    prepared.check_ledger()?;
    prepared.notices.report(&prepared.layout.name, &prepared.outcome.tally, job.reporter);
    publish_deleted(job, &prepared).await?;
    if prepared.file_records.is_empty() {
        return Ok(prepared.outcome);
    }
    publish_rejects(job, &prepared).await?;
    publish_rows(job, prepared, "ingest").await
}

/// Commits what extracts brought that were read again for the sake of their rejects: the rows first, with the record of
/// what is to change among the rejects. These files are known, so that nobody would read them again after a crash.
///
/// # Errors
/// When the lake cannot be read or written.
pub async fn publish_replay(job: &OrdersIngest<'_>, mut prepared: Prepared<'_>) -> Result<TableOutcome> {
    prepared.check_ledger()?;
    let name = prepared.layout.table.clone();
    let missing = || format!("{REJECT_TABLE} is gone");
    let rejects = job.lake.table(REJECT_TABLE).await?.with_context(missing)?;
    let commit = reject_commit(job, &prepared, &rejects).await?.unwrap_or_default();
    let exchange = Exchange {
        run: job.run.to_owned(),
        adds: commit.adds,
        removes: commit.removes.into_iter().map(|file| file.path).collect(),
        records: commit.records,
    };
    prepared.more_records.push(entry(REPLAY.to_owned(), &exchange)?);
    let outcome = publish_rows(job, prepared, "replay").await?;
    replay::make(job.lake, &name, exchange, job.now_ms).await?;
    Ok(outcome)
}

async fn publish_rejects(job: &OrdersIngest<'_>, prepared: &Prepared<'_>) -> Result<()> {
    for attempt in 1.. {
        let missing = || format!("{REJECT_TABLE} is gone");
        let mut table = job.lake.table(REJECT_TABLE).await?.with_context(missing)?;
        let Some(commit) = reject_commit(job, prepared, &table).await? else { return Ok(()) };
        let before = table.version();
        let Err(error) = table.commit(commit).await else { return Ok(()) };
        let overtaken = job.lake.table(REJECT_TABLE).await?.is_some_and(|table| table.version() != before);
        if !overtaken || attempt >= REJECT_ATTEMPTS {
            return Err(error);
        }
    }
    Ok(())
}

/// The commit of a table's rejects, if there is anything to commit.
async fn reject_commit(job: &OrdersIngest<'_>, prepared: &Prepared<'_>, table: &Table) -> Result<Option<Commit>> {
    let name = &prepared.layout.table;
    let recorded = job.lake.records(REJECT_TABLE).await?;
    let mut records = Vec::new();
    // Rejects of these files leave: they are of earlier content, or of a run that did not come to land the rows.
    let mut leaving: BTreeMap<Slot, BTreeSet<String>> = BTreeMap::new();
    let arrivals = prepared.loaded.iter().map(|(path, record)| (path, record.arrival));
    let arrivals = arrivals.chain(prepared.leaving.keys().map(|(path, arrival)| (path, *arrival)));
    for (path, arrival) in arrivals.collect::<BTreeSet<_>>() {
        let domain = reject_domain(name, path);
        let Some(before) = find::<RejectRecord>(&recorded, &domain)? else { continue };
        if before.arrival == arrival {
            leaving.entry(Some(arrival)).or_default().insert(path.clone());
        }
        let has_new = prepared.loaded.get(path).is_some_and(|record| !record.rejected.is_empty());
        if !has_new {
            records.push((domain, None));
        }
    }
    for (path, record) in prepared.loaded.iter().filter(|(_, record)| !record.rejected.is_empty()) {
        records.push(entry(reject_domain(name, path), record)?);
    }
    if records.is_empty() {
        return Ok(None);
    }
    let leaves = |file: &FileRef, batch: &RecordBatch| {
        let (tables, files) =
            (column(batch, "table_name")?.as_string::<i32>(), column(batch, "file")?.as_string::<i32>());
        let paths = leaving.get(&file.slot);
        let row = |row| tables.value(row) == name && paths.is_some_and(|paths| paths.contains(files.value(row)));
        Ok((0..batch.num_rows()).map(|at| Some(row(at))).collect::<BooleanArray>())
    };
    let may_hold = |file: &FileRef| leaving.contains_key(&file.slot);
    let (mut adds, removes) = without_rows(table, job.run, may_hold, leaves).await?;
    adds.extend(prepared.rejects.iter().cloned());
    Ok(Some(Commit { adds, removes, records, run: job.run.to_owned(), operation: "ingest", now_ms: job.now_ms }))
}

async fn publish_rows(job: &OrdersIngest<'_>, prepared: Prepared<'_>, operation: &'static str) -> Result<TableOutcome> {
    let Prepared {
        layout,
        mut table,
        records: before,
        rows,
        leaving,
        mut touched,
        deleted,
        more_records,
        file_records,
        mut outcome,
        ..
    } = prepared;
    let deleted = deleted.filter(|deleted| deleted.keys() > 0);
    let arrivals: BTreeSet<Slot> = leaving.keys().map(|(_, arrival)| Some(*arrival)).collect();
    let replaces =
        |file: &FileRef| !leaving.is_empty() && (layout.delivery == Delivery::Changes || arrivals.contains(&file.slot));
    let may_hold = |file: &FileRef| replaces(file) || deleted.as_ref().is_some_and(|deleted| deleted.may_hold(file));
    let leaves = |_: &FileRef, batch: &RecordBatch| {
        let replaced = of_files(batch, &leaving)?;
        match &deleted {
            Some(deleted) => Ok(or(&replaced, &deleted.leaves(batch)?)?),
            None => Ok(replaced),
        }
    };
    let (mut adds, removes) = without_rows(&table, job.run, may_hold, leaves).await?;
    let left = removes.iter().map(|f| f.rows).sum::<u64>() - adds.iter().map(|f: &StagedFile| f.rows).sum::<u64>();
    outcome.lake = LakeBooks { before: rows_of(table.files()), left, after: 0 };
    outcome.replaced = left.saturating_sub(deleted.as_ref().map_or(0, Deleted::rows));
    for file in &removes {
        let gone = leaving.values().map(|hash| format!("-{hash}"));
        let gone = gone.chain(deleted.as_ref().map(Deleted::name));
        touched.entry(file.slot).or_default().extend(gone);
    }
    if outcome.tally.unchanged == 0 {
        // An amount that is masked lands as text, and adds up to nothing.
        let is_money = |name: &&str| {
            let field = layout.file_schema.field_with_name(name);
            field.is_ok_and(|field| matches!(field.data_type(), DataType::Decimal128(..)))
        };
        let columns: Vec<&str> = outcome.tally.sums.keys().map(String::as_str).filter(is_money).collect();
        let sums = sums_of(&table, &rows, &columns).await?;
        outcome.sums_in_lake = sums.into_iter().map(|(column, sum)| (column, Amount(sum))).collect();
    }
    adds.extend(rows);
    let mut records = more_records;
    if let Some(deleted) = &deleted {
        records.push(entry(DELETED.to_owned(), &deleted.record(job.run))?);
    }
    for (path, record) in file_records {
        records.push(match record {
            Some(record) => entry(file_domain(&path), &record)?,
            None => (file_domain(&path), None),
        });
    }
    for (slot, contents) in touched {
        let of_slot = |file: &&FileRef| file.slot == slot;
        let had: u64 = table.files().iter().filter(of_slot).map(|file| file.rows).sum();
        let lost: u64 = removes.iter().filter(of_slot).map(|file| file.rows).sum();
        let won: u64 = adds.iter().filter(|file| file.slot == slot).map(|file| file.rows).sum();
        let domain = slot_domain(slot);
        let previous = find::<SlotRecord>(&before, &domain)?;
        let record = SlotRecord::after(previous.as_ref(), contents, had - lost + won, job.run);
        records.push(entry(domain, &record)?);
        outcome.slots.insert(slot);
    }
    if let Some(last_arrival) = outcome.last_arrival {
        records.push(entry(SOURCE.to_owned(), &SourceRecord { last_arrival })?);
    }
    let run = job.run.to_owned();
    table.commit(Commit { adds, removes, records, run, operation, now_ms: job.now_ms }).await?;
    outcome.lake.after = rows_of(table.files());
    Ok(outcome)
}

/// Which rows are of the given files and arrivals.
fn of_files(batch: &RecordBatch, files: &BTreeMap<(String, BizDate), String>) -> Result<BooleanArray> {
    let paths = column(batch, "file")?.as_string::<i32>();
    let arrivals = column(batch, "arrival_dt")?.as_primitive::<Date32Type>();
    let row = |at| files.contains_key(&(paths.value(at).to_owned(), BizDate::from_days(arrivals.value(at))));
    Ok((0..batch.num_rows()).map(|at| Some(row(at))).collect())
}

fn column<'a>(batch: &'a RecordBatch, name: &str) -> Result<&'a ArrayRef> {
    batch.column_by_name(name).with_context(|| format!("a file of the table has no column {name}"))
}
