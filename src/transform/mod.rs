//! Transform: query → stage → check → publish, for the partitions of one model.
//!
//! What a model is and which partitions are due is decided elsewhere (`model`, `plan`, `run`): here a [`Recipe`] of
//! plain SQL becomes rows of a table, or a list of the checks that forbid it.

mod content;
mod publish;
mod stage;
mod trial;
mod version;

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context, Result};
use arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::dataframe::DataFrame;
use datafusion::datasource::TableProvider;
use datafusion::execution::context::SessionContext;
use datafusion::logical_expr::SortExpr;
use datafusion::prelude::col;

pub use publish::{Publisher, publish};
pub use stage::Staged;
pub use trial::Named;

use crate::check::{self, Check, RowChecks, Rule, Violation};
use crate::date::{Slot, slot_words};
use crate::engine::{Calendar, Engine, LakeScan, Seeds, Sees, Template, register_calendar};
use crate::lake::{FileRef, Lake, Table, TableSpec, stored_type};
use stage::Stager;

/// What is computed: one SELECT, its grain, its checks.
pub struct Recipe {
    /// The table it makes.
    pub name: String,
    /// One sentence of what a row is.
    pub description: String,
    /// The SELECT, with the file's comments so that positions in messages are the file's.
    pub sql: String,
    /// The columns that identify a row, in the order by which rows are sorted.
    pub grain: Vec<String>,
    /// What must hold of its rows.
    pub checks: Vec<Check>,
    /// What its columns mean, by name.
    pub comments: BTreeMap<String, String>,
    /// Whether it is computed for one partition after another, with `$dt`, and not in one go.
    pub by_day: bool,
    /// Whether each day has a folder of its own.
    pub partitioned: bool,
    /// Whether it reads earlier partitions of itself.
    pub own_past: bool,
}

/// A table that a query reads, and the files of it that it may see.
#[derive(Clone)]
pub struct Input {
    /// The name under which the query knows it.
    pub name: String,
    /// Its snapshot.
    pub table: Table,
    /// The files of the partitions that are read.
    pub files: Vec<FileRef>,
    /// The columns that the query may read; all where nothing is said.
    pub sees: Option<Sees>,
}

/// What a query works with besides its inputs.
#[derive(Clone)]
pub struct Workshop {
    /// Where queries run.
    pub engine: Engine,
    /// Where tables are.
    pub lake: Lake,
    /// The project's small tables.
    pub seeds: Seeds,
    /// The run that works.
    pub run: String,
    /// The run's clock.
    pub now_ms: i64,
}

impl Workshop {
    fn session(&self, inputs: &[Input], calendar: &Arc<dyn Calendar>) -> Result<SessionContext> {
        self.session_beside(0, inputs, calendar)
    }

    /// A session for a query that reads so many rows besides those of its inputs.
    fn session_beside(&self, rows: u64, inputs: &[Input], calendar: &Arc<dyn Calendar>) -> Result<SessionContext> {
        let of_inputs: u64 = inputs.iter().flat_map(|input| &input.files).map(|file| file.rows).sum();
        let session = self.engine.session_for(rows + of_inputs);
        register_calendar(&session, Arc::clone(calendar));
        for (name, seed) in self.seeds.iter() {
            session.register_table(name.as_str(), seed)?;
        }
        for input in inputs {
            let scan = LakeScan::new(&input.table, &input.files, Vec::new())?.seen(input.sees.clone());
            session.register_table(input.name.as_str(), Arc::new(scan))?;
        }
        Ok(session)
    }

    /// The table of a recipe with the columns its SELECT yields, created when missing, and its SELECT, planned; other columns
    /// than before become visible with the first rows that are published. The inputs need no files.
    ///
    /// # Errors
    /// When the SELECT does not plan against its inputs, or the storage fails.
    pub async fn table_of(
        &self,
        recipe: &Recipe,
        inputs: &[Input],
        calendar: &Arc<dyn Calendar>,
    ) -> Result<(Table, Template)> {
        let session = self.session(inputs, calendar)?;
        if recipe.own_past && !inputs.iter().any(|i| i.name == recipe.name) {
            // A model that reads its own past has no table on its first day: what it needs of it is what it declares.
            let empty = Arc::new(datafusion::catalog::MemTable::try_new(own_history(recipe), vec![vec![]])?);
            session.register_table(recipe.name.as_str(), empty)?;
        }
        let query = planned(&session, recipe).await?;
        let spec = TableSpec {
            name: recipe.name.clone(),
            schema: commented(query.schema().as_arrow(), &recipe.comments),
            partitioned: recipe.partitioned && query.schema().has_column_with_unqualified_name("dt"),
            description: recipe.description.clone(),
        };
        let table = self.lake.table_to_be(&spec).await?;
        if !recipe.own_past {
            return Ok((table, query));
        }
        session.deregister_table(recipe.name.as_str())?;
        session.register_table(recipe.name.as_str(), Arc::new(overlaid(&table, &[], &[])?))?;
        let query = planned(&session, recipe).await?;
        Ok((table, query))
    }

    /// Stages one partition of a model; where the model reads itself it sees what is staged already.
    ///
    /// # Errors
    /// When the query fails.
    pub async fn stage_slot(
        &self,
        recipe: &Recipe,
        (table, query): (&Table, &Template),
        (slot, inputs): (Slot, Vec<Input>),
        calendar: &Arc<dyn Calendar>,
        staged: &[Staged],
    ) -> Result<Staged> {
        let session = self.session(&inputs, calendar)?;
        if recipe.own_past {
            let own = inputs.iter().find(|i| i.name == recipe.name);
            let rows = overlaid(table, own.map_or(&[][..], |own| &own.files), staged)?;
            session.deregister_table(recipe.name.as_str())?;
            session.register_table(recipe.name.as_str(), Arc::new(rows.seen(own.and_then(|own| own.sees.clone()))))?;
        }
        let rows = query.rows(&session, slot).await?;
        let checks = RowChecks::new(&session, table.schema(), &recipe.checks);
        let mut stager = Stager::new(table, &self.run, &recipe.grain, checks)?;
        let what = || format!("build {} dt={}", recipe.name, slot_words(slot));
        stager.stage_slot(slot, rows).await.with_context(what)?;
        stager.into_staged().await?.pop().context("a partition was staged")
    }

    /// Stages all partitions of a model that is computed whole.
    ///
    /// # Errors
    /// When the query fails.
    pub async fn stage_whole(
        &self,
        recipe: &Recipe,
        (table, query): (&Table, &Template),
        inputs: &[Input],
        calendar: &Arc<dyn Calendar>,
    ) -> Result<Vec<Staged>> {
        let session = self.session(inputs, calendar)?;
        let rows = query.rows(&session, None).await?;
        let checks = RowChecks::new(&session, table.schema(), &recipe.checks);
        let mut stager = Stager::new(table, &self.run, &recipe.grain, checks)?;
        stager.stage_whole(rows).await.with_context(|| format!("build {}", recipe.name))?;
        stager.into_staged().await
    }

    /// Runs a model's checks on staged partitions; other tables are seen through `inputs`.
    ///
    /// # Errors
    /// When a check cannot be run.
    pub async fn check(
        &self,
        recipe: &Recipe,
        table: &Table,
        staged: &[Staged],
        inputs: &[Input],
        calendar: &Arc<dyn Calendar>,
    ) -> Result<Vec<Violation>> {
        let slots: Vec<Slot> = staged.iter().map(|s| s.slot).collect();
        // Rows are sorted by the grain: where neighbours differ all do, within a partition; and a grain with `dt` is of
        // one partition. Only the others are counted; so it is with the checks of single rows, seen to in passing.
        let is_unique = recipe.grain.iter().any(|key| key == "dt") && staged.iter().all(|s| s.neighbours_differ);
        let rows_hold = staged.iter().all(|s| s.rows_hold);
        let needless = |check: &&Check| match check.rule {
            Rule::Unique(_) => is_unique,
            Rule::Row(_) => rows_hold,
            Rule::Query(_) => false,
        };
        let checks: Vec<Check> = recipe.checks.iter().filter(|check| !needless(check)).cloned().collect();
        self.check_rows(recipe, &checks, (Arc::new(overlaid(table, &[], staged)?), &slots), inputs, calendar).await
    }

    /// Runs a model's checks on published partitions.
    ///
    /// # Errors
    /// When a check cannot be run.
    pub async fn check_published(
        &self,
        recipe: &Recipe,
        table: &Table,
        slots: &[Slot],
        inputs: &[Input],
        calendar: &Arc<dyn Calendar>,
    ) -> Result<Vec<Violation>> {
        self.check_rows(recipe, &recipe.checks, (Arc::new(LakeScan::of(table)?), slots), inputs, calendar).await
    }

    async fn check_rows(
        &self,
        recipe: &Recipe,
        checks: &[Check],
        (rows, slots): (Arc<dyn TableProvider>, &[Slot]),
        inputs: &[Input],
        calendar: &Arc<dyn Calendar>,
    ) -> Result<Vec<Violation>> {
        let others: Vec<Input> = inputs.iter().filter(|i| i.name != recipe.name).cloned().collect();
        let own = rows.statistics().and_then(|known| known.num_rows.get_value().copied()).unwrap_or_default();
        let session = self.session_beside(own as u64, &others, calendar)?;
        session.register_table(recipe.name.as_str(), rows)?;
        // In a table that is made in one go, what is on no day has no check of its own: `$dt` is never NULL there.
        let slots: Vec<Slot> = slots.iter().copied().filter(|slot| slot.is_some() || recipe.by_day).collect();
        check::run(&session, &recipe.name, checks, &slots).await
    }
}

/// A table's files together with staged partitions, which stand in for the ones of the same days.
fn overlaid(table: &Table, files: &[FileRef], staged: &[Staged]) -> Result<LakeScan> {
    let replaced = |slot: Slot| staged.iter().any(|s| s.slot == slot);
    let mut seen: Vec<FileRef> = files.iter().filter(|f| !(table.partitioned() && replaced(f.slot))).cloned().collect();
    seen.extend(staged.iter().flat_map(|s| &s.files).map(|f| FileRef {
        path: f.path.clone(),
        slot: f.slot,
        days: None,
        size: f.size,
        rows: f.rows,
    }));
    let batches = staged.iter().flat_map(|s| s.batches.iter().cloned()).collect();
    Ok(LakeScan::new(table, &seen, batches)?)
}

/// A recipe's SELECT, sorted as its files are.
async fn planned(session: &SessionContext, recipe: &Recipe) -> Result<Template> {
    let frame = session.sql(&recipe.sql).await?;
    let has_day = !recipe.by_day && frame.schema().has_column_with_unqualified_name("dt");
    Template::new(session, sorted(frame, &recipe.grain, has_day)?)
}

/// Sorted by the grain, so that equal rows make equal files; by day first where a query yields many.
fn sorted(frame: DataFrame, grain: &[String], by_day: bool) -> Result<DataFrame> {
    let keys = by_day.then_some("dt").into_iter().chain(grain.iter().map(String::as_str).filter(|key| *key != "dt"));
    let order: Vec<SortExpr> = keys.map(|key| col(key).sort(true, true)).collect();
    if order.is_empty() { Ok(frame) } else { Ok(frame.sort(order)?) }
}

fn commented(schema: &Schema, comments: &BTreeMap<String, String>) -> SchemaRef {
    let fields: Vec<Field> = schema
        .fields()
        .iter()
        .map(|field| {
            let plain = Field::new(field.name(), stored_type(field.data_type()), true);
            match comments.get(field.name()) {
                Some(comment) => plain.with_metadata([("comment".to_owned(), comment.clone())].into()),
                None => plain,
            }
        })
        .collect();
    Arc::new(Schema::new(fields))
}

/// What a model may read of itself before its table exists: its grain, as text and dates.
fn own_history(recipe: &Recipe) -> SchemaRef {
    let kind = |name: &str| {
        if name == "dt" || name.ends_with("_dt") {
            arrow::datatypes::DataType::Date32
        } else {
            arrow::datatypes::DataType::Utf8View
        }
    };
    Arc::new(Schema::new(recipe.grain.iter().map(|name| Field::new(name, kind(name), true)).collect::<Vec<_>>()))
}
