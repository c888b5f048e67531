//! Runs the cases of models: what goes in is given, what comes out is compared, cell by cell; the lake is not touched.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context as _, Result, anyhow};
use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Date32Type, SchemaRef};
use arrow::util::display::{ArrayFormatter, FormatOptions};

use super::blueprint::schemas;
use super::cases::{Case, cases_of, read_rows, read_some};
use super::project::{Context, Project};
use super::recipe::recipe;
use super::sql_error::Names;
use crate::check::{Check, Violation};
use crate::date::BizDate;
use crate::engine::{Calendar, Engine, memory_table};
use crate::error::{Advice, Exit, render};
use crate::model::{FIRST_LOADED_DAY, Model, select};
use crate::progress::Event;
use crate::transform::{Named, Workshop};

/// How values are written.
const CELLS: FormatOptions<'static> = FormatOptions::new();

/// How many rows that differ are told.
const SHOWN_ROWS: usize = 20;

/// How the cases of one model went.
pub struct Trial {
    /// The model.
    pub model: String,
    /// Its layer.
    pub layer: String,
    /// How many cases it has.
    pub cases: usize,
    /// How many checks it has, besides that its grain is unique.
    pub checks: usize,
    /// The cases that failed, with what was wrong.
    pub failed: Vec<(String, String)>,
}

/// Runs the cases of the selected models.
///
/// # Errors
/// When the project is wrong; a case that fails is a result.
pub async fn test(ctx: &Context, selected: &[String], excluded: &[String]) -> Result<Vec<Trial>> {
    let project = Project::open(ctx)?;
    let selected = select(&project.models, selected, excluded).exit(Exit::Usage)?;
    let tried = project.models.iter().filter(|model| selected.contains(&model.name));
    let checked = tried.flat_map(|model| model.prerequisites().map(|read| read.table.clone()));
    let needed = selected.iter().cloned().chain(checked.filter(|table| project.models.get(table).is_some()));
    let schemas = schemas(ctx, &project, &needed.collect()).await?;
    let folder = ctx.config.cases_dir();
    orphans(ctx, &project, &folder)?;
    let mut trials = Vec::new();
    for model in project.models.iter().filter(|model| selected.contains(&model.name)) {
        let cases = cases_of(&folder.join(&model.name)).exit(Exit::Usage)?;
        let mut failed = Vec::new();
        for (name, case) in &cases {
            let tried = match case {
                Ok(case) => Bench { ctx, project: &project, schemas: &schemas, model, case }.run().await,
                Err(error) => Ok(Some(render(error))),
            };
            let wrong = tried.unwrap_or_else(|error| Some(render(&error)));
            if let Some(wrong) = wrong {
                ctx.reporter.report(Event::Failure(format!("{}/{name}\n{}", model.name, wrong.trim_end())));
                failed.push((name.clone(), wrong));
            }
        }
        trials.push(Trial {
            model: model.name.clone(),
            layer: model.layer.to_string(),
            cases: cases.len(),
            checks: model.checks.len(),
            failed,
        });
    }
    Ok(trials)
}

/// Cases of models that do not exist would never run: they are told.
fn orphans(ctx: &Context, project: &Project, folder: &std::path::Path) -> Result<()> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Ok(()) };
    for entry in entries {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if project.models.get(&name).is_none() {
            let text = format!("{}: there is no model `{name}`", ctx.config.shown(&folder.join(&name)));
            ctx.reporter.report(Event::Warning(text));
        }
    }
    Ok(())
}

/// One case with all it needs.
struct Bench<'a> {
    ctx: &'a Context,
    project: &'a Project,
    schemas: &'a BTreeMap<String, SchemaRef>,
    model: &'a Model,
    case: &'a Case,
}

impl Bench<'_> {
    /// What is wrong with the case; `None` when all is as expected.
    async fn run(&self) -> Result<Option<String>> {
        let Self { model, case, .. } = *self;
        let mut rows = BTreeMap::new();
        for (table, path) in &case.tables {
            rows.insert(table.as_str(), read_rows(path, self.schema(table)?)?);
        }
        let setting = &case.setting;
        if model.uses_day && setting.dt.is_none() && !model.covers_no_day() {
            return Err(anyhow!("the model is built by the day: say which in case.toml, `dt = \"2026-01-05\"`"));
        }
        let mut tables: Vec<Named> = Vec::new();
        for read in &model.dependencies {
            let known = tables.iter().any(|(name, _)| *name == read.table);
            let given = rows.get(read.table.as_str());
            // A seed without rows of its own in the case is the project's.
            let is_seed = self.project.seeds.get(&read.table).is_some();
            if known || (given.is_none() && (is_seed || !self.schemas.contains_key(&read.table))) {
                continue;
            }
            let given = given.map_or(&[][..], std::slice::from_ref);
            tables.push((read.table.clone(), memory_table(self.schema(&read.table)?, given)?));
        }
        if let Some(unread) = rows.keys().find(|table| tables.iter().all(|(name, _)| name != *table)) {
            return Err(anyhow!("neither {} nor its checks read `{unread}`", model.name));
        }

        let calendar: Arc<dyn Calendar> = Arc::new(CaseCalendar::new(case, &rows));
        let workshop = self.workshop()?;
        let (recipe, schema) = (recipe(model), self.schema(&model.name)?);
        let slot = setting.dt.filter(|_| model.uses_day);
        let made = workshop.rows_of(&recipe, schema, (slot, &tables), &calendar).await;
        let made = made.map_err(|error| {
            super::sql_error::located(error, &model.path, &model.sql, &Names::of_functions(&self.project.engine))
        })?;
        let mut wrong = String::new();
        if let Some(path) = &case.expected {
            wrong += &difference(&read_some(path, schema)?, &made)?;
        }
        let checks = self.checks(&recipe.checks, &rows);
        let slots = if model.uses_day { vec![slot] } else { Vec::new() };
        let violations = workshop.violations_of(&recipe, &made, &checks, (&slots, &tables), &calendar).await?;
        wrong += &unexpected(&setting.violates, &violations);
        Ok((!wrong.is_empty()).then_some(wrong))
    }

    fn schema(&self, table: &str) -> Result<&SchemaRef> {
        self.schemas.get(table).with_context(|| format!("there is no table `{table}`"))
    }

    fn workshop(&self) -> Result<Workshop> {
        let mut workshop = self.project.workshop(self.ctx);
        if let Some(zone) = &self.case.setting.timezone {
            let zone = zone.parse()?;
            let resources = &self.ctx.config.resources;
            let memory = usize::try_from(resources.memory.0).unwrap_or(usize::MAX);
            workshop.engine = Engine::new(&self.project.lake, memory, resources.threads(), zone)?;
        }
        Ok(workshop)
    }

    /// The checks that can be run: those that compare with another table only where the case has that table.
    fn checks(&self, all: &[Check], rows: &BTreeMap<&str, RecordBatch>) -> Vec<Check> {
        let always = |table: &str| table == FIRST_LOADED_DAY || self.project.seeds.get(table).is_some();
        let given = |table: &str| rows.contains_key(table) || always(table);
        // The first one is the grain's, and no line of the header.
        let stated = all.iter().skip(1).zip(&self.model.checks);
        let stated = stated.filter(|(_, check)| check.reads.iter().all(|read| given(&read.table))).map(|(all, _)| all);
        all.iter().take(1).chain(stated).cloned().collect()
    }
}

/// The days of a case's tables.
struct CaseCalendar {
    days: BTreeMap<String, Vec<BizDate>>,
    logs: Option<BizDate>,
    orders: Option<BizDate>,
}

impl CaseCalendar {
    fn new(case: &Case, rows: &BTreeMap<&str, RecordBatch>) -> Self {
        let days_of = |rows: &RecordBatch| -> Vec<BizDate> {
            let days = rows.column_by_name("dt").and_then(|days| days.as_primitive_opt::<Date32Type>().cloned());
            days.iter().flat_map(|days| days.iter().flatten()).map(BizDate::from_days).collect()
        };
        let days: BTreeMap<String, Vec<BizDate>> =
            rows.iter().map(|(table, rows)| ((*table).to_owned(), days_of(rows))).collect();
        let first = days.values().flatten().copied().chain(case.setting.dt).min();
        Self { logs: case.setting.logs.or(first), orders: case.setting.orders.or(first), days }
    }
}

impl Calendar for CaseCalendar {
    fn latest_snapshot(&self, table: &str, day: BizDate) -> Option<BizDate> {
        let days = self.days.get(table)?.iter().copied();
        days.clone().filter(|d| *d <= day).max().or_else(|| days.min())
    }

    fn first_loaded_day(&self, source: &str) -> Option<BizDate> {
        match source {
            "logs" => self.logs,
            "orders" => self.orders,
            _ => self.logs.into_iter().chain(self.orders).min(),
        }
    }
}

/// The rows that are expected and missing, and the ones that are there unexpectedly, as lines; empty when there are none.
fn difference(expected: &RecordBatch, made: &RecordBatch) -> Result<String> {
    let names: Vec<String> = expected.schema().fields().iter().map(|field| field.name().clone()).collect();
    let indices = names.iter().map(|name| made.schema().index_of(name)).collect::<Result<Vec<_>, _>>()?;
    // How often a row is there, less how often it is expected.
    let mut balance: BTreeMap<Vec<Option<String>>, i64> = BTreeMap::new();
    rows_as_text(&made.project(&indices)?)?.into_iter().for_each(|row| *balance.entry(row).or_default() += 1);
    rows_as_text(expected)?.into_iter().for_each(|row| *balance.entry(row).or_default() -= 1);
    let mut lines = Vec::new();
    for (row, count) in balance {
        let cells: Vec<&str> = row.iter().map(|cell| cell.as_deref().unwrap_or("NULL")).collect();
        let line = format!("  {} {}\n", if count < 0 { '-' } else { '+' }, cells.join(" | "));
        lines.extend(std::iter::repeat_n(line, usize::try_from(count.abs()).unwrap_or_default()));
    }
    if lines.is_empty() {
        return Ok(String::new());
    }
    let more = lines.len().saturating_sub(SHOWN_ROWS);
    lines.truncate(SHOWN_ROWS);
    let more = if more > 0 { format!("  … and {more} more\n") } else { String::new() };
    let explained = "  (- expected and missing, + there and not expected)\n";
    Ok(format!("    {}\n{}{more}{explained}", names.join(" | "), lines.concat()))
}

/// The cells of each row; NULL is none, so that it differs from the text of the name.
fn rows_as_text(rows: &RecordBatch) -> Result<Vec<Vec<Option<String>>>> {
    let columns = rows.columns().iter().map(|column| ArrayFormatter::try_new(column, &CELLS));
    let columns = columns.collect::<Result<Vec<_>, _>>()?;
    let cell = |at: usize, row: usize| rows.column(at).is_valid(row).then(|| columns[at].value(row).to_string());
    Ok((0..rows.num_rows()).map(|row| (0..columns.len()).map(|at| cell(at, row)).collect()).collect())
}

/// Violations that were not foreseen, and foreseen ones that did not occur, as lines.
fn unexpected(foreseen: &[String], found: &[Violation]) -> String {
    let plain = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let fragments: Vec<String> = foreseen.iter().map(|text| plain(text)).collect();
    let mut text = String::new();
    for violation in found {
        if !fragments.iter().any(|fragment| violation.check.contains(fragment)) {
            text += &format!("{violation}\n");
        }
    }
    for fragment in &fragments {
        if !found.iter().any(|violation| violation.check.contains(fragment)) {
            text += &format!("  the check `{fragment}` should have found something, and did not\n");
        }
    }
    text
}
