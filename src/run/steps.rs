//! The steps of a run around the build: ingest and check; see [`super::exports`] for the last one.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result, anyhow, bail};

use super::arrivals::{Place, place_of};
use super::books;
use super::build::{Target, check_published};
use super::project::{Context, Project};
use super::report::{RunReport, SourceReport};
use super::{RunRequest, Step};
use crate::check::Severity;
use crate::config::source::Source;
use crate::config::{Location, Reading, SourceConfig};
use crate::date::DateRange;
use crate::error::{Advice, Exit, render};
use crate::ingest::logs::{LogsIngest, ingest_logs};
use crate::ingest::orders::{Extraction, OrdersIngest, Origin, ingest_orders};
use crate::mysql::Server;
use crate::plan::States;
use crate::progress::Event;

/// Takes in what is new at the wanted sources; a failing source is told, and the others go on. Says which tables lack
/// something, and why: what is made from these must wait.
pub async fn ingest(
    ctx: &Context,
    project: &Project,
    request: &RunRequest,
    report: &mut RunReport,
) -> Result<BTreeMap<String, String>> {
    let mut incomplete = BTreeMap::new();
    let sources = &ctx.config.sources;
    for (name, source) in sources.iter().filter(|(name, s)| is_wanted(&request.sources, name, &s.source)) {
        let root = match place_of(ctx, name, source)? {
            Place::Folder(root) => root,
            Place::Database => Path::new(""),
            Place::Missing(error) => {
                fail(ctx, report, &error);
                continue;
            }
        };
        let (zone, run, now_ms) = (ctx.config.timezone, ctx.run.as_str(), ctx.now_ms);
        let (lake, threads, reporter) = (&project.lake, ctx.config.resources.threads(), &*ctx.reporter);
        let done = match &source.source {
            Source::Log(log) => {
                let job = LogsIngest { lake, name, source: log, root, zone, run, now_ms, threads, reporter };
                ingest_logs(&job).await.map(|outcome| {
                    report.ledger.accounts.extend(books::of_log(name, &log.table, &outcome));
                    report.warnings.extend(outcome.warnings);
                    report.sources.push(SourceReport {
                        source: name.clone(),
                        files: outcome.files_new,
                        read: outcome.tally.read,
                        landed: outcome.tally.landed,
                        unchanged: 0,
                        deleted: 0,
                        rejected: outcome.tally.rejected,
                        partitions: outcome.days.len(),
                    });
                    Vec::new()
                })
            }
            Source::Tables(tables) => {
                let server = match &source.location {
                    Location::Mysql(place) => Some(Server::new(place, zone).patiently(source.reading.silence)),
                    _ => None,
                };
                let origin = match &server {
                    Some(server) => Origin::Database(extraction(ctx, server, source.reading, request)?),
                    None => Origin::Folder(root),
                };
                let job = OrdersIngest { lake, name, source: tables, origin, zone, run, now_ms, threads, reporter };
                ingest_orders(&job).await.map(|outcome| {
                    for table in &outcome.tables {
                        report.ledger.accounts.extend(books::of_table(table));
                        report.ledger.sums.extend(books::sums_of(table));
                    }
                    report.sources.extend(outcome.tables.iter().map(|table| SourceReport {
                        source: table.table.clone(),
                        // A database has none.
                        files: if server.is_some() { 0 } else { table.files },
                        read: table.tally.read,
                        landed: table.tally.landed,
                        unchanged: table.tally.unchanged,
                        deleted: table.tally.deleted,
                        rejected: table.tally.rejected.iter().map(|(k, v)| (k.to_string(), *v)).collect(),
                        partitions: table.slots.len(),
                    }));
                    incomplete.extend(outcome.incomplete.into_iter().map(|table| {
                        let cause = format!("an extract of {table} could not be taken");
                        (table, cause)
                    }));
                    outcome.failures
                })
            }
        };
        match done.with_context(|| format!("ingest {name}")) {
            Ok(failures) => {
                for failure in failures {
                    ctx.reporter.report(Event::Failure(failure.clone()));
                    report.failures.push(failure);
                }
            }
            Err(error) => {
                fail(ctx, report, &error);
                if matches!(source.location, Location::Mysql(_)) {
                    incomplete.extend(without_source(name, &source.source));
                }
            }
        }
    }
    Ok(incomplete)
}

/// The source tables that are not there, and why: nothing was ever ingested from their source.
///
/// # Errors
/// When the lake cannot be read, or none of them is there and nothing is ingested now, so that there is nothing to build.
pub async fn never_ingested(
    ctx: &Context,
    project: &Project,
    request: &RunRequest,
    states: &States,
) -> Result<BTreeMap<String, String>> {
    let mut missing = BTreeMap::new();
    for table in project.models.sources().filter(|table| states.get(table).is_none()) {
        if !project.lake.has_table(table).await? {
            let is_of = |source: &SourceConfig| source.source.tables().iter().any(|name| name == table);
            let source =
                ctx.config.sources.iter().find(|(_, source)| is_of(source)).map_or("its source", |(name, _)| name);
            let cause = format!("nothing was ever ingested from {source} (`strata ingest {source}`)");
            missing.insert(table.to_owned(), cause);
        }
    }
    let is_empty = project.models.sources().all(|table| missing.contains_key(table));
    if is_empty && !request.steps.contains(&Step::Ingest) {
        let what = anyhow!("there is nothing to build from: nothing was ever ingested into {}", ctx.config.lake);
        return Err(what)
            .hint("`strata run` ingests, builds and exports; `strata ingest` only ingests")
            .exit(Exit::Usage);
    }
    Ok(missing)
}

/// What is read of a database: for a run up to its last day, for `ingest` alone also what changed in a range.
fn extraction<'a>(ctx: &Context, server: &'a Server, reading: Reading, request: &RunRequest) -> Result<Extraction<'a>> {
    let Some(today) = ctx.config.timezone.day_of_ms(ctx.now_ms) else { bail!("the clock shows no real date") };
    let to = request.to.unwrap_or(today.plus_days(-1));
    let alone = request.steps == [Step::Ingest];
    let range = request.from.filter(|_| alone).map(|from| DateRange { from, to });
    Ok(Extraction { server, reading, to, range })
}

/// The tables of a source that could not be read at all, and why what reads them must wait.
fn without_source(name: &str, source: &Source) -> Vec<(String, String)> {
    match source {
        Source::Log(_) => Vec::new(),
        Source::Tables(_) => {
            let cause = format!("the source {name} could not be read");
            source.tables().into_iter().map(|table| (table, cause.clone())).collect()
        }
    }
}

/// Whether a source was asked for: by its name, or as `logs` or `orders`.
pub fn is_wanted(wanted: &[String], name: &str, source: &Source) -> bool {
    let kind = match source {
        Source::Log(_) => "logs",
        Source::Tables(_) => "orders",
    };
    wanted.is_empty() || wanted.iter().any(|w| w == name || w == kind)
}

/// Tells a failure, and keeps it for the report.
pub fn fail(ctx: &Context, report: &mut RunReport, error: &anyhow::Error) {
    let text = render(error);
    ctx.reporter.report(Event::Failure(text.clone()));
    report.failures.push(text);
}

/// Checks what is published.
pub async fn check(
    ctx: &Context,
    project: &Arc<Project>,
    states: &States,
    target: &Target,
    report: &mut RunReport,
) -> Result<()> {
    for (model, violations) in check_published(ctx, project, states, target).await? {
        for violation in violations {
            let text = format!("{model}: {violation}");
            match violation.severity {
                Severity::Fail => {
                    ctx.reporter.report(Event::Failure(text.clone()));
                    report.failures.push(text);
                }
                Severity::Warn => {
                    ctx.reporter.report(Event::Warning(text.clone()));
                    report.warnings.push(text);
                }
            }
        }
    }
    Ok(())
}
