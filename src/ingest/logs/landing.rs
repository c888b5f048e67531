//! Brings decoded segments into the lake: files staged, days with few events gathered, everything committed together
//! with the record of how far each input file was taken.
//!
//! Rejects are committed before events, and each table remembers by itself how far it took a file: a crash between the
//! two commits doubles nothing.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, bail};
use arrow::array::RecordBatch;
use tokio::runtime::Handle;

use super::known::Planned;
use super::record::{
    End, FileRecord, Print, RejectRecord, SOURCE, SlotRecord, SourceRecord, Tally, entry, file_domain, find,
    reject_domain, slot_domain,
};
use super::rejects::REASONS;
use super::work::{Done, Rows};
use super::{IngestOutcome, LogsIngest};
use crate::date::BizDate;
use crate::ingest::books::rows_of;
use crate::lake::{Commit, StagedFile, Table, encode_parquet};
use crate::progress::Event;

/// Days with few events become a file when they have gathered as many, or
const FILE_ROWS: usize = 200_000;
/// when all of them together take this.
const PENDING_BYTES: usize = 48 << 20;

/// Rows that wait to be enough for a file, by partition.
#[derive(Default)]
struct Pending {
    days: BTreeMap<BizDate, (Vec<RecordBatch>, usize)>,
    bytes: usize,
}

impl Pending {
    fn add(&mut self, day: BizDate, batch: RecordBatch) {
        let bytes = batch.get_array_memory_size();
        let (batches, held) = self.days.entry(day).or_default();
        batches.push(batch);
        *held += bytes;
        self.bytes += bytes;
    }

    fn take(&mut self, day: BizDate) -> Vec<RecordBatch> {
        let (batches, bytes) = self.days.remove(&day).unwrap_or_default();
        self.bytes -= bytes;
        batches
    }

    /// A day that should become a file now.
    fn ripe(&self) -> Option<BizDate> {
        let rows = |batches: &[RecordBatch]| batches.iter().map(RecordBatch::num_rows).sum::<usize>();
        let full = self.days.iter().find(|(_, (batches, _))| rows(batches) >= FILE_ROWS).map(|(day, _)| *day);
        let heaviest = || self.days.iter().max_by_key(|(_, (_, bytes))| *bytes).map(|(day, _)| *day);
        full.or_else(|| if self.bytes > PENDING_BYTES { heaviest() } else { None })
    }
}

/// One of the two tables, and what waits for its next commit.
pub struct Target {
    table: Table,
    pending: Pending,
    staged: Vec<StagedFile>,
}

impl Target {
    /// A table for which nothing waits.
    pub fn new(table: Table) -> Self {
        Self { table, pending: Pending::default(), staged: Vec::new() }
    }

    /// The table.
    pub fn table(&self) -> &Table {
        &self.table
    }

    /// The files that wait, of which the next commit is to be made.
    pub fn take_staged(&mut self) -> Vec<StagedFile> {
        std::mem::take(&mut self.staged)
    }

    /// Commits to the table.
    ///
    /// # Errors
    /// When the lake cannot be written.
    pub async fn commit(&mut self, commit: Commit) -> Result<()> {
        self.table.commit(commit).await
    }

    /// Takes away what was staged and will not be committed.
    pub async fn discard(&self) {
        self.table.discard(&self.staged).await;
    }

    /// Takes rows of a day.
    ///
    /// # Errors
    /// When the lake cannot be written.
    pub fn add(&mut self, day: BizDate, rows: Rows, put: &Put<'_>) -> Result<()> {
        match rows {
            Rows::File(file) => {
                let staged = put.runtime.block_on(self.table.put(Some(day), file, put.run))?;
                self.staged.push(staged);
            }
            Rows::Few(batches) => batches.into_iter().for_each(|batch| self.pending.add(day, batch)),
        }
        while let Some(day) = self.pending.ripe() {
            self.flush(day, put)?;
        }
        Ok(())
    }

    fn flush(&mut self, day: BizDate, put: &Put<'_>) -> Result<()> {
        let batches = self.pending.take(day);
        let Some(first) = batches.first() else { return Ok(()) };
        let file = encode_parquet(&first.schema(), &batches)?;
        self.staged.push(put.runtime.block_on(self.table.put(Some(day), file, put.run))?);
        Ok(())
    }

    /// Makes files of all rows that wait.
    ///
    /// # Errors
    /// When the lake cannot be written.
    pub fn flush_all(&mut self, put: &Put<'_>) -> Result<()> {
        while let Some(day) = self.pending.days.keys().next().copied() {
            self.flush(day, put)?;
        }
        Ok(())
    }
}

/// How files are put into the lake from a thread that may wait, and in whose name.
pub struct Put<'a> {
    /// What the thread waits for.
    pub runtime: Handle,
    /// The run.
    pub run: &'a str,
}

/// An input file on its way.
struct Input {
    landed: String,
    record: FileRecord,
    /// How far it was taken by the last commit.
    from: u64,
    /// Since the last commit.
    tally: Tally,
    reached: Option<(Print, End)>,
}

/// Lands one source's segments, in their order.
pub struct Landing<'a> {
    job: &'a LogsIngest<'a>,
    step: &'a str,
    reasons: &'a [String; REASONS],
    put: Put<'a>,
    events: Target,
    rejects: Target,
    inputs: Vec<Input>,
    gone: Vec<(String, FileRecord)>,
    /// The files that brought events of a day since the last commit, and how many.
    touched: BTreeMap<BizDate, (BTreeSet<usize>, u64)>,
    /// What is recorded beside the events.
    records: BTreeMap<String, String>,
    bytes: u64,
    outcome: IngestOutcome,
}

impl<'a> Landing<'a> {
    /// A landing of planned files into the two tables; to be used on a thread that may wait for the runtime.
    pub fn new(
        (job, step, reasons): (&'a LogsIngest<'a>, &'a str, &'a [String; REASONS]),
        (events, rejects): (Table, Table),
        planned: &[Planned],
        gone: Vec<(String, FileRecord)>,
        records: BTreeMap<String, String>,
        mut outcome: IngestOutcome,
    ) -> Self {
        outcome.lake.before = rows_of(events.files());
        let inputs = planned.iter().map(|planned| input(planned, job.run)).collect();
        let put = Put { runtime: Handle::current(), run: job.run };
        let (events, rejects) = (Target::new(events), Target::new(rejects));
        let touched = BTreeMap::new();
        Self { job, step, reasons, put, events, rejects, inputs, gone, touched, records, bytes: 0, outcome }
    }

    /// Takes the next segment; commits when enough input has come since the last time.
    ///
    /// # Errors
    /// When the lake cannot be written, or the ledger of a file does not close.
    pub fn add(&mut self, done: Done, commit_bytes: u64) -> Result<()> {
        for warning in done.warnings {
            self.job.reporter.report(Event::Warning(warning.clone()));
            self.outcome.warnings.push(warning);
        }
        for day in done.days {
            let (files, rows) = self.touched.entry(day.day).or_default();
            files.extend(day.files);
            *rows += day.count;
            self.events.add(day.day, day.rows, &self.put)?;
        }
        for (arrival, rows) in done.rejects {
            self.rejects.add(arrival, rows, &self.put)?;
        }
        for (file, counts) in done.counts {
            self.inputs[file].tally.add(&counts, self.reasons);
        }
        for reached in done.reached {
            self.inputs[reached.file].reached = Some((reached.print, reached.end));
        }
        self.bytes += done.bytes;
        self.outcome.bytes += done.bytes;
        self.job.reporter.report(Event::StepAdvanced { step: self.step.to_owned(), done: done.stored });
        if self.bytes >= commit_bytes { self.commit() } else { Ok(()) }
    }

    /// Commits what is left.
    ///
    /// # Errors
    /// When the lake cannot be written, or the ledger of a file does not close.
    pub fn finish(mut self) -> Result<IngestOutcome> {
        self.commit()?;
        self.outcome.lake.after = rows_of(self.events.table.files());
        Ok(self.outcome)
    }

    /// Takes away what was staged and will not be committed.
    pub fn discard(self) {
        for target in [&self.events, &self.rejects] {
            self.put.runtime.block_on(target.discard());
        }
    }

    fn commit(&mut self) -> Result<()> {
        self.events.flush_all(&self.put)?;
        self.rejects.flush_all(&self.put)?;
        self.bytes = 0;
        if self.gone.is_empty() && self.inputs.iter().all(|input| input.reached.is_none()) {
            return Ok(());
        }
        let rejects = self.reject_records()?;
        let round = self.file_records()?;
        let records = self.with_slots(round)?;
        if !self.rejects.staged.is_empty() {
            let adds = std::mem::take(&mut self.rejects.staged);
            let commit = self.commit_of(adds, rejects);
            self.put.runtime.block_on(self.rejects.table.commit(commit))?;
        }
        for (domain, text) in &records {
            // Records are only ever written here, never taken away.
            self.records.insert(domain.clone(), text.clone().unwrap_or_default());
        }
        let adds = std::mem::take(&mut self.events.staged);
        let commit = self.commit_of(adds, records);
        self.put.runtime.block_on(self.events.table.commit(commit))
    }

    fn commit_of(&self, adds: Vec<StagedFile>, records: Vec<(String, Option<String>)>) -> Commit {
        let (run, now_ms) = (self.job.run.to_owned(), self.job.now_ms);
        Commit { adds, removes: Vec::new(), records, run, operation: "ingest", now_ms }
    }

    fn reject_records(&self) -> Result<Vec<(String, Option<String>)>> {
        let rejected = self.inputs.iter().filter(|input| input.tally.rejected_total() > 0);
        let records = rejected.filter_map(|input| {
            let (print, _) = input.reached.clone()?;
            let mut tally = input.record.tally.clone();
            tally.merge(&input.tally);
            let record = RejectRecord {
                path: input.record.path.clone(),
                arrival: input.record.arrival,
                print,
                rejected: tally.rejected,
                run: self.job.run.to_owned(),
            };
            Some(entry(reject_domain(&self.job.source.table, &input.landed), &record))
        });
        records.collect()
    }

    /// The records of the files read since the last commit.
    fn file_records(&mut self) -> Result<Round> {
        let (mut records, mut stretches) = (Vec::new(), BTreeMap::new());
        let mut round = Tally::default();
        for (landed, record) in self.gone.drain(..) {
            records.push(entry(file_domain(&landed), &record)?);
        }
        for (index, input) in self.inputs.iter_mut().enumerate() {
            let Some((print, end)) = input.reached.take() else { continue };
            let tally = std::mem::take(&mut input.tally);
            if tally.read != tally.landed + tally.rejected_total() {
                bail!(
                    "`{}`: {} events were read, but {} landed and {} were rejected",
                    input.landed,
                    tally.read,
                    tally.landed,
                    tally.rejected_total()
                );
            }
            input.record.tally.merge(&tally);
            round.merge(&tally);
            self.outcome.files.entry(input.landed.clone()).or_default().merge(&tally);
            // With its content: after an undo, other bytes may come by the same name.
            stretches.insert(index, format!("{} {} {} {}", input.landed, input.from, print.consumed, print.hash));
            input.from = print.consumed;
            (input.record.print, input.record.end) = (print, end);
            records.push(entry(file_domain(&input.landed), &input.record)?);
            self.outcome.last_arrival = self.outcome.last_arrival.max(Some(input.record.arrival));
        }
        self.outcome.tally.merge(&round);
        Ok(Round { records, stretches, tally: round })
    }

    /// The records of a round with the versions of the partitions touched and the ledger of the source.
    fn with_slots(&mut self, round: Round) -> Result<Vec<(String, Option<String>)>> {
        let Round { mut records, stretches, tally } = round;
        let staged: u64 = self.events.staged.iter().map(|file| file.rows).sum();
        let touched: u64 = self.touched.values().map(|(_, rows)| *rows).sum();
        if staged != tally.landed || touched != tally.landed {
            let table = &self.job.source.table;
            bail!("{table}: {} events landed, but {touched} have a day and {staged} are staged", tally.landed);
        }
        for (day, (files, rows)) in std::mem::take(&mut self.touched) {
            let domain = slot_domain(day);
            let before = find::<SlotRecord>(&self.records, &domain)?;
            let stretches = files.iter().filter_map(|file| stretches.get(file).cloned()).collect();
            let record = SlotRecord::after(before.as_ref(), stretches, rows, self.job.run);
            records.push(entry(domain, &record)?);
            self.outcome.days.insert(Some(day));
        }
        let mut source = find::<SourceRecord>(&self.records, SOURCE)?.unwrap_or_default();
        source.tally.merge(&tally);
        source.last_arrival = self.outcome.last_arrival.max(source.last_arrival);
        self.outcome.last_arrival = source.last_arrival;
        records.push(entry(SOURCE.to_owned(), &source)?);
        Ok(records)
    }
}

/// What is recorded of the files read since the last commit.
struct Round {
    records: Vec<(String, Option<String>)>,
    /// `name from to hash` of each file by its place in the plan.
    stretches: BTreeMap<usize, String>,
    tally: Tally,
}

fn input(planned: &Planned, run: &str) -> Input {
    let record = FileRecord {
        path: planned.file.relative.clone(),
        size: planned.file.size,
        mtime_ms: planned.file.mtime_ms,
        arrival: planned.arrival,
        print: planned.print.clone(),
        end: End::Partial,
        copy_of: planned.copy_of.clone(),
        tally: planned.tally.clone(),
        run: run.to_owned(),
    };
    let landed = planned.landed.to_string();
    Input { landed, record, from: planned.from, tally: Tally::default(), reached: None }
}
