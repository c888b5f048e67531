//! Ingest of an order database from extracts of its tables: files in, rows of ODS tables out (`sources.md` §3).
//!
//! A row's way: `csv` or `from_parquet` reads it, `value` types it, `intake` decides whether it lands, `rows` masks it,
//! `landing` stages it, `publish` commits it together with the record of its file. `batch` decides which files are new.
//! Everything from `intake` on is the same for rows that come from elsewhere than files. `deleted` is for what is there no more.

mod batch;
mod chunk;
mod csv;
mod deleted;
mod extract;
mod from_csv;
mod from_parquet;
mod intake;
mod keys;
mod landing;
mod layout;
mod look;
mod mask;
mod mysql;
mod notices;
mod publish;
mod raw;
mod record;
mod replay;
mod rows;
mod tally;
#[cfg(test)]
mod tests;
mod value;
mod versions;

use std::collections::{BTreeMap, BTreeSet};
use std::panic::resume_unwind;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use anyhow::Result;
use arrow::datatypes::SchemaRef;
use tokio::runtime::{Handle, RuntimeFlavor};

use self::batch::{Batch, Prepared};
pub use self::deleted::DELETED_TABLE;
use self::extract::{Meter, named};
use self::layout::Layout;
pub use self::look::waiting_orders;
pub use self::mysql::examine_table;
use self::publish::publish;
pub(super) use self::raw::restore;
pub use self::replay::replay_orders;
pub use self::tally::{Amount, MoneySum, Tally};
use super::books::{FileBooks, LakeBooks};
use super::files::{InputFile, list_files};
use super::rejects::reject_spec;
use super::replay::finish as finish_replay;
use crate::config::Reading;
use crate::config::source::{SourceTable, TableSource};
use crate::date::{BizDate, DateRange, Slot, Zone};
use crate::error::hints;
use crate::lake::{Lake, Table, TableSpec};
use crate::mysql::Server;
use crate::progress::{Event, Reporter, counted};

/// What is to be ingested, and by which run.
pub struct OrdersIngest<'a> {
    /// Where it lands.
    pub lake: &'a Lake,
    /// The source's name, for instance `orders`.
    pub name: &'a str,
    /// Its declaration.
    pub source: &'a TableSource,
    /// Where its rows are.
    pub origin: Origin<'a>,
    /// The warehouse's zone.
    pub zone: Zone,
    /// The run's name.
    pub run: &'a str,
    /// The run's clock.
    pub now_ms: i64,
    /// How many tables are read side by side.
    pub threads: usize,
    /// Who is told.
    pub reporter: &'a dyn Reporter,
}

/// Where the rows of an order database are to be had.
#[derive(Clone, Copy)]
pub enum Origin<'a> {
    /// In extracts beneath a folder.
    Folder(&'a Path),
    /// In the database itself.
    Database(Extraction<'a>),
}

/// How a database is read, and which of its rows.
#[derive(Clone, Copy)]
pub struct Extraction<'a> {
    /// The server.
    pub server: &'a Server,
    /// How fast, over how many connections, how far back.
    pub reading: Reading,
    /// The day that snapshots describe and rows arrive on: the last of the run's range.
    pub to: BizDate,
    /// When given, what changed on these days is read again, whatever was read before.
    pub range: Option<DateRange>,
}

/// What came of an ingest. Failures do not undo what is good: those files landed nothing, all others did.
#[derive(Debug, Default)]
pub struct OrdersOutcome {
    /// What came of each declared table, in the order of the declaration.
    pub tables: Vec<TableOutcome>,
    /// What failed, a sentence each, for the caller to report; the run has failed when there is any.
    pub failures: Vec<String>,
    /// The tables that lack something because of them: what reads these would be incomplete.
    pub incomplete: Vec<String>,
}

/// What came of one table's extracts.
#[derive(Clone, Debug, Default)]
pub struct TableOutcome {
    /// The ODS table.
    pub table: String,
    /// Files taken by this run.
    pub files: usize,
    /// Their rows.
    pub tally: Tally,
    /// Rows of earlier runs that left because their file says something else now.
    pub replaced: u64,
    /// The partitions that changed.
    pub slots: BTreeSet<Slot>,
    /// The latest arrival date of any file taken so far.
    pub last_arrival: Option<BizDate>,
    /// What became of each extract.
    pub extracts: Vec<FileBooks>,
    /// The table's rows in the lake.
    pub lake: LakeBooks,
    /// What the money columns of the rows that landed add up to in the lake; nothing where that is not known, since rows
    /// came that had landed before.
    pub sums_in_lake: BTreeMap<String, Amount>,
}

impl OrdersOutcome {
    /// Publishes what was prepared of a table, or notes why it could not be.
    async fn take(&mut self, job: &OrdersIngest<'_>, layout: &Layout, prepared: Result<Prepared<'_>>) {
        let published = match prepared {
            Ok(mut prepared) => {
                if !prepared.failures.is_empty() {
                    self.incomplete.push(layout.table.clone());
                }
                self.failures.append(&mut prepared.failures);
                publish(job, prepared).await
            }
            Err(error) => Err(error),
        };
        match published {
            Ok(table) => self.tables.push(table),
            Err(error) => {
                self.incomplete.push(layout.table.clone());
                let hints: String = hints(&error).iter().map(|hint| format!("\n hint: {hint}")).collect();
                self.failures.push(format!("{}: {error:#}{hints}", layout.table));
            }
        }
    }

    /// The numbers of all tables together.
    pub fn total(&self) -> Tally {
        let mut total = Tally::default();
        self.tables.iter().for_each(|table| total.merge(&table.tally));
        total
    }
}

/// Takes the extracts that are new or have changed; every declared table exists afterwards, also one without a file.
///
/// Rows and the record of their file come in one commit a table, rejects in one before it, so that a run that is
/// interrupted anywhere is finished by the next one.
///
/// # Errors
/// When the source's folder or the lake cannot be read. What is wrong with single files is in the outcome's failures.
pub async fn ingest_orders(job: &OrdersIngest<'_>) -> Result<OrdersOutcome> {
    match job.origin {
        Origin::Folder(root) => ingest_folder(job, root).await,
        Origin::Database(extraction) => mysql::ingest_database(job, &extraction).await,
    }
}

async fn ingest_folder(job: &OrdersIngest<'_>, root: &Path) -> Result<OrdersOutcome> {
    let layouts = job.source.tables.iter().map(Layout::new).collect::<Result<Vec<_>>>()?;
    let mut files = by_table(job, root, &layouts)?;
    let (mut batches, mut outcome) = (Vec::with_capacity(layouts.len()), OrdersOutcome::default());
    for layout in &layouts {
        let records = job.lake.records(&layout.table).await?;
        finish_replay(job.lake, &layout.table, &records, job.now_ms).await?;
        let batch = Batch::new(job, layout, files.remove(&layout.name).unwrap_or_default(), records)?;
        let (spec, is_ready) = ready(job, layout).await?;
        if is_ready && batch.is_idle() {
            outcome.tables.push(batch.untouched());
        } else {
            batches.push((batch, job.lake.ensure_table(&spec, job.now_ms).await?));
        }
    }
    let step = format!("ingest {}", job.name);
    let total = batches.iter().map(|(batch, _)| batch.bytes_to_read()).sum();
    job.reporter.report(Event::StepStarted { step: step.clone(), total });
    let meter = Meter::new(job.reporter, &step);
    if !batches.is_empty() || !job.lake.has(&reject_spec()).await? {
        let rejects = ensure_rejects(job).await?;
        for (layout, prepared) in prepare(batches, &rejects, &meter, job.threads) {
            outcome.take(job, layout, prepared).await;
        }
    }
    outcome.tables.sort_by_key(|done| layouts.iter().position(|layout| layout.table == done.table));
    job.reporter.report(Event::StepFinished { step, line: summary(&outcome, "file") });
    Ok(outcome)
}

/// The ODS table of a layout; what was taken up from a database besides stays.
async fn ensure(job: &OrdersIngest<'_>, layout: &Layout) -> Result<Table> {
    let (spec, _) = ready(job, layout).await?;
    job.lake.ensure_table(&spec, job.now_ms).await
}

/// What the ODS table of a layout is to be, and whether it is that.
async fn ready(job: &OrdersIngest<'_>, layout: &Layout) -> Result<(TableSpec, bool)> {
    let Some(known) = job.lake.head(&layout.table).await? else { return Ok((spec_of(layout), false)) };
    let extras = layout.extras_of(known.schema());
    let spec = if extras.is_empty() { spec_of(layout) } else { spec_of(&layout.clone().with_extras(extras)) };
    let is_ready = known.is(&spec)?;
    Ok((spec, is_ready))
}

async fn ensure_rejects(job: &OrdersIngest<'_>) -> Result<Table> {
    job.lake.ensure_table(&reject_spec(), job.now_ms).await
}

/// The ODS table of a declared table and its columns.
///
/// # Errors
/// When the declaration contradicts itself.
pub fn landed_schema(table: &SourceTable) -> Result<(String, SchemaRef)> {
    Layout::new(table).map(|layout| (layout.table, layout.schema))
}

fn spec_of(layout: &Layout) -> TableSpec {
    TableSpec {
        name: layout.table.clone(),
        schema: layout.schema.clone(),
        partitioned: true,
        description: layout.description(),
    }
}

/// The source's files by the table they are named after, in the order of their paths.
fn by_table(job: &OrdersIngest<'_>, root: &Path, layouts: &[Layout]) -> Result<BTreeMap<String, Vec<InputFile>>> {
    let mut files: BTreeMap<String, Vec<InputFile>> = BTreeMap::new();
    let mut told = BTreeSet::new();
    let warn = |text| job.reporter.report(Event::Warning(text));
    for file in list_files(root, job.zone)? {
        let (table, format) = named(&file);
        let reason = match format {
            Some(_) if layouts.iter().any(|layout| layout.name == table) => {
                files.entry(table.to_owned()).or_default().push(file);
                continue;
            }
            Some(_) => format!("{} declares no table `{table}`", job.name),
            None => "it is neither .csv (.gz, .zst) nor .parquet".to_owned(),
        };
        if told.insert(table.to_owned()) {
            warn(format!("`{}` is ignored: {reason}", file.path.display()));
        }
    }
    if files.is_empty() {
        warn(format!("there is no extract of any table beneath `{}`", root.display()));
    }
    Ok(files)
}

/// Reads the batches side by side, without committing any of them; the results are in the order of the batches.
fn prepare<'a>(
    batches: Vec<(Batch<'a>, Table)>,
    rejects: &Table,
    meter: &Meter<'_>,
    threads: usize,
) -> Vec<(&'a Layout, Result<Prepared<'a>>)> {
    let runtime = Handle::current();
    let threads = threads.clamp(1, batches.len().max(1));
    let queue = Mutex::new(batches.into_iter().enumerate());
    let work = || {
        let mut done = Vec::new();
        loop {
            let next = queue.lock().unwrap_or_else(PoisonError::into_inner).next();
            let Some((at, (batch, table))) = next else { return done };
            let layout = batch.layout();
            done.push((at, (layout, batch.prepare(table, rejects, meter, &runtime))));
        }
    };
    let all = || {
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap_or_else(|p| resume_unwind(p))).collect()
        })
    };
    let mut done: Vec<(usize, _)> = match runtime.runtime_flavor() {
        RuntimeFlavor::MultiThread => tokio::task::block_in_place(all),
        _ => all(),
    };
    done.sort_by_key(|(at, _)| *at);
    done.into_iter().map(|(_, prepared)| prepared).collect()
}

/// What came of an ingest in a line; what its rows came from is called a file, or a table.
fn summary(outcome: &OrdersOutcome, from: &str) -> String {
    let files: usize = outcome.tables.iter().map(|table| table.files).sum();
    let total = outcome.total();
    let line = match files {
        0 => "nothing new".to_owned(),
        _ => format!(
            "{}: {} landed, {} rejected",
            counted(files as u64, from),
            counted(total.landed, "row"),
            total.rows_rejected()
        ),
    };
    match outcome.failures.len() {
        0 => line,
        failures => format!("{line}; {failures} failed"),
    }
}
