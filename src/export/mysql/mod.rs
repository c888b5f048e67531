//! The production target: a MySQL or MariaDB database that dashboards read while it is written.
//!
//! An export takes the lock of the database's exporters, migrates what has to be migrated, writes all changed partitions of
//! all tables in one transaction, has the server count and sum what it took, and commits. A table that is new, or whose key
//! changed, is filled under another name in the same transaction and renamed after it. What fails for a while is tried
//! again from the start; whether a COMMIT whose answer was lost took effect is looked up, under the lock, which the lost
//! session holds until it is over.

mod aftermath;
mod checksum;
mod compare;
mod ddl;
mod denied;
mod fill;
mod migrate;
mod plan;
mod records;
mod replace;
mod spell;
mod target;
mod text;
mod types;
mod watch;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Error, Result, anyhow};

use super::{ExportRun, ExportTable, Exported, Outcome};
use crate::engine::Engine;
use crate::error::{Advice, find, with_hint};
use crate::mysql::{Server, ServerFailure, Session, is_transient};
use crate::progress::{Event, Reporter};
pub use aftermath::Aftermath;
pub use compare::found;
use ddl::{LongTexts, REPLACED, STAGED, aside};
use migrate::migrate;
use plan::{Work, plan};
use records::{Dictionary, record_run};
use replace::{LongText, replace};
use target::{Target, mark};
use watch::watch;

/// How long to wait before each further attempt after a failure that may pass.
const PAUSES_S: [u64; 5] = [1, 2, 4, 8, 8];

/// How often to try again to log in where nobody has logged in before: a server that starts anew, or is busy.
const KNOCKS: usize = 3;

/// The server's word for a lock that others hold for longer than we wait.
const LOCKED: u16 = 1205;

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
    /// The tables whose partitions the target records.
    recorded: BTreeSet<String>,
}

/// Brings the database to the state of the lake.
///
/// # Errors
/// When the server cannot be reached or refuses, or what it holds differs from the lake; its rows are as they were then,
/// but for what [`Aftermath`] says.
pub async fn export(job: &Job<'_>) -> Result<Outcome> {
    let mut hindsight = Hindsight::default();
    loop {
        match attempt(job, &mut hindsight).await {
            Ok(done) => return Ok(Outcome { done, recorded: hindsight.recorded }),
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
    let Some(pause) = pause_s(hindsight, &error) else {
        let is_held = code(&error) == Some(LOCKED);
        return Err(match (&hindsight.committing, hindsight.is_committed) {
            (None, _) => error,
            (Some(_), false) => with_hint(error.context(Aftermath::Unknown), "the next export finds out"),
            (Some(_), true) => {
                let held = if is_held { "do readers hold the old tables in long transactions? " } else { "" };
                with_hint(error.context(Aftermath::Unnamed), format!("{held}the next export names them"))
            }
        });
    };
    hindsight.failures += 1;
    job.reporter.report(Event::Note(format!("export {}: {error:#}; again in {pause} s", job.run.export)));
    tokio::time::sleep(Duration::from_secs(pause)).await;
    Ok(())
}

/// How long to wait for another attempt; `None` when none may help. A login that never went well may lead to
/// a wrong place: for some seconds, as a server takes to start anew.
fn pause_s(hindsight: &Hindsight, error: &Error) -> Option<u64> {
    let may_pass = is_transient(error) && (hindsight.had_session || hindsight.failures < KNOCKS);
    PAUSES_S.get(hindsight.failures).copied().filter(|_| may_pass)
}

/// The server's number of an error, if the server said it.
fn code(error: &Error) -> Option<u16> {
    find::<ServerFailure>(error)?.code
}

/// Whether the server itself says that it did not do what it was asked: a lost or garbled answer says nothing.
fn is_refusal(error: &Error) -> bool {
    code(error).is_some() && !is_transient(error)
}

/// One attempt from login to good-bye.
async fn attempt(job: &Job<'_>, hindsight: &mut Hindsight) -> Result<Vec<Exported>> {
    let session = job.server.connect().await;
    let session: Session = session.map_err(|error| denied::at_login(&job.server.place().database, error))?;
    hindsight.had_session = true;
    let mut target = Target::lock(session, &mark(job.run)).await?;
    let (session, patience) = (target.number.clone(), target.session.patience().rows);
    let mut done = tokio::select! {
        done = write(job, hindsight, &mut target) => done,
        never = watch(job, &session, patience) => match never {},
    };
    if done.is_err() {
        // Best effort: a session that ends is rolled back by the server.
        let _ = tokio::time::timeout(FAREWELL, target.session.execute("rollback")).await;
    }
    if let Err(error) = done {
        done = Err(denied::told(&mut target.session, &target.facts.account, error).await);
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
    let names: Vec<&str> = job.tables.iter().map(|table| table.head.name()).collect();
    let stuck = target.drop_leftovers(&names).await?;
    let (plan, recorded) = plan(target, job.tables, &hindsight.long).await?;
    hindsight.recorded = recorded;
    for (name, why) in &stuck {
        in_the_way(&plan, name, why)?;
        job.reporter
            .report(Event::Warning(format!("export {export}: {name} is left over and cannot be dropped: {why}")));
    }
    let dictionary = Dictionary::compare(target, &plan).await?;
    migrate(job, target, &plan).await?;
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
    if committed.as_ref().is_err_and(is_refusal) {
        hindsight.committing = None;
    }
    committed.context("commit the export")?;
    hindsight.is_committed = true;
    target.finish_renames().await?;
    Ok(done)
}

/// Refuses what would need the name of a table that cannot be dropped.
fn in_the_way(plan: &[Work], leftover: &str, why: &str) -> Result<()> {
    let staged = plan.iter().filter(|work| work.is_staged());
    let wanted = staged.flat_map(|work| [STAGED, REPLACED].map(|prefix| aside(prefix, work.name())));
    if !wanted.into_iter().any(|name| name == leftover) {
        return Ok(());
    }
    Err(anyhow!("{leftover} is left over from an earlier export and cannot be dropped: {why}"))
        .hint(format!("does a foreign key of another table lead to it? Drop that key, then `drop table {leftover};`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(code: Option<u16>, transient: bool) -> Error {
        Error::new(ServerFailure { message: String::new(), code, transient }).context("commit the export")
    }

    #[test]
    fn only_what_the_server_itself_refuses_is_a_refusal() {
        assert!(is_refusal(&failure(Some(1180), false)));
        // The connection broke, or something came that was no answer.
        assert!(!is_refusal(&failure(Some(1927), true)) && !is_refusal(&failure(None, true)));
        assert!(!is_refusal(&failure(None, false)) && !is_refusal(&anyhow!("odd")));
    }

    #[test]
    fn before_the_first_login_a_server_is_asked_again_for_some_seconds() {
        let fresh = Hindsight::default();
        assert_eq!(pause_s(&fresh, &failure(Some(1040), true)), Some(1));
        assert_eq!(pause_s(&fresh, &failure(None, true)), Some(1), "connection refused: it starts anew");
        assert_eq!(pause_s(&fresh, &failure(Some(1045), false)), None, "a wrong password stays wrong");
        assert_eq!(pause_s(&Hindsight { failures: KNOCKS, ..Hindsight::default() }, &failure(Some(1040), true)), None);
        let later = Hindsight { had_session: true, failures: 3, ..Hindsight::default() };
        assert_eq!(pause_s(&later, &failure(None, true)), Some(8));
        assert_eq!(pause_s(&later, &failure(Some(1146), false)), None);
    }
}
