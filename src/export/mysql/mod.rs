//! The production target: a MySQL or MariaDB database that dashboards read while it is written.
//!
//! An export takes the lock of the database's exporters, migrates what has to be migrated, writes all changed partitions of
//! all tables in one transaction, has the server count and sum what it took, and commits. A table that is new, or whose key
//! changed, is filled under another name in the same transaction and renamed after it. What fails for a while is tried
//! again from the start; whether a COMMIT whose answer was lost took effect is looked up, under the lock, which the lost
//! session holds until it is over.

mod checksum;
mod compare;
mod ddl;
mod fill;
mod plan;
mod records;
mod spell;
mod target;
mod text;
mod types;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Error, Result, anyhow, bail};

use super::changes::{portions, slot_text};
use super::{ExportRun, ExportTable, Exported};
use crate::date::Slot;
use crate::engine::Engine;
use crate::error::{Advice, find, with_hint};
use crate::mysql::{Server, Session, is_transient, quoted};
use crate::progress::{Event, Reporter};
use checksum::{Sum, of_days, question};
pub use compare::found;
use ddl::{LongTexts, Migration};
use fill::{Sums, fill};
use plan::{Work, plan};
use records::{DAYS_AT_ONCE, Dictionary, record, record_run};
use target::{Target, cells, mark};
use text::TooLong;

/// How long to wait before each further attempt after a failure that may pass.
const PAUSES_S: [u64; 5] = [1, 2, 4, 8, 8];

/// Rows that are written at once, and then verified while the next are written.
const PORTION_ROWS: u64 = 150_000;

/// How long to wait for a session to end.
const FAREWELL: Duration = Duration::from_secs(5);

/// What an export is about.
pub struct Job<'a> {
    /// Where it goes.
    pub server: &'a Server,
    /// What reads the lake.
    pub engine: &'a Engine,
    /// The tables.
    pub tables: &'a [Arc<ExportTable>],
    /// In whose name.
    pub run: &'a ExportRun,
    /// Who watches.
    pub reporter: &'a dyn Reporter,
}

/// What an attempt leaves to the next one.
#[derive(Default)]
struct Hindsight {
    /// Attempts that failed and may go well another time.
    failures: usize,
    /// There was a session: the login is right, and the server was there.
    had_session: bool,
    /// What a COMMIT was sent for.
    committing: Option<Vec<Exported>>,
    /// Whether it is known to have taken effect.
    is_committed: bool,
    /// Texts that were longer than their columns.
    long: LongTexts,
    /// LOAD DATA LOCAL was refused.
    no_load: bool,
}

/// Brings the database to the state of the lake.
///
/// # Errors
/// When the server cannot be reached or refuses, or what it holds differs from the lake; its rows are as they were then,
/// but for what [`Aftermath`] says.
pub async fn export(job: &Job<'_>) -> Result<Vec<Exported>> {
    let mut hindsight = Hindsight::default();
    loop {
        match attempt(job, &mut hindsight).await {
            Ok(done) => return Ok(done),
            Err(error) => again(job, &mut hindsight, error).await?,
        }
    }
}

/// Decides whether a failure is worth another attempt, and waits for it.
async fn again(job: &Job<'_>, hindsight: &mut Hindsight, error: Error) -> Result<()> {
    if let Some((table, text)) = find::<LongText>(&error).map(|long| (long.table.clone(), long.text.clone())) {
        let known = hindsight.long.insert((table, text.column), text.bytes);
        // A column only ever becomes wider: this ends.
        return if known.is_none_or(|bytes| bytes < text.bytes) { Ok(()) } else { Err(error) };
    }
    let pause = PAUSES_S.get(hindsight.failures).filter(|_| hindsight.had_session && is_transient(&error));
    let Some(pause) = pause else {
        return match (&hindsight.committing, hindsight.is_committed) {
            (None, _) => Err(error),
            (Some(_), false) => Err(error.context(Aftermath::Unknown)).hint("the next export finds out"),
            (Some(_), true) => Err(error.context(Aftermath::Unnamed))
                .hint("do readers hold the old tables in long transactions? The next export names them"),
        };
    };
    hindsight.failures += 1;
    job.reporter.report(Event::Note(format!("export {}: {error:#}; again in {pause} s", job.run.export)));
    tokio::time::sleep(Duration::from_secs(*pause)).await;
    Ok(())
}

/// What a failure left in the target that came with the COMMIT or after it; before it, nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aftermath {
    /// The answer to COMMIT was lost and could not be looked up.
    Unknown,
    /// It took effect; tables that were made anew have not got their names.
    Unnamed,
}

impl Aftermath {
    /// What a failed export left, in the words of a step's end.
    pub fn of(error: &Error) -> &'static str {
        match find::<Self>(error) {
            None => "failed; the rows of the target are as they were",
            Some(Self::Unknown) => "failed; the target has its old or its new rows, whole",
            Some(Self::Unnamed) => "failed; the rows are committed, and new tables wait for their names",
        }
    }
}

impl std::fmt::Display for Aftermath {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Unknown => "the answer to COMMIT was lost, and whether it took effect is not known",
            Self::Unnamed => "all rows are committed, but new tables wait for their names",
        })
    }
}

impl std::error::Error for Aftermath {}

/// A text that is too long for its column, which has to become wider.
#[derive(Clone, Debug)]
struct LongText {
    table: String,
    text: TooLong,
}

impl std::fmt::Display for LongText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.table, self.text)
    }
}

impl std::error::Error for LongText {}

/// One attempt from login to good-bye.
async fn attempt(job: &Job<'_>, hindsight: &mut Hindsight) -> Result<Vec<Exported>> {
    let session: Session = job.server.connect().await?;
    hindsight.had_session = true;
    let mut target = Target::lock(session, &mark(job.run)).await?;
    let done = write(job, hindsight, &mut target).await;
    if done.is_err() {
        // Best effort: a session that ends is rolled back by the server.
        let _ = tokio::time::timeout(FAREWELL, target.session.execute("rollback")).await;
    }
    let _ = tokio::time::timeout(FAREWELL, target.session.close()).await;
    done
}

/// All that happens under the lock.
async fn write(job: &Job<'_>, hindsight: &mut Hindsight, target: &mut Target) -> Result<Vec<Exported>> {
    let export = &job.run.export;
    if let Some(done) = &hindsight.committing {
        let last = target.last_run(export).await?;
        if last.is_some_and(|last| last == job.run.run) {
            hindsight.is_committed = true;
            target.finish_renames().await?;
            return Ok(done.clone());
        }
        hindsight.committing = None;
    }
    target.create_metadata().await?;
    target.finish_renames().await?;
    target.drop_leftovers().await?;
    let plan = plan(target, job.tables, &hindsight.long).await?;
    let dictionary = Dictionary::compare(target, &plan).await?;
    migrate(target, &plan).await?;
    if dictionary.is_told() && plan.iter().all(|work| work.changes.is_empty() && !work.is_staged()) {
        return Ok(Vec::new());
    }
    target.session.execute("start transaction").await?;
    let mut done = Vec::new();
    for work in plan.iter().filter(|work| !work.changes.is_empty()) {
        let told = replace(job, hindsight, target, work).await;
        done.push(told.with_context(|| format!("export {}", work.name()))?);
    }
    dictionary.write(target).await?;
    let to_rename: Vec<&str> = plan.iter().filter(|w| w.is_staged()).map(Work::name).collect();
    record_run(target, job.run, &to_rename).await?;
    hindsight.committing = Some(done.clone());
    let committed = target.session.execute("commit").await;
    if committed.as_ref().is_err_and(|error| !is_transient(error)) {
        // A refusal that the server spells out is no lost answer.
        hindsight.committing = None;
    }
    committed.context("commit the export")?;
    hindsight.is_committed = true;
    target.finish_renames().await?;
    Ok(done)
}

/// Brings the tables to their shape; every statement commits by itself.
async fn migrate(target: &mut Target, plan: &[Work]) -> Result<()> {
    for work in plan {
        let name = work.name();
        match &work.migration {
            Migration::None => {}
            Migration::Create => {
                let sql = work.wanted.create(&work.into, &target.collation);
                target.session.execute(sql).await.with_context(|| format!("create {name}"))?;
            }
            Migration::Rekey(changes) => {
                let (staged, name) = (quoted(&work.into), quoted(name));
                for sql in [format!("create table {staged} like {name}"), format!("alter table {staged} {changes}")] {
                    target.session.execute(sql).await.with_context(|| format!("make {name} anew with another key"))?;
                }
            }
            Migration::Comment(sql) => {
                target.session.execute(sql).await.with_context(|| format!("describe {name}"))?;
            }
            Migration::Alter(sql) => {
                // New columns are empty until the rows are written: should that fail, the next export must not think
                // that it has nothing to do.
                let metadata = super::METADATA_TABLE;
                let forget = format!("update {metadata} set version = '' where table_name = '{name}'");
                target.session.execute(forget).await?;
                target.session.execute(sql).await.with_context(|| format!("migrate {name}"))?;
            }
        }
    }
    Ok(())
}

/// Replaces the changed partitions of one table, and compares what the server has then with what the lake has.
async fn replace(job: &Job<'_>, hindsight: &mut Hindsight, target: &mut Target, work: &Work) -> Result<Exported> {
    let has_day = work.table.table.schema().column_with_name("dt").is_some();
    let days: Vec<String> = work.changes.texts().collect();
    if !work.is_staged() {
        let into = quoted(&work.into);
        if !has_day {
            target.session.execute(format!("delete from {into}")).await?;
        }
        for days in days.chunks(DAYS_AT_ONCE).filter(|_| has_day) {
            target.session.execute(format!("delete from {into} where {}", of_days(days))).await?;
        }
    }
    let sums = fill_and_verify(job, hindsight, target, work).await.map_err(|error| long_text(work, error))?;
    record(target, work, &sums, job.run).await?;
    let rows = sums.values().map(|sum| sum.rows).sum();
    Ok(Exported { table: work.name().to_owned(), partitions: work.changes.len(), rows })
}

/// Writes the partitions of a table a portion at a time; while one is written, the server counts and sums the one before.
async fn fill_and_verify(job: &Job<'_>, hindsight: &mut Hindsight, target: &mut Target, work: &Work) -> Result<Sums> {
    let parts = portions(&work.table.slots, &work.changes.write, PORTION_ROWS);
    // Without a second session the first one does it all.
    let mut witness = if parts.len() > 1 { witness(job.server).await.ok() } else { None };
    let mut may_load = !hindsight.no_load;
    let (mut sums, mut before): (Sums, Option<(&[Slot], Sums)>) = (Sums::new(), None);
    for part in parts {
        let filled = match (&mut witness, before.take()) {
            (Some(witness), Some((earlier, sums))) => {
                let fill = fill(target, job.engine, work, part, &mut may_load);
                let (filled, verified) =
                    futures::future::join(fill, verify(witness, work, texts(earlier), &sums)).await;
                verified?;
                filled
            }
            (None, Some((earlier, sums))) => {
                verify(&mut target.session, work, texts(earlier), &sums).await?;
                fill(target, job.engine, work, part, &mut may_load).await
            }
            (_, None) => fill(target, job.engine, work, part, &mut may_load).await,
        };
        hindsight.no_load = !may_load;
        let filled = filled?;
        all_read(work, part, &filled)?;
        sums.extend(filled.iter().map(|(slot, sum)| (*slot, *sum)));
        before = Some((part, filled));
    }
    if let Some((part, sums)) = before {
        verify(&mut target.session, work, texts(part), &sums).await?;
    }
    // What was taken away must be gone.
    verify(&mut target.session, work, work.changes.gone.clone(), &Sums::new()).await?;
    if let Some(witness) = witness {
        let _ = tokio::time::timeout(FAREWELL, witness.close()).await;
    }
    Ok(sums)
}

/// A second session, which sees the rows of the first before they are committed: they are final there, and summing them up
/// costs no time of the session that writes.
async fn witness(server: &Server) -> Result<Session> {
    let mut session = server.connect().await?;
    session.execute("set session transaction isolation level read uncommitted").await?;
    Ok(session)
}

/// Whether as many rows were read as the lake records.
fn all_read(work: &Work, slots: &[Slot], sums: &Sums) -> Result<()> {
    for slot in slots {
        let (read, expected) =
            (sums.get(slot).map_or(0, |sum| sum.rows), work.table.slots.get(slot).map_or(0, |s| s.1));
        if read != expected {
            bail!("dt={}: {read} rows read from the lake, {expected} recorded there", slot_text(*slot));
        }
    }
    Ok(())
}

fn texts(slots: &[Slot]) -> Vec<String> {
    slots.iter().map(|slot| slot_text(*slot)).collect()
}

/// A text that is too long for a column that may become wider; those of the key may not.
fn long_text(work: &Work, error: Error) -> Error {
    match find::<TooLong>(&error).cloned() {
        Some(text) if work.table.key.contains(&text.column) => {
            let mut kinds =
                work.wanted.columns.iter().zip(&work.kinds).filter(|(column, _)| column.name == text.column);
            let most = kinds.find_map(|(_, kind)| kind.most_chars()).unwrap_or_default();
            with_hint(
                error,
                format!(
                    "{} is part of the key, whose texts hold {most} characters at most: shorten it in the model, or take it \
                     out of `grain`",
                    text.column
                ),
            )
        }
        Some(text) => Error::new(LongText { table: work.name().to_owned(), text }),
        None => error,
    }
}

/// Has the server count and sum some partitions, and compares.
async fn verify(session: &mut Session, work: &Work, days: Vec<String>, sums: &Sums) -> Result<()> {
    let mut found = BTreeMap::new();
    for days in days.chunks(DAYS_AT_ONCE) {
        for row in session.texts(question(&work.into, &work.summed(), Some(days))).await? {
            let [day, rows, sum] = cells(row);
            found.insert(day, Sum { rows: rows.parse()?, sum: sum.parse().unwrap_or_default() });
        }
    }
    found.retain(|_, sum| sum.rows > 0);
    let expected: BTreeMap<String, Sum> = sums.iter().map(|(slot, sum)| (slot_text(*slot), *sum)).collect();
    if found == expected {
        return Ok(());
    }
    let mut days = found.keys().chain(expected.keys());
    let day = days.find(|day| found.get(*day) != expected.get(*day)).cloned().unwrap_or_default();
    let (has, wants) = (found.get(&day).copied().unwrap_or_default(), expected.get(&day).copied().unwrap_or_default());
    Err(anyhow!(
        "dt={day}: the server has {} rows (checksum {}) where the lake has {} ({})",
        has.rows,
        has.hex(),
        wants.rows,
        wants.hex()
    ))
    .hint("nothing was committed; has the table triggers or generated columns that change what is written?")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_failed_export_says_what_is_true_of_the_target() {
        let of = |aftermath: Aftermath| {
            let error = Err::<(), _>(anyhow!("gone").context(aftermath)).hint("wait").expect_err("it failed");
            Aftermath::of(&error.context("export metrics"))
        };
        assert!(of(Aftermath::Unknown).contains("old or its new rows"));
        assert!(of(Aftermath::Unnamed).contains("the rows are committed"));
        assert!(Aftermath::of(&anyhow!("gone")).contains("as they were"));
    }
}
