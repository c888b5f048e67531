//! The steps of a run around the build: ingest and check; see [`super::exports`] for the last one.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context as _, Result, anyhow};

use super::build::{Target, check_published};
use super::project::{Context, Project};
use super::report::{RunReport, SourceReport};
use crate::check::Severity;
use crate::config::Location;
use crate::config::source::Source;
use crate::error::{Advice, Exit, render};
use crate::ingest::logs::{LogsIngest, ingest_logs};
use crate::ingest::orders::{OrdersIngest, ingest_orders};
use crate::plan::States;
use crate::progress::Event;

/// Takes in what is new at the wanted sources; a failing source is told, and the others go on. Says which tables lack
/// something, and why: what is made from these must wait.
pub async fn ingest(
    ctx: &Context,
    project: &Project,
    wanted: &[String],
    report: &mut RunReport,
) -> Result<BTreeMap<String, String>> {
    let mut incomplete = BTreeMap::new();
    let sources = &ctx.config.sources;
    for (name, source) in sources.iter().filter(|(name, s)| is_wanted(wanted, name, &s.source)) {
        let Location::Local(root) = &source.location else {
            let what = anyhow!("source {name} at {}: only folders of this machine can be read yet", source.location);
            return Err(what).exit(Exit::Usage);
        };
        if !root.is_dir() {
            let what = anyhow!("source {name}: there is no folder {}", ctx.config.shown(root));
            let hint = format!("create it, or set sources.{name} in conf/warehouse.toml");
            fail(ctx, report, &Err::<(), _>(what).hint(hint).expect_err("it is an error"));
            continue;
        }
        let (zone, run, now_ms) = (ctx.config.timezone, ctx.run.as_str(), ctx.now_ms);
        let (lake, threads, reporter) = (&project.lake, ctx.config.resources.threads(), &*ctx.reporter);
        let since = report.sources.len();
        let done = match &source.source {
            Source::Log(log) => {
                let job = LogsIngest { lake, name, source: log, root, zone, run, now_ms, threads, reporter };
                ingest_logs(&job).await.map(|outcome| {
                    report.warnings.extend(outcome.warnings);
                    report.sources.push(SourceReport {
                        source: name.clone(),
                        files: outcome.files_new,
                        read: outcome.tally.read,
                        landed: outcome.tally.landed,
                        rejected: outcome.tally.rejected,
                        partitions: outcome.days.len(),
                    });
                    Vec::new()
                })
            }
            Source::Tables(tables) => {
                let job = OrdersIngest { lake, name, source: tables, root, zone, run, now_ms, threads, reporter };
                ingest_orders(&job).await.map(|outcome| {
                    report.sources.extend(outcome.tables.iter().map(|table| SourceReport {
                        source: table.table.clone(),
                        files: table.files,
                        read: table.tally.read,
                        landed: table.tally.landed,
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
            Err(error) => fail(ctx, report, &error),
        }
        for books in &report.sources[since..] {
            if !books.closes() {
                let text = format!(
                    "the books of {} do not close: {} read, {} landed, {:?} rejected",
                    books.source, books.read, books.landed, books.rejected
                );
                ctx.reporter.report(Event::Failure(text.clone()));
                report.failures.push(text);
            }
        }
    }
    Ok(incomplete)
}

/// Whether a source was asked for: by its name, or as `logs` or `orders`.
fn is_wanted(wanted: &[String], name: &str, source: &Source) -> bool {
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
