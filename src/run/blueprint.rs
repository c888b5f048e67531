//! What the warehouse would look like before anything is built: the columns of every table, planned on empty ones.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use anyhow::{Error, Result};
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

use super::project::{Context, Project};
use super::recipe::recipe;
use super::sql_error::Names;
use crate::date::{BizDate, Slot};
use crate::engine::{Calendar, memory_table};
use crate::error::{Advice, Exit, render};
use crate::ingest;
use crate::lake::Lake;
use crate::model::{FIRST_LOADED_DAY, Model, Read, select, upstream};
use crate::progress::Event;
use crate::transform::{Named, Workshop};

/// A calendar of a warehouse without days.
pub struct NoDays;

impl Calendar for NoDays {
    fn latest_snapshot(&self, _: &str, _: BizDate) -> Option<BizDate> {
        None
    }

    fn first_loaded_day(&self, _: &str) -> Option<BizDate> {
        None
    }
}

/// What came of planning models on empty tables.
pub struct Rehearsal {
    /// The models that plan, with their checks.
    pub planned: Vec<String>,
    /// Those that do not, or that read one that does not.
    pub failed: Vec<String>,
}

/// Plans the selected models and their checks against inputs without rows; nothing is read and nothing is written.
///
/// # Errors
/// When the project is wrong; a model that does not plan is told, and a result.
pub async fn rehearse(ctx: &Context, selected: &[String], excluded: &[String]) -> Result<Rehearsal> {
    let ctx = &Context { lake: Some(Lake::open("memory:///lake")?), ..ctx.clone() };
    let project = Project::open(ctx)?;
    let selected = select(&project.models, selected, excluded).exit(Exit::Usage)?;
    let checked = project.models.iter().filter(|model| selected.contains(&model.name));
    let checked = checked.flat_map(Model::prerequisites).map(|read| read.table.clone());
    let needed: BTreeSet<String> = selected.iter().cloned().chain(checked).collect();
    let drawing = Drawing::of(ctx, &project, &needed).await?;
    let mut failures = drawing.failures;
    let workshop = project.workshop(ctx);
    for model in project.models.iter().filter(|model| selected.contains(&model.name)) {
        if failures.contains_key(&model.name) {
            continue;
        }
        let lacks = model.prerequisites().find(|read| failures.contains_key(&read.table));
        let tried = match lacks {
            Some(read) => Err(does_not_plan(read)),
            None => try_empty(&workshop, model, &drawing.schemas).await.map_err(|e| located(&project, model, e)),
        };
        failures.extend(tried.err().map(|error| (model.name.clone(), error)));
    }
    let order = |name: &&String| project.models.names().position(|other| other == name.as_str());
    let mut failed: Vec<String> = failures.keys().cloned().collect();
    failed.sort_by_key(|name| order(&name));
    for name in &failed {
        ctx.reporter.report(Event::Failure(format!("{name} does not fit\n{}", render(&failures[name]))));
    }
    let planned = selected.into_iter().filter(|name| !failures.contains_key(name)).collect();
    Ok(Rehearsal { planned, failed })
}

/// Runs a model and its checks on empty tables.
async fn try_empty(workshop: &Workshop, model: &Model, schemas: &BTreeMap<String, SchemaRef>) -> Result<()> {
    let calendar: Arc<dyn Calendar> = Arc::new(NoDays);
    let recipe = recipe(model);
    let mut tables: Vec<Named> = Vec::new();
    for read in model.dependencies.iter().filter(|read| read.table != FIRST_LOADED_DAY) {
        // Seeds are there as they are.
        if let Some(schema) = schemas.get(&read.table).filter(|_| !read.table.starts_with("seed_")) {
            tables.push((read.table.clone(), memory_table(schema, &[])?));
        }
    }
    let Some(schema) = schemas.get(&model.name) else { return Ok(()) };
    let slot: Slot = model.uses_day.then(|| BizDate::from_days(0));
    workshop.rows_of(&recipe, schema, (slot, &tables), &calendar).await?;
    let rows = RecordBatch::new_empty(Arc::clone(schema));
    let slots = if model.uses_day { vec![slot] } else { Vec::new() };
    // What a check would find says nothing here: there are no rows, and perhaps it wants some.
    workshop.violations_of(&recipe, &rows, &recipe.checks, (&slots, &tables), &calendar).await?;
    Ok(())
}

/// The columns of every source table and seed, and of these models and all they are made from, by table, with their types and
/// comments.
///
/// # Errors
/// When a source contradicts itself or a model does not plan.
pub async fn schemas(
    ctx: &Context,
    project: &Project,
    models: &BTreeSet<String>,
) -> Result<BTreeMap<String, SchemaRef>> {
    let mut drawing = Drawing::of(ctx, project, models).await?;
    let first = project.models.names().find_map(|name| drawing.failures.remove(name));
    first.map_or(Ok(drawing.schemas), Err)
}

/// The columns of tables, as far as they can be known.
struct Drawing {
    schemas: BTreeMap<String, SchemaRef>,
    /// Models whose columns cannot be known, and why.
    failures: BTreeMap<String, Error>,
}

impl Drawing {
    async fn of(ctx: &Context, project: &Project, models: &BTreeSet<String>) -> Result<Self> {
        let workshop = project.workshop(ctx);
        let calendar: Arc<dyn Calendar> = Arc::new(NoDays);
        let (mut schemas, mut failures) = (BTreeMap::new(), BTreeMap::new());
        for source in ctx.config.sources.values() {
            schemas.extend(ingest::schemas(&source.source)?);
        }
        let mut tables: BTreeMap<String, Named> = BTreeMap::new();
        for (name, schema) in &schemas {
            tables.insert(name.clone(), (name.clone(), memory_table(schema, &[])?));
        }
        let above = models.iter().flat_map(|name| upstream(&project.models, name, None));
        let needed: BTreeSet<String> = above.chain(models.iter().cloned()).collect();
        for model in project.models.iter().filter(|model| needed.contains(&model.name)) {
            if let Some(read) = model.inputs().find(|read| failures.contains_key(&read.table)) {
                failures.insert(model.name.clone(), does_not_plan(read));
                continue;
            }
            let inputs: Vec<Named> = model.inputs().filter_map(|read| tables.get(&read.table).cloned()).collect();
            match workshop.schema_of(&recipe(model), &inputs, &calendar).await {
                Ok(schema) => {
                    tables.insert(model.name.clone(), (model.name.clone(), memory_table(&schema, &[])?));
                    schemas.insert(model.name.clone(), schema);
                }
                Err(error) => {
                    failures.insert(model.name.clone(), located(project, model, error));
                }
            }
        }
        schemas.extend(project.seeds.iter().map(|(name, seed)| (name.clone(), seed.schema())));
        Ok(Self { schemas, failures })
    }
}

fn does_not_plan(read: &Read) -> Error {
    Error::msg(format!("skipped, {} does not plan", read.table))
}

fn located(project: &Project, model: &Model, error: Error) -> Error {
    super::sql_error::located(error, &model.path, &model.sql, &Names::of_functions(&project.engine))
}
