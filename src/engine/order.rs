//! Files whose footers say that they are sorted, in groups that are sorted as a whole: what needs the order then only
//! merges the groups.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::catalog::Session;
use datafusion::common::Result;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::parquet::metadata::{DFParquetMetadata, ordering_from_parquet_metadata};
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfig};
use datafusion::physical_expr::LexOrdering;
use datafusion::physical_expr::expressions::Column;
use futures::{StreamExt, TryStreamExt};
use object_store::ObjectStore;
use parquet::basic::Type;
use parquet::file::metadata::ParquetMetaData;

/// Footers that are read at once.
const FOOTERS_AT_ONCE: usize = 16;

/// Every group is read at once, so that many of them cost more than a sort: at most this often the wanted number.
const GROUPS_PER_PARTITION: usize = 8;

/// The files in groups, and the order that the rows of each group have, if there is one.
///
/// # Errors
/// When a footer cannot be read.
pub async fn grouped(
    state: &dyn Session,
    store: &dyn ObjectStore,
    file_schema: &SchemaRef,
    table_schema: &SchemaRef,
    files: Vec<PartitionedFile>,
) -> Result<(Vec<FileGroup>, Option<LexOrdering>)> {
    let wanted = state.config().target_partitions();
    // What is computed in one piece is small, and sorted faster than it is looked up.
    if wanted == 1 {
        return Ok((FileGroup::new(files).split_files(wanted), None));
    }
    let cache = state.runtime_env().cache_manager.get_file_metadata_cache();
    let seen: Vec<(PartitionedFile, Option<LexOrdering>)> = futures::stream::iter(files)
        .map(|mut file| {
            let cache = Arc::clone(&cache);
            async move {
                let footer = DFParquetMetadata::new(store, &file.object_meta).with_file_metadata_cache(Some(cache));
                let footer = footer.fetch_metadata().await?;
                let order = ordering_from_parquet_metadata(&footer, file_schema)?;
                let order = order.filter(|order| keeps_order(&footer, order, file_schema));
                let statistics = DFParquetMetadata::statistics_from_parquet_metadata(&footer, file_schema)?;
                file.statistics = Some(Arc::new(statistics));
                Ok::<_, datafusion::common::DataFusionError>((file, order))
            }
        })
        .buffered(FOOTERS_AT_ONCE)
        .try_collect()
        .await?;
    let order = seen.first().and_then(|(_, order)| order.clone());
    let order = order.filter(|order| seen.iter().all(|(_, other)| other.as_ref() == Some(order)));
    let all = FileGroup::new(seen.into_iter().map(|(file, _)| file).collect());
    if let Some(order) = order {
        let groups = FileScanConfig::split_groups_by_statistics_with_target_partitions(
            table_schema,
            std::slice::from_ref(&all),
            &order,
            wanted,
        );
        if let Some(groups) = groups.ok().filter(|groups| groups.len() <= wanted * GROUPS_PER_PARTITION) {
            return Ok((groups, Some(order)));
        }
    }
    Ok((all.split_files(wanted), None))
}

/// Whether a file's rows are in the same order by the table's types: a column that has become text since is not, for 9
/// comes before 10 and after "10".
fn keeps_order(footer: &ParquetMetaData, order: &LexOrdering, file_schema: &SchemaRef) -> bool {
    let columns = footer.file_metadata().schema_descr();
    order.iter().filter_map(|key| key.expr.downcast_ref::<Column>()).all(|key| {
        let stored = columns.columns().iter().find(|column| column.name() == key.name());
        let was_text = stored.is_some_and(|column| column.physical_type() == Type::BYTE_ARRAY);
        let is_text = file_schema.field(key.index()).data_type().is_string();
        was_text == is_text
    })
}

#[cfg(test)]
mod tests {
    use arrow::array::{AsArray, Int64Array, RecordBatch};
    use arrow::datatypes::{DataType, Field, Int64Type, Schema};
    use datafusion::physical_plan::displayable;

    use super::*;
    use crate::engine::{Engine, LakeScan};
    use crate::lake::{Commit, Lake, TableSpec, encode_parquet, sorted_by};

    /// The plan of `select n … order by n` over files of such numbers, and what it yields.
    async fn ordered(files: &[Vec<i64>]) -> (String, Vec<i64>) {
        let folder = tempfile::tempdir().expect("a folder");
        let lake = Lake::open(&folder.path().to_string_lossy()).expect("a lake");
        let columns = ["n", "twice"].map(|name| Field::new(name, DataType::Int64, true));
        let schema = Arc::new(Schema::new(columns.to_vec()));
        let (name, description) = ("dwd_test".to_owned(), "A number".to_owned());
        let spec = TableSpec { name, schema: schema.clone(), partitioned: false, description };
        let mut table = lake.ensure_table(&spec, 0).await.expect("a table");
        let mut adds = Vec::new();
        for numbers in files {
            let twice = Int64Array::from_iter_values(numbers.iter().map(|n| n * 2));
            let columns = vec![Arc::new(Int64Array::from(numbers.clone())) as _, Arc::new(twice) as _];
            let batch = RecordBatch::try_new(schema.clone(), columns).expect("a batch");
            let file = encode_parquet(&sorted_by(&schema, &["n"]), &[batch]).expect("a file");
            adds.push(table.put(None, file, "run").await.expect("a place"));
        }
        table.commit(Commit { adds, run: "run".to_owned(), ..Commit::default() }).await.expect("a commit");
        let engine = Engine::new(&lake, 1 << 30, 2, "UTC".parse().expect("a zone")).expect("an engine");
        let session = engine.session();
        session.register_table("dwd_test", Arc::new(LakeScan::of(&table).expect("a scan"))).expect("registered");
        let frame = session
            .sql("select twice, n from dwd_test where twice >= 0 order by n nulls first")
            .await
            .expect("planned");
        let plan = frame.clone().create_physical_plan().await.expect("a plan");
        let plan = displayable(plan.as_ref()).indent(false).to_string();
        let batches = frame.collect().await.expect("rows");
        let numbers = batches.iter().flat_map(|b| b.column(1).as_primitive::<Int64Type>().values().to_vec()).collect();
        (plan, numbers)
    }

    #[tokio::test]
    async fn sorted_files_are_merged_and_not_sorted_again() {
        let (plan, numbers) = ordered(&[vec![7, 8], vec![1, 3], vec![4, 6], vec![9, 10]]).await;
        assert!(!plan.contains("SortExec"), "{plan}");
        assert_eq!(numbers, [1, 3, 4, 6, 7, 8, 9, 10]);
    }

    #[tokio::test]
    async fn sorted_files_may_overlap() {
        let (plan, numbers) = ordered(&[vec![1, 8], vec![2, 3], vec![2, 9], vec![5, 6]]).await;
        assert!(!plan.contains("SortExec"), "{plan}");
        assert_eq!(numbers, [1, 2, 2, 3, 5, 6, 8, 9]);
    }

    #[tokio::test]
    async fn one_file_out_of_order_makes_a_sort_necessary() {
        let (plan, numbers) = ordered(&[vec![1, 3], vec![5, 4]]).await;
        assert!(plan.contains("SortExec"), "{plan}");
        assert_eq!(numbers, [1, 3, 4, 5]);
    }

    #[tokio::test]
    async fn numbers_that_have_become_text_are_sorted_as_text() {
        let folder = tempfile::tempdir().expect("a folder");
        let lake = Lake::open(&folder.path().to_string_lossy()).expect("a lake");
        let spec = |kind| TableSpec {
            name: "dwd_test".to_owned(),
            schema: Arc::new(Schema::new(vec![Field::new("n", kind, true)])),
            partitioned: false,
            description: "A number".to_owned(),
        };
        let mut table = lake.ensure_table(&spec(DataType::Int64), 0).await.expect("a table");
        let schema = table.schema().clone();
        let batch = RecordBatch::try_new(schema.clone(), vec![Arc::new(Int64Array::from(vec![9, 10]))]);
        let file = encode_parquet(&sorted_by(&schema, &["n"]), &[batch.expect("a batch")]).expect("a file");
        let adds = vec![table.put(None, file, "run").await.expect("a place")];
        table.commit(Commit { adds, run: "run".to_owned(), ..Commit::default() }).await.expect("a commit");
        let table = lake.ensure_table(&spec(DataType::Utf8), 0).await.expect("a table of text");
        let engine = Engine::new(&lake, 1 << 30, 2, "UTC".parse().expect("a zone")).expect("an engine");
        let session = engine.session();
        session.register_table("dwd_test", Arc::new(LakeScan::of(&table).expect("a scan"))).expect("registered");
        let frame = session.sql("select n from dwd_test order by n nulls first").await.expect("planned");
        let batches = frame.collect().await.expect("rows");
        let texts = batches.iter().flat_map(|b| b.column(0).as_string_view().iter().flatten().map(str::to_owned));
        assert_eq!(texts.collect::<Vec<_>>(), ["10", "9"]);
    }
}
