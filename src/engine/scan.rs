//! A lake table as DataFusion reads it: a plain scan of the Parquet files of one snapshot, pruned by day.

use std::fmt;
use std::sync::Arc;

use arrow::array::{AsArray, Date32Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::stats::Precision;
use datafusion::common::{DFSchema, Result, ScalarValue, Statistics, plan_err};
use datafusion::datasource::TableType;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::datasource::physical_plan::parquet::CachedParquetFileReaderFactory;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfigBuilder, ParquetSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::datasource::table_schema::TableSchema;
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::union::UnionExec;
use object_store::ObjectMeta;

use super::order::grouped;
use super::small::SmallFiles;
use crate::date::Slot;
use crate::lake::{FileRef, Table};

/// A file, the partition of its rows, and how many they are.
type File = (ObjectMeta, Slot, u64);

/// Which columns of a table a query may read.
pub type Sees = Arc<dyn Fn(&str) -> bool + Send + Sync>;

/// A snapshot of a lake table, restricted to some of its files, with rows that are staged and not yet committed.
pub struct LakeScan {
    name: String,
    schema: SchemaRef,
    file_schema: SchemaRef,
    partitioned: bool,
    store_url: ObjectStoreUrl,
    files: Vec<File>,
    staged: Vec<RecordBatch>,
    sees: Option<Sees>,
}

impl fmt::Debug for LakeScan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LakeScan").field("name", &self.name).field("files", &self.files).finish_non_exhaustive()
    }
}

impl LakeScan {
    /// All rows of a snapshot.
    pub fn of(table: &Table) -> Result<Self> {
        Self::new(table, table.files(), Vec::new())
    }

    /// The rows of some files of a snapshot (or staged beside it), and staged rows in memory of the table's schema.
    pub fn new(table: &Table, files: &[FileRef], staged: Vec<RecordBatch>) -> Result<Self> {
        let schema = viewed(table.schema());
        let staged = staged.into_iter().map(|batch| cast_batch(&batch, &schema)).collect::<Result<Vec<_>>>()?;
        let files = files
            .iter()
            .map(|file| {
                let meta = ObjectMeta {
                    location: table.object_path(&file.path),
                    last_modified: chrono::DateTime::UNIX_EPOCH,
                    size: file.size,
                    e_tag: None,
                    version: None,
                };
                (meta, file.slot, file.rows)
            })
            .collect();
        Ok(Self {
            name: table.name().to_owned(),
            sees: None,
            file_schema: viewed(&table.file_schema()),
            schema,
            partitioned: table.partitioned(),
            store_url: store_url(table.lake().root())?,
            files,
            staged,
        })
    }

    /// The same, which fails where a column is read that may not be. What a query is known to see decides when its rows are
    /// stale: that it sees more must not go unnoticed.
    #[must_use]
    pub fn seen(self, sees: Option<Sees>) -> Self {
        Self { sees, ..self }
    }

    /// The files that may hold rows of the wanted days, by the filters that speak of `dt` alone.
    fn pruned(&self, state: &dyn Session, filters: &[Expr]) -> Result<Vec<&File>> {
        let of_day: Vec<Expr> = filters
            .iter()
            .filter(|f| {
                let columns = f.column_refs();
                !columns.is_empty() && columns.iter().all(|c| c.name == "dt")
            })
            .cloned()
            .collect();
        let Some(predicate) = conjunction(of_day).filter(|_| self.partitioned) else {
            return Ok(self.files.iter().collect());
        };
        let schema = Arc::new(Schema::new(vec![Field::new("dt", DataType::Date32, true)]));
        let df_schema = DFSchema::try_from(Arc::clone(&schema))?;
        let days = Date32Array::from_iter(self.files.iter().map(|(_, slot, _)| slot.map(|d| d.days())));
        let batch = RecordBatch::try_new(schema, vec![Arc::new(days)])?;
        let mask = state.create_physical_expr(predicate, &df_schema)?.evaluate(&batch)?.into_array(batch.num_rows())?;
        let mask = mask.as_boolean();
        Ok(self.files.iter().zip(mask).filter(|(_, keep)| *keep == Some(true)).map(|(file, _)| file).collect())
    }
}

#[async_trait]
impl TableProvider for LakeScan {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }

    fn statistics(&self) -> Option<Statistics> {
        let rows: u64 = self.files.iter().map(|f| f.2).sum();
        let staged: usize = self.staged.iter().map(RecordBatch::num_rows).sum();
        let mut statistics = Statistics::new_unknown(&self.schema);
        statistics.num_rows = Precision::Inexact(usize::try_from(rows).unwrap_or(usize::MAX).saturating_add(staged));
        Some(statistics)
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let files = self.pruned(state, filters)?;
        let schema = self.projected(projection)?;
        if let Some(sees) = &self.sees
            && let Some(field) = schema.fields().iter().find(|field| !sees(field.name()))
        {
            let (table, column) = (&self.name, field.name());
            return plan_err!(
                "`{column}` of {table} is read, and the SQL does not name it: name it, or select `*` from {table}"
            );
        }
        let small = state.config().get_extension::<SmallFiles>();
        // Whoever wants a few rows needs no more files than have them.
        let small = small.filter(|small| limit.is_none() && small.fit(files.iter().map(|f| (f.0.size, f.2)), &schema));
        let mut plans: Vec<Arc<dyn ExecutionPlan>> = Vec::new();
        match small {
            _ if files.is_empty() => {}
            Some(small) => plans.push(self.scan_small(state, small, &files, Arc::clone(&schema)).await?),
            None => plans.push(self.scan_files(state, &files, projection, filters, limit).await?),
        }
        if !self.staged.is_empty() {
            let batches = [self.staged.clone()];
            plans.push(MemorySourceConfig::try_new_exec(&batches, self.schema(), projection.cloned())?);
        }
        match plans.len() {
            0 => Ok(Arc::new(EmptyExec::new(schema))),
            1 => Ok(plans.remove(0)),
            _ => UnionExec::try_new(plans),
        }
    }
}

impl LakeScan {
    fn projected(&self, projection: Option<&Vec<usize>>) -> Result<SchemaRef> {
        Ok(match projection {
            Some(indices) => Arc::new(self.schema.project(indices)?),
            None => self.schema(),
        })
    }

    /// The rows of small files, in as many parts as are computed side by side.
    async fn scan_small(
        &self,
        state: &dyn Session,
        small: Arc<SmallFiles>,
        files: &[&File],
        schema: SchemaRef,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let store = state.runtime_env().object_store(&self.store_url)?;
        let files = files.iter().map(|(meta, slot, _)| (meta.clone(), *slot)).collect();
        let batches = small.read(store, files, Arc::clone(&schema), self.partitioned).await?;
        let at_once = state.config().target_partitions().min(batches.len()).max(1);
        let parts: Vec<_> = batches.chunks(batches.len().div_ceil(at_once).max(1)).map(<[_]>::to_vec).collect();
        let parts = if parts.is_empty() { vec![Vec::new()] } else { parts };
        Ok(MemorySourceConfig::try_new_exec(&parts, schema, None)?)
    }

    async fn scan_files(
        &self,
        state: &dyn Session,
        files: &[&File],
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let day = Arc::new(Field::new("dt", DataType::Date32, true));
        let day_columns = if self.partitioned { vec![day] } else { Vec::new() };
        // The log lists `dt` where the table declares it; a scan puts the folders' column last.
        let table_schema =
            TableSchema::builder(Arc::clone(&self.file_schema)).with_table_partition_cols(day_columns).build();
        let wanted: Vec<usize> = match projection {
            Some(indices) => indices.clone(),
            None => (0..self.schema.fields().len()).collect(),
        };
        let projection = wanted
            .iter()
            .map(|index| table_schema.table_schema().index_of(self.schema.field(*index).name()))
            .collect::<Result<Vec<_>, _>>()?;

        let mut rows = 0;
        let parts: Vec<PartitionedFile> = files
            .iter()
            .map(|(meta, slot, file_rows)| {
                rows += file_rows;
                let mut file = PartitionedFile::from(meta.clone());
                if self.partitioned {
                    file.partition_values = vec![ScalarValue::Date32(slot.map(|d| d.days()))];
                }
                file
            })
            .collect();
        let metadata_cache = state.runtime_env().cache_manager.get_file_metadata_cache();
        let store = state.runtime_env().object_store(&self.store_url)?;
        // What is computed in one piece, or cut short, is sorted faster than its order is looked up.
        let in_one_piece = state.config().target_partitions() == 1 || limit.is_some();
        let (groups, order) = if in_one_piece {
            (FileGroup::new(parts).split_files(state.config().target_partitions()), None)
        } else {
            grouped(state, &*store, &self.file_schema, table_schema.table_schema(), parts).await?
        };
        let readers = Arc::new(CachedParquetFileReaderFactory::new(store, metadata_cache));
        let options = state.default_table_options().parquet;
        let mut source = ParquetSource::new(table_schema.clone())
            .with_table_parquet_options(options)
            .with_parquet_file_reader_factory(readers);
        if let Some(predicate) = conjunction(filters.to_vec()) {
            let df_schema = DFSchema::try_from(Arc::clone(table_schema.table_schema()))?;
            source = source.with_predicate(state.create_physical_expr(predicate, &df_schema)?);
        }
        let mut statistics = Statistics::new_unknown(table_schema.table_schema());
        statistics.num_rows = Precision::Inexact(usize::try_from(rows).unwrap_or(usize::MAX));
        // A limit may only cut the scan short where no filter above it drops rows.
        let limit = limit.filter(|_| filters.is_empty());
        let config = FileScanConfigBuilder::new(self.store_url.clone(), Arc::new(source))
            .with_file_groups(groups)
            .with_output_ordering(order.into_iter().collect())
            .with_statistics(statistics)
            .with_projection_indices(Some(projection))?
            .with_limit(limit)
            .build();
        Ok(DataSourceExec::from_data_source(config))
    }
}

/// The URL under which the engine finds the store of a lake: its scheme and host.
pub fn store_url(root: &url::Url) -> Result<ObjectStoreUrl> {
    ObjectStoreUrl::parse(&root[..url::Position::BeforePath])
}

/// The schema with text held as views: what DataFusion computes fastest with.
pub(super) fn viewed(schema: &SchemaRef) -> SchemaRef {
    let fields: Vec<Field> = schema
        .fields()
        .iter()
        .map(|field| {
            let kind = match field.data_type() {
                DataType::Utf8 | DataType::LargeUtf8 => DataType::Utf8View,
                DataType::Binary | DataType::LargeBinary => DataType::BinaryView,
                other => other.clone(),
            };
            // Comments are the log's matter: an operator's schema must equal its plan's, metadata included.
            Field::new(field.name(), kind, field.is_nullable())
        })
        .collect();
    Arc::new(Schema::new(fields))
}

/// A batch with the columns of the schema, each cast to its type there.
pub fn cast_batch(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    let columns = schema
        .fields()
        .iter()
        .map(|field| {
            let index = batch.schema().index_of(field.name())?;
            Ok(arrow::compute::cast(batch.column(index), field.data_type())?)
        })
        .collect::<Result<Vec<_>>>()?;
    let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    Ok(RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)?)
}

#[cfg(test)]
mod tests {
    use arrow::array::{ArrayRef, Int64Array};

    use super::*;
    use crate::engine::Engine;
    use crate::lake::{Lake, TableSpec};

    #[tokio::test]
    async fn a_column_that_may_not_be_read_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let lake = Lake::open(&folder.path().to_string_lossy()).expect("a lake");
        let column = || Arc::new(Int64Array::from(vec![1, 2])) as ArrayRef;
        let rows = RecordBatch::try_from_iter([("a", column()), ("b", column())]).expect("rows");
        let spec = TableSpec {
            name: "dwd_t".to_owned(),
            schema: rows.schema(),
            partitioned: false,
            description: "A row".to_owned(),
        };
        let table = lake.ensure_table(&spec, 0).await.expect("a table");
        let engine = Engine::new(&lake, 1 << 30, 1, "UTC".parse().expect("a zone")).expect("an engine");
        let session = engine.session();
        let scan = LakeScan::new(&table, &[], vec![rows]).expect("a scan").seen(Some(Arc::new(|name| name == "a")));
        session.register_table("dwd_t", Arc::new(scan)).expect("registered");
        for (sql, column) in [
            ("select sum(a) as s, count(*) as n from dwd_t where a > 0", None),
            ("select a from (select * from dwd_t) as x", None),
            ("select count(*) as n from dwd_t", None),
            ("select a from dwd_t as x where a > 5 or exists (select 1 from dwd_t as y where y.a = x.a)", None),
            ("select 1 as one from dwd_t union select a from dwd_t", None),
            ("select b from dwd_t", Some("b")),
            ("select a from dwd_t where b > 1", Some("b")),
            ("select distinct * from dwd_t", Some("b")),
        ] {
            let done = session.sql(sql).await.expect("planned").collect().await;
            let said = done.map_or_else(|error| error.to_string(), |_| String::new());
            assert_eq!(
                said.contains("`b` of dwd_t is read, and the SQL does not name it"),
                column.is_some(),
                "{sql}: {said}"
            );
            assert_eq!(said.is_empty(), column.is_none(), "{sql}: {said}");
        }
    }
}
