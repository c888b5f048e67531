//! Trying a model out on tables in memory: the columns it yields, the rows it makes of given ones, the checks they break.
//!
//! Nothing here touches the lake: it is how schemas are known before anything is built, and how cases are run.

use std::sync::Arc;

use anyhow::Result;
use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::datatypes::SchemaRef;
use datafusion::catalog::TableProvider;
use datafusion::execution::context::SessionContext;
use futures::TryStreamExt;

use super::{Recipe, Workshop, commented, own_history, planned};
use crate::check::{self, Check, Violation};
use crate::date::Slot;
use crate::engine::{Calendar, analyzed, cast_batch, memory_table, register_calendar};

/// A table by the name under which a query knows it.
pub type Named = (String, Arc<dyn TableProvider>);

impl Workshop {
    /// The columns of the table that a recipe makes, from those of the tables it reads.
    ///
    /// # Errors
    /// When the SELECT does not plan against its inputs.
    pub async fn schema_of(
        &self,
        recipe: &Recipe,
        tables: &[Named],
        calendar: &Arc<dyn Calendar>,
    ) -> Result<SchemaRef> {
        let session = self.session_with(tables, calendar)?;
        if recipe.own_past {
            session.register_table(recipe.name.as_str(), memory_table(&own_history(recipe), &[])?)?;
        }
        let plan = analyzed(&session, session.sql(&recipe.sql).await?)?;
        Ok(commented(plan.schema().as_arrow(), &recipe.comments))
    }

    /// The rows that a recipe makes of the given tables, sorted by its grain, in the types of its table.
    ///
    /// # Errors
    /// When the query fails.
    pub async fn rows_of(
        &self,
        recipe: &Recipe,
        schema: &SchemaRef,
        (slot, tables): (Slot, &[Named]),
        calendar: &Arc<dyn Calendar>,
    ) -> Result<RecordBatch> {
        let session = self.session_with(tables, calendar)?;
        let rows: Vec<RecordBatch> = planned(&session, recipe).await?.rows(&session, slot).await?.try_collect().await?;
        let rows = rows.iter().map(|batch| cast_batch(batch, schema)).collect::<Result<Vec<_>, _>>()?;
        Ok(concat_batches(schema, &rows)?)
    }

    /// Which of some checks the rows of a recipe break, the other tables being the given ones.
    ///
    /// # Errors
    /// When a check cannot be run.
    pub async fn violations_of(
        &self,
        recipe: &Recipe,
        rows: &RecordBatch,
        checks: &[Check],
        (slots, tables): (&[Slot], &[Named]),
        calendar: &Arc<dyn Calendar>,
    ) -> Result<Vec<Violation>> {
        let others: Vec<Named> = tables.iter().filter(|(name, _)| *name != recipe.name).cloned().collect();
        let session = self.session_with(&others, calendar)?;
        session.register_table(recipe.name.as_str(), memory_table(&rows.schema(), std::slice::from_ref(rows))?)?;
        check::run(&session, &recipe.name, checks, slots).await
    }

    fn session_with(&self, tables: &[Named], calendar: &Arc<dyn Calendar>) -> Result<SessionContext> {
        let session = self.engine.session_for(0);
        register_calendar(&session, Arc::clone(calendar));
        let given = |name: &str| tables.iter().any(|(other, _)| other == name);
        for (name, seed) in self.seeds.iter().filter(|(name, _)| !given(name)) {
            session.register_table(name.as_str(), seed)?;
        }
        for (name, table) in tables {
            session.register_table(name.as_str(), Arc::clone(table))?;
        }
        Ok(session)
    }
}
