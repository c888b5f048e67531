//! Ingest of a client action log: files of JSON lines in, rows of its ODS table and of `ods_reject` out.
//!
//! Reading order: [`look`] and [`known`] decide which files are new and where to go on with the others; [`reader`] cuts them into
//! segments; [`work`] has each segment decoded ([`decode`]: rules; [`scan`]: typing; [`json`]: grammar) and encoded;
//! [`landing`] commits the results in order, with the [`record`] of what was read.

mod calendar;
mod chunk;
mod columns;
pub mod decode;
mod dictionary;
mod extra;
mod fields;
mod json;
mod keys;
mod known;
mod landing;
mod look;
mod raw;
mod reader;
mod record;
mod rejects;
mod replay;
mod scan;
mod stage;
mod tail;
#[cfg(test)]
mod tests;
mod work;

use std::collections::{BTreeMap, BTreeSet};
use std::panic::resume_unwind;
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Result, bail};
use tokio::runtime::{Handle, RuntimeFlavor};

use self::decode::FileContext;
pub use self::fields::events_schema;
use self::known::Plan;
use self::landing::Landing;
pub use self::look::waiting_logs;
use self::look::{Look, look};
pub(super) use self::raw::restore;
use self::reader::{Reader, Segment};
pub use self::record::Tally;
use self::record::{SOURCE, SourceRecord};
use self::rejects::reason_names;
pub use self::replay::replay_logs;
use self::work::{Done, Work};
use super::books::LakeBooks;
use super::rejects::reject_spec;
use super::replay::finish as finish_replay;
use crate::config::source::LogSource;
use crate::date::{BizDate, Slot, Zone};
use crate::lake::{Lake, TableSpec};
use crate::progress::{Event, Reporter, counted};

/// How much decompressed input a segment holds: more takes memory and is no faster.
const SEGMENT_BYTES: usize = 16 << 20;
/// How much decompressed input is taken between two commits.
const COMMIT_BYTES: u64 = 4 << 30;

/// What is to be ingested, and by which run.
pub struct LogsIngest<'a> {
    /// Where it lands.
    pub lake: &'a Lake,
    /// The source's name, for instance `user_action`.
    pub name: &'a str,
    /// Its declaration.
    pub source: &'a LogSource,
    /// The folder of its files.
    pub root: &'a Path,
    /// The warehouse's zone.
    pub zone: Zone,
    /// The run's name.
    pub run: &'a str,
    /// The run's clock.
    pub now_ms: i64,
    /// How many segments are decoded side by side.
    pub threads: usize,
    /// Who is told.
    pub reporter: &'a dyn Reporter,
}

/// What came of an ingest.
#[derive(Clone, Debug, Default)]
pub struct IngestOutcome {
    /// Files in the folder.
    pub files_seen: usize,
    /// Files that are new, have grown or are elsewhere now.
    pub files_new: usize,
    /// Decompressed bytes taken.
    pub bytes: u64,
    /// Events read, landed and rejected.
    pub tally: Tally,
    /// The partitions that changed.
    pub days: BTreeSet<Slot>,
    /// The latest arrival date of any file taken so far.
    pub last_arrival: Option<BizDate>,
    /// What was odd; it was reported too.
    pub warnings: Vec<String>,
    /// What became of each file, by landed name.
    pub files: BTreeMap<String, Tally>,
    /// The table's rows in the lake.
    pub lake: LakeBooks,
}

/// The sizes that decide what is cut where.
#[derive(Clone, Copy)]
struct Sizes {
    segment_bytes: usize,
    commit_bytes: u64,
}

/// Takes what is new in a log's folder; both tables exist afterwards.
///
/// Events come in one commit together with the record of how far each file was taken (several for very large inputs),
/// rejects in one before it, so that a run that is interrupted anywhere is finished by the next one.
///
/// # Errors
/// When the folder or the lake cannot be read or written, or a ledger does not close. Bad lines and damaged files are
/// no errors: they are counted, kept and told.
pub async fn ingest_logs(job: &LogsIngest<'_>) -> Result<IngestOutcome> {
    ingest_with(job, Sizes { segment_bytes: SEGMENT_BYTES, commit_bytes: COMMIT_BYTES }).await
}

async fn ingest_with(job: &LogsIngest<'_>, sizes: Sizes) -> Result<IngestOutcome> {
    let table = &job.source.table;
    let records = job.lake.records(table).await?;
    let specs = (events_spec(job), reject_spec());
    let is_ready = job.lake.has(&specs.0).await? && job.lake.has(&specs.1).await?;
    if !is_ready {
        job.lake.ensure_table(&specs.0, job.now_ms).await?;
        job.lake.ensure_table(&specs.1, job.now_ms).await?;
    }
    finish_replay(job.lake, table, &records, job.now_ms).await?;
    let Look { files, plan } = look(job, &records).await?;
    let mut outcome = IngestOutcome { files_seen: files.len(), files_new: plan.files.len(), ..Default::default() };
    outcome.last_arrival = record::find::<SourceRecord>(&records, SOURCE)?.and_then(|source| source.last_arrival);
    outcome.warnings.clone_from(&plan.warnings);
    let step = format!("ingest {}", job.name);
    let total = plan.files.iter().map(|planned| planned.file.size).sum();
    job.reporter.report(Event::StepStarted { step: step.clone(), total });
    plan.warnings.iter().for_each(|warning| job.reporter.report(Event::Warning(warning.clone())));
    if plan.files.is_empty() && plan.gone.is_empty() {
        return Ok(nothing_new(job, step, outcome));
    }
    let events = job.lake.ensure_table(&specs.0, job.now_ms).await?;
    let rejects = job.lake.ensure_table(&specs.1, job.now_ms).await?;
    let event = &job.source.event;
    let reasons = reason_names(&event.kind, &event.time);
    let Plan { files: planned, gone, .. } = plan;
    let landing = Landing::new((job, &step, &reasons), (events, rejects), &planned, gone, records, outcome);
    let run = || run(job, sizes, planned, landing);
    let outcome = match Handle::current().runtime_flavor() {
        RuntimeFlavor::MultiThread => tokio::task::block_in_place(run),
        _ => run(),
    }?;
    job.reporter.report(Event::StepFinished { step, line: summary(&outcome) });
    Ok(outcome)
}

/// The end of an ingest that found nothing to take.
fn nothing_new(job: &LogsIngest<'_>, step: String, outcome: IngestOutcome) -> IngestOutcome {
    let line = match outcome.files_seen {
        0 => format!("`{}` is empty", job.root.display()),
        _ => "nothing new".to_owned(),
    };
    job.reporter.report(Event::StepFinished { step, line });
    outcome
}

/// Reads, decodes and lands the planned files on threads of their own.
fn run(
    job: &LogsIngest<'_>,
    sizes: Sizes,
    planned: Vec<known::Planned>,
    landing: Landing<'_>,
) -> Result<IngestOutcome> {
    let contexts = planned.iter().map(|planned| FileContext {
        name: planned.landed.clone(),
        arrival: planned.arrival,
        rejects_from: planned.rejects_from,
    });
    let work = Work { name: job.name, source: job.source, zone: job.zone, files: contexts.collect() };
    let (to_workers, segments) = sync_channel(0);
    let (to_landing, results) = sync_channel(1);
    let (give_back, used) = channel();
    // Held by the workers alone, as is `give_back`: when they have stopped, the reader must notice.
    let segments = Arc::new(Mutex::new(segments));
    let work = &work;
    std::thread::scope(|scope| {
        // One for each worker, and one to read into meanwhile.
        let buffers = job.threads.max(1) + 1;
        let reader = Reader::new(planned, &job.source.limits, (sizes.segment_bytes, buffers), to_workers, used);
        scope.spawn(move || {
            // When nobody takes segments any more, whoever stopped tells why.
            let _ = reader.run();
        });
        for _ in 0..job.threads.max(1) {
            let (to_landing, give_back, segments) = (to_landing.clone(), give_back.clone(), Arc::clone(&segments));
            scope.spawn(move || decode_all(work, &segments, &to_landing, &give_back));
        }
        drop((to_landing, give_back, segments));
        let landed = scope.spawn(move || land_all(landing, &results, sizes.commit_bytes));
        landed.join().unwrap_or_else(|panic| resume_unwind(panic))
    })
}

/// Decodes segments until there are none, or nobody wants them.
fn decode_all(
    work: &Work<'_>,
    segments: &Mutex<Receiver<Segment>>,
    to_landing: &SyncSender<Result<Done>>,
    give_back: &Sender<Vec<u8>>,
) {
    loop {
        let next = segments.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(segment) = next else { return };
        let done = work.decode(segment, give_back);
        // What failed may have its buffer no more: whoever waits for one must notice that nobody gives any back.
        let failed = done.is_err();
        if to_landing.send(done).is_err() || failed {
            return;
        }
    }
}

/// Lands what the workers decoded, in the order of the segments.
fn land_all(mut landing: Landing<'_>, results: &Receiver<Result<Done>>, commit_bytes: u64) -> Result<IngestOutcome> {
    let mut early = BTreeMap::new();
    let mut next = 0;
    for done in results {
        let landed = done.and_then(|done| {
            early.insert(done.number, done);
            while let Some(done) = early.remove(&next) {
                landing.add(done, commit_bytes)?;
                next += 1;
            }
            Ok(())
        });
        if let Err(error) = landed {
            landing.discard();
            return Err(error);
        }
    }
    if !early.is_empty() {
        landing.discard();
        bail!("segment {next} was never decoded");
    }
    landing.finish()
}

fn events_spec(job: &LogsIngest<'_>) -> TableSpec {
    TableSpec {
        name: job.source.table.clone(),
        schema: events_schema(job.source),
        partitioned: true,
        description: format!("Events of the log {}, as they came, each on the day it happened", job.name),
    }
}

fn summary(outcome: &IngestOutcome) -> String {
    let tally = &outcome.tally;
    let rejected = tally.rejected_total();
    let (files, events) = (counted(outcome.files_new as u64, "file"), counted(tally.landed, "event"));
    let mut line = format!("{files}: {events} landed, {rejected} rejected");
    if rejected > 0 {
        let reasons: Vec<String> = tally.rejected.iter().map(|(reason, count)| format!("{reason} {count}")).collect();
        line.push_str(&format!(" ({})", reasons.join(", ")));
    }
    line
}
