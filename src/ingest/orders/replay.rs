//! The second chance of an order table's rejects, after a rule was mended: an extract of which something would land now
//! is read again whole, and takes its own place as one that has changed does.
//!
//! An extract must still be there, with the content that was taken. Rows of a database are read again by an extraction
//! of their days, not here.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

use anyhow::{Context, Result};
use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::Int64Type;
use tokio::runtime::Handle;

use super::batch::Batch;
use super::extract::{Meter, read_extract};
use super::intake::Part;
use super::layout::Layout;
use super::publish::publish_replay;
use super::record::{self, FileRecord};
use super::{OrdersIngest, Origin, ensure, ensure_rejects};
use crate::date::BizDate;
use crate::ingest::files::{InputFile, list_files};
use crate::ingest::rejects::REJECT_TABLE;
use crate::ingest::replay::{self, Replayed, Wanted};
use crate::lake::{Table, read_columns};

/// What is known of a reject: its row, why it was one, and what exactly was wrong.
type Rejection = (i64, String, String);

/// Gives the wanted rejects of an order database's tables a second chance.
///
/// # Errors
/// When the folder or the lake cannot be read or written; tables that come first have been replayed then.
pub async fn replay_orders(job: &OrdersIngest<'_>, wanted: &Wanted) -> Result<Vec<Replayed>> {
    let layouts = job.source.tables.iter().map(Layout::new).collect::<Result<Vec<_>>>()?;
    let files = match job.origin {
        Origin::Folder(root) => listed(root, job)?,
        Origin::Database(_) => HashMap::new(),
    };
    let mut all = Vec::new();
    for layout in layouts.iter().filter(|layout| wanted.table(&layout.table)) {
        let replayed = replay_table(job, wanted, layout, &files).await;
        all.push(replayed.with_context(|| format!("replay rejects of {}", layout.table))?);
    }
    Ok(all)
}

fn listed(root: &Path, job: &OrdersIngest<'_>) -> Result<HashMap<String, InputFile>> {
    let files = if root.is_dir() { list_files(root, job.zone)? } else { Vec::new() };
    Ok(files.into_iter().map(|file| (file.relative.clone(), file)).collect())
}

async fn replay_table(
    job: &OrdersIngest<'_>,
    wanted: &Wanted,
    layout: &Layout,
    files: &HashMap<String, InputFile>,
) -> Result<Replayed> {
    let mut replayed = Replayed { table: layout.table.clone(), ..Replayed::default() };
    let tables = (job.lake.table(&layout.table).await?, job.lake.table(REJECT_TABLE).await?);
    let (Some(_), Some(mut rejects)) = tables else { return Ok(replayed) };
    let records = job.lake.records(&layout.table).await?;
    if !wanted.dry_run {
        replay::finish(job.lake, &layout.table, &records, job.now_ms).await?;
        rejects = ensure_rejects(job).await?;
    }
    let is_wanted = |record: &FileRecord| {
        wanted.arrival(record.arrival) && record.tally.rejected.keys().any(|reason| wanted.reason(reason))
    };
    let known = record::files(&records)?;
    let candidates: Vec<&FileRecord> = known.values().filter(|record| is_wanted(record)).collect();
    if candidates.is_empty() {
        return Ok(replayed);
    }
    let meter = Meter::new(job.reporter, &format!("replay {}", job.name));
    let mut again = Vec::new();
    for record in candidates {
        let before = rejections(&rejects, layout, record.arrival, &record.path).await?;
        match tokio::task::block_in_place(|| look(job, layout, record, files.get(&record.path), &before, &meter)) {
            Ok(Look::AsBefore) => replayed.keep(record),
            Ok(Look::Otherwise(file, now)) => {
                replayed.files.insert(record.path.clone());
                replayed.count(now.landed.saturating_sub(record.tally.landed), &now.rejected);
                again.push(file);
            }
            Err(why) => {
                let rows = record.tally.rows_rejected();
                let stay =
                    if rows == 1 { "1 rejected row stays".to_owned() } else { format!("{rows} rejected rows stay") };
                replayed.untried.push(format!("`{}` of {}: {stay}: {why}", record.path, layout.table));
                replayed.keep(record);
            }
        }
    }
    if again.is_empty() || wanted.dry_run {
        return Ok(replayed);
    }
    let table = ensure(job, layout).await?;
    let batch = Batch::new(job, layout, again, records)?.read_again();
    let prepared = tokio::task::block_in_place(|| batch.prepare(table, &rejects, &meter, &Handle::current()))?;
    if let Some(failure) = prepared.failures.first() {
        anyhow::bail!("{failure}");
    }
    let outcome = publish_replay(job, prepared).await?;
    replayed.slots = outcome.slots;
    Ok(replayed)
}

impl Replayed {
    /// Counts the rejects of an extract that stay as they are.
    fn keep(&mut self, record: &FileRecord) {
        self.count(0, &record.tally.rejected);
    }

    fn count(&mut self, landed: u64, rejected: &BTreeMap<String, u64>) {
        self.landed += landed;
        for (reason, rows) in rejected {
            *self.rejected.entry(reason.clone()).or_default() += rows;
        }
        self.read += landed + rejected.values().sum::<u64>();
    }
}

/// What an extract comes to under today's rules.
enum Look {
    /// The same rows are rejected for the same reasons.
    AsBefore,
    /// Others are.
    Otherwise(InputFile, super::Tally),
}

/// Reads an extract again, keeping none of its rows; why that cannot be done is for a person.
fn look(
    job: &OrdersIngest<'_>,
    layout: &Layout,
    record: &FileRecord,
    file: Option<&InputFile>,
    before: &BTreeSet<Rejection>,
    meter: &Meter<'_>,
) -> Result<Look, String> {
    if record.path.starts_with("mysql/") {
        let day = record.arrival;
        return Err(format!(
            "rows of a database, which `strata ingest {} --from DAY --to DAY` reads again by the days \
             they changed on (these arrived for {day})",
            job.name
        ));
    }
    // The day that it arrived is what was recorded: a file outside of dated folders may have been touched since.
    let file = InputFile { arrival: record.arrival, ..file.ok_or("the extract is gone")?.clone() };
    let mut now = BTreeSet::new();
    let mut sink = |part: Part| match part {
        Part::Rows { .. } => Ok(()),
        Part::Rejects(batch) => note(&batch, |_| true, &mut now),
    };
    let read = read_extract(job.name, layout, &file, meter, &mut sink);
    let extract = read.map_err(|error| format!("{error:#}"))?;
    if extract.hash != record.hash {
        return Err("the extract says something else now; the next `strata run` takes it as it is".to_owned());
    }
    Ok(if now == *before { Look::AsBefore } else { Look::Otherwise(file, extract.tally) })
}

/// The rejects of an extract that are in the lake.
async fn rejections(rejects: &Table, layout: &Layout, arrival: BizDate, path: &str) -> Result<BTreeSet<Rejection>> {
    let mut found = BTreeSet::new();
    let names = ["table_name", "file", "row_number", "reason", "detail"];
    for file in rejects.files().iter().filter(|file| file.slot == Some(arrival)) {
        let object = rejects.object_path(&file.path);
        for batch in read_columns(&*rejects.lake().store(), &object, &names).await? {
            let (tables, files) = (batch.column(0).as_string::<i32>(), batch.column(1).as_string::<i32>());
            note(&batch, |row| tables.value(row) == layout.table && files.value(row) == path, &mut found)?;
        }
    }
    Ok(found)
}

/// Notes some rows of a batch of rejects.
fn note(batch: &RecordBatch, is_wanted: impl Fn(usize) -> bool, into: &mut BTreeSet<Rejection>) -> Result<()> {
    let column = |name| batch.column_by_name(name).with_context(|| format!("rejects without {name}"));
    let numbers = column("row_number")?.as_primitive::<Int64Type>();
    let (reasons, details) = (column("reason")?.as_string::<i32>(), column("detail")?.as_string::<i32>());
    for row in (0..batch.num_rows()).filter(|row| is_wanted(*row) && numbers.is_valid(*row)) {
        into.insert((numbers.value(row), reasons.value(row).to_owned(), details.value(row).to_owned()));
    }
    Ok(())
}
