//! Reads the parts of all tables over the sessions of one snapshot, side by side, and stages what lands.
//!
//! Parts of a table are numbered in the order of its key: the server counts and adds each up in the same snapshot, which
//! says where the next one's numbers begin, and what the rows must come to. Where threads are few, some of the sessions
//! only count, ahead of those that read: two of one process that read on two threads were slower than one.

use std::collections::BTreeMap;
use std::panic::resume_unwind;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use anyhow::{Error, Result, anyhow, bail};
use mysql_async::prelude::Queryable;
use mysql_async::{Row, Value};
use tokio::runtime::Handle;
use tokio::sync::watch;

use super::books::{Unread, check_part, check_whole, first_repeated, not_unique};
use super::columns::Kind;
use super::pace::Pace;
use super::question::{Part as Range, Question, Totals};
use super::taking::{Open, Taken};
use super::values::{DatabaseRow, is_zero, micros, read_columns, read_values};
use crate::config::source::ColumnType;
use crate::date::BizDate;
use crate::ingest::orders::chunk::Column;
use crate::ingest::orders::deleted::Gone;
use crate::ingest::orders::intake::{Findings, Intake, Part, TypedRow};
use crate::ingest::orders::layout::Layout;
use crate::ingest::orders::tally::Tally;
use crate::ingest::orders::versions::LastVersions;
use crate::lake::Table;
use crate::mysql::{Session, SessionZone, is_transient, within};
use crate::progress::{Event, Reporter};

/// Rows, and about how many bytes of them, taken from a connection before they are decoded: small rows are still in the
/// processor's cache then.
const FETCH_ROWS: usize = 512;
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
    /// Whether the server surely shows all sessions one moment of it; else it is counted right before it is read.
    pub is_still: bool,
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
    /// How many sessions read; the others count for them.
    pub readers: usize,
    /// Whether there is a thread to encode and write on while rows come.
    pub writes_in_background: bool,
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

/// Tables and their parts, in order.
type Queue<'w> = Mutex<Box<dyn Iterator<Item = (usize, usize)> + Send + 'w>>;

struct Board<'w, 'a> {
    work: &'w Work<'a>,
    /// The parts that nobody reads yet, and those that nobody counts yet, where some only count.
    to_read: Queue<'w>,
    to_count: Option<Queue<'w>>,
    standings: Vec<(Mutex<Standing>, Condvar)>,
    /// A connection broke: what the others would still read is for nothing.
    is_over: watch::Sender<bool>,
}

/// Reads all parts of all tables; what came of each table, in their order.
///
/// # Errors
/// When something failed that may go well another time: nothing is staged then. What is wrong with a table is its result.
pub fn read_all(work: &Work<'_>, sessions: Vec<Session>, runtime: &Handle) -> Result<Vec<Result<Taken>>> {
    let queue = || -> Queue<'_> {
        let parts = work.readings.iter().enumerate().flat_map(|(at, r)| (0..r.parts.len()).map(move |part| (at, part)));
        Mutex::new(Box::new(parts))
    };
    let board = Board {
        work,
        to_read: queue(),
        to_count: (sessions.len() > work.readers).then(queue),
        standings: work.readings.iter().map(|_| Default::default()).collect(),
        is_over: watch::Sender::new(false),
    };
    std::thread::scope(|scope| {
        let board = &board;
        let start = |(at, session)| match at < work.readers {
            true => scope.spawn(move || board.read(session, runtime)),
            false => scope.spawn(move || board.count(session, runtime)),
        };
        let threads: Vec<_> = sessions.into_iter().enumerate().map(start).collect();
        for thread in threads {
            thread.join().unwrap_or_else(|panic| resume_unwind(panic));
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
        while !self.is_over() {
            let Some((table, part)) = lock(&self.to_read).next() else { break };
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
            Some(open) if self.is_over() => open.discard(),
            Some(done) => self.settle(done),
            None => {}
        }
    }

    /// Counts parts until there are no more, or the connection is of no more use.
    fn count(&self, mut session: Session, runtime: &Handle) {
        let _released = Released(self);
        let next = || lock(self.to_count.as_ref()?).next();
        while let Some((table, part)) = next().filter(|_| !self.is_over()) {
            if !self.work.readings[table].is_still || lock(&self.standings[table].0).failure.is_some() {
                continue;
            }
            match self.totals(&mut session, runtime, table, part) {
                Ok(totals) => self.note(table, part, totals),
                Err(error) => {
                    let broken = is_transient(&error);
                    self.fail(table, error);
                    if broken {
                        break;
                    }
                }
            }
        }
        runtime.block_on(session.close());
    }

    /// What a part comes to, by the server's own count.
    fn totals(&self, session: &mut Session, runtime: &Handle, table: usize, part: usize) -> Result<Totals> {
        let reading = &self.work.readings[table];
        match &reading.totals {
            Some(totals) if reading.parts.len() == 1 => Ok(totals.clone()),
            _ => runtime.block_on(async {
                let mut is_over = self.is_over.subscribe();
                tokio::select! {
                    totals = reading.question.totals(session, &reading.parts[part]) => totals,
                    _ = is_over.wait_for(|is_over| *is_over) => bail!("another connection broke"),
                }
            }),
        }
    }

    fn is_over(&self) -> bool {
        *self.is_over.borrow()
    }

    fn note(&self, table: usize, part: usize, totals: Totals) {
        let (standing, changed) = &self.standings[table];
        lock(standing).counted.insert(part, totals);
        changed.notify_all();
    }

    fn fail(&self, table: usize, error: Error) {
        let is_over = is_transient(&error);
        {
            let mut standing = lock(&self.standings[table].0);
            // What is to be tried again goes before what failed for good: then all of it is.
            if standing.failure.is_none() || is_over {
                standing.failure = Some(error);
            }
        }
        if is_over {
            self.is_over.send_replace(true);
        }
        for (standing, changed) in &self.standings {
            // Whoever looked before is waiting now.
            drop(lock(standing));
            changed.notify_all();
        }
    }

    fn read_part(&self, session: &mut Session, runtime: &Handle, into: &mut Open<'_>, part: usize) -> Result<()> {
        let reading = &self.work.readings[into.table];
        let range = &reading.parts[part];
        if self.to_count.is_none() || !reading.is_still {
            let totals = self.totals(session, runtime, into.table, part)?;
            self.note(into.table, part, totals);
        }
        let before = self.once_counted(into.table, part)?.counted.range(..part).map(|(_, totals)| totals.rows).sum();
        let mut sink = |part: Part| into.take(part);
        let intake = Intake::new(self.work.source, reading.layout, &reading.file, reading.arrival, &mut sink);
        let Streamed { tally, findings, greatest, unread } =
            self.stream(session, runtime, reading, range, intake.numbered_after(before))?;
        let totals = self.once_counted(into.table, part + 1)?.counted.get(&part).cloned().unwrap_or_default();
        check_part(reading.layout, &tally, &totals, &unread)?;
        into.count(&tally, findings, greatest);
        Ok(())
    }

    /// Waits until the first so many parts of a table are counted.
    fn once_counted(&self, table: usize, parts: usize) -> Result<MutexGuard<'_, Standing>> {
        let (standing, changed) = &self.standings[table];
        let mut standing = lock(standing);
        // Parts are taken in order: whoever has an earlier one is about to count it, or to fail.
        while standing.counted.range(..parts).count() < parts {
            if standing.failure.is_some() || self.is_over() {
                bail!("another part of the table failed");
            }
            standing = changed.wait(standing).unwrap_or_else(PoisonError::into_inner);
        }
        Ok(standing)
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
        let changed = places.iter().position(|place| *place == Some(changed_at));
        let (place, patience) = (Arc::clone(session.place()), session.patience());
        let asked = async { within(&place, patience.work, session.conn().exec_iter(question.rows(range), ())).await };
        let mut answer = runtime.block_on(asked)?;
        let mut rows: Vec<Row> = Vec::with_capacity(FETCH_ROWS);
        let mut greatest = None;
        let mut unread = Unread::default();
        let key: Vec<usize> = reading.layout.key.iter().filter_map(|at| places[*at]).collect();
        let mut last: Option<Row> = None;
        loop {
            if self.is_over() {
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
            // Of a snapshot, the last row of a key stands; of changes, both would land again each time.
            let twice = question.changed.and_then(|_| first_repeated(last.as_ref(), &rows, &key));
            if let Some(at) = twice {
                let number = intake.rows_read() + at as u64 + 1;
                return Err(not_unique(reading.layout, &DatabaseRow { row: &rows[at], places: &places, number }));
            }
            let chunk = read_columns(&rows, &question.bound, &wanted, zone);
            let is_taken = chunk.as_ref().map(|chunk| intake.chunk(chunk)).transpose()?.unwrap_or(false);
            for row in rows.iter().filter(|_| !is_taken) {
                let source = DatabaseRow { row, places: &places, number: intake.rows_read() + 1 };
                read_values(row, &question.bound, &wanted, zone, &mut typed);
                unread.add(reading.layout, &typed.faults, |column| row.as_ref(places[column]?));
                intake.row(&typed, &source)?;
            }
            if let Some(kind) = question.changed {
                let latest = match chunk.as_ref().zip(changed).map(|(chunk, at)| &chunk.columns[at]) {
                    Some(Column::Datetimes(times)) => (0..rows.len()).filter_map(|row| times.get(row)).max(),
                    _ => rows.iter().filter_map(|row| change_time(row.as_ref(changed_at)?, kind, zone)).max(),
                };
                greatest = greatest.max(latest);
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
            Ok(taken) => standing.taken.add(taken),
            Err(error) => drop(standing.failure.get_or_insert(error)),
        }
    }
}

/// When a row changed, microseconds on the business zone's clock; no time for a zero date, nor for what is none.
fn change_time(sent: &Value, kind: Kind, zone: SessionZone) -> Option<i64> {
    let shown = micros(sent).filter(|_| !is_zero(sent))?;
    Some(if kind == Kind::Timestamp { zone.on_business_clock(shown) } else { shown })
}

fn bytes_of(row: &Row) -> usize {
    let long = |at: usize| match row.as_ref(at) {
        Some(Value::Bytes(bytes)) => bytes.len(),
        _ => 0,
    };
    (0..row.len()).map(long).sum()
}
