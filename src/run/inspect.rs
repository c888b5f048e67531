//! Questions about the warehouse that change nothing: the models, one model, past runs, its vital signs.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result, anyhow};
use arrow::datatypes::SchemaRef;
use serde_json::Value;

use super::blueprint::schemas;
use super::cases::cases_of;
use super::moments::picked;
use super::project::{Context, Project};
use crate::date::{BizDate, Slot};
use crate::engine::sql_type;
use crate::error::{Advice, Exit, nearest};
use crate::model::{downstream, select, upstream};
use crate::progress::counted;

/// A model in a list.
pub struct ModelRow {
    /// The model.
    pub name: String,
    /// Its layer.
    pub layer: String,
    /// What a row is.
    pub description: String,
    /// Its published partitions.
    pub partitions: usize,
    /// Their rows.
    pub rows: u64,
    /// The first and the last day with a partition.
    pub days: Option<(BizDate, BizDate)>,
}

/// A past run in a list.
pub struct RunRow {
    /// The run.
    pub run: String,
    /// What its record says.
    pub record: Value,
}

/// What a check-up looks at besides configuration.
pub struct Vitals {
    /// How many models there are.
    pub models: usize,
    /// The newest arrival date of any source.
    pub last_arrival: Option<BizDate>,
    /// When the last run that ended well began, UTC.
    pub last_success: Option<String>,
}

/// The selected models with what is published of them.
///
/// # Errors
/// When the project is wrong or the lake cannot be read.
pub async fn models(ctx: &Context, selected: &[String], excluded: &[String]) -> Result<Vec<ModelRow>> {
    let project = Project::open(ctx)?;
    let selected = select(&project.models, selected, excluded).exit(Exit::Usage)?;
    let recorded = project.recorded().await?;
    let rows = project.models.iter().filter(|m| selected.contains(&m.name)).map(|model| {
        let state = recorded.states.get(&model.name);
        let days: Vec<BizDate> = state.map(|s| s.slots.keys().flatten().copied().collect()).unwrap_or_default();
        ModelRow {
            name: model.name.clone(),
            layer: model.layer.to_string(),
            description: model.description.clone(),
            partitions: state.map_or(0, |s| s.slots.len()),
            rows: state.map_or(0, |s| s.slots.values().map(|slot| slot.rows).sum()),
            days: days.first().copied().zip(days.last().copied()),
        }
    });
    Ok(rows.collect())
}

/// All about one model, as text.
///
/// # Errors
/// When there is no such model.
pub async fn describe(ctx: &Context, name: &str) -> Result<String> {
    let project = Project::open(ctx)?;
    let Some(model) = project.models.get(name) else {
        if project.models.sources().any(|source| source == name) {
            let error = anyhow!("`{name}` is a source table, declared in conf/sources");
            return Err(error).hint(format!("`strata query \"select * from {name} limit 10\"`")).exit(Exit::Usage);
        }
        let error = anyhow!("there is no model `{name}`");
        let hint = nearest(name, project.models.names()).map(|near| format!("did you mean `{near}`?"));
        return Err(error).hint(hint.unwrap_or_else(|| "`strata ls` lists them".to_owned())).exit(Exit::Usage);
    };
    let recorded = project.recorded().await?;
    let mut text = format!("{}  ({})\n{}\n\n", model.name, model.path, model.description);
    let kind = if model.uses_day { "a day at a time" } else { "in one go" };
    writeln!(text, "built       {kind}")?;
    writeln!(text, "grain       {}", model.grain.join(", "))?;
    if !model.export.is_empty() {
        writeln!(text, "export      {}", model.export.join(", "))?;
    }
    if !model.tags.is_empty() {
        writeln!(text, "tags        {}", model.tags.join(", "))?;
    }
    if let Some(state) = recorded.states.get(name) {
        let slots: Vec<&Slot> = state.slots.keys().collect();
        let rows: u64 = state.slots.values().map(|s| s.rows).sum();
        let days = slots.iter().filter_map(|s| **s);
        let span = days.clone().min().zip(days.max()).map(|(a, b)| format!(", {a}..{b}")).unwrap_or_default();
        writeln!(text, "partitions  {}{span}, {}", slots.len(), counted(rows, "row"))?;
    }
    let cases = cases_of(&ctx.config.cases_dir().join(name)).exit(Exit::Usage)?.len();
    writeln!(text, "cases       {cases}")?;
    text.push_str("\nreads\n");
    for line in model.reads_in_words() {
        writeln!(text, "  {line}")?;
    }
    let (above, below) = (upstream(&project.models, name, None), downstream(&project.models, name, None));
    writeln!(text, "upstream    {}", above.into_iter().filter(|n| n != name).collect::<Vec<_>>().join(", "))?;
    writeln!(text, "downstream  {}", below.into_iter().filter(|n| n != name).collect::<Vec<_>>().join(", "))?;
    text.push_str("\nchecks\n  grain is unique\n");
    for check in &model.checks {
        writeln!(text, "  {}", check.text)?;
    }
    text.push_str("\ncolumns\n");
    let schema = columns_of(ctx, &project, name).await?;
    let width = model.columns.iter().map(|c| c.name.len()).max().unwrap_or_default();
    for column in &model.columns {
        let field = schema.as_ref().and_then(|schema| schema.field_with_name(&column.name).ok());
        let kind = field.map(|field| sql_type(field.data_type())).unwrap_or_default();
        let line = format!("  {:width$}  {kind:13}  {}", column.name, column.comment.as_deref().unwrap_or_default());
        writeln!(text, "{}", line.trim_end())?;
    }
    Ok(text)
}

/// The columns that a model is to have, built or not; those that it has when something above it does not plan.
async fn columns_of(ctx: &Context, project: &Project, name: &str) -> Result<Option<SchemaRef>> {
    if let Ok(mut planned) = schemas(ctx, project, &[name.to_owned()].into()).await {
        return Ok(planned.remove(name));
    }
    Ok(project.lake.table(name).await?.map(|table| table.schema().clone()))
}

/// The latest runs of a project, newest first; or one of them.
///
/// # Errors
/// When a record cannot be read, or there is no such run.
pub fn runs(ctx: &Context, wanted: Option<&str>, limit: usize) -> Result<Vec<RunRow>> {
    let folder = ctx.config.runs_dir();
    let recorded = recorded_runs(ctx);
    let names: Vec<String> = match wanted {
        Some(wanted) => vec![picked(wanted, &recorded)?],
        None => recorded.into_iter().rev().take(limit).collect(),
    };
    names.into_iter().map(|run| Ok(RunRow { record: read_run(&folder, &run)?, run })).collect()
}

/// The runs that left a record in the project.
pub fn recorded_runs(ctx: &Context) -> BTreeSet<String> {
    let folder = ctx.config.runs_dir();
    let entries = std::fs::read_dir(&folder).into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.filter(|name| folder.join(name).join("run.json").is_file()).collect()
}

fn read_run(folder: &Path, run: &str) -> Result<Value> {
    let path = folder.join(run).join("run.json");
    let text = std::fs::read(&path).with_context(|| format!("read {}", path.display()))?;
    serde_json::from_slice(&text).with_context(|| format!("read {}", path.display()))
}

/// The vital signs of a warehouse.
///
/// # Errors
/// When the models are wrong or the lake cannot be read.
pub async fn vitals(ctx: &Context) -> Result<Vitals> {
    let project = Project::open(ctx)?;
    let recorded = project.recorded().await?;
    let past = runs(ctx, None, usize::MAX)?;
    let is_success = |row: &&RunRow| {
        row.record.get("outcome").and_then(Value::as_str) == Some("done") && row.record.get("undone").is_none()
    };
    let success = past.iter().find(is_success);
    let started = success.and_then(|row| row.record.get("started")).and_then(Value::as_str).map(str::to_owned);
    Ok(Vitals { models: project.models.iter().len(), last_arrival: recorded.last_arrival, last_success: started })
}
