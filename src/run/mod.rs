//! The operations of the program: the nightly run and its steps, what it would do, and questions about the warehouse.
//!
//! [`run()`] tells the whole story: take the lock, ingest what is new, build what is stale, export what changed, write
//! down what happened.

mod arrivals;
mod bisect;
mod blueprint;
mod books;
mod build;
mod cases;
mod cells;
mod diff;
mod docs;
mod explain;
mod exports;
mod inspect;
mod lease;
mod ledger;
mod lock;
mod maintain;
mod meter;
mod moments;
mod name;
mod outlook;
mod past;
mod project;
mod query;
mod recipe;
mod records;
mod replay;
mod report;
mod scratch;
mod sql_error;
mod steps;
mod trial;
mod turn;
mod undo;
mod verify;
mod why;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Error, Result, anyhow};

pub use arrivals::Arrivals;
pub use bisect::{Turning, Value, bisect};
pub use blueprint::{Rehearsal, rehearse};
pub use cells::{Change, Fate};
pub use diff::{Diff, DiffRequest, TableDiff, diff};
pub use docs::docs;
pub use explain::{Explanation, explain};
pub use inspect::{ModelRow, RunRow, Vitals, describe, models, runs, vitals};
pub use ledger::{Account, Laws, Ledger, SumAccount};
pub use lock::holder;
pub use maintain::{MaintainRequest, MaintenanceReport, maintain};
pub use name::run_name;
pub use outlook::Outlook;
pub use project::{Context, Project};
pub use query::query;
pub use replay::{ReplayRequest, replay};
pub use report::{DifferenceReport, ExportReport, ModelReport, ModelResult, RunReport, SourceReport};
pub use trial::{Trial, test};
pub use undo::{UndoReport, undo, undo_plan};
pub use verify::{Unlike, Verified, VerifyRequest, verify};
pub use why::{Part, Told, WhyRequest, why};

use crate::config::Location;
use crate::date::BizDate;
use crate::error::{Advice, Exit, Locked};
use crate::model::select;
use crate::plan::Window;
use crate::progress::Event;
use build::Target;
use exports::{Exports, Forced};
use lease::{Clock, Desk};
use lock::{Attempt, Holder, RunLock};

/// A part of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Take in what is new at the sources.
    Ingest,
    /// Build what is stale, check it, publish it.
    Build,
    /// Check what is published.
    Check,
    /// Compare the targets of the exports with the lake.
    Verify,
    /// Export what changed.
    Export,
}

/// What a run is asked to do.
#[derive(Clone, Debug)]
pub struct RunRequest {
    /// The parts of the run, in order.
    pub steps: Vec<Step>,
    /// The sources to ingest; all when empty.
    pub sources: Vec<String>,
    /// The models wanted, in the selection grammar.
    pub select: Vec<String>,
    /// The models not wanted.
    pub exclude: Vec<String>,
    /// The first day wanted.
    pub from: Option<BizDate>,
    /// The last day wanted; `None` is the last day that has arrived, at most yesterday.
    pub to: Option<BizDate>,
    /// Whether what is asked for is built even when fresh.
    pub force: bool,
    /// How long to wait for another run.
    pub wait: Duration,
    /// What the run calls itself to others that wait for it.
    pub command: String,
}

/// Does what a request says. Failures of models and sources are in the report; the run goes on with what it can.
///
/// # Errors
/// When another run holds the lock, the project is wrong, or the lake cannot be read or written.
pub async fn run(ctx: &Context, request: &RunRequest) -> Result<RunReport> {
    let since = Instant::now();
    not_in_the_future(ctx, request)?;
    let project = Arc::new(Project::open(ctx)?);
    let selected = select(&project.models, &request.select, &request.exclude).exit(Exit::Usage)?;
    let lock = Some((request.command.as_str(), request.wait));
    under_lock(ctx, &project, lock, locked_run(ctx, &project, &selected, request, since)).await
}

/// Does some work with the run lock held, if it needs that: the lock's holder calls itself by a command and waits so long
/// for another. The work is given up should the lock be lost, which only leases can be.
async fn under_lock<T>(
    ctx: &Context,
    project: &Project,
    lock: Option<(&str, Duration)>,
    work: impl Future<Output = Result<T>>,
) -> Result<T> {
    let Some((command, patience)) = lock else { return work.await };
    let lock = locked(ctx, project, command, patience).await?;
    let done = tokio::select! {
        done = Box::pin(work) => done,
        () = lock.lost() => Err(anyhow!("another run took over the lock of the lake, which this one could not renew"))
            .hint("what was published is whole; run again when the other has ended"),
    };
    lock.release().await;
    done
}

/// Does what a request says, with the lock held.
async fn locked_run(
    ctx: &Context,
    project: &Arc<Project>,
    selected: &BTreeSet<String>,
    request: &RunRequest,
    since: Instant,
) -> Result<RunReport> {
    let before = project.recorded().await?;
    let ctx = &ctx.after(before.newest_run());
    let mut report = new_report(ctx, &request.command);

    let mut incomplete = BTreeMap::new();
    if request.steps.contains(&Step::Ingest) {
        incomplete = steps::ingest(ctx, project, request, &mut report).await?;
    }
    let mut recorded = project.recorded_after_ingest(before).await?;
    if request.steps.contains(&Step::Build) {
        incomplete.extend(steps::never_ingested(ctx, project, request, &recorded.states).await?);
    }
    let to = last_day(ctx, request, recorded.last_arrival);
    report.to = to;
    if let Some(to) = to {
        let from = request.from.map_or_else(|| "the first loaded day".to_owned(), |day| day.to_string());
        ctx.reporter.report(Event::Note(format!("business days {from}..{to}, zone {}", ctx.config.timezone)));
        let window = Window { from: request.from, to };
        let target = Target { selected: selected.clone(), window, force: request.force, incomplete };
        if request.steps.contains(&Step::Build) {
            let outlook = outlook::outlook(ctx, project, selected, request, &recorded, Vec::new()).await?;
            outlook.brief().lines().for_each(|line| ctx.reporter.report(Event::Note(line.to_owned())));
            report.models = build::build(ctx, project, &mut recorded.states, &target, &outlook.plan).await?;
            report.failures.extend(report.models.iter().filter_map(failure));
            report.warnings.extend(report.models.iter().flat_map(warnings));
        }
        if request.steps.contains(&Step::Check) {
            steps::check(ctx, project, &recorded.states, &target, &mut report).await?;
        }
    } else {
        ctx.reporter.report(Event::Note("nothing has been loaded yet".to_owned()));
    }
    let exports = Exports { ctx, project, recorded: &recorded, selected };
    let is_alone = !request.steps.contains(&Step::Build);
    let mut forced = match request.force && is_alone {
        true => exports.all_within(request.from, request.to),
        false => Forced::new(),
    };
    if request.steps.contains(&Step::Verify) {
        forced = exports.verify(request.steps.contains(&Step::Export), &mut report).await;
    }
    if request.steps.contains(&Step::Export) {
        exports.export(&forced, &mut report).await;
    }
    report.close_books(&*ctx.reporter);
    report.seconds = since.elapsed().as_secs_f64();
    report.outcome = if report.failures.is_empty() { "done" } else { "failed" };
    report.save(&ctx.config.runs_dir())?;
    // The process ends with its run: to give back all that is known of a year, piece by piece, would take a tenth of one
    // that has nothing to do.
    std::mem::forget(recorded);
    Ok(report)
}

/// What a run would do, and why; changes nothing. No database is asked, so that its rows are not foreseen.
///
/// # Errors
/// When the project is wrong or the lake cannot be read.
pub async fn plan(ctx: &Context, request: &RunRequest) -> Result<Outlook> {
    not_in_the_future(ctx, request)?;
    let project = Project::open(ctx)?;
    let selected = select(&project.models, &request.select, &request.exclude).exit(Exit::Usage)?;
    let recorded = project.recorded().await?;
    let arrivals = match request.steps.contains(&Step::Ingest) {
        true => arrivals::arrivals(ctx, &project, request).await?,
        false => Vec::new(),
    };
    outlook::outlook(ctx, &project, &selected, request, &recorded, arrivals).await
}

/// Refuses a range that ends in the future: days that have not happened have no numbers.
fn not_in_the_future(ctx: &Context, request: &RunRequest) -> Result<()> {
    match (request.to, ctx.config.timezone.day_of_ms(ctx.now_ms)) {
        (Some(to), Some(today)) if to > today => {
            let error = anyhow!("the range ends on {to}, and today is {today} in {}", ctx.config.timezone);
            Err(error).hint("`--to today` is the last day there can be").exit(Exit::Usage)
        }
        _ => Ok(()),
    }
}

/// The last business day of a run: as asked, else the newest arrival, at most yesterday.
fn last_day(ctx: &Context, request: &RunRequest, last_arrival: Option<BizDate>) -> Option<BizDate> {
    let today = ctx.config.timezone.day_of_ms(ctx.now_ms)?;
    request.to.or_else(|| last_arrival.map(|day| day.min(today.plus_days(-1))))
}

fn new_report(ctx: &Context, command: &str) -> RunReport {
    let started = chrono::DateTime::from_timestamp_millis(ctx.now_ms).unwrap_or_default();
    RunReport {
        format: report::FORMAT,
        run: ctx.run.clone(),
        command: command.to_owned(),
        started: started.format("%Y-%m-%dT%H:%M:%S%.3fZ").to_string(),
        timezone: ctx.config.timezone.to_string(),
        to: None,
        outcome: "done",
        seconds: 0.0,
        sources: Vec::new(),
        models: Vec::new(),
        exports: Vec::new(),
        differences: Vec::new(),
        undone: None,
        ledger: Ledger::default(),
        maintained: Vec::new(),
        warnings: Vec::new(),
        failures: Vec::new(),
    }
}

/// Takes the run lock: of a folder a lock on a file, of an object store a lease.
async fn locked(ctx: &Context, project: &Project, command: &str, patience: Duration) -> Result<RunLock> {
    let started = chrono::DateTime::from_timestamp_millis(ctx.now_ms).unwrap_or_default();
    let since = started.with_timezone(&ctx.config.timezone.tz()).format("%Y-%m-%d %H:%M:%S %:z").to_string();
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname");
    let host = host.map_or_else(|_| "this machine".to_owned(), |name| name.trim().to_owned());
    let me = Holder { run: command.to_owned(), pid: std::process::id(), host, since };
    let attempt = match &ctx.config.lake {
        Location::Local(folder) => lock::acquire(folder, &me, patience).await?,
        _ => {
            let (store, path) = (project.lake.store(), project.lake.beside_tables("_strata.lock"));
            let desk = Desk { store, path, terms: lease::TERMS, clock: Clock::at(ctx.now_ms) };
            match desk.acquire(&me, patience).await? {
                Ok(lease) => Attempt::Held(RunLock::Lease(lease)),
                Err(other) => Attempt::Busy(other),
            }
        }
    };
    match attempt {
        Attempt::Held(lock) => Ok(lock),
        Attempt::Busy(other) => {
            let locked = Locked { holder: other.run, pid: other.pid, host: other.host, since: other.since };
            Err(Error::new(locked)).hint("it ends by itself; `--wait 30m` waits for it")
        }
    }
}

fn failure(model: &ModelReport) -> Option<String> {
    match model.result {
        ModelResult::Published => None,
        ModelResult::ChecksFailed => Some(format!("{}: a check failed, nothing of it was published", model.model)),
        ModelResult::Failed => Some(format!("{}: {}", model.model, model.error.as_deref().unwrap_or("failed"))),
        ModelResult::Skipped => {
            Some(format!("{}: skipped, {}", model.model, model.error.as_deref().unwrap_or_default()))
        }
    }
}

fn warnings(model: &ModelReport) -> impl Iterator<Item = String> + '_ {
    let warns = model.violations.iter().filter(|v| v.severity == crate::check::Severity::Warn);
    warns.map(|v| format!("{}: {}: {} rows violate `{}`", model.model, v.origin, v.rows, v.check))
}
