//! Ingest of an order database from the database itself: all tables at one moment, into the same ODS tables as extracts.
//!
//! A row's way: `question` asks for it, `read` takes it from a connection, `values` types it, and from `Intake` on it goes
//! the way of extracts. A *snapshot* is taken whole; of *changes*, what changed since the watermark less an overlap is
//! asked for, and what comes once more as it landed before is dropped. The watermark commits with the rows. What is there
//! no more is found by `deletes`, where that is wanted.

mod books;
mod columns;
mod deletes;
mod known;
mod pace;
mod question;
mod read;
mod snapshot;
mod state;
mod taking;
mod values;

use std::time::Duration;

use anyhow::{Error, Result};
use arrow::datatypes::DataType;
use chrono::{DateTime, NaiveDateTime};
use futures::future::try_join_all;
use tokio::runtime::Handle;

use self::columns::type_name;
use self::pace::Pace;
use self::question::Question;
use self::read::{Reading, Work, read_all};
use self::snapshot::{Moment, Snapshot};
use self::state::{Asked, Past, conclude};
use super::deleted::Gone;
use super::layout::Layout;
use super::tally::Amount;
use super::versions::LastVersions;
use super::{Extraction, OrdersIngest, OrdersOutcome, ensure, ensure_rejects, spec_of, summary};
use crate::config::source::{Delivery, SourceTable};
use crate::lake::Table;
use crate::mysql::{Session, is_transient};
use crate::progress::{Event, counted};

/// How often an extraction is begun when the server or the network fails meanwhile, and the first pause between two.
const ATTEMPTS: u32 = 4;
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// How long a session stands behind somebody who wants to change a table that another of ours holds.
const TABLE_WAIT_S: u64 = 10;

/// From when on changes are asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Since {
    /// From this time on, and those without a time.
    Watermark(i64),
    /// From the first up to the second.
    Between(i64, i64),
}

impl Since {
    /// The condition on a change time.
    fn condition(&self, changed: &str) -> String {
        let time = |micros| format!("cast('{}' as datetime(6))", clock(micros));
        match *self {
            // A zero date (`0000-00-00`) is a time of no row: neither reached by a watermark nor NULL.
            Self::Watermark(from) => format!(
                "{changed} >= {} or {changed} is null or {changed} < cast('1000-01-01' as datetime)",
                time(from)
            ),
            Self::Between(from, to) => format!("{changed} >= {} and {changed} < {}", time(from), time(to)),
        }
    }
}

/// One table, before and after its source was asked for its columns.
struct Subject<'a> {
    declared: &'a SourceTable,
    layout: Layout,
    table: Table,
    past: Past,
}

/// Takes what is in the database: snapshots whole, of the others what changed.
///
/// # Errors
/// When the server cannot be reached or the lake cannot be read. What is wrong with single tables is in the outcome's
/// failures.
pub async fn ingest_database(job: &OrdersIngest<'_>, extraction: &Extraction<'_>) -> Result<OrdersOutcome> {
    let step = format!("ingest {}", job.name);
    job.reporter.report(Event::StepStarted { step: step.clone(), total: 0 });
    let mut pause = FIRST_PAUSE;
    let mut told = false;
    for attempt in 1.. {
        match attempt_once(job, extraction, &step, &mut told).await {
            Err(error) if is_transient(&error) && attempt < ATTEMPTS => {
                let text = format!("{}: {error:#}; again in {} s", job.name, pause.as_secs());
                job.reporter.report(Event::Warning(text));
                tokio::time::sleep(pause).await;
                pause *= 2;
            }
            done => {
                let line = done
                    .as_ref()
                    .map_or_else(|_| "failed; nothing landed".to_owned(), |outcome| summary(outcome, "table"));
                job.reporter.report(Event::StepFinished { step, line });
                return done;
            }
        }
    }
    Ok(OrdersOutcome::default())
}

/// Tries it once; what is odd about the server is told unless it was `told` before.
async fn attempt_once(
    job: &OrdersIngest<'_>,
    extraction: &Extraction<'_>,
    step: &str,
    told_oddity: &mut bool,
) -> Result<OrdersOutcome> {
    let mut subjects = Vec::with_capacity(job.source.tables.len());
    for declared in &job.source.tables {
        let layout = Layout::new(declared)?;
        let table = ensure(job, &layout).await?;
        let past = Past::read(job, &layout).await?;
        subjects.push(Subject { declared, layout, table, past });
    }
    let rejects = ensure_rejects(job).await?;
    // What one reads, another thread writes; and no more than one counts for each that reads.
    let readers = (job.threads / 2).max(1);
    let Snapshot { mut sessions, moment, now_micros, note, flavor, database } =
        snapshot::open(extraction.server, extraction.reading.connections.min(2 * readers)).await?;
    let readers = readers.min(sessions.len());
    tell(job, sessions.len(), &moment, note);
    if let Some((text, hint)) = sessions[0].zone().oddity(flavor).filter(|_| !*told_oddity) {
        *told_oddity = true;
        job.reporter.report(Event::Warning(format!("{}: {text}\n hint: {hint}", job.name)));
    }
    for subject in subjects.iter_mut().filter(|_| extraction.range.is_none()) {
        if let Some(text) = subject.past.forget_other(&Asked::of(&database, subject.declared)) {
            job.reporter.report(Event::Note(format!("{}: {text}", subject.layout.table)));
        }
    }

    // Every table's columns are looked at before the first row is read.
    let mut outcome = OrdersOutcome::default();
    let mut asked = Vec::new();
    for subject in &mut subjects {
        if let Some(reason) = subject.past.stands_in_the_way(subject.declared, extraction) {
            job.reporter.report(Event::Note(format!("{}: {reason}", subject.layout.table)));
            asked.push(None);
            continue;
        }
        match ask(job, extraction, (&mut sessions[0], readers), subject).await {
            Ok(found) => asked.push(Some(found)),
            Err(error) if is_transient(&error) => return Err(error),
            Err(error) => {
                asked.push(None);
                let table = subject.layout.table.clone();
                outcome.failures.push(told(&subject.declared.name, &error));
                outcome.incomplete.push(table);
            }
        }
    }
    let mut readings = Vec::new();
    let mut subjects_read = Vec::new();
    for (at, found) in asked.into_iter().enumerate() {
        let Some(Answered { question, parts, totals, gone, is_still }) = found else { continue };
        let Subject { declared, layout, table, past } = &subjects[at];
        let is_known = declared.delivery == Delivery::Changes && !table.files().is_empty();
        // Where the day is the change time, a row that moves is a later version by its time alone.
        let may_move = declared.changed != declared.day;
        let versions = match is_known {
            true => Some(LastVersions::new(layout, table, &question.bound.absent(layout), may_move)?),
            false => None,
        };
        readings.push(Reading {
            layout,
            table,
            file: format!("mysql/{}", job.run),
            arrival: past.arrival(declared, extraction),
            question,
            parts,
            totals,
            is_still,
            versions,
            gone,
        });
        subjects_read.push(at);
    }
    let (first, others) = sessions.split_at_mut(1);
    if !others.is_empty() {
        hold(first, &readings, None).await?;
        hold(others, &readings, Some(TABLE_WAIT_S)).await?;
    }
    let work = Work {
        source: job.name,
        run: job.run,
        rejects: &rejects,
        reporter: job.reporter,
        step: step.to_owned(),
        pace: Pace::new(extraction.reading.rows_per_second.map(|rate| rate.get() as u64)),
        readings,
        readers,
        writes_in_background: job.threads > 1,
    };
    let runtime = Handle::current();
    let taken = tokio::task::block_in_place(|| read_all(&work, sessions, &runtime))?;
    for ((at, taken), reading) in subjects_read.into_iter().zip(taken).zip(&work.readings) {
        let subject = &subjects[at];
        let prepared = match taken {
            Ok(taken) => {
                conclude(job, extraction, subject, reading, taken, &moment, now_micros, &rejects, &database).await
            }
            Err(error) => Err(Error::msg(told(&subject.declared.name, &error))),
        };
        match prepared {
            Ok(prepared) => outcome.take(job, &subject.layout, Ok(prepared)).await,
            Err(error) => {
                outcome.failures.push(format!("{error:#}"));
                outcome.incomplete.push(subject.layout.table.clone());
            }
        }
    }
    Ok(outcome)
}

/// Asks a database what an extraction asks of a table before it reads any row of it: its columns, their types, `changed`.
///
/// # Errors
/// What would fail the table.
pub async fn examine_table(session: &mut Session, declared: &SourceTable) -> Result<()> {
    let layout = Layout::new(declared)?;
    Question::of(session, declared, &layout, &[], None).await.map(drop)
}

/// What is known of a table before its rows are read.
struct Answered {
    question: Question,
    parts: Vec<question::Part>,
    totals: Option<question::Totals>,
    gone: Option<Gone>,
    is_still: bool,
}

/// Asks for a table's columns, takes up new ones, looks for deleted rows, and divides its rows into parts.
async fn ask(
    job: &OrdersIngest<'_>,
    extraction: &Extraction<'_>,
    (session, readers): (&mut Session, usize),
    subject: &mut Subject<'_>,
) -> Result<Answered> {
    let known = subject.layout.extras_of(subject.table.schema());
    let since = subject.past.since(job, extraction, session.zone());
    let mut question = Question::of(session, subject.declared, &subject.layout, &known, since.as_ref()).await?;
    for name in &question.bound.ignored {
        let text = format!(
            "{}: column `{name}` has a name that a table of the lake cannot have and is ignored",
            subject.declared.name
        );
        job.reporter.report(Event::Warning(text));
    }
    let mut extras: Vec<(String, DataType)> = known;
    for (name, _, kind) in &question.bound.extras {
        if extras.iter().all(|(known, _)| known != name) {
            extras.push((name.clone(), kind.clone()));
            let text = format!(
                "{}: column `{name}` is not declared; it is taken up as {}, unmasked, as the last column",
                subject.declared.name,
                type_name(kind)
            );
            job.reporter.report(Event::Warning(text));
        }
    }
    // Those that the table says were `dropped` stay in the lake, NULL from now on.
    let there = |(name, _): &(String, DataType)| question.bound.extras.iter().any(|(n, ..)| n == name);
    let whole = subject.layout.clone().with_extras(extras.clone());
    let present = extras.into_iter().filter(there).collect::<Vec<_>>();
    if !present.is_empty() || !whole.extras.is_empty() {
        subject.table = job.lake.ensure_table(&spec_of(&whole), job.now_ms).await?;
    }
    question.bound.extras.sort_by_key(|(name, ..)| present.iter().position(|(n, _)| n == name));
    subject.layout = subject.layout.clone().with_extras(present);
    let engine = engine(session, subject.declared).await?;
    let is_still = engine.as_deref() == Some("InnoDB");
    if let Some(engine) = engine.filter(|_| !is_still) {
        let text = format!(
            "{}: is kept by {engine}, which knows no snapshots: what is written to it meanwhile may be seen in part",
            subject.declared.name
        );
        job.reporter.report(Event::Warning(text));
    }
    let gone = match subject.declared.deletes {
        true => Some(deletes::find(session, subject.declared, &subject.layout, &subject.table, &question).await?),
        false => None,
    };
    // One long statement is not for a source that is to be spared, nor where ranges are wanted.
    let may_be_whole = readers < 2 && extraction.reading.rows_per_second.is_none() && subject.declared.split.is_none();
    let (parts, totals) = question.parts(session, may_be_whole).await?;
    Ok(Answered { question, parts, totals, gone, is_still })
}

/// Lets sessions hold the tables that are read, before one of them waits for another: whoever wants to change a table's
/// columns waits for the one that holds it, and stands before the one that does not yet. `wait` is for how long these
/// stand behind him, in seconds; then all is begun anew, which lets him through.
async fn hold(sessions: &mut [Session], readings: &[Reading<'_>], wait: Option<u64>) -> Result<()> {
    let touch = |session| touch(session, readings, wait);
    try_join_all(sessions.iter_mut().map(touch)).await.map(drop)
}

async fn touch(session: &mut Session, readings: &[Reading<'_>], wait: Option<u64>) -> Result<()> {
    if let Some(seconds) = wait {
        session.execute(format!("set session lock_wait_timeout = {seconds}")).await?;
    }
    for reading in readings {
        match session.texts(format!("select 1 from {} limit 0", reading.question.from)).await {
            Err(error) if is_transient(&error) => return Err(error),
            // What is wrong with a table is told when it is read.
            _ => {}
        }
    }
    Ok(())
}

/// The engine that keeps a table; none of a view, nor of a SELECT, whose tables we do not know.
async fn engine(session: &mut Session, table: &SourceTable) -> Result<Option<String>> {
    if table.select.is_some() {
        return Ok(None);
    }
    let asked = format!(
        "select engine from information_schema.tables where table_schema = database() and table_name = {}",
        crate::mysql::literal(&table.name)
    );
    Ok(session.texts(asked).await?.into_iter().flatten().flatten().next())
}

fn tell(job: &OrdersIngest<'_>, connections: usize, moment: &Moment, note: Option<String>) {
    let Moment { server, at, binlog, .. } = moment;
    let position = binlog.as_ref().map(|binlog| format!(", binary log {binlog}")).unwrap_or_default();
    let over = counted(connections as u64, "connection");
    let text = format!("{}: {server} at {at}{position}, all tables at this moment, over {over}", job.name);
    job.reporter.report(Event::Note(text));
    if let Some(note) = note {
        job.reporter.report(Event::Note(format!("{}: {note}", job.name)));
    }
}

/// A table's failure, with what to do.
fn told(table: &str, error: &Error) -> String {
    let hints = crate::error::hints(error);
    let text = format!("table `{table}`: {error:#}; nothing of it landed");
    hints.into_iter().fold(text, |text, hint| format!("{text}\n hint: {hint}"))
}

/// Microseconds since 1970-01-01T00:00 of a wall clock, as SQL writes them.
fn clock(micros: i64) -> String {
    DateTime::from_timestamp_micros(micros).unwrap_or_default().format("%Y-%m-%d %H:%M:%S%.6f").to_string()
}

/// The same of text as SQL writes it.
fn micros_of(text: &str) -> Option<i64> {
    let text = if text.len() == 10 { format!("{text} 00:00:00") } else { text.to_owned() };
    Some(NaiveDateTime::parse_from_str(&text, "%Y-%m-%d %H:%M:%S%.f").ok()?.and_utc().timestamp_micros())
}

fn amount(hundredths: i128) -> Amount {
    Amount(hundredths)
}
