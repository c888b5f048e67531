//! Ingest: what comes in (client logs, order extracts) becomes rows of ODS tables, landed or rejected, never lost.
//!
//! Each source commits its rows together with the record of what it read, so that nothing is read twice or forgotten.

pub mod books;
pub mod files;
pub mod logs;
pub mod orders;
pub mod raw;
pub mod rejects;
pub mod replay;
mod waiting;

use anyhow::Result;
use arrow::datatypes::SchemaRef;

pub use self::waiting::Waiting;

use crate::config::source::Source;

/// The tables that a source lands in, with their columns; known from its declaration alone.
///
/// # Errors
/// When the declaration contradicts itself.
pub fn schemas(source: &Source) -> Result<Vec<(String, SchemaRef)>> {
    match source {
        Source::Log(log) => Ok(vec![(log.table.clone(), logs::events_schema(log))]),
        Source::Tables(tables) => tables.tables.iter().map(orders::landed_schema).collect(),
    }
}
