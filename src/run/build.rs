//! Builds what is stale, model after model as their inputs become ready, independent ones side by side.
//!
//! Staleness is looked at when a model's turn comes, with the versions its inputs have then: an input that was rebuilt
//! and came out the same leaves it fresh.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, Result};
use tokio::task::JoinSet;

use super::project::{Context, Project, SlotRecord, WholeRecord, slot_domain};
use super::report::{ModelReport, ModelResult};
use crate::check::{Check, Rule, Severity, Violation};
use crate::date::{BizDate, Slot};
use crate::engine::Calendar;
use crate::lake::{FileRef, Table};
use crate::model::{CheckKind, Layer, Model, Read, Span};
use crate::plan::{
    Begins, Fingerprint, Reason, SlotState, States, TableState, Wanted, Window, begins, fingerprint, obsolete, stale,
    wanted,
};
use crate::progress::Event;
use crate::transform::{Input, Publisher, Recipe, Staged, Workshop, publish};

/// Days of one model that are published together: a backfill is a few commits, and a killed one loses little.
const BATCH_DAYS: usize = 31;

/// Which partitions a build is about.
pub struct Target {
    /// The models asked for.
    pub selected: BTreeSet<String>,
    /// The days asked for.
    pub window: Window,
    /// Whether the ones asked for are built even when fresh.
    pub force: bool,
}

/// What one model's turn needs, moved into its task.
struct Turn {
    project: Arc<Project>,
    workshop: Workshop,
    model: Arc<Model>,
    slots: Vec<Slot>,
    obsolete: Vec<Slot>,
    forced: BTreeSet<Slot>,
    states: States,
    tables: BTreeMap<String, Table>,
}

/// What came of a turn.
struct Done {
    name: String,
    result: Result<Built>,
}

struct Built {
    table: Option<Table>,
    state: TableState,
    report: ModelReport,
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
) -> Result<Vec<ModelReport>> {
    let workshop = Workshop {
        engine: project.engine.clone(),
        lake: project.lake.clone(),
        seeds: project.seeds.clone(),
        run: ctx.run.clone(),
        now_ms: ctx.now_ms,
    };
    let mut reports = Vec::new();
    // Where tables begin can change by building: models that were passed before that was known are looked at again.
    loop {
        let first_days = begins(&project.models, states, &project.starts, project.start());
        let wanted = wanted(&project.models, &target.selected, target.window, &first_days, states);
        let pass = Pass { ctx, project, workshop: &workshop, target, first_days: &first_days, wanted: &wanted };
        let broken = pass.build(states, &mut reports).await?;
        let settled = begins(&project.models, states, &project.starts, project.start()) == first_days;
        if settled || broken {
            return Ok(reports);
        }
    }
}

/// One pass over the wanted models, with what was known when it began.
struct Pass<'a> {
    ctx: &'a Context,
    project: &'a Arc<Project>,
    workshop: &'a Workshop,
    target: &'a Target,
    first_days: &'a Begins,
    wanted: &'a Wanted,
}

impl Pass<'_> {
    /// Builds what is stale, model after model; whether something failed.
    async fn build(&self, states: &mut States, reports: &mut Vec<ModelReport>) -> Result<bool> {
        let Self { ctx, project, workshop, .. } = *self;
        let wanted = |model: &&Model| self.wanted.contains_key(&model.name);
        let mut waiting: Vec<Arc<Model>> = project.models.iter().filter(wanted).map(|m| Arc::new(m.clone())).collect();
        let mut unfinished: BTreeSet<String> = waiting.iter().map(|m| m.name.clone()).collect();
        let mut broken: BTreeMap<String, String> = BTreeMap::new();
        let mut tables: BTreeMap<String, Table> = BTreeMap::new();
        let mut tasks: JoinSet<Done> = JoinSet::new();
        let side_by_side = ctx.config.resources.threads().max(1);
        loop {
            let mut index = 0;
            while index < waiting.len() && tasks.len() < side_by_side {
                let model = &waiting[index];
                let reads: Vec<&Read> = model.inputs().chain(model.check_inputs()).collect();
                if let Some(cause) = reads.iter().find_map(|read| broken.get(&read.table)) {
                    let report = ModelReport::skipped(&model.name, cause);
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
                let turn = self.prepare(workshop, &model, states, &mut tables).await?;
                match turn {
                    Some(turn) => {
                        tasks.spawn(async move {
                            let name = turn.model.name.clone();
                            // In a task of its own, so that a defect of the engine fails one model and not the run.
                            let result = match tokio::spawn(Box::pin(take(turn))).await {
                                Ok(result) => result,
                                Err(_) => {
                                    Err(anyhow::anyhow!("the engine stopped on the query of {name}: please report it"))
                                }
                            };
                            Done { name, result }
                        });
                    }
                    None => {
                        unfinished.remove(&model.name);
                        index = 0;
                    }
                }
            }
            let Some(done) = tasks.join_next().await else { break };
            let Done { name, result } = done.context("a build task ended")?;
            unfinished.remove(&name);
            match result {
                Ok(built) => {
                    if let ModelResult::ChecksFailed = built.report.result {
                        broken.insert(name.clone(), format!("a check of {name} failed"));
                    }
                    tell(ctx, &built.report);
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
                }
            }
        }
        Ok(!broken.is_empty())
    }

    /// Opens what a model's turn needs; `None` when there is nothing to do.
    async fn prepare(
        &self,
        workshop: &Workshop,
        model: &Arc<Model>,
        states: &States,
        tables: &mut BTreeMap<String, Table>,
    ) -> Result<Option<Turn>> {
        let Self { project, target, .. } = *self;
        let slots = self.wanted.get(&model.name).cloned().unwrap_or_default();
        let obsolete = obsolete(model, self.first_days.get(&model.name), states);
        let is_forced = target.force && target.selected.contains(&model.name);
        let forced: BTreeSet<Slot> = if is_forced { slots.iter().copied().collect() } else { BTreeSet::new() };
        let due = !stale(model, &slots, states).is_empty() && !slots.is_empty();
        let missing = states.get(&model.name).is_none() && project.lake.table(&model.name).await?.is_none();
        if !due && forced.is_empty() && obsolete.is_empty() && !missing {
            return Ok(None);
        }
        for read in model.reads.iter().chain(model.check_inputs()) {
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
        }))
    }
}

/// One model's turn: its stale partitions staged, checked and published, a batch of days at a time.
async fn take(mut turn: Turn) -> Result<Built> {
    let since = Instant::now();
    let recipe = recipe(&turn.model);
    let calendar = turn.project.calendar(&turn.states);
    let inputs = turn.inputs(None, true);
    let mut table = turn.workshop.table_of(&recipe, &inputs, &calendar).await?;
    turn.tables.insert(recipe.name.clone(), table.clone());
    let mut report = ModelReport::new(&recipe.name);
    if turn.model.uses_day {
        turn.build_days(&recipe, &mut table, &calendar, &mut report).await?;
    } else if !turn.slots.is_empty() {
        turn.build_whole(&recipe, &mut table, &calendar, &mut report).await?;
    }
    report.elapsed = since.elapsed();
    let state = turn.states.get(&recipe.name).cloned().unwrap_or_default();
    Ok(Built { table: Some(table), state, report })
}

impl Turn {
    /// The tables that are read and the files of the partitions that one slot needs; all files when `everything`.
    fn inputs(&self, slot: Slot, everything: bool) -> Vec<Input> {
        let mut inputs: Vec<Input> = Vec::new();
        let checks = if everything { self.model.check_inputs().collect() } else { Vec::new() };
        for read in self.model.reads.iter().chain(checks) {
            let known = inputs.iter().any(|input| input.name == read.table);
            let Some(table) = self.tables.get(&read.table).filter(|_| !known) else { continue };
            let spans = read.spans(slot, self.states.days(&read.table));
            let files = table.files().iter().filter(|f| everything || is_read(table, f, &spans)).cloned().collect();
            inputs.push(Input { name: read.table.clone(), table: table.clone(), files });
        }
        inputs
    }

    async fn build_days(
        &mut self,
        recipe: &Recipe,
        table: &mut Table,
        calendar: &Arc<dyn Calendar>,
        report: &mut ModelReport,
    ) -> Result<()> {
        let slots = std::mem::take(&mut self.slots);
        for batch in slots.chunks(BATCH_DAYS) {
            let before = self.states.get(&recipe.name).cloned().unwrap_or_default();
            let mut staged: Vec<Staged> = Vec::new();
            for slot in batch {
                let Some(day) = *slot else { continue };
                let due = stale(&self.model, &[Some(day)], &self.states).into_iter().next().map(|(_, reason)| reason);
                let Some(reason) = due.or_else(|| self.forced.contains(slot).then_some(Reason::Forced)) else {
                    continue;
                };
                report.note_reason(&reason);
                let inputs = self.inputs(Some(day), false);
                let made_from = fingerprint(&self.model, Some(day), &self.states);
                let mut rows = self.workshop.stage_day(recipe, table, (day, inputs), calendar, &staged).await?;
                let Some(rows) = rows.pop() else { continue };
                // The next day of a model that reads its own past is compared with what this day came out as.
                self.states.set_slot(
                    &recipe.name,
                    Some(day),
                    built_state(&before, &rows, made_from, &self.workshop.run),
                );
                staged.push(rows);
            }
            if !self.settle(recipe, table, calendar, report, staged, &before, Vec::new()).await? {
                self.states.set(recipe.name.clone(), before);
                return Ok(());
            }
        }
        self.take_away_obsolete(recipe, table).await
    }

    /// Takes away partitions that a warehouse built from nothing would not have.
    async fn take_away_obsolete(&mut self, recipe: &Recipe, table: &mut Table) -> Result<()> {
        if self.obsolete.is_empty() {
            return Ok(());
        }
        let records = self.obsolete.iter().map(|slot| (slot_domain(*slot), None)).collect();
        publish(table, Vec::new(), &self.obsolete, records, self.publisher()).await?;
        let mut state = self.states.get(&recipe.name).cloned().unwrap_or_default();
        state.slots.retain(|slot, _| !self.obsolete.contains(slot));
        self.states.set(recipe.name.clone(), state);
        Ok(())
    }

    async fn build_whole(
        &mut self,
        recipe: &Recipe,
        table: &mut Table,
        calendar: &Arc<dyn Calendar>,
        report: &mut ModelReport,
    ) -> Result<()> {
        let due = stale(&self.model, &[None], &self.states).into_iter().next().map(|(_, reason)| reason);
        let Some(reason) = due.or_else(|| (!self.forced.is_empty()).then_some(Reason::Forced)) else { return Ok(()) };
        report.note_reason(&reason);
        let before = self.states.get(&recipe.name).cloned().unwrap_or_default();
        let made_from = fingerprint(&self.model, None, &self.states);
        let inputs = self.inputs(None, false);
        let staged = self.workshop.stage_whole(recipe, table, &inputs, calendar).await?;
        let gone: Vec<Slot> =
            before.slots.keys().filter(|slot| !staged.iter().any(|s| s.slot == **slot)).copied().collect();
        let mut after =
            TableState { whole: Some(made_from.clone()), run: self.workshop.run.clone(), ..TableState::default() };
        for rows in &staged {
            let mut state = built_state(&before, rows, Fingerprint::default(), &self.workshop.run);
            state.fingerprint = None;
            after.slots.insert(rows.slot, state);
        }
        self.states.set(recipe.name.clone(), after);
        let whole = WholeRecord { run: self.workshop.run.clone(), fingerprint: made_from };
        let mut records: Vec<(String, Option<String>)> =
            vec![("strata.whole".to_owned(), Some(serde_json::to_string(&whole)?))];
        records.extend(gone.iter().map(|slot| (slot_domain(*slot), None)));
        self.obsolete = gone;
        if !self.settle(recipe, table, calendar, report, staged, &before, records).await? {
            self.states.set(recipe.name.clone(), before);
        }
        Ok(())
    }

    /// Checks staged partitions and publishes the ones that changed; `false` when a check forbids it.
    #[expect(clippy::too_many_arguments, reason = "the one place where a turn's pieces meet")]
    async fn settle(
        &mut self,
        recipe: &Recipe,
        table: &mut Table,
        calendar: &Arc<dyn Calendar>,
        report: &mut ModelReport,
        staged: Vec<Staged>,
        before: &TableState,
        mut records: Vec<(String, Option<String>)>,
    ) -> Result<bool> {
        if staged.is_empty() && records.is_empty() {
            return Ok(true);
        }
        let inputs = self.inputs(None, true);
        let violations = self.workshop.check(recipe, table, &staged, &inputs, calendar).await?;
        let failed = violations.iter().any(|v| v.severity == Severity::Fail);
        report.violations.extend(violations);
        if failed {
            for rows in &staged {
                table.discard(&rows.files).await;
            }
            report.result = ModelResult::ChecksFailed;
            return Ok(false);
        }
        let now = self.states.get(&recipe.name).cloned().unwrap_or_default();
        let mut changed = Vec::new();
        for rows in staged {
            let state = now.slots.get(&rows.slot);
            report.note_built(rows.slot, rows.rows);
            let unchanged = before.slots.get(&rows.slot).is_some_and(|old| old.version == rows.version);
            if let Some(state) = state.filter(|s| !unchanged || s.fingerprint.is_some()) {
                records.push((slot_domain(rows.slot), Some(serde_json::to_string(&record(state))?)));
            }
            if unchanged {
                table.discard(&rows.files).await;
            } else {
                report.changed += 1;
                changed.push(rows);
            }
        }
        let gone = if self.model.uses_day { Vec::new() } else { std::mem::take(&mut self.obsolete) };
        publish(table, changed, &gone, records, self.publisher()).await?;
        self.tables.insert(recipe.name.clone(), table.clone());
        Ok(true)
    }

    fn publisher(&self) -> Publisher<'_> {
        Publisher { run: &self.workshop.run, now_ms: self.workshop.now_ms }
    }
}

fn is_read(table: &Table, file: &FileRef, spans: &[Span]) -> bool {
    if table.partitioned() {
        return spans.iter().any(|span| span.contains(file.slot));
    }
    let Some((first, last)) = file.days else { return !spans.is_empty() };
    let overlaps = |span: &Span| span.to.is_none_or(|to| first <= to) && span.from.is_none_or(|from| from <= last);
    spans.iter().any(overlaps)
}

/// The state of a partition as it was just staged: a version that did not change keeps the run that gave it.
fn built_state(before: &TableState, rows: &Staged, made_from: Fingerprint, run: &str) -> SlotState {
    let same = before.slots.get(&rows.slot).filter(|old| old.version == rows.version);
    let run = same.map_or(run, |old| old.run.as_str()).to_owned();
    SlotState { version: rows.version, rows: rows.rows, fingerprint: Some(made_from), run }
}

fn record(state: &SlotState) -> SlotRecord {
    SlotRecord {
        version: format!("{:016x}", state.version),
        rows: state.rows,
        run: state.run.clone(),
        fingerprint: state.fingerprint.clone(),
    }
}

/// What the transform needs to know of a model.
fn recipe(model: &Model) -> Recipe {
    let grain = Rule::Unique(model.grain.clone());
    let mut checks = vec![Check { rule: grain, severity: Severity::Fail, origin: model.path.clone() }];
    checks.extend(model.checks.iter().map(|check| Check {
        rule: match check.kind {
            CheckKind::Row => Rule::Row(check.text.clone()),
            CheckKind::Query(_) => Rule::Query(check.text.clone()),
        },
        severity: match check.severity {
            crate::model::Severity::Fail => Severity::Fail,
            crate::model::Severity::Warn => Severity::Warn,
        },
        origin: format!("{}:{}", model.path, check.line),
    }));
    let comments = model.columns.iter().filter_map(|c| Some((c.name.clone(), c.comment.clone()?)));
    Recipe {
        name: model.name.clone(),
        description: model.description.clone(),
        sql: model.sql.clone(),
        grain: model.grain.clone(),
        checks,
        comments: comments.collect(),
        partitioned: model.layer != Layer::App,
        own_past: model.reads_itself(),
    }
}

/// An engine's error in a model's SQL, with the place in its file where the engine knows it.
fn explained(project: &Project, name: &str, error: anyhow::Error) -> anyhow::Error {
    let Some(model) = project.models.get(name) else { return error };
    super::sql_error::located(error, &model.path, &model.sql)
}

fn tell(ctx: &Context, report: &ModelReport) {
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
    let workshop = Workshop {
        engine: project.engine.clone(),
        lake: project.lake.clone(),
        seeds: project.seeds.clone(),
        run: ctx.run.clone(),
        now_ms: ctx.now_ms,
    };
    let calendar = project.calendar(states);
    let mut found = Vec::new();
    for model in project.models.iter().filter(|m| target.selected.contains(&m.name)) {
        let Some(table) = project.lake.table(&model.name).await? else { continue };
        let mut inputs = Vec::new();
        for read in model.inputs().chain(model.check_inputs()) {
            let known = inputs.iter().any(|input: &Input| input.name == read.table);
            if let Some(other) = project.lake.table(&read.table).await?.filter(|_| !known) {
                inputs.push(Input { name: read.table.clone(), files: other.files().to_vec(), table: other });
            }
        }
        let in_window = |day: BizDate| target.window.from.is_none_or(|from| from <= day) && day <= target.window.to;
        let days: Vec<BizDate> = states
            .get(&model.name)
            .map(|state| state.slots.keys().flatten().copied().filter(|day| in_window(*day)).collect())
            .unwrap_or_default();
        let violations = workshop.check_published(&recipe(model), &table, &days, &inputs, &calendar).await;
        let violations = violations.map_err(|error| explained(project, &model.name, error))?;
        ctx.reporter.report(Event::Note(format!("{}  {} days checked", model.name, days.len())));
        found.push((model.name.clone(), violations));
    }
    Ok(found)
}
