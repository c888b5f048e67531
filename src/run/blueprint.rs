//! What the warehouse would look like before anything is built: the columns of every table, planned on empty ones.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use anyhow::Result;
use arrow::datatypes::SchemaRef;

use super::project::{Context, Project};
use super::sql_error::Names;
use super::turn::recipe;
use crate::date::BizDate;
use crate::engine::{Calendar, memory_table};
use crate::ingest;
use crate::model::upstream;
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
    let workshop = project.workshop(ctx);
    let calendar: Arc<dyn Calendar> = Arc::new(NoDays);
    let mut schemas = BTreeMap::new();
    for source in ctx.config.sources.values() {
        schemas.extend(ingest::schemas(&source.source)?);
    }
    let mut tables: BTreeMap<String, Named> = BTreeMap::new();
    for (name, schema) in &schemas {
        tables.insert(name.clone(), (name.clone(), memory_table(schema, &[])?));
    }
    let needed: BTreeSet<String> =
        models.iter().flat_map(|name| upstream(&project.models, name, None)).chain(models.iter().cloned()).collect();
    for model in project.models.iter().filter(|model| needed.contains(&model.name)) {
        let inputs: Vec<Named> = model.inputs().filter_map(|read| tables.get(&read.table).cloned()).collect();
        let schema = columns_of(project, &workshop, &model.name, &inputs, &calendar).await?;
        tables.insert(model.name.clone(), (model.name.clone(), memory_table(&schema, &[])?));
        schemas.insert(model.name.clone(), schema);
    }
    schemas.extend(project.seeds.iter().map(|(name, seed)| (name.clone(), seed.schema())));
    Ok(schemas)
}

async fn columns_of(
    project: &Project,
    workshop: &Workshop,
    name: &str,
    inputs: &[Named],
    calendar: &Arc<dyn Calendar>,
) -> Result<SchemaRef> {
    let Some(model) = project.models.get(name) else { anyhow::bail!("there is no model `{name}`") };
    let planned = workshop.schema_of(&recipe(model), inputs, calendar).await;
    planned.map_err(|error| {
        super::sql_error::located(error, &model.path, &model.sql, &Names::of_functions(&project.engine))
    })
}
