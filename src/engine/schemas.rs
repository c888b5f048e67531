//! The lake as SQL sees it: schemas `ods`, `dwd`, `dws`, `app` and all of them together, tables opened when asked for.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context, Result};
use arrow::array::RecordBatch;
use arrow::csv::ReaderBuilder;
use arrow::csv::reader::Format;
use async_trait::async_trait;
use datafusion::catalog::{CatalogProvider, MemTable, MemoryCatalogProvider, SchemaProvider, TableProvider};
use datafusion::common::DataFusionError;
use datafusion::execution::context::SessionContext;

use super::scan::LakeScan;
use crate::lake::Lake;

/// Small tables kept as CSV in the project (`conf/seeds/<name>.csv`), read as `seed_<name>`.
#[derive(Clone, Default)]
pub struct Seeds(BTreeMap<String, Arc<MemTable>>);

impl Seeds {
    /// Reads seeds from their texts by name; types are inferred from all rows.
    ///
    /// # Errors
    /// When a text is not CSV with a header.
    pub fn parse(texts: &BTreeMap<String, String>) -> Result<Self> {
        let mut seeds = BTreeMap::new();
        for (name, text) in texts {
            let seed = parse_seed(text).with_context(|| format!("conf/seeds/{name}.csv"))?;
            seeds.insert(format!("seed_{name}"), Arc::new(seed));
        }
        Ok(Self(seeds))
    }

    /// Every seed by its table name.
    pub fn iter(&self) -> impl Iterator<Item = (&String, Arc<dyn TableProvider>)> {
        self.0.iter().map(|(name, seed)| (name, Arc::clone(seed) as Arc<dyn TableProvider>))
    }

    /// The seed with a table name, `seed_<name>`.
    pub fn get(&self, table: &str) -> Option<Arc<dyn TableProvider>> {
        self.0.get(table).map(|seed| Arc::clone(seed) as Arc<dyn TableProvider>)
    }
}

fn parse_seed(text: &str) -> Result<MemTable> {
    let format = Format::default().with_header(true);
    let (schema, _) = format.infer_schema(text.as_bytes(), None)?;
    let schema = Arc::new(schema);
    let reader = ReaderBuilder::new(Arc::clone(&schema)).with_format(format).build(text.as_bytes())?;
    let batches = reader.collect::<Result<Vec<RecordBatch>, _>>()?;
    Ok(MemTable::try_new(schema, vec![batches])?)
}

/// One layer of the lake, or all of them: tables are opened at their newest version when a query names them.
struct LakeSchema {
    lake: Lake,
    names: Vec<String>,
    seeds: Seeds,
}

impl std::fmt::Debug for LakeSchema {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "LakeSchema({})", self.lake.root())
    }
}

#[async_trait]
impl SchemaProvider for LakeSchema {
    fn table_names(&self) -> Vec<String> {
        self.names.iter().cloned().chain(self.seeds.0.keys().cloned()).collect()
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>, DataFusionError> {
        if let Some(seed) = self.seeds.get(name) {
            return Ok(Some(seed));
        }
        if !self.table_exist(name) {
            return Ok(None);
        }
        let table = self.lake.table(name).await.map_err(|e| DataFusionError::External(e.into()))?;
        table.map(|t| LakeScan::of(&t).map(|scan| Arc::new(scan) as Arc<dyn TableProvider>)).transpose()
    }

    fn table_exist(&self, name: &str) -> bool {
        self.names.iter().any(|n| n == name) || self.seeds.0.contains_key(name)
    }
}

/// Makes every table of the lake known to a session, by its name and by `layer.name`.
///
/// # Errors
/// When the lake cannot be listed.
pub async fn register_lake(session: &SessionContext, lake: &Lake, seeds: &Seeds) -> Result<()> {
    let catalog = MemoryCatalogProvider::new();
    let mut all = Vec::new();
    for layer in ["ods", "dwd", "dws", "app"] {
        let names = lake.tables(layer).await?;
        all.extend(names.iter().cloned());
        let schema = LakeSchema { lake: lake.clone(), names, seeds: Seeds::default() };
        catalog.register_schema(layer, Arc::new(schema))?;
    }
    let schema = LakeSchema { lake: lake.clone(), names: all, seeds: seeds.clone() };
    catalog.register_schema("all", Arc::new(schema))?;
    session.register_catalog("strata", Arc::new(catalog));
    Ok(())
}
