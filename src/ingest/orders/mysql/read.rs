//! Reads the parts of all tables over the sessions of one snapshot, side by side, and stages what lands.
//!
//! Parts of a table are numbered in the order of its key: before a part is read, the server counts and adds it up in the
//! same snapshot, which says where the next one's numbers begin, and what the rows must come to.

use std::collections::BTreeMap;
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use anyhow::{Error, Result, anyhow, bail};
use mysql_async::prelude::Queryable;
use mysql_async::{Row, Value};
use tokio::runtime::Handle;

use super::books::{Unread, check_part, check_whole, is_same_key, not_unique};
use super::columns::Kind;
use super::known::KnownRejects;
use super::pace::Pace;
use super::question::{Part as Range, Question, Totals};
use super::values::{DatabaseRow, micros, read_values};
use crate::config::source::ColumnType;
use crate::date::BizDate;
use crate::ingest::orders::deleted::Gone;
use crate::ingest::orders::intake::{Findings, Intake, Part, TypedRow};
use crate::ingest::orders::landing::Landing;
use crate::ingest::orders::layout::Layout;
use crate::ingest::orders::tally::Tally;
use crate::ingest::orders::versions::{Digest, LastVersions};
use crate::lake::{StagedFile, Table};
use crate::mysql::{Session, is_transient, within};
use crate::progress::{Event, Reporter};

/// Rows, and about how many bytes of them, taken from a connection before they are decoded.
const FETCH_ROWS: usize = 4096;
const FETCH_BYTES: usize = 4 << 20;
/// How often progress is told, in rows.
const TELL_ROWS: u64 = 100_000;

/// One table to read.
pub struct Reading<'a> {
    pub layout: &'a Layout,
    pub table: &'a Table,
    pub file: String,
    pub arrival: BizDate,
    pub question: Question,
    pub parts: Vec<Range>,
    /// The totals of all parts, where they are known.
    pub totals: Option<Totals>,
    /// The versions that landed before, for changes.
    pub versions: Option<LastVersions>,
    /// Where deleted rows are looked for: the keys that are gone.
    pub gone: Option<Gone>,
}

/// What all readers share.
pub struct Work<'a> {
    pub source: &'a str,
    pub run: &'a str,
    pub rejects: &'a Table,
    pub reporter: &'a dyn Reporter,
    pub step: String,
    pub pace: Pace,
    pub readings: Vec<Reading<'a>>,
}

/// What came of a table.
#[derive(Default)]
pub struct Taken {
    pub tally: Tally,
    pub findings: Findings,
    pub rows: Vec<StagedFile>,
    pub rejects: Vec<StagedFile>,
    /// What the rows say, whatever their order.
    pub content: u128,
    /// The greatest change time, microseconds on the business zone's clock.
    pub greatest: Option<i64>,
}

/// What came of a part.
struct Streamed {
    tally: Tally,
    findings: Findings,
    greatest: Option<i64>,
    unread: Unread,
}

/// Where a table's parts stand, shared by those who read them.
#[derive(Default)]
struct Standing {
    /// What the server counted in each part.
    counted: BTreeMap<usize, Totals>,
    taken: Taken,
    failure: Option<Error>,
}

struct Board<'w, 'a> {
    work: &'w Work<'a>,
    queue: Mutex<Box<dyn Iterator<Item = (usize, usize)> + Send + 'w>>,
    standings: Vec<(Mutex<Standing>, Condvar)>,
    /// A connection broke: what the others would still read is for nothing.
    is_over: AtomicBool,
}

/// Reads all parts of all tables; what came of each table, in their order.
///
/// # Errors
/// When something failed that may go well another time: nothing is staged then. What is wrong with a table is its result.
pub fn read_all(work: &Work<'_>, sessions: Vec<Session>, runtime: &Handle) -> Result<Vec<Result<Taken>>> {
    let parts = work.readings.iter().enumerate().flat_map(|(at, r)| (0..r.parts.len()).map(move |part| (at, part)));
    let board = Board {
        work,
        queue: Mutex::new(Box::new(parts)),
        standings: work.readings.iter().map(|_| Default::default()).collect(),
        is_over: AtomicBool::new(false),
    };
    std::thread::scope(|scope| {
        let board = &board;
        let readers: Vec<_> =
            sessions.into_iter().map(|session| scope.spawn(move || board.read(session, runtime))).collect();
        for reader in readers {
            reader.join().unwrap_or_else(|panic| resume_unwind(panic));
        }
    });
    let done: Vec<(Taken, Option<Error>)> = (board.standings.into_iter())
        .map(|(standing, _)| standing.into_inner().unwrap_or_else(PoisonError::into_inner))
        .zip(&work.readings)
        .map(|(standing, reading)| {
            // Where the whole was counted at all: to count it for this would cost a tenth of the time.
            let whole = reading.totals.as_ref().filter(|_| standing.failure.is_none());
            let whole = whole.and_then(|whole| check_whole(standing.counted.values(), whole).err());
            (standing.taken, standing.failure.or(whole))
        })
        .collect();
    let again = done.iter().position(|(_, failure)| failure.as_ref().is_some_and(is_transient));
    let mut results = Vec::with_capacity(done.len());
    let mut transient = None;
    for (at, (taken, failure)) in done.into_iter().enumerate() {
        if again.is_some() || failure.is_some() {
            runtime.block_on(work.readings[at].table.discard(&taken.rows));
            runtime.block_on(work.rejects.discard(&taken.rejects));
        }
        match failure {
            Some(error) if again == Some(at) => transient = Some(error),
            Some(error) => results.push(Err(error)),
            None => results.push(Ok(taken)),
        }
    }
    match transient {
        Some(error) => Err(error),
        None => Ok(results),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Lets those go who wait for the parts of a reader that a panic ended.
struct Released<'b, 'w, 'a>(&'b Board<'w, 'a>);

impl Drop for Released<'_, '_, '_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            (0..self.0.standings.len()).for_each(|table| self.0.fail(table, anyhow!("another reader ended")));
        }
    }
}

impl Board<'_, '_> {
    /// Reads parts until there are no more, or the connection is of no more use.
    fn read(&self, mut session: Session, runtime: &Handle) {
        let _released = Released(self);
        let mut open: Option<Open<'_>> = None;
        while !self.is_over.load(Ordering::Relaxed) {
            let Some((table, part)) = lock(&self.queue).next() else { break };
            if let Some(done) = open.take_if(|open| table != open.table) {
                self.settle(done);
            }
            if lock(&self.standings[table].0).failure.is_some() {
                continue;
            }
            let opened = match open.take() {
                Some(open) => Ok(open),
                None => Open::new(self.work, table, runtime),
            };
            let read = opened.and_then(|new| self.read_part(&mut session, runtime, open.insert(new), part));
            if let Err(error) = read {
                let broken = is_transient(&error);
                if let Some(open) = open.take() {
                    open.discard();
                }
                self.fail(table, error);
                if broken {
                    break;
                }
            }
        }
        // At once: the snapshot that it holds keeps others from changing the tables' columns.
        runtime.block_on(session.close());
        match open {
            Some(open) if self.is_over.load(Ordering::Relaxed) => open.discard(),
            Some(done) => self.settle(done),
            None => {}
        }
    }

    fn fail(&self, table: usize, error: Error) {
        if is_transient(&error) {
            self.is_over.store(true, Ordering::Relaxed);
        }
        let (standing, changed) = &self.standings[table];
        let mut standing = lock(standing);
        // What is to be tried again goes before what failed for good: then all of it is.
        if standing.failure.is_none() || is_transient(&error) {
            standing.failure = Some(error);
        }
        changed.notify_all();
    }

    fn read_part(&self, session: &mut Session, runtime: &Handle, into: &mut Open<'_>, part: usize) -> Result<()> {
        let reading = &self.work.readings[into.table];
        let range = &reading.parts[part];
        let totals = match &reading.totals {
            Some(totals) if reading.parts.len() == 1 => totals.clone(),
            _ => runtime.block_on(reading.question.totals(session, range))?,
        };
        let before = self.rows_before(into.table, part, totals.clone())?;
        let Open { rows, rejects, digest, known, .. } = into;
        let mut sink = |part: Part| match part {
            Part::Rows { parts, bytes } => {
                if let Some(digest) = digest {
                    parts.iter().try_for_each(|(_, batch)| digest.add(batch))?;
                }
                rows.add(parts, bytes)
            }
            Part::Rejects(batch) => {
                // A row of an overlap is rejected each time it is read; what says the same lands once.
                let batch = match reading.question.changed {
                    Some(_) => known.filtered(&batch, self.work.rejects, runtime, &reading.layout.table)?,
                    None => batch,
                };
                if batch.num_rows() == 0 {
                    return Ok(());
                }
                let bytes = batch.get_array_memory_size();
                rejects.add(vec![(Some(reading.arrival), batch)], bytes)
            }
        };
        let intake = Intake::new(self.work.source, reading.layout, &reading.file, reading.arrival, &mut sink);
        let Streamed { tally, findings, greatest, unread } =
            self.stream(session, runtime, reading, range, intake.numbered_after(before))?;
        check_part(reading.layout, &tally, &totals, &unread)?;
        into.tally.merge(&tally);
        for (reason, rows) in into.known.take_repeated() {
            into.tally.unchanged += rows;
            *into.tally.rejected.entry(reason).or_default() -= rows;
        }
        into.tally.rejected.retain(|_, rows| *rows > 0);
        merge(&mut into.findings, findings);
        into.greatest = into.greatest.max(greatest);
        Ok(())
    }

    /// Notes how many rows a part has, and waits for all before it to be counted; how many rows are before it.
    fn rows_before(&self, table: usize, part: usize, totals: Totals) -> Result<u64> {
        let (standing, changed) = &self.standings[table];
        let mut standing = lock(standing);
        standing.counted.insert(part, totals);
        changed.notify_all();
        // Parts are taken in order: whoever has an earlier one is about to count it, or to fail.
        while standing.counted.range(..part).count() < part {
            if standing.failure.is_some() {
                bail!("another part of the table failed");
            }
            standing = changed.wait(standing).unwrap_or_else(PoisonError::into_inner);
        }
        Ok(standing.counted.range(..part).map(|(_, totals)| totals.rows).sum())
    }

    fn stream(
        &self,
        session: &mut Session,
        runtime: &Handle,
        reading: &Reading<'_>,
        range: &Range,
        mut intake: Intake<'_>,
    ) -> Result<Streamed> {
        let question = &reading.question;
        let zone = session.zone();
        let wanted: Vec<ColumnType> = reading.layout.columns.iter().map(|column| column.kind).collect();
        let mut there = 0..;
        let places: Vec<Option<usize>> =
            question.bound.declared.iter().map(|column| column.as_ref().and_then(|_| there.next())).collect();
        let changed_at = question.change_time_at();
        let (place, patience) = (Arc::clone(session.place()), session.patience());
        let asked = async { within(&place, patience.work, session.conn().exec_iter(question.rows(range), ())).await };
        let mut answer = runtime.block_on(asked)?;
        let mut rows: Vec<Row> = Vec::with_capacity(FETCH_ROWS);
        let mut greatest = None;
        let mut unread = Unread::default();
        let key: Vec<usize> = reading.layout.key.iter().filter_map(|at| places[*at]).collect();
        let mut last: Option<Row> = None;
        loop {
            if self.is_over.load(Ordering::Relaxed) {
                bail!("another connection broke");
            }
            rows.clear();
            let fetch = async {
                let mut bytes = 0;
                while rows.len() < FETCH_ROWS && bytes < FETCH_BYTES {
                    match answer.next().await? {
                        Some(row) => {
                            bytes += bytes_of(&row);
                            rows.push(row);
                        }
                        None => return Ok(false),
                    }
                }
                Ok(true)
            };
            let more = runtime.block_on(async { within(&place, patience.rows, fetch).await })?;
            let mut typed = TypedRow::with_capacity(question.bound.declared.len() + question.bound.extras.len());
            for (at, row) in rows.iter().enumerate() {
                let source = DatabaseRow { row, places: &places, number: intake.rows_read() + 1 };
                // Of a snapshot, the last row of a key stands; of changes, both would land again each time.
                let before = if at == 0 { last.as_ref() } else { rows.get(at - 1) };
                if question.changed.is_some() && before.is_some_and(|before| is_same_key(before, row, &key)) {
                    return Err(not_unique(reading.layout, &source));
                }
                read_values(row, &question.bound, &wanted, zone, &mut typed);
                unread.add(reading.layout, &typed.faults, |column| row.as_ref(places[column]?));
                intake.row(&typed, &source)?;
                if let Some(kind) = question.changed {
                    let shown = row.as_ref(changed_at).filter(|v| !super::values::is_zero(v)).and_then(micros);
                    let time = shown.map(|m| if kind == Kind::Timestamp { zone.on_business_clock(m) } else { m });
                    greatest = greatest.max(time);
                }
            }
            let all = self.work.pace.keep(rows.len() as u64);
            if all / TELL_ROWS != (all - rows.len() as u64) / TELL_ROWS {
                self.work.reporter.report(Event::StepAdvanced { step: self.work.step.clone(), done: all });
            }
            last = rows.pop();
            if !more {
                break;
            }
        }
        runtime.block_on(async { within(&place, patience.rows, answer.drop_result()).await })?;
        let (tally, findings) = intake.finish()?;
        Ok(Streamed { tally, findings, greatest, unread })
    }

    /// Hands in what a reader has of a table.
    fn settle(&self, open: Open<'_>) {
        let table = open.table;
        let taken = open.finish();
        let mut standing = lock(&self.standings[table].0);
        match taken {
            Ok(taken) => {
                let all = &mut standing.taken;
                all.tally.merge(&taken.tally);
                merge(&mut all.findings, taken.findings);
                all.rows.extend(taken.rows);
                all.rejects.extend(taken.rejects);
                all.content = all.content.wrapping_add(taken.content);
                all.greatest = all.greatest.max(taken.greatest);
            }
            Err(error) => drop(standing.failure.get_or_insert(error)),
        }
    }
}

/// What one reader has of the table that it reads from.
struct Open<'a> {
    table: usize,
    rows: Landing<'a>,
    rejects: Landing<'a>,
    digest: Option<Digest>,
    known: KnownRejects,
    tally: Tally,
    findings: Findings,
    greatest: Option<i64>,
}

impl<'a> Open<'a> {
    fn new(work: &'a Work<'_>, table: usize, runtime: &Handle) -> Result<Self> {
        let reading = &work.readings[table];
        let rows = Landing::new(reading.table, work.run, runtime);
        let (rows, digest) = match &reading.versions {
            Some(versions) => (rows.without_known(versions.clone()), None),
            // Only snapshots are compared as a whole.
            None => (rows, reading.question.changed.is_none().then(|| Digest::new(reading.layout)).transpose()?),
        };
        Ok(Self {
            table,
            rows,
            rejects: Landing::new(work.rejects, work.run, runtime),
            digest,
            known: KnownRejects::default(),
            tally: Tally::default(),
            findings: Findings::default(),
            greatest: None,
        })
    }

    fn discard(self) {
        self.rows.discard();
        self.rejects.discard();
    }

    fn finish(mut self) -> Result<Taken> {
        let known = self.rows.settle()?;
        self.tally.landed -= known;
        self.tally.unchanged += known;
        Ok(Taken {
            tally: self.tally,
            findings: self.findings,
            rows: self.rows.finish()?,
            rejects: self.rejects.finish()?,
            content: self.digest.map_or(0, |digest| digest.sum()),
            greatest: self.greatest,
        })
    }
}

fn bytes_of(row: &Row) -> usize {
    let long = |at: usize| match row.as_ref(at) {
        Some(Value::Bytes(bytes)) => bytes.len(),
        _ => 0,
    };
    (0..row.len()).map(long).sum()
}

fn merge(all: &mut Findings, more: Findings) {
    for (column, count) in more.zero_dates {
        *all.zero_dates.entry(column).or_default() += count;
    }
    all.first_reject = all.first_reject.take().or(more.first_reject);
}
