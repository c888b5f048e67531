//! Builds what is stale, model after model as their inputs become ready, independent ones side by side.
//!
//! Staleness is looked at when a model's turn comes, with the versions its inputs have then: an input that was rebuilt
//! and came out the same leaves it fresh.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use anyhow::{Result, anyhow};
use tokio::sync::Semaphore;
use tokio::task::{Id, JoinSet};

use super::meter::Meter;
use super::project::{Context, Project};
use super::recipe::recipe;
use super::report::{ModelReport, ModelResult};
use super::sql_error::Names;
use super::turn::{Built, Turn, take};
use crate::check::{Severity, Violation};
use crate::date::Slot;
use crate::lake::Table;
use crate::model::{Model, Read, Span};
use crate::plan::{Begins, Plan, States, Wanted, Window, begins, has_content, obsolete, stale, wanted};
use crate::progress::{Event, counted};
use crate::transform::{Input, Workshop};

/// Which partitions a build is about.
pub struct Target {
    /// The models asked for.
    pub selected: BTreeSet<String>,
    /// The days asked for.
    pub window: Window,
    /// Whether the ones asked for are built even when fresh.
    pub force: bool,
    /// Source tables that lack something, and why: nothing is made from them in this run.
    pub incomplete: BTreeMap<String, String>,
}

/// Builds the target; the states are moved on to what was published. One report a model, in the order of completion.
///
/// # Errors
/// Only when the lake cannot be read at all: a failing model is a result, and what reads it is skipped.
pub async fn build(
    ctx: &Context,
    project: &Arc<Project>,
    states: &mut States,
    target: &Target,
    plan: &Plan,
) -> Result<Vec<ModelReport>> {
    let workshop = &project.workshop(ctx);
    let meter = Meter::start(&ctx.reporter, plan);
    let broken = target.incomplete.clone();
    let mut progress = Progress { states, reports: Vec::new(), broken, meter: Arc::clone(&meter) };
    let models = &project.models;
    let seats = &Arc::new(Semaphore::new(ctx.config.resources.threads().max(1)));
    // Where metrics begin is known once the tables are right that say so: these come first, over all their days.
    let known = begins(models, progress.states, &project.starts, project.start());
    let asked = wanted(models, &target.selected, target.window, &known, progress.states);
    let deciding = known.deciding(models, asked.keys());
    let all_days = Window { from: None, ..target.window };
    let first = wanted(models, &deciding, all_days, &known, progress.states);
    let pass = |force, first_days, wanted| Pass { ctx, project, workshop, target, force, first_days, wanted, seats };
    pass(false, known.clone(), first).build(&mut progress).await?;
    let (first_days, asked) = if progress.reports.is_empty() {
        (known, asked)
    } else {
        let first_days = begins(models, progress.states, &project.starts, project.start());
        let asked = wanted(models, &target.selected, target.window, &first_days, progress.states);
        (first_days, asked)
    };
    pass(target.force, first_days, asked).build(&mut progress).await?;
    meter.finish(progress.reports.iter().map(|report| (report.model.as_str(), report.built)));
    Ok(progress.reports)
}

/// How far a build has come.
struct Progress<'a> {
    states: &'a mut States,
    reports: Vec<ModelReport>,
    /// What cannot be built upon, and why.
    broken: BTreeMap<String, String>,
    meter: Arc<Meter>,
}

/// One pass over the wanted models, with what was known when it began.
struct Pass<'a> {
    ctx: &'a Context,
    project: &'a Arc<Project>,
    workshop: &'a Workshop,
    target: &'a Target,
    force: bool,
    first_days: Begins,
    wanted: Wanted,
    /// For the partitions that are computed at a time.
    seats: &'a Arc<Semaphore>,
}

impl Pass<'_> {
    /// Builds what is stale, model after model; what failed in an earlier pass is not tried again.
    async fn build(&self, progress: &mut Progress<'_>) -> Result<()> {
        let Self { ctx, project, workshop, .. } = *self;
        let Progress { states, reports, broken, meter } = progress;
        let wanted = |model: &&Model| self.wanted.contains_key(&model.name) && !broken.contains_key(&model.name);
        let mut waiting: Vec<Arc<Model>> = project.models.iter().filter(wanted).map(|m| Arc::new(m.clone())).collect();
        let mut unfinished: BTreeSet<String> = waiting.iter().map(|m| m.name.clone()).collect();
        let mut tables: BTreeMap<String, Table> = BTreeMap::new();
        let mut tasks: JoinSet<Result<Built>> = JoinSet::new();
        let mut running: BTreeMap<Id, String> = BTreeMap::new();
        let side_by_side = ctx.config.resources.threads().max(1);
        loop {
            let mut index = 0;
            while index < waiting.len() && tasks.len() < side_by_side {
                let model = &waiting[index];
                let reads: Vec<&Read> = model.prerequisites().collect();
                if let Some(cause) = reads.iter().find_map(|read| broken.get(&read.table)) {
                    let report = ModelReport::skipped(&model.name, cause);
                    meter.over(&model.name);
                    ctx.reporter.report(Event::Failure(format!("{} skipped: {cause}", model.name)));
                    broken.insert(model.name.clone(), cause.clone());
                    unfinished.remove(&model.name);
                    reports.push(report);
                    waiting.remove(index);
                    index = 0;
                    continue;
                }
                if reads.iter().any(|read| unfinished.contains(&read.table)) {
                    index += 1;
                    continue;
                }
                let model = waiting.remove(index);
                let turn = self.prepare((workshop, meter), &model, states, &mut tables).await?;
                match turn {
                    Some(turn) => {
                        let name = turn.model.name.clone();
                        running.insert(tasks.spawn(Box::pin(take(turn))).id(), name);
                    }
                    None => {
                        meter.over(&model.name);
                        unfinished.remove(&model.name);
                        index = 0;
                    }
                }
            }
            let Some(done) = tasks.join_next_with_id().await else { break };
            let (id, result) = match done {
                Ok((id, result)) => (id, result),
                // A defect of the engine fails one model and not the run.
                Err(stopped) => (stopped.id(), Err(anyhow!("the engine stopped on this query: please report it"))),
            };
            let Some(name) = running.remove(&id) else { continue };
            unfinished.remove(&name);
            meter.over(&name);
            match result {
                Ok(built) => {
                    if let ModelResult::ChecksFailed = built.report.result {
                        broken.insert(name.clone(), format!("a check of {name} failed"));
                    }
                    tell(ctx, project, &built.report);
                    tables.extend(built.table.map(|table| (name.clone(), table)));
                    states.set(name, built.state);
                    project.note_first_days(states);
                    reports.push(built.report);
                }
                Err(error) => {
                    let text = crate::error::render(&explained(project, &name, error));
                    ctx.reporter.report(Event::Failure(format!("{name} failed\n{text}")));
                    broken.insert(name.clone(), format!("{name} failed"));
                    reports.push(ModelReport::failed(&name, text));
                    // Batches before the failing one are published: what is recorded counts, not what was known before.
                    states.set(name.clone(), project.recorded_of(&name).await?);
                    tables.remove(&name);
                }
            }
        }
        Ok(())
    }

    /// Opens what a model's turn needs; `None` when there is nothing to do.
    async fn prepare(
        &self,
        (workshop, meter): (&Workshop, &Arc<Meter>),
        model: &Arc<Model>,
        states: &States,
        tables: &mut BTreeMap<String, Table>,
    ) -> Result<Option<Turn>> {
        let Self { project, target, .. } = *self;
        let mut slots = self.wanted.get(&model.name).cloned().unwrap_or_default();
        slots.retain(|slot| has_content(model, *slot, states));
        let obsolete = obsolete(model, self.first_days.get(&model.name), states);
        let is_forced = self.force && target.selected.contains(&model.name);
        let asked = slots.iter().copied().filter(|slot| is_forced && target.window.contains(*slot));
        let forced: BTreeSet<Slot> = asked.collect();
        let due = !stale(model, &slots, states).is_empty() && !slots.is_empty();
        // A table without partitions is there all the same, with the columns that the model has.
        let is_known = states.get(&model.name).is_some_and(|state| {
            !state.slots.is_empty() || state.whole.is_some() || state.forms.contains_key(&model.meaning)
        });
        if !due && forced.is_empty() && obsolete.is_empty() && is_known {
            return Ok(None);
        }
        for read in &model.dependencies {
            if !tables.contains_key(&read.table)
                && let Some(table) = project.lake.table(&read.table).await?
            {
                tables.insert(read.table.clone(), table);
            }
        }
        Ok(Some(Turn {
            project: Arc::clone(project),
            workshop: workshop.clone(),
            model: Arc::clone(model),
            slots,
            obsolete,
            forced,
            states: states.clone(),
            tables: tables.clone(),
            meter: Arc::clone(meter),
            threads: self.ctx.config.resources.threads().max(1),
            seats: Arc::clone(self.seats),
        }))
    }
}

/// An engine's error in a model's SQL, with the place in its file where the engine knows it.
fn explained(project: &Project, name: &str, error: anyhow::Error) -> anyhow::Error {
    let Some(model) = project.models.get(name) else { return error };
    super::sql_error::located(error, &model.path, &model.sql, &Names::of_functions(&project.engine))
}

fn tell(ctx: &Context, project: &Project, report: &ModelReport) {
    for violation in &report.violations {
        let text = violation.to_string();
        ctx.reporter.report(match violation.severity {
            Severity::Fail => Event::Failure(format!("{}: a check failed, nothing is published\n{text}", report.model)),
            Severity::Warn => Event::Warning(format!("{}: {text}", report.model)),
        });
    }
    if let (Some(first), Some(last)) = (report.first, report.last) {
        ctx.reporter.report(Event::ModelBuilt {
            model: report.model.clone(),
            by_day: project.models.get(&report.model).is_some_and(|model| model.uses_day),
            slots: (first, last),
            partitions: report.built,
            changed: report.changed,
            rows: report.rows,
            elapsed: report.elapsed,
        });
    }
}

/// Runs the checks of published partitions again, without building anything.
///
/// # Errors
/// When a check cannot be run.
pub async fn check_published(
    ctx: &Context,
    project: &Arc<Project>,
    states: &States,
    target: &Target,
) -> Result<Vec<(String, Vec<Violation>)>> {
    let workshop = project.workshop(ctx);
    let calendar = project.calendar(states);
    let mut found = Vec::new();
    for model in project.models.iter().filter(|m| target.selected.contains(&m.name)) {
        let Some(table) = project.lake.table(&model.name).await? else { continue };
        let mut inputs = Vec::new();
        for read in model.prerequisites() {
            if let Some(other) = project.lake.table(&read.table).await? {
                inputs.push(Input {
                    name: read.table.clone(),
                    files: other.files().to_vec(),
                    table: other,
                    sees: None,
                });
            }
        }
        let asked = Span { no_day: true, ..Span::days(target.window.from, Some(target.window.to)) };
        let slots: Vec<Slot> = states
            .get(&model.name)
            .map(|state| state.slots.keys().copied().filter(|slot| asked.contains(*slot)).collect())
            .unwrap_or_default();
        let violations = workshop.check_published(&recipe(model), &table, &slots, &inputs, &calendar).await;
        let violations = violations.map_err(|error| explained(project, &model.name, error))?;
        let days = slots.iter().flatten().count();
        ctx.reporter.report(Event::Note(format!("{}  {} checked", model.name, counted(days as u64, "day"))));
        found.push((model.name.clone(), violations));
    }
    Ok(found)
}
