//! The steps of a run around the build: ingest, check, export.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result, anyhow, bail};

use super::build::{Target, check_published};
use super::project::{Context, Project, Recorded};
use super::report::{ExportReport, RunReport, SourceReport};
use super::{RunRequest, Step};
use crate::check::Severity;
use crate::config::source::Source;
use crate::config::{ExportTarget, Location, Reading};
use crate::date::{DateRange, Slot};
use crate::error::{Advice, Exit, render};
use crate::export::{ExportRun, ExportTable, Exported, to_sqlite};
use crate::ingest::logs::{LogsIngest, ingest_logs};
use crate::ingest::orders::{Extraction, OrdersIngest, Origin, ingest_orders};
use crate::model::Model;
use crate::mysql::Server;
use crate::plan::{States, TableState};
use crate::progress::{Event, counted};

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
        let root = match &source.location {
            Location::Local(root) if root.is_dir() => root.as_path(),
            Location::Local(root) => {
                let what = anyhow!("source {name}: there is no folder {}", ctx.config.shown(root));
                let hint = format!("create it, or set sources.{name} in conf/warehouse.toml");
                fail(ctx, report, &Err::<(), _>(what).hint(hint).expect_err("it is an error"));
                continue;
            }
            Location::Mysql(_) => Path::new(""),
            Location::Object(_) => {
                let what =
                    anyhow!("source {name} at {}: only folders of this machine can be read yet", source.location);
                return Err(what).exit(Exit::Usage);
            }
        };
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
                        unchanged: 0,
                        rejected: outcome.tally.rejected,
                        partitions: outcome.days.len(),
                    });
                    Vec::new()
                })
            }
            Source::Tables(tables) => {
                let server = match &source.location {
                    Location::Mysql(place) => Some(Server::new(place, zone)),
                    _ => None,
                };
                let origin = match &server {
                    Some(server) => Origin::Database(extraction(ctx, server, source.reading, request)?),
                    None => Origin::Folder(root),
                };
                let job = OrdersIngest { lake, name, source: tables, origin, zone, run, now_ms, threads, reporter };
                ingest_orders(&job).await.map(|outcome| {
                    report.sources.extend(outcome.tables.iter().map(|table| SourceReport {
                        source: table.table.clone(),
                        files: table.files,
                        read: table.tally.read,
                        landed: table.tally.landed,
                        unchanged: table.tally.unchanged,
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
        for books in &report.sources[since..] {
            if !books.closes() {
                let text = format!(
                    "the books of {} do not close: {} read, {} landed, {} unchanged, {:?} rejected",
                    books.source, books.read, books.landed, books.unchanged, books.rejected
                );
                ctx.reporter.report(Event::Failure(text.clone()));
                report.failures.push(text);
            }
        }
    }
    Ok(incomplete)
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
        Source::Tables(tables) => (tables.tables.iter())
            .map(|table| (format!("ods_{}", table.name), format!("the source {name} could not be read")))
            .collect(),
    }
}

/// Whether a source was asked for: by its name, or as `logs` or `orders`.
fn is_wanted(wanted: &[String], name: &str, source: &Source) -> bool {
    let kind = match source {
        Source::Log(_) => "logs",
        Source::Tables(_) => "orders",
    };
    wanted.is_empty() || wanted.iter().any(|w| w == name || w == kind)
}

fn fail(ctx: &Context, report: &mut RunReport, error: &anyhow::Error) {
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

/// Exports the published partitions of the selected models; a failing export is told, and the others go on.
pub async fn export(
    ctx: &Context,
    project: &Project,
    recorded: &Recorded,
    selected: &BTreeSet<String>,
    report: &mut RunReport,
) {
    for (name, target) in &ctx.config.exports {
        let step = format!("export {name}");
        ctx.reporter.report(Event::StepStarted { step: step.clone(), total: 0 });
        match export_one(ctx, project, recorded, selected, name, target).await.with_context(|| step.clone()) {
            Ok(done) => {
                let summed = ExportReport {
                    export: name.clone(),
                    tables: done.len(),
                    partitions: done.iter().map(|t| t.partitions).sum(),
                    rows: done.iter().map(|t| t.rows).sum(),
                };
                let line = if done.is_empty() {
                    "up to date".to_owned()
                } else {
                    [
                        counted(summed.tables as u64, "table"),
                        counted(summed.partitions as u64, "partition"),
                        counted(summed.rows, "row"),
                    ]
                    .join(", ")
                };
                ctx.reporter.report(Event::StepFinished { step, line });
                report.exports.push(summed);
            }
            Err(error) => {
                ctx.reporter.report(Event::StepFinished { step, line: "failed; the target is as it was".to_owned() });
                fail(ctx, report, &error);
            }
        }
    }
}

async fn export_one(
    ctx: &Context,
    project: &Project,
    recorded: &Recorded,
    selected: &BTreeSet<String>,
    name: &str,
    target: &ExportTarget,
) -> Result<Vec<Exported>> {
    let path = match target {
        ExportTarget::Sqlite(path) => path,
        ExportTarget::Mysql(place) => anyhow::bail!("{}: MySQL is not a target yet, sqlite:PATH is", place.url),
    };
    let mut tables = Vec::new();
    for model in project.models.iter().filter(|m| m.export.iter().any(|e| e == name) && selected.contains(&m.name)) {
        let Some(table) = project.lake.table(&model.name).await? else { continue };
        // A dashboard asks by the day: rows on no day stay in the lake.
        let has_place = |slot: &Slot| slot.is_some() || !model.is_partitioned();
        let state = recorded.states.get(&model.name);
        let slots = state.into_iter().flat_map(|state| &state.slots).filter(|(slot, _)| has_place(slot));
        let slots = slots.map(|(slot, s)| (*slot, (s.version, s.rows))).collect();
        let (description, comments) = match state {
            Some(state) if is_made_by(state, model) => (model.description.clone(), comments_of(model)),
            // What is published is an earlier model's, and so is what it means.
            _ => (table.description(), table.comments()),
        };
        tables.push(ExportTable { table, key: model.grain.clone(), description, comments, slots });
    }
    let run = ExportRun {
        run: ctx.run.clone(),
        now_ms: ctx.now_ms,
        data_as_of: recorded.last_arrival.map(|day| day.to_string()).unwrap_or_default(),
    };
    to_sqlite(path, &project.engine, tables, &run).await
}

/// Whether all that is published of a model was made by what it means now.
fn is_made_by(state: &TableState, model: &Model) -> bool {
    let mut made_from = state.slots.values().filter_map(|slot| slot.fingerprint.as_ref()).chain(&state.whole);
    made_from.all(|fingerprint| fingerprint.meaning == model.meaning)
}

fn comments_of(model: &Model) -> BTreeMap<String, String> {
    model.columns.iter().filter_map(|column| Some((column.name.clone(), column.comment.clone()?))).collect()
}
