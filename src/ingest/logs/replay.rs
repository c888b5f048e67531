//! The second chance of a log's rejects, after a rule was mended: their lines go through the same decoder again.
//!
//! Only what was rejected is judged anew; what landed stays as it landed. [`lines`] finds the bytes of a line, [`judge`]
//! decodes and tells what becomes of each rejected event; here the rows of both tables are staged and committed, with the
//! records of files and partitions, so that the books close as if the mended rule had been there from the start.

mod judge;
mod lines;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use anyhow::{Result, bail};
use arrow::array::{Array, AsArray, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{Int32Type, Int64Type};
use tokio::runtime::Handle;
use xxhash_rust::xxh3::xxh3_64;

use self::judge::{Judge, Ruling};
use self::lines::Lines;
use super::landing::{Put, Target};
use super::record::{
    self, FileRecord, RejectRecord, SOURCE, SlotRecord, SourceRecord, entry, file_domain, find, reject_domain,
    slot_domain,
};
use super::rejects::batch_schema;
use super::work::Rows;
use super::{LogsIngest, events_spec};
use crate::date::BizDate;
use crate::ingest::rejects::{REJECT_TABLE, reject_spec};
use crate::ingest::replay::{self, Exchange, REPLAY, Replayed, Wanted};
use crate::lake::{Commit, FileRef, StagedFile, Table, encode_parquet, read_batches_as, read_columns};

/// Where an event is in its source: the landed name of its file, the beginning of its line, its index within that.
pub(super) type Place = (Arc<str>, i64, i32);
/// Where a line is.
pub(super) type LinePlace = (Arc<str>, i64);

/// Gives the wanted rejects of a log a second chance.
///
/// # Errors
/// When the lake cannot be read or written, or the books do not close; nothing has changed then.
pub async fn replay_logs(job: &LogsIngest<'_>, wanted: &Wanted) -> Result<Replayed> {
    let name = &job.source.table;
    let tables = (job.lake.table(name).await?, job.lake.table(REJECT_TABLE).await?);
    let (Some(mut events), Some(mut rejects)) = tables else {
        return Ok(Replayed { table: name.clone(), ..Replayed::default() });
    };
    let records = job.lake.records(name).await?;
    if !wanted.dry_run {
        replay::finish(job.lake, name, &records, job.now_ms).await?;
        events = job.lake.ensure_table(&events_spec(job), job.now_ms).await?;
        rejects = job.lake.ensure_table(&reject_spec(), job.now_ms).await?;
    }
    let replay = Replay {
        job,
        wanted,
        files: record::files(&records)?,
        reject_records: record::reject_files(&job.lake.records(REJECT_TABLE).await?, name)?,
        put: Put { runtime: Handle::current(), run: job.run },
        events: Target::new(events),
        lines: Lines::new(job),
        rejects,
        records,
        adds: Vec::new(),
        removes: Vec::new(),
        changes: BTreeMap::new(),
        touched: BTreeMap::new(),
        outcome: Replayed { table: name.clone(), ..Replayed::default() },
    };
    tokio::task::block_in_place(|| replay.run())
}

/// What becomes of the events of one file of the source.
#[derive(Default)]
struct Change {
    landed: u64,
    rejected: BTreeMap<String, i64>,
}

struct Replay<'a> {
    job: &'a LogsIngest<'a>,
    wanted: &'a Wanted,
    records: BTreeMap<String, String>,
    files: BTreeMap<String, FileRecord>,
    reject_records: BTreeMap<String, RejectRecord>,
    put: Put<'a>,
    events: Target,
    rejects: Table,
    lines: Lines<'a>,
    adds: Vec<StagedFile>,
    removes: Vec<FileRef>,
    changes: BTreeMap<String, Change>,
    /// Rows of a day that landed, and the sum of the hashes of their places.
    touched: BTreeMap<BizDate, (u64, u64)>,
    outcome: Replayed,
}

impl Replay<'_> {
    fn run(mut self) -> Result<Replayed> {
        let mut days: BTreeMap<BizDate, Vec<FileRef>> = BTreeMap::new();
        for file in self.rejects.files() {
            if let Some(day) = file.slot.filter(|day| self.wanted.arrival(*day)) {
                days.entry(day).or_default().push(file.clone());
            }
        }
        let replayed = days.into_iter().try_for_each(|(day, files)| self.day(day, &files)).and_then(|()| self.commit());
        if let Err(error) = replayed {
            self.put.runtime.block_on(self.events.discard());
            self.put.runtime.block_on(self.rejects.discard(&self.adds));
            return Err(error);
        }
        self.outcome.untried = self.lines.untried();
        Ok(self.outcome)
    }

    /// Judges the wanted rejects of one arrival day.
    fn day(&mut self, day: BizDate, files: &[FileRef]) -> Result<()> {
        let rejected = self.rejected_places(files)?;
        if rejected.is_empty() {
            return Ok(());
        }
        for file in files {
            let path = self.rejects.object_path(&file.path);
            let store = self.rejects.lake().store();
            let batches = self.put.runtime.block_on(read_batches_as(&*store, &path, &batch_schema()))?;
            let judge = Judge { job: self.job, wanted: self.wanted, files: &self.files, rejected: &rejected };
            let events = self.events.table();
            let landed = |lines: &HashSet<LinePlace>| landed_places(events, &self.put, lines);
            let ruling = judge.rule(&batches, &mut self.lines, &landed)?;
            self.take(day, file, &batches, ruling)?;
        }
        Ok(())
    }

    /// All rejected events of the table among those of an arrival day, by their line.
    fn rejected_places(&self, files: &[FileRef]) -> Result<HashMap<LinePlace, Vec<i32>>> {
        let names = ["table_name", "file", "byte_offset", "element"];
        let mut places: HashMap<LinePlace, Vec<i32>> = HashMap::new();
        for file in files {
            let path = self.rejects.object_path(&file.path);
            let store = self.rejects.lake().store();
            for batch in self.put.runtime.block_on(read_columns(&*store, &path, &names))? {
                let tables = batch.column(0).as_string::<i32>();
                each_place(&batch, |row, (file, offset, element)| {
                    if tables.value(row) == self.job.source.table {
                        places.entry((file, offset)).or_default().push(element);
                    }
                })?;
            }
        }
        Ok(places)
    }

    /// Stages what a ruling says of one file of `ods_reject`.
    fn take(&mut self, day: BizDate, file: &FileRef, batches: &[RecordBatch], ruling: Ruling) -> Result<()> {
        for (reason, count) in &ruling.stayed {
            *self.outcome.rejected.entry(reason.clone()).or_default() += count;
            self.outcome.read += count;
        }
        if ruling.is_as_before() {
            return Ok(());
        }
        for ((file, reason), count) in &ruling.gone_reasons {
            *self.changes.entry(file.clone()).or_default().rejected.entry(reason.clone()).or_default() -= *count as i64;
        }
        for ((file, reason), count) in &ruling.new_reasons {
            *self.changes.entry(file.clone()).or_default().rejected.entry(reason.clone()).or_default() += *count as i64;
            *self.outcome.rejected.entry(reason.clone()).or_default() += count;
            self.outcome.read += count;
        }
        for (event_day, batch) in ruling.landed {
            self.land(event_day, batch)?;
        }
        if self.wanted.dry_run {
            return Ok(());
        }
        let mut kept = Vec::new();
        for batch in batches {
            let mut stays = vec![true; batch.num_rows()];
            let tables = batch.column_by_name("table_name").map(|column| column.as_string::<i32>().clone());
            each_place(batch, |row, place| {
                let own = tables.as_ref().is_some_and(|tables| tables.value(row) == self.job.source.table);
                stays[row] = !(own && ruling.gone.contains(&place));
            })?;
            kept.push(filter_record_batch(batch, &BooleanArray::from(stays))?);
        }
        kept.extend(ruling.rejects);
        let rows: usize = kept.iter().map(RecordBatch::num_rows).sum();
        let expected = file.rows - ruling.gone.len() as u64 + ruling.new_reasons.values().sum::<u64>();
        if rows as u64 != expected {
            bail!("{REJECT_TABLE}: {rows} rejects would stay of {}, where there should be {expected}", file.path);
        }
        self.removes.push(file.clone());
        if rows > 0 {
            let encoded = encode_parquet(&batch_schema(), &kept)?;
            self.adds.push(self.put.runtime.block_on(self.rejects.put(Some(day), encoded, self.job.run))?);
        }
        Ok(())
    }

    /// Stages events of a day that land now.
    fn land(&mut self, day: BizDate, batch: RecordBatch) -> Result<()> {
        let (rows, places) = self.touched.entry(day).or_default();
        *rows += batch.num_rows() as u64;
        each_place(&batch, |_, (file, offset, element)| {
            // A sum, so that the order in which rejects are read makes no difference.
            *places = places.wrapping_add(xxh3_64(format!("{file} {offset} {element}").as_bytes()));
            self.changes.entry(file.to_string()).or_default().landed += 1;
        })?;
        self.outcome.landed += batch.num_rows() as u64;
        self.outcome.read += batch.num_rows() as u64;
        if self.wanted.dry_run { Ok(()) } else { self.events.add(day, Rows::Few(vec![batch]), &self.put) }
    }

    fn commit(&mut self) -> Result<()> {
        self.outcome.files = self.changes.keys().cloned().collect();
        self.outcome.slots = self.touched.keys().map(|day| Some(*day)).collect();
        if self.wanted.dry_run || self.removes.is_empty() {
            return Ok(());
        }
        self.events.flush_all(&self.put)?;
        let adds = self.events.take_staged();
        let staged: u64 = adds.iter().map(|file| file.rows).sum();
        if staged != self.outcome.landed {
            bail!("{}: {} events are to land, but {staged} are staged", self.outcome.table, self.outcome.landed);
        }
        let exchange = Exchange {
            run: self.job.run.to_owned(),
            adds: self.adds.clone(),
            removes: self.removes.iter().map(|file| file.path.clone()).collect(),
            records: self.reject_records()?,
        };
        let mut records = self.event_records()?;
        records.push(entry(REPLAY.to_owned(), &exchange)?);
        let (run, now_ms) = (self.job.run.to_owned(), self.job.now_ms);
        let commit = Commit { adds, removes: Vec::new(), records, run, operation: "replay", now_ms };
        self.put.runtime.block_on(self.events.commit(commit))?;
        // From here on the rejects must leave, now or by the next who writes.
        self.adds.clear();
        self.put.runtime.block_on(replay::make(self.job.lake, &self.outcome.table, exchange, now_ms))
    }

    /// The records of files, partitions and source beside the events, as they are after the replay.
    fn event_records(&self) -> Result<Vec<(String, Option<String>)>> {
        let mut records = Vec::new();
        let mut source = find::<SourceRecord>(&self.records, SOURCE)?.unwrap_or_default();
        for (landed, change) in &self.changes {
            let Some(mut file) = self.files.get(landed).cloned() else { continue };
            for tally in [&mut file.tally, &mut source.tally] {
                tally.landed += change.landed;
                apply(&mut tally.rejected, &change.rejected)?;
                tally.read = tally.landed + tally.rejected_total();
            }
            records.push(entry(file_domain(landed), &file)?);
        }
        for (day, (rows, places)) in &self.touched {
            let domain = slot_domain(*day);
            let before = find::<SlotRecord>(&self.records, &domain)?;
            let stretch = vec![format!("replay {places:016x}")];
            records.push(entry(domain, &SlotRecord::after(before.as_ref(), stretch, *rows, self.job.run))?);
        }
        records.push(entry(SOURCE.to_owned(), &source)?);
        Ok(records)
    }

    /// The records of files beside the rejects.
    fn reject_records(&self) -> Result<Vec<(String, Option<String>)>> {
        let mut records = Vec::new();
        for (landed, change) in &self.changes {
            let Some(mut record) = self.reject_records.get(landed).cloned() else { continue };
            apply(&mut record.rejected, &change.rejected)?;
            let domain = reject_domain(&self.job.source.table, landed);
            let taken = self.files.get(landed).map_or(0, |file| file.print.consumed);
            // Rejects may be ahead of their events after a crash: how far is still to be known then.
            let is_needed = !record.rejected.is_empty() || record.print.consumed > taken;
            records.push(if is_needed { entry(domain, &record)? } else { (domain, None) });
        }
        Ok(records)
    }
}

/// Adds changes to counts by reason; reasons that no longer occur are left out.
fn apply(counts: &mut BTreeMap<String, u64>, changes: &BTreeMap<String, i64>) -> Result<()> {
    for (reason, change) in changes {
        let count = counts.entry(reason.clone()).or_default();
        let Some(sum) = count.checked_add_signed(*change) else {
            bail!("{} of {count} rejects for {reason} would leave: what is recorded of a file is wrong", -change);
        };
        *count = sum;
    }
    counts.retain(|_, count| *count > 0);
    Ok(())
}

/// Visits the places of a batch's rows, which has their columns.
pub(super) fn each_place(batch: &RecordBatch, mut visit: impl FnMut(usize, Place)) -> Result<()> {
    let (Some(files), Some(offsets), Some(elements)) =
        (batch.column_by_name("file"), batch.column_by_name("byte_offset"), batch.column_by_name("element"))
    else {
        bail!("a file of the lake lacks the places of its rows");
    };
    let files = files.as_string::<i32>();
    let (offsets, elements) = (offsets.as_primitive::<Int64Type>(), elements.as_primitive::<Int32Type>());
    let mut name: Arc<str> = Arc::from("");
    for row in 0..batch.num_rows() {
        if offsets.is_null(row) || elements.is_null(row) {
            continue;
        }
        if *name != *files.value(row) {
            name = Arc::from(files.value(row));
        }
        visit(row, (Arc::clone(&name), offsets.value(row), elements.value(row)));
    }
    Ok(())
}

/// Which events of some lines are in the lake.
fn landed_places(events: &Table, put: &Put<'_>, lines: &HashSet<LinePlace>) -> Result<HashSet<Place>> {
    let mut found = HashSet::new();
    for file in events.files() {
        let path = events.object_path(&file.path);
        let names = ["file", "byte_offset", "element"];
        for batch in put.runtime.block_on(read_columns(&*events.lake().store(), &path, &names))? {
            each_place(&batch, |_, (file, offset, element)| {
                let line = (file, offset);
                if lines.contains(&line) {
                    found.insert((line.0, offset, element));
                }
            })?;
        }
    }
    Ok(found)
}
