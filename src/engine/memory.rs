//! Tables that live in memory only: the inputs of a model's cases, and tables that have columns and no rows yet.

use std::sync::Arc;

use anyhow::Result;
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::catalog::{MemTable, TableProvider};

use super::scan::{cast_batch, viewed};

/// A table of a lake's schema with these rows, as a query would see it in the lake.
///
/// # Errors
/// When the rows lack a column of the schema.
pub fn memory_table(schema: &SchemaRef, rows: &[RecordBatch]) -> Result<Arc<dyn TableProvider>> {
    let schema = viewed(schema);
    let rows = rows.iter().map(|batch| cast_batch(batch, &schema)).collect::<Result<Vec<_>, _>>()?;
    Ok(Arc::new(MemTable::try_new(schema, vec![rows])?))
}
