//! Where the questions of an explanation are asked: one snapshot of every table that can matter, the state recorded with
//! it, and the rows found so far as tables beside them.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use anyhow::Result;
use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Date32Type, Field, Schema};
use datafusion::execution::context::SessionContext;

use crate::date::{BizDate, Slot};
use crate::engine::{LakeScan, cast_batch, memory_table, register_calendar};
use crate::ingest::rejects::REJECT_TABLE;
use crate::model::{Model, upstream};
use crate::plan::States;
use crate::run::blueprint::schemas;
use crate::run::project::{Context, Project};
use crate::run::records::table_state;

/// What ingest records with a row of where it came from.
const PLACE: [&str; 6] = ["dt", "arrival_dt", "file", "byte_offset", "element", "row_number"];

/// The tables that tell what is not there.
pub const DELETED_TABLE: &str = crate::ingest::orders::DELETED_TABLE;

/// A place to ask questions at.
pub struct Desk {
    /// The project.
    pub project: Arc<Project>,
    /// What is recorded of every table.
    pub states: States,
    session: SessionContext,
    columns: BTreeMap<String, Vec<(String, DataType)>>,
    held: Cell<usize>,
}

impl Desk {
    /// Opens the tables that a model is made from.
    pub async fn open(ctx: &Context, project: Project, model: &Model) -> Result<Self> {
        let project = Arc::new(project);
        let mut states = project.recorded().await?.states;
        let session = project.engine.session();
        let mut columns = BTreeMap::new();
        let mut missing = Vec::new();
        let mut names = upstream(&project.models, &model.name, None);
        names.extend([model.name.clone(), REJECT_TABLE.to_owned(), DELETED_TABLE.to_owned()]);
        for name in names {
            if let Some(seed) = project.seeds.get(&name) {
                columns.insert(name.clone(), named(&seed.schema()));
                session.register_table(name, seed)?;
                continue;
            }
            let Some(table) = project.lake.table(&name).await? else {
                missing.push(name);
                continue;
            };
            // Rows and records of one version.
            let records = project.lake.records_at(&name, table.version()).await?;
            if let Some(state) = table_state(&records, table.column_names())? {
                states.set(name.clone(), state);
            }
            columns.insert(name.clone(), named(table.schema()));
            session.register_table(name, Arc::new(LakeScan::of(&table)?))?;
        }
        let planned = if missing.is_empty() {
            BTreeMap::new()
        } else {
            schemas(ctx, &project, &[model.name.clone()].into()).await?
        };
        for (name, schema) in missing.into_iter().filter_map(|name| planned.get(&name).map(|schema| (name, schema))) {
            columns.insert(name.clone(), named(schema));
            session.register_table(name, memory_table(schema, &[])?)?;
        }
        project.note_first_days(&mut states);
        register_calendar(&session, project.calendar(&states));
        Ok(Self { project, states, session, columns, held: Cell::new(0) })
    }

    /// Whether there is such a table.
    pub fn has(&self, table: &str) -> bool {
        self.columns.contains_key(table)
    }

    /// The columns of a table.
    pub fn columns(&self, table: &str) -> Option<Vec<String>> {
        Some(self.columns.get(table)?.iter().map(|(name, _)| name.clone()).collect())
    }

    /// Whether a column holds numbers.
    pub fn is_number(&self, table: &str, column: &str) -> bool {
        let columns = self.columns.get(table).into_iter().flatten();
        columns.into_iter().any(|(name, kind)| name == column && kind.is_numeric())
    }

    /// The columns that tell the rows of a table apart: its grain, the place where a row came in, or all.
    pub fn identity(&self, table: &str) -> Vec<String> {
        let Some(columns) = self.columns(table) else { return Vec::new() };
        let found: Vec<String> = match self.project.models.get(table) {
            Some(model) => columns.iter().filter(|c| *c == "dt" || model.grain.contains(c)).cloned().collect(),
            None if columns.iter().any(|c| c == "file") => {
                columns.iter().filter(|c| PLACE.contains(&c.as_str())).cloned().collect()
            }
            None => Vec::new(),
        };
        if found.is_empty() { columns } else { found }
    }

    /// Whether a function is an aggregate.
    pub fn is_aggregate(&self, function: &str) -> bool {
        self.session.state_ref().read().aggregate_functions().contains_key(function)
    }

    /// Asks; `$dt` stands for a partition.
    pub async fn ask(&self, sql: &str, slot: Option<Slot>) -> Result<Vec<RecordBatch>> {
        // Written out, not bound: a parameter has no type yet where a function wants to know its arguments'.
        let day =
            slot.map(|slot| slot.map_or_else(|| "cast(null as date)".to_owned(), |d| format!("cast('{d}' as date)")));
        let sql = day.map_or_else(|| sql.to_owned(), |day| sql.replace("$dt", &day));
        let frame = self.session.sql(&sql).await?;
        let schema = Arc::new(frame.schema().as_arrow().clone());
        let mut batches = frame.collect().await?;
        if batches.is_empty() {
            batches.push(RecordBatch::new_empty(schema));
        }
        Ok(batches)
    }

    /// The columns that a query would have.
    pub async fn planned_columns(&self, sql: &str) -> Result<Vec<String>> {
        let frame = self.session.sql(sql).await?;
        Ok(frame.schema().fields().iter().map(|field| field.name().clone()).collect())
    }

    /// Keeps rows as a table; its name.
    pub fn hold(&self, rows: &[RecordBatch]) -> Result<String> {
        let rows = alike(rows)?;
        let schema = rows.first().map_or_else(|| Arc::new(Schema::empty()), RecordBatch::schema);
        let name = format!("strata_held_{}", self.held.replace(self.held.get() + 1));
        self.session.register_table(name.as_str(), memory_table(&schema, &rows)?)?;
        Ok(name)
    }

    /// Keeps rows as a table, each once; its name.
    pub async fn distinct(&self, rows: &[RecordBatch]) -> Result<String> {
        let all = self.hold(rows)?;
        let rows = self.ask(&format!("select distinct * from {all}"), None).await?;
        self.session.deregister_table(all.as_str())?;
        self.hold(&rows)
    }

    /// Lets go of a table that was kept.
    pub fn forget(&self, held: &str) -> Result<()> {
        self.session.deregister_table(held)?;
        Ok(())
    }

    /// The partitions that kept rows lie in.
    pub async fn slots_of(&self, held: &str) -> Result<BTreeSet<Slot>> {
        if !self.planned_columns(&format!("select * from {held}")).await?.iter().any(|column| column == "dt") {
            return Ok([None].into());
        }
        let batches = self.ask(&format!("select distinct dt from {held}"), None).await?;
        let days = batches.iter().flat_map(|batch| batch.column(0).as_primitive::<Date32Type>().iter());
        Ok(days.map(|day| day.map(BizDate::from_days)).collect())
    }

    /// The one number that a query gives.
    pub async fn number(&self, sql: &str, slot: Option<Slot>) -> Result<u64> {
        let batches = self.ask(sql, slot).await?;
        let mut numbers = batches.iter().filter(|batch| batch.num_rows() > 0).map(|batch| batch.column(0));
        let number = numbers.next().and_then(|column| {
            let column = arrow::compute::cast(column, &DataType::Int64).ok()?;
            let column = column.as_primitive::<arrow::datatypes::Int64Type>();
            (!column.is_empty() && column.is_valid(0)).then(|| column.value(0))
        });
        Ok(number.and_then(|number| u64::try_from(number).ok()).unwrap_or(0))
    }
}

fn named(schema: &Schema) -> Vec<(String, DataType)> {
    schema.fields().iter().map(|field| (field.name().clone(), field.data_type().clone())).collect()
}

/// Batches of one schema, that of the first, in which any column may be NULL.
pub fn alike(rows: &[RecordBatch]) -> Result<Vec<RecordBatch>> {
    let Some(first) = rows.first() else { return Ok(Vec::new()) };
    let schema = first.schema();
    let field = |field: &Arc<Field>| Field::new(field.name(), field.data_type().clone(), true);
    let schema = Arc::new(Schema::new(schema.fields().iter().map(field).collect::<Vec<_>>()));
    rows.iter().map(|batch| Ok(cast_batch(batch, &schema)?)).collect()
}

/// How many rows there are.
pub fn rows_in(batches: &[RecordBatch]) -> usize {
    batches.iter().map(RecordBatch::num_rows).sum()
}

/// A column's name as SQL takes it, whatever is in it.
pub fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// The condition that two tables have the same values in these columns.
pub fn same(one: &str, other: &str, columns: &[String]) -> String {
    let equal = |column: &String| {
        let column = quoted(column);
        // In parentheses: the parser takes what follows DISTINCT FROM up to the end of an AND.
        format!("({one}.{column} is not distinct from {other}.{column})")
    };
    columns.iter().map(equal).collect::<Vec<_>>().join(" and ")
}
