//! A look at a log's folder: which of its files are new or have grown. Ingest begins with it; by itself it tells what
//! waits, and changes nothing.

use std::collections::BTreeMap;
use std::sync::mpsc::{channel, sync_channel};

use anyhow::Result;
use tokio::runtime::{Handle, RuntimeFlavor};

use super::decode::FileContext;
use super::known::{Plan, Planned, Planner};
use super::reader::Reader;
use super::work::Work;
use super::{LogsIngest, SEGMENT_BYTES, record};
use crate::date::BizDate;
use crate::ingest::files::{Compression, InputFile, list_files};
use crate::ingest::rejects::REJECT_TABLE;
use crate::ingest::waiting::{Allowance, Waiting};
use crate::progress::Event;

/// What there is in the folder, and what is to be done.
pub struct Look {
    /// All files.
    pub files: Vec<InputFile>,
    /// What is to be done about the files.
    pub plan: Plan,
}

/// Looks at the folder beside what the table of events records; only files that are not as recorded are opened.
pub async fn look(job: &LogsIngest<'_>, records: &BTreeMap<String, String>) -> Result<Look> {
    let table = &job.source.table;
    let files = list_files(job.root, job.zone)?;
    let reject_records = record::reject_files(&job.lake.records(REJECT_TABLE).await?, table)?;
    let clock = (job.zone, job.now_ms);
    let planner = Planner::new(&files, record::files(records)?, reject_records, &job.source.limits, clock);
    let plan = planner.plan();
    Ok(Look { files, plan })
}

/// Tells what waits in a log's folder; nothing is written.
///
/// The days of small files are known by decoding what is new in them.
///
/// # Errors
/// When the folder or the lake cannot be read.
pub async fn waiting_logs(job: &LogsIngest<'_>) -> Result<Waiting> {
    let records = job.lake.records(&job.source.table).await?;
    let Look { plan, .. } = look(job, &records).await?;
    plan.warnings.iter().for_each(|warning| job.reporter.report(Event::Note(warning.clone())));
    let mut waiting = Waiting::new(&job.source.table);
    let mut allowance = Allowance::new();
    let mut small = Vec::new();
    for planned in plan.files.into_iter().filter(|planned| !planned.at_end) {
        let new = match planned.file.compression {
            Compression::Plain => planned.file.size.saturating_sub(planned.from),
            Compression::Gzip | Compression::Zstd => planned.file.size,
        };
        waiting.add(planned.arrival, new);
        if allowance.grants(new) {
            small.push(planned);
        } else {
            waiting.suppose(planned.arrival);
        }
    }
    let days = || days_of(job, small);
    let days = match Handle::current().runtime_flavor() {
        RuntimeFlavor::MultiThread => tokio::task::block_in_place(days),
        _ => days(),
    }?;
    waiting.slots.extend(days.into_iter().map(Some));
    Ok(waiting)
}

/// The days of the events that are new in some files.
fn days_of(job: &LogsIngest<'_>, files: Vec<Planned>) -> Result<Vec<BizDate>> {
    let contexts = files.iter().map(|planned| FileContext {
        name: planned.landed.clone(),
        arrival: planned.arrival,
        rejects_from: planned.rejects_from,
    });
    let work = Work { name: job.name, source: job.source, zone: job.zone, files: contexts.collect() };
    let (to_here, segments) = sync_channel(0);
    let (give_back, used) = channel();
    std::thread::scope(|scope| {
        // Let go of here when decoding fails: the reader must notice.
        let give_back = give_back;
        let reader = Reader::new(files, &job.source.limits, (SEGMENT_BYTES / 2, 2), to_here, used);
        scope.spawn(move || {
            // When nobody takes segments any more, whoever stopped tells why.
            let _ = reader.run();
        });
        let mut days = Vec::new();
        for segment in segments {
            days.extend(work.days(segment, &give_back)?);
        }
        Ok(days)
    })
}
