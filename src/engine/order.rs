//! Files whose footers say that they are sorted, in groups that are sorted as a whole: what needs the order then only
//! merges the groups.

use std::sync::Arc;

use arrow::compute::SortOptions;
use arrow::datatypes::{DataType, SchemaRef};
use datafusion::catalog::Session;
use datafusion::common::stats::Precision;
use datafusion::common::{DataFusionError, Result, ScalarValue, Statistics};
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::parquet::metadata::DFParquetMetadata;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfig};
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::{LexOrdering, PhysicalSortExpr};
use futures::{StreamExt, TryStreamExt};
use object_store::ObjectStore;
use parquet::arrow::parquet_to_arrow_schema;
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaData, RowGroupMetaData};

/// Footers that are read at once.
const FOOTERS_AT_ONCE: usize = 16;

/// Every group is read at once, so that many of them cost more than a sort: at most this often the wanted number.
const GROUPS_PER_PARTITION: usize = 4;

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
    let cache = state.runtime_env().cache_manager.get_file_metadata_cache();
    let seen: Vec<(PartitionedFile, Option<LexOrdering>)> = futures::stream::iter(files)
        .map(|mut file| {
            let cache = Arc::clone(&cache);
            async move {
                let footer = DFParquetMetadata::new(store, &file.object_meta)
                    .with_file_metadata_cache(Some(cache))
                    .with_page_index_policy(Some(PageIndexPolicy::Skip));
                let footer = footer.fetch_metadata().await?;
                let told = order_of(&footer, file_schema)?;
                let order = told.map(|(order, bounds)| {
                    file.statistics = Some(Arc::new(bounds));
                    order
                });
                Ok::<_, DataFusionError>((file, order))
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

/// The order that a file's footer tells, and the bounds of its keys; only what is certain by the table's columns of today.
///
/// Each key must be a column of the table of the very type that the file has: after a change of type 9 may come before 10
/// and after "10", and without a key the ones behind it are in no order. Files with nested columns tell nothing, for their
/// columns are not numbered as the table's; neither do floats, whose NaN no bound shows.
fn order_of(footer: &ParquetMetaData, file_schema: &SchemaRef) -> Result<Option<(LexOrdering, Statistics)>> {
    let columns = footer.file_metadata().schema_descr();
    let sorting = footer.row_groups().first().and_then(|group| group.sorting_columns());
    let Some(sorting) = sorting.filter(|_| columns.num_columns() == columns.root_schema().get_fields().len()) else {
        return Ok(None);
    };
    let stored = parquet_to_arrow_schema(columns, None)?;
    let known = DFParquetMetadata::statistics_from_parquet_metadata(footer, file_schema)?;
    // What the engine does not need to know it must not conclude from: bounds leave out NaN, for one.
    let mut bounds = Statistics::new_unknown(file_schema);
    let mut keys = Vec::new();
    for told in sorting {
        let place = usize::try_from(told.column_idx).unwrap_or(usize::MAX);
        let field = stored.fields().get(place);
        let here = field.and_then(|field| Some((field, file_schema.column_with_name(field.name())?)));
        let same = here.filter(|(stored, (_, here))| plain(stored.data_type()) == plain(here.data_type()));
        let Some((_, (index, field))) = same.filter(|(stored, _)| !stored.data_type().is_floating()) else {
            return Ok(None);
        };
        // Of row groups without bounds the known ones say nothing.
        let is_bounded = |group: &RowGroupMetaData| {
            let bounds = group.column(place).statistics();
            bounds.is_some_and(|bounds| bounds.min_bytes_opt().is_some() && bounds.max_bytes_opt().is_some())
        };
        if !footer.row_groups().iter().all(is_bounded) {
            return Ok(None);
        }
        let of_column = &known.column_statistics[index];
        let bound = |known: &Precision<ScalarValue>| known.get_value().filter(|value| !value.is_null()).cloned();
        let Some((low, high)) = bound(&of_column.min_value).zip(bound(&of_column.max_value)) else {
            return Ok(None);
        };
        bounds.column_statistics[index].min_value = Precision::Inexact(low);
        bounds.column_statistics[index].max_value = Precision::Inexact(high);
        bounds.column_statistics[index].null_count = Precision::Exact(0);
        let options = SortOptions { descending: told.descending, nulls_first: told.nulls_first };
        keys.push(PhysicalSortExpr::new(Arc::new(Column::new(field.name(), index)), options));
    }
    Ok(LexOrdering::new(keys).map(|order| (order, bounds)))
}

/// The type of a column, whichever way its text is held.
fn plain(kind: &DataType) -> DataType {
    match kind {
        DataType::Utf8View | DataType::LargeUtf8 => DataType::Utf8,
        DataType::BinaryView | DataType::LargeBinary => DataType::Binary,
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{
        ArrayRef, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray, StructArray,
        TimestampMicrosecondArray,
    };
    use arrow::datatypes::Field;
    use arrow::util::display::{ArrayFormatter, FormatOptions};
    use datafusion::physical_plan::displayable;

    use super::*;
    use crate::engine::small::SmallFiles;
    use crate::engine::{Engine, LakeScan};
    use crate::lake::{Commit, Lake, TableSpec, encode_parquet, sorted_by};

    fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
        RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, c)| (name, c, true))).expect("a batch")
    }

    /// The plan of a query and the first column of its answer, over files that are believed to be sorted; each group of
    /// files has the columns that the table had when they were written.
    async fn answered(files: &[Vec<RecordBatch>], key: &[&str], sql: &str) -> (String, Vec<String>) {
        let folder = tempfile::tempdir().expect("a folder");
        let lake = Lake::open(&folder.path().to_string_lossy()).expect("a lake");
        let mut latest = None;
        for of_one_shape in files {
            let schema = of_one_shape[0].schema();
            let (name, description) = ("dwd_test".to_owned(), "A row".to_owned());
            let spec = TableSpec { name, schema: schema.clone(), partitioned: false, description };
            let mut table = lake.ensure_table(&spec, 0).await.expect("a table");
            let key: Vec<&str> = key.iter().copied().filter(|key| schema.index_of(key).is_ok()).collect();
            let mut adds = Vec::new();
            for batch in of_one_shape {
                let file = encode_parquet(&sorted_by(&schema, &key), std::slice::from_ref(batch)).expect("a file");
                adds.push(table.put(None, file, "run").await.expect("a place"));
            }
            table.commit(Commit { adds, run: "run".to_owned(), ..Commit::default() }).await.expect("a commit");
            latest = Some(table);
        }
        let engine = Engine::new(&lake, 1 << 30, 2, "UTC".parse().expect("a zone")).expect("an engine");
        let session = engine.session();
        // These are small only because it is a test.
        session.state_ref().write().config_mut().set_extension(Arc::new(SmallFiles::none()));
        let scan = LakeScan::of(&latest.expect("files")).expect("a scan");
        session.register_table("dwd_test", Arc::new(scan)).expect("registered");
        let frame = session.sql(sql).await.expect("planned");
        let plan = frame.clone().create_physical_plan().await.expect("a plan");
        let plan = displayable(plan.as_ref()).indent(false).to_string();
        let mut texts = Vec::new();
        for batch in frame.collect().await.expect("rows") {
            let options = FormatOptions::new();
            let column = ArrayFormatter::try_new(batch.column(0), &options).expect("shown");
            texts.extend((0..batch.num_rows()).map(|row| column.value(row).to_string()));
        }
        (plan, texts)
    }

    fn numbers(of: &[&[i64]]) -> Vec<RecordBatch> {
        let column = |numbers: &&[i64]| Arc::new(Int64Array::from(numbers.to_vec())) as ArrayRef;
        let twice =
            |numbers: &&[i64]| Arc::new(Int64Array::from_iter_values(numbers.iter().map(|n| n * 2))) as ArrayRef;
        of.iter().map(|n| batch(vec![("n", column(n)), ("twice", twice(n))])).collect()
    }

    const IN_ORDER: &str = "select n from dwd_test where twice >= 0 order by n nulls first";

    #[tokio::test]
    async fn sorted_files_are_merged_and_not_sorted_again() {
        let files = numbers(&[&[7, 8], &[1, 3], &[4, 6], &[9, 10]]);
        let (plan, rows) = answered(&[files], &["n"], IN_ORDER).await;
        assert!(!plan.contains("SortExec"), "{plan}");
        assert_eq!(rows, ["1", "3", "4", "6", "7", "8", "9", "10"]);
    }

    #[tokio::test]
    async fn sorted_files_may_overlap() {
        let (plan, rows) = answered(&[numbers(&[&[1, 8], &[2, 3], &[2, 9], &[5, 6]])], &["n"], IN_ORDER).await;
        assert!(!plan.contains("SortExec"), "{plan}");
        assert_eq!(rows, ["1", "2", "2", "3", "5", "6", "8", "9"]);
    }

    #[tokio::test]
    async fn one_file_out_of_order_makes_a_sort_necessary() {
        let (plan, rows) = answered(&[numbers(&[&[1, 3], &[5, 4]])], &["n"], IN_ORDER).await;
        assert!(plan.contains("SortExec"), "{plan}");
        assert_eq!(rows, ["1", "3", "4", "5"]);
    }

    #[tokio::test]
    async fn keys_that_have_another_type_since_are_sorted_by_it() {
        let number = |n: &[i64]| batch(vec![("n", Arc::new(Int64Array::from(n.to_vec())) as ArrayRef)]);
        let small = |n: &[i32]| batch(vec![("n", Arc::new(Int32Array::from(n.to_vec())) as ArrayRef)]);
        let text = batch(vec![("n", Arc::new(StringArray::from(vec!["95"])) as ArrayRef)]);
        let sql = "select n from dwd_test order by n nulls first";
        let (_, rows) = answered(&[vec![number(&[9, 10])], vec![text]], &["n"], sql).await;
        assert_eq!(rows, ["10", "9", "95"]);
        let files = [vec![small(&[3, 9]), small(&[4, 8])], vec![number(&[1, 7])]];
        let (_, rows) = answered(&files, &["n"], sql).await;
        assert_eq!(rows, ["1", "3", "4", "7", "8", "9"]);
        let at = |times: &[i64]| Arc::new(TimestampMicrosecondArray::from(times.to_vec())) as ArrayRef;
        let n = |numbers: &[i64]| Arc::new(Int64Array::from(numbers.to_vec())) as ArrayRef;
        let by_time = batch(vec![("n", n(&[7, 6, 5])), ("t", at(&[1, 2, 3]))]);
        let day = arrow::compute::cast(&at(&[0]), &DataType::Date32).expect("a day");
        let by_day = batch(vec![("n", n(&[9])), ("t", day)]);
        let sql = "select n from dwd_test order by t nulls first, n nulls first";
        let (_, rows) = answered(&[vec![by_time], vec![by_day]], &["t", "n"], sql).await;
        assert_eq!(rows, ["5", "6", "7", "9"]);
    }

    #[tokio::test]
    async fn without_a_key_the_ones_behind_it_are_in_no_order() {
        let column = |numbers: &[i64]| Arc::new(Int64Array::from(numbers.to_vec())) as ArrayRef;
        let two = batch(vec![("a", column(&[1, 2, 3])), ("n", column(&[3, 2, 1]))]);
        let one = batch(vec![("n", column(&[2]))]);
        let (_, rows) =
            answered(&[vec![two], vec![one]], &["a", "n"], "select n from dwd_test order by n nulls first").await;
        assert_eq!(rows, ["1", "2", "2", "3"]);
    }

    #[tokio::test]
    async fn files_with_nested_columns_and_keys_of_floats_are_sorted() {
        let column = |numbers: &[i64]| Arc::new(Int64Array::from(numbers.to_vec())) as ArrayRef;
        let field = |name| Arc::new(Field::new(name, DataType::Int64, true));
        let pair = StructArray::from(vec![(field("x"), column(&[1, 2])), (field("y"), column(&[1, 2]))]);
        let files = vec![batch(vec![("s", Arc::new(pair)), ("n", column(&[2, 1])), ("b", column(&[1, 2]))])];
        let (_, rows) = answered(&[files], &["b"], "select n from dwd_test order by n nulls first").await;
        assert_eq!(rows, ["1", "2"]);
        let float = |numbers: &[f64]| batch(vec![("x", Arc::new(Float64Array::from(numbers.to_vec())) as ArrayRef)]);
        let files = vec![float(&[1.0, f64::NAN]), float(&[2.0, 3.0])];
        let (_, rows) = answered(&[files], &["x"], "select x from dwd_test order by x nulls first").await;
        assert_eq!(rows, ["1.0", "2.0", "3.0", "NaN"]);
    }

    #[tokio::test]
    async fn nothing_is_concluded_from_bounds_that_leave_out_nan() {
        let key = Arc::new(Int64Array::from(vec![1, 2, 3])) as ArrayRef;
        let values = Arc::new(Float64Array::from(vec![0.5, f64::NAN, 0.5])) as ArrayRef;
        let files = vec![batch(vec![("x", values), ("n", key)])];
        let (_, rows) = answered(&[files], &["n"], "select x from dwd_test order by n nulls first").await;
        assert_eq!(rows, ["0.5", "NaN", "0.5"]);
    }

    #[tokio::test]
    async fn a_file_without_the_bounds_of_all_its_rows_is_sorted() {
        // The last text of the first file stands alone in a row group, and no text is greater.
        let last = "\u{10FFFF}".repeat(20);
        let texts = |of: Vec<&str>| batch(vec![("t", Arc::new(StringArray::from(of)) as ArrayRef)]);
        let mut of_first = vec!["a"; 256 * 1024];
        of_first.push(&last);
        let files = vec![texts(of_first), texts(vec!["n", "y"])];
        let (plan, rows) = answered(&[files], &["t"], "select t from dwd_test order by t nulls first").await;
        assert!(plan.contains("SortExec"), "{plan}");
        assert!(rows.is_sorted() && rows.last() == Some(&last), "{:?}", &rows[rows.len() - 3..]);
    }
}
