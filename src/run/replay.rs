//! The second chance of rejects, as a run: with the lock, a report, and its place in the history.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow};

use super::ledger::Account;
use super::project::{Context, Project};
use super::report::{RunReport, SourceReport};
use super::{new_report, under_lock};
use crate::config::source::Source;
use crate::config::{Location, SourceConfig};
use crate::error::{Advice, Exit, nearest};
use crate::ingest::logs::{LogsIngest, replay_logs};
use crate::ingest::orders::{OrdersIngest, Origin, replay_orders};
use crate::ingest::replay::{Replayed, Wanted};
use crate::progress::Event;

/// Which rejects are to have a second chance, and how.
#[derive(Clone, Debug)]
pub struct ReplayRequest {
    /// Only those of this source of `conf/sources`.
    pub source: Option<String>,
    /// Which of them, and whether to look only.
    pub wanted: Wanted,
    /// How long to wait for another run.
    pub wait: Duration,
    /// What the run calls itself to others that wait for it.
    pub command: String,
}

/// Moves rejected lines and rows that today's rules accept from `ods_reject` to their tables. What is built from these is
/// stale then, and a run builds it.
///
/// # Errors
/// When another run holds the lock, there is no such source or table, or the lake cannot be read or written.
pub async fn replay(ctx: &Context, request: &ReplayRequest) -> Result<RunReport> {
    let since = Instant::now();
    let project = Project::without_models(ctx)?;
    let sources = chosen(ctx, request)?;
    let lock = (!request.wanted.dry_run).then_some((request.command.as_str(), request.wait));
    under_lock(ctx, &project, lock, locked_replay(ctx, &project, request, (sources, since))).await
}

async fn locked_replay(
    ctx: &Context,
    project: &Project,
    request: &ReplayRequest,
    (sources, since): (Vec<(&String, &SourceConfig)>, Instant),
) -> Result<RunReport> {
    let recorded = project.recorded().await?;
    let ctx = &ctx.after(recorded.newest_run());
    let mut report = new_report(ctx, &request.command);
    for (name, source) in sources {
        let all = replay_source(ctx, project, name, source, &request.wanted).await;
        for replayed in all.with_context(|| format!("replay rejects of {name}"))? {
            take(ctx, replayed, &mut report);
        }
    }
    report.close_books(&*ctx.reporter);
    report.seconds = since.elapsed().as_secs_f64();
    report.outcome = if report.failures.is_empty() { "done" } else { "failed" };
    if !request.wanted.dry_run {
        report.save(&ctx.config.runs_dir())?;
    }
    Ok(report)
}

/// The sources that are meant; a name that none has is a mistake.
fn chosen<'a>(ctx: &'a Context, request: &ReplayRequest) -> Result<Vec<(&'a String, &'a SourceConfig)>> {
    let sources = &ctx.config.sources;
    let is_meant = |name: &String| request.source.as_ref().is_none_or(|wanted| wanted == name);
    let meant: Vec<_> = sources.iter().filter(|(name, _)| is_meant(name)).collect();
    if let Some(wanted) = request.source.as_ref().filter(|_| meant.is_empty()) {
        return unknown("source", wanted, sources.keys().map(String::as_str));
    }
    let tables: Vec<String> = meant.iter().flat_map(|(_, source)| tables_of(&source.source)).collect();
    match request.wanted.table.as_ref().filter(|table| !tables.contains(table)) {
        Some(wanted) => unknown("table", wanted, tables.iter().map(String::as_str)),
        None => Ok(meant
            .into_iter()
            .filter(|(_, s)| tables_of(&s.source).iter().any(|t| request.wanted.table(t)))
            .collect()),
    }
}

fn unknown<'a, T>(what: &str, wanted: &str, known: impl Iterator<Item = &'a str> + Clone) -> Result<T> {
    let hint = match nearest(wanted, known.clone()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("known: {}", known.collect::<Vec<_>>().join(", ")),
    };
    Err(anyhow!("there is no {what} `{wanted}`")).hint(hint).exit(Exit::Usage)
}

fn tables_of(source: &Source) -> Vec<String> {
    match source {
        Source::Log(log) => vec![log.table.clone()],
        Source::Tables(tables) => tables.tables.iter().map(|table| format!("ods_{}", table.name)).collect(),
    }
}

async fn replay_source(
    ctx: &Context,
    project: &Project,
    name: &str,
    source: &SourceConfig,
    wanted: &Wanted,
) -> Result<Vec<Replayed>> {
    let root = match &source.location {
        Location::Local(root) => root.as_path(),
        _ => Path::new(""),
    };
    let (zone, run, now_ms) = (ctx.config.timezone, ctx.run.as_str(), ctx.now_ms);
    let (lake, threads, reporter) = (&project.lake, ctx.config.resources.threads(), &*ctx.reporter);
    match &source.source {
        Source::Log(log) => {
            let job = LogsIngest { lake, name, source: log, root, zone, run, now_ms, threads, reporter };
            Ok(vec![replay_logs(&job, wanted).await?])
        }
        Source::Tables(tables) => {
            // Rows of a database are not asked for here: an empty folder has none of them.
            let origin = Origin::Folder(root);
            let job = OrdersIngest { lake, name, source: tables, origin, zone, run, now_ms, threads, reporter };
            replay_orders(&job, wanted).await
        }
    }
}

fn take(ctx: &Context, replayed: Replayed, report: &mut RunReport) {
    for text in replayed.untried {
        ctx.reporter.report(Event::Warning(text.clone()));
        report.warnings.push(text);
    }
    let rejected = replayed.rejected.values().sum();
    if replayed.read > 0 {
        report.ledger.accounts.push(Account::of(
            "replay",
            &replayed.table,
            replayed.read,
            replayed.landed,
            0,
            rejected,
        ));
    }
    report.sources.push(SourceReport {
        source: replayed.table,
        files: replayed.files.len(),
        read: replayed.read,
        landed: replayed.landed,
        rejected: replayed.rejected,
        partitions: replayed.slots.len(),
        ..SourceReport::default()
    });
}
