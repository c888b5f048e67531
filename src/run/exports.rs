//! The exports of a run: each brings its target to the state of the lake, or says where the target differs. One that fails
//! is told, and the others go on.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result, anyhow};
use futures::{StreamExt, TryStreamExt};

use super::project::{CONCURRENT_TABLES, Context, Project, Recorded};
use super::report::{DifferenceReport, ExportReport, RunReport};
use super::steps::fail;
use crate::config::ExportTarget;
use crate::date::{BizDate, Slot};
use crate::error::Advice;
use crate::export::{
    Aftermath, Difference, ExportRun, ExportTable, Key, Outcome, Unlike, compare_mysql, compare_sqlite, to_mysql,
    to_sqlite,
};
use crate::lake::Head;
use crate::model::Model;
use crate::mysql::Server;
use crate::plan::TableState;
use crate::progress::{Event, counted};

/// Partitions to write even when the target has them: by export, then by table.
pub type Forced = BTreeMap<String, BTreeMap<String, BTreeSet<Slot>>>;

/// What the exports of a run work with.
pub struct Exports<'a> {
    /// The run.
    pub ctx: &'a Context,
    /// The project.
    pub project: &'a Project,
    /// What the lake has.
    pub recorded: &'a Recorded,
    /// The models that are wanted.
    pub selected: &'a BTreeSet<String>,
}

impl Exports<'_> {
    /// Exports the published partitions of the selected models.
    pub async fn export(&self, forced: &Forced, report: &mut RunReport) {
        for (name, target) in &self.ctx.config.exports {
            let step = format!("export {name}");
            self.say(Event::StepStarted { step: step.clone(), total: 0 });
            match self.export_one(name, target, forced.get(name)).await.with_context(|| step.clone()) {
                Ok(Outcome { done, recorded }) => {
                    self.tell_left_behind(name, target, &recorded, report);
                    let summed = ExportReport {
                        export: name.clone(),
                        tables: done.len(),
                        partitions: done.iter().map(|t| t.partitions).sum(),
                        rows: done.iter().map(|t| t.rows).sum(),
                        read_back: done.iter().map(|t| t.read_back).sum(),
                    };
                    self.say(Event::StepFinished { step, line: line(&summed) });
                    report.exports.push(summed);
                }
                Err(error) => {
                    self.say(Event::StepFinished { step, line: Aftermath::of(&error).to_owned() });
                    fail(self.ctx, report, &error);
                }
            }
        }
    }

    async fn export_one(
        &self,
        name: &str,
        target: &ExportTarget,
        forced: Option<&BTreeMap<String, BTreeSet<Slot>>>,
    ) -> Result<Outcome> {
        let tables = self.tables(name, forced).await?;
        let run = ExportRun {
            export: name.to_owned(),
            run: self.ctx.run.clone(),
            now_ms: self.ctx.now_ms,
            data_as_of: self.recorded.last_arrival.map(|day| day.to_string()).unwrap_or_default(),
        };
        let engine = &self.project.engine;
        match target {
            ExportTarget::Sqlite(path) => to_sqlite(path, engine, tables, &run).await,
            ExportTarget::Mysql(place) => {
                let server = Server::new(place, self.ctx.config.timezone);
                to_mysql(&server, engine, tables, &run, self.ctx.reporter.as_ref()).await
            }
        }
    }

    /// Tells of tables that some run exported and that no model is exported to any more: they stay as they were, and look
    /// to a reader like the others.
    fn tell_left_behind(&self, name: &str, target: &ExportTarget, recorded: &BTreeSet<String>, report: &mut RunReport) {
        let exports = &self.ctx.config.exports;
        let leads_here = |export: &String| exports.get(export).is_some_and(|other| other.is_same_database(target));
        let is_exported = |model: &Model| model.export.iter().any(leads_here);
        let kept: BTreeSet<&str> =
            self.project.models.iter().filter(|m| is_exported(m)).map(|m| m.name.as_str()).collect();
        for table in recorded.iter().filter(|table| !kept.contains(table.as_str())) {
            let text = format!(
                "export {name}: no model of this project is exported to {table} any more: its rows stay as they were. Unless \
                 another project fills it, drop it there and delete its rows of strata_export, strata_table and strata_column"
            );
            self.say(Event::Warning(text.clone()));
            report.warnings.push(text);
        }
    }

    /// Compares every target with the lake; with `repair` what differs is to be written again, otherwise it is a failure.
    pub async fn verify(&self, repair: bool, report: &mut RunReport) -> Forced {
        let mut forced = Forced::new();
        for (name, target) in &self.ctx.config.exports {
            let step = format!("verify {name}");
            self.say(Event::StepStarted { step: step.clone(), total: 0 });
            let compared = self.compare_one(name, target).await.with_context(|| step.clone());
            let differences = match compared {
                Ok((partitions, differences)) => {
                    let (all, unlike) = (counted(partitions, "partition"), differences.len());
                    let line = if unlike == 0 {
                        format!("{all}, all as in the lake")
                    } else {
                        format!("{all}, {unlike} differ")
                    };
                    self.say(Event::StepFinished { step, line });
                    differences
                }
                Err(error) => {
                    self.say(Event::StepFinished { step, line: "failed".to_owned() });
                    fail(self.ctx, report, &error);
                    continue;
                }
            };
            if !repair && !differences.is_empty() {
                let what = differing(&differences);
                let verb = if differences.len() == 1 { "differs" } else { "differ" };
                let error = Err::<(), _>(anyhow!("export {name}: {what} of the target {verb} from the lake"));
                let hint = "`strata export --verify --repair` writes them again";
                error.hint(hint).unwrap_or_else(|error| fail(self.ctx, report, &error));
            }
            for Difference { table, dt, kind } in differences {
                let slot: Slot = dt.parse::<BizDate>().ok();
                if !matches!(kind, Unlike::Column { .. }) {
                    forced.entry(name.clone()).or_default().entry(table.clone()).or_default().insert(slot);
                }
                let text = Difference { table: table.clone(), dt: dt.clone(), kind }.to_string();
                report.differences.push(DifferenceReport { export: name.clone(), table, dt, text });
            }
        }
        forced
    }

    async fn compare_one(&self, name: &str, target: &ExportTarget) -> Result<(u64, Vec<Difference>)> {
        let tables = self.tables(name, None).await?;
        let partitions = tables.iter().map(|table| table.slots.len() as u64).sum();
        let engine = &self.project.engine;
        let differences = match target {
            ExportTarget::Sqlite(path) => compare_sqlite(path, engine, tables).await?,
            ExportTarget::Mysql(place) => {
                compare_mysql(&Server::new(place, self.ctx.config.timezone), engine, tables).await?
            }
        };
        Ok((partitions, differences))
    }

    /// The published tables of an export.
    async fn tables(&self, name: &str, forced: Option<&BTreeMap<String, BTreeSet<Slot>>>) -> Result<Vec<ExportTable>> {
        let mut tables = Vec::new();
        let wanted = |m: &&Model| m.export.iter().any(|e| e == name) && self.selected.contains(&m.name);
        let models: Vec<&Model> = self.project.models.iter().filter(wanted).collect();
        let known: Vec<(&Model, Option<Head>)> = futures::stream::iter(models)
            .map(|model| async move { anyhow::Ok((model, self.project.lake.head(&model.name).await?)) })
            .buffered(CONCURRENT_TABLES)
            .try_collect()
            .await?;
        for (model, head) in known {
            let Some(head) = head else { continue };
            // A dashboard asks by the day: rows on no day stay in the lake.
            let has_place = |slot: &Slot| slot.is_some() || !model.is_partitioned();
            let state = self.recorded.states.get(&model.name);
            let slots = state.into_iter().flat_map(|state| &state.slots).filter(|(slot, _)| has_place(slot));
            let slots = slots.map(|(slot, s)| (*slot, (s.version, s.rows))).collect();
            let (key, description, comments) = match state {
                Some(state) if is_made_by(state, model) => {
                    (Key::Grain(model.grain.clone()), model.description.clone(), comments_of(model))
                }
                // What is published is an earlier model's, and so is what it means.
                _ => (Key::Earlier(model.grain.clone()), head.description().to_owned(), head.comments()),
            };
            let forced = forced.and_then(|tables| tables.get(&model.name)).cloned().unwrap_or_default();
            tables.push(ExportTable { head, key, description, comments, slots, forced });
        }
        Ok(tables)
    }

    /// All partitions of the selected models within a range of days.
    pub fn all_within(&self, from: Option<BizDate>, to: Option<BizDate>) -> Forced {
        let within = |day: &BizDate| from.is_none_or(|from| *day >= from) && to.is_none_or(|to| *day <= to);
        let is_wanted = |slot: &Slot| slot.is_none_or(|day| within(&day));
        let mut forced = Forced::new();
        for model in self.project.models.iter().filter(|m| self.selected.contains(&m.name)) {
            let Some(state) = self.recorded.states.get(&model.name) else { continue };
            let has_place = |slot: &Slot| slot.is_some() || !model.is_partitioned();
            let slots: BTreeSet<Slot> =
                state.slots.keys().filter(|slot| has_place(slot) && is_wanted(slot)).copied().collect();
            for export in &model.export {
                forced.entry(export.clone()).or_default().insert(model.name.clone(), slots.clone());
            }
        }
        forced
    }

    fn say(&self, event: Event) {
        self.ctx.reporter.report(event);
    }
}

/// How many partitions differ, and how many columns in their type.
fn differing(differences: &[Difference]) -> String {
    let columns = differences.iter().filter(|d| matches!(d.kind, Unlike::Column { .. })).count();
    let partitions = counted((differences.len() - columns) as u64, "partition");
    match (columns, differences.len() - columns) {
        (0, _) => partitions,
        (_, 0) => counted(columns as u64, "column"),
        _ => format!("{} and {partitions}", counted(columns as u64, "column")),
    }
}

fn line(done: &ExportReport) -> String {
    if done.tables == 0 {
        return "up to date".to_owned();
    }
    let parts =
        [counted(done.tables as u64, "table"), counted(done.partitions as u64, "partition"), counted(done.rows, "row")];
    parts.join(", ")
}

/// Whether all that is published of a model was made by what it means now.
fn is_made_by(state: &TableState, model: &Model) -> bool {
    let mut made_from = state.slots.values().filter_map(|slot| slot.fingerprint.as_ref()).chain(&state.whole);
    let is_empty = state.slots.is_empty() && state.whole.is_none();
    (!is_empty || state.forms.contains_key(&model.meaning))
        && made_from.all(|fingerprint| fingerprint.meaning == model.meaning)
}

fn comments_of(model: &Model) -> BTreeMap<String, String> {
    model.columns.iter().filter_map(|column| Some((column.name.clone(), column.comment.clone()?))).collect()
}
