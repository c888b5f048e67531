//! What a table is, without its files: read from its log in the same pass as what is recorded beside its rows, which is a
//! fraction of what opening it takes.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::Result;
use arrow::datatypes::{Field, Schema, SchemaRef};
use deltalake::kernel::StructType;
use deltalake::kernel::engine::arrow_conversion::TryIntoArrow;
use serde::Deserialize;

use super::table::{TableSpec, kernel_schema};
use super::{Lake, Table};

/// A table's columns and description at one of its versions.
#[derive(Clone)]
pub struct Head {
    pub(super) lake: Lake,
    pub(super) name: String,
    pub(super) version: u64,
    pub(super) about: Arc<About>,
}

/// What the log's metadata says of a table.
pub(super) struct About {
    columns: StructType,
    schema: SchemaRef,
    description: String,
    partitioned: bool,
}

/// The metadata action of a Delta log.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Metadata {
    pub description: Option<String>,
    pub schema_string: String,
    #[serde(default)]
    pub partition_columns: Vec<String>,
}

impl About {
    pub fn of(metadata: &Metadata) -> Result<Self> {
        let columns: StructType = serde_json::from_str(&metadata.schema_string)?;
        let schema: Schema = (&columns).try_into_arrow()?;
        let description = metadata.description.clone().unwrap_or_default();
        Ok(Self { columns, schema: Arc::new(schema), description, partitioned: !metadata.partition_columns.is_empty() })
    }

    /// The names of its columns, in their order.
    pub fn column_names(&self) -> Vec<String> {
        column_names(&self.schema)
    }
}

impl Head {
    /// The table's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// All its columns, `dt` included.
    pub fn schema(&self) -> &SchemaRef {
        &self.about.schema
    }

    /// One sentence of what a row is, as the lake has it.
    pub fn description(&self) -> &str {
        &self.about.description
    }

    /// What its columns mean, by name, as the lake has it.
    pub fn comments(&self) -> BTreeMap<String, String> {
        comments(self.schema())
    }

    /// Whether a table like this need not be changed to be as specified.
    ///
    /// # Errors
    /// When the specified columns cannot be told to Delta.
    pub fn is(&self, spec: &TableSpec) -> Result<bool> {
        Ok(self.about.partitioned == spec.partitioned && self.about.columns == kernel_schema(&spec.schema)?)
    }

    /// The table at this version, with its files.
    ///
    /// # Errors
    /// When the log cannot be read, or no longer has that version.
    pub async fn open(&self) -> Result<Table> {
        self.lake.table_at(&self.name, self.version).await
    }
}

/// The names of columns, in their order.
pub(super) fn column_names(schema: &Schema) -> Vec<String> {
    schema.fields().iter().map(|field| field.name().clone()).collect()
}

/// What columns mean, by name.
pub(super) fn comments(schema: &Schema) -> BTreeMap<String, String> {
    let comment = |field: &Arc<Field>| Some((field.name().clone(), field.metadata().get("comment")?.clone()));
    schema.fields().iter().filter_map(comment).collect()
}
