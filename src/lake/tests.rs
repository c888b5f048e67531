//! The lake against a real folder: what is committed together is there together, through checkpoints too.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, Date32Array, Float64Array, Int64Array, RecordBatch, StringArray, StructArray, TimestampMicrosecondArray,
    new_null_array,
};
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};

use object_store::ObjectStoreExt;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::*;
use crate::date::BizDate;

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("dt", DataType::Date32, true),
        Field::new("n", DataType::Int64, true).with_metadata([("comment".into(), "a number".into())].into()),
        Field::new("at", DataType::Timestamp(TimeUnit::Microsecond, None), true),
    ]))
}

fn spec(partitioned: bool) -> TableSpec {
    TableSpec { name: "dwd_test".into(), schema: schema(), partitioned, description: "test".into() }
}

fn batch(table: &Table, day: i32, numbers: &[i64]) -> RecordBatch {
    let full = RecordBatch::try_new(
        schema(),
        vec![
            Arc::new(Date32Array::from(vec![day; numbers.len()])),
            Arc::new(Int64Array::from(numbers.to_vec())),
            Arc::new(TimestampMicrosecondArray::from(vec![0; numbers.len()])),
        ],
    )
    .expect("a batch");
    let wanted: Vec<usize> =
        table.file_schema().fields().iter().map(|f| full.schema().index_of(f.name()).expect("a column")).collect();
    full.project(&wanted).expect("a projection")
}

async fn staged(table: &Table, day: i32, numbers: &[i64]) -> StagedFile {
    let file = encode_parquet(&table.file_schema(), &[batch(table, day, numbers)]).expect("encodes");
    table.put(Some(BizDate::from_days(day)), file, "run").await.expect("stages")
}

fn commit(adds: Vec<StagedFile>, records: &[(&str, Option<&str>)]) -> Commit {
    let records = records.iter().map(|(k, v)| ((*k).to_owned(), v.map(str::to_owned))).collect();
    Commit { adds, records, run: "r1".into(), operation: "test", now_ms: 1_700_000_000_000, ..Default::default() }
}

#[tokio::test]
async fn rows_and_records_are_committed_together_and_staged_files_are_invisible_before() {
    let folder = tempfile::tempdir().expect("a folder");
    let lake = Lake::open(&folder.path().to_string_lossy()).expect("opens");
    assert!(lake.table("dwd_test").await.expect("looks").is_none());
    let mut table = lake.ensure_table(&spec(true), 0).await.expect("creates");
    let file = staged(&table, 20_000, &[1, 2]).await;
    assert!(lake.table("dwd_test").await.expect("opens").expect("exists").files().is_empty());

    table.commit(commit(vec![file], &[("strata.slot:2024-10-04", Some("{\"v\":1}"))])).await.expect("commits");
    let seen = lake.table("dwd_test").await.expect("opens").expect("exists");
    assert_eq!(seen.files().len(), 1);
    assert_eq!(seen.files()[0].slot, Some(BizDate::from_days(20_000)));
    assert_eq!(seen.files()[0].rows, 2);
    assert_eq!(seen.schema().field(1).metadata().get("comment").map(String::as_str), Some("a number"));
    let records = lake.records("dwd_test").await.expect("reads");
    assert_eq!(records.get("strata.slot:2024-10-04").map(String::as_str), Some("{\"v\":1}"));
    let history = lake.history("dwd_test").await.expect("reads");
    assert_eq!((history[1].run.as_str(), history[1].operation.as_str(), history[1].version), ("r1", "test", 1));
}

#[tokio::test]
async fn records_survive_checkpoints_and_removal() {
    let folder = tempfile::tempdir().expect("a folder");
    let lake = Lake::open(&folder.path().to_string_lossy()).expect("opens");
    let mut table = lake.ensure_table(&spec(false), 0).await.expect("creates");
    for n in 0..45 {
        let key = format!("k{n}");
        table.commit(commit(vec![], &[(&key, Some("v")), ("last", Some(&key))])).await.expect("commits");
    }
    table.commit(commit(vec![], &[("k3", None)])).await.expect("commits");
    let log = folder.path().join("dwd/dwd_test/_delta_log");
    let checkpoints = std::fs::read_dir(log)
        .expect("a log")
        .filter(|e| e.as_ref().is_ok_and(|e| e.file_name().to_string_lossy().ends_with("checkpoint.parquet")));
    assert!(checkpoints.count() >= 2, "checkpoints were written");
    let records = lake.records("dwd_test").await.expect("reads");
    assert_eq!(records.len(), 45);
    assert_eq!(records.get("last").map(String::as_str), Some("k44"));
    assert!(!records.contains_key("k3"));
}

#[tokio::test]
async fn a_log_of_few_long_commits_is_summed_up_too() {
    let folder = tempfile::tempdir().expect("a folder");
    let open = || Lake::open(&folder.path().to_string_lossy()).expect("opens");
    let long = "v".repeat(50_000);
    let log = folder.path().join("dwd/dwd_test/_delta_log");
    let is_summed_up = |version: u64| log.join(format!("{version:020}.checkpoint.parquet")).exists();
    let lake = open();
    let mut table = lake.ensure_table(&spec(false), 0).await.expect("creates");
    for key in ["a", "b"] {
        table.commit(commit(vec![], &[(key, Some(&long))])).await.expect("commits");
    }
    // Another run knows how long the log is when it has read what is recorded.
    let lake = open();
    assert_eq!(lake.records("dwd_test").await.expect("reads").len(), 2);
    let mut table = lake.table("dwd_test").await.expect("opens").expect("exists");
    for (key, version, due) in [("c", 3, true), ("d", 4, false), ("e", 5, false), ("f", 6, true)] {
        table.commit(commit(vec![], &[(key, Some(&long))])).await.expect("commits");
        assert_eq!(is_summed_up(version), due, "version {version}");
    }
    assert_eq!(open().records("dwd_test").await.expect("reads").len(), 6);
}

#[tokio::test]
async fn a_commit_stands_where_its_log_cannot_be_summed_up_and_a_later_one_does_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let lake = Lake::open(&folder.path().to_string_lossy()).expect("opens");
    let long = "v".repeat(150_000);
    let log = folder.path().join("dwd/dwd_test/_delta_log");
    let checkpoint = |version: u64| log.join(format!("{version:020}.checkpoint.parquet"));
    let mut table = lake.ensure_table(&spec(true), 0).await.expect("creates");
    std::fs::create_dir_all(checkpoint(1).join("in the way")).expect("a folder");
    let first = staged(&table, 20_000, &[1]).await;
    table.commit(commit(vec![first], &[("a", Some(&long))])).await.expect("commits");
    assert!(checkpoint(1).is_dir());
    let second = staged(&table, 20_001, &[2]).await;
    table.commit(commit(vec![second], &[])).await.expect("commits");
    assert!(checkpoint(2).is_file());
    let lake = Lake::open(&folder.path().to_string_lossy()).expect("opens");
    let table = lake.table("dwd_test").await.expect("opens").expect("exists");
    assert_eq!(numbers(&table).await, [1, 2]);
    let before = lake.table_at("dwd_test", 1).await.expect("an earlier version");
    assert_eq!((numbers(&before).await, lake.records("dwd_test").await.expect("reads").len()), (vec![1], 1));
}

#[tokio::test]
async fn what_a_first_commit_that_was_cut_short_left_is_no_table_and_does_not_stand_in_the_way_of_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let lake = Lake::open(&folder.path().to_string_lossy()).expect("opens");
    let log = folder.path().join("dwd/dwd_test/_delta_log");
    std::fs::create_dir_all(&log).expect("a log");
    std::fs::write(log.join("00000000000000000000.json.part"), "{\"proto").expect("writes");
    assert!(lake.table("dwd_test").await.expect("looks").is_none());
    lake.ensure_table(&spec(true), 0).await.expect("creates");
    assert!(lake.table("dwd_test").await.expect("opens").is_some());
}

#[tokio::test]
async fn of_two_writers_from_one_snapshot_the_second_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let lake = Lake::open(&folder.path().to_string_lossy()).expect("opens");
    let mut first = lake.ensure_table(&spec(true), 0).await.expect("creates");
    let mut second = first.clone();
    let (a, b) = (staged(&first, 20_000, &[1]).await, staged(&second, 20_000, &[2]).await);
    first.commit(commit(vec![a], &[])).await.expect("commits");
    assert!(second.commit(commit(vec![b], &[])).await.is_err());
    assert_eq!(lake.table("dwd_test").await.expect("opens").expect("exists").files().len(), 1);
}

#[tokio::test]
async fn a_table_takes_up_new_columns() {
    let folder = tempfile::tempdir().expect("a folder");
    let lake = Lake::open(&folder.path().to_string_lossy()).expect("opens");
    let mut table = lake.ensure_table(&spec(true), 0).await.expect("creates");
    let file = staged(&table, 20_000, &[1]).await;
    table.commit(commit(vec![file], &[])).await.expect("commits");
    let mut wider = spec(true);
    let mut fields: Vec<_> = wider.schema.fields().iter().cloned().collect();
    fields.push(Arc::new(Field::new("extra", DataType::Utf8, true)));
    wider.schema = Arc::new(Schema::new(fields));
    let table = lake.ensure_table(&wider, 0).await.expect("evolves");
    assert_eq!(table.schema().fields().len(), 4);
    assert_eq!(table.files().len(), 1);
}

fn by(run: &str, adds: Vec<StagedFile>, removes: Vec<FileRef>, records: &[(&str, Option<&str>)]) -> Commit {
    Commit { removes, run: run.into(), ..commit(adds, records) }
}

async fn opened(lake: &Lake) -> (Table, BTreeMap<String, String>) {
    let table = lake.table("dwd_test").await.expect("opens").expect("exists");
    (table, lake.records("dwd_test").await.expect("reads"))
}

/// Brings `dwd_test` to a version that it had, or to when it did not exist; whether there was anything to do.
async fn brought_back(lake: &Lake, version: Option<u64>, run: &str) -> bool {
    let (mut table, records) = opened(lake).await;
    let then = match version {
        Some(version) => {
            let recorded = lake.records_at("dwd_test", version).await.expect("reads");
            Some((lake.table_at("dwd_test", version).await.expect("opens"), recorded))
        }
        None => None,
    };
    let then = then.as_ref().map(|(then, recorded)| (then, recorded));
    let restoration = Restoration::of((&table, &records), then).expect("alike");
    assert!(table.missing(&restoration.adds).await.expect("looks").is_empty());
    let is_due = !restoration.is_empty();
    if is_due {
        table.restore(restoration, run, 0).await.expect("commits");
    }
    is_due
}

#[tokio::test]
async fn a_table_is_brought_back_with_its_files_columns_and_records_and_forth_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let lake = Lake::open(&folder.path().to_string_lossy()).expect("opens");
    let mut table = lake.ensure_table(&spec(true), 0).await.expect("creates");
    let first = staged(&table, 20_000, &[1, 2]).await;
    table.commit(by("r1", vec![first], vec![], &[("a", Some("1")), ("b", Some("1"))])).await.expect("commits");
    let (before, recorded_before) = opened(&lake).await;

    // The second run replaces the rows, widens the table, changes a record, adds one and takes one away.
    let mut wider = spec(true);
    let more = Field::new("extra", DataType::Utf8, true);
    wider.schema =
        Arc::new(Schema::new(wider.schema.fields().iter().cloned().chain([Arc::new(more)]).collect::<Vec<_>>()));
    wider.description = "otherwise".into();
    let mut table = lake.table_to_be(&wider).await.expect("evolves");
    let second = staged(&before, 20_000, &[3]).await;
    let records = [("a", Some("2")), ("b", None), ("c", Some("1"))];
    table.commit(by("r2", vec![second], before.files().to_vec(), &records)).await.expect("commits");
    let (after, recorded_after) = opened(&lake).await;

    assert!(brought_back(&lake, Some(1), "r3").await);
    let paths = |table: &Table| table.files().iter().map(|f| (f.path.clone(), f.rows, f.days)).collect::<Vec<_>>();
    let (now, recorded) = opened(&lake).await;
    assert_eq!((paths(&now), recorded), (paths(&before), recorded_before.clone()));
    assert_eq!((now.schema(), now.description()), (before.schema(), before.description()));
    assert!(!brought_back(&lake, Some(1), "r4").await, "there is nothing left to do");

    assert!(brought_back(&lake, Some(2), "r5").await, "and what was brought back comes forth");
    let (now, recorded) = opened(&lake).await;
    assert_eq!((paths(&now), recorded, now.schema()), (paths(&after), recorded_after, after.schema()));

    assert!(brought_back(&lake, None, "r6").await, "before there was one");
    let (now, recorded) = opened(&lake).await;
    assert!(now.files().is_empty() && recorded.is_empty());
    // Each state is still there to be looked at.
    for (run, expected) in [("r1", &before), ("r2", &after), ("r3", &before), ("r5", &after)] {
        let past = lake.after(run);
        let then = past.table("dwd_test").await.expect("opens").expect("exists");
        assert_eq!(paths(&then), paths(expected), "{run}");
    }
    let past = lake.after("r1");
    assert_eq!(past.records("dwd_test").await.expect("reads"), recorded_before);
    assert_eq!(past.tables("dwd").await.expect("lists"), ["dwd_test"]);
    let mut then = past.table("dwd_test").await.expect("opens").expect("exists");
    assert!(then.commit(by("r9", vec![], vec![], &[])).await.is_err(), "the past is not written to");
    let long_ago = lake.after("r0");
    assert!(long_ago.table("dwd_test").await.expect("looks").is_none());
    assert!(long_ago.tables("dwd").await.expect("lists").is_empty());
    assert_eq!(lake.histories().await.expect("reads")["dwd_test"].len(), 6, "creation and five runs");
}

#[tokio::test]
async fn a_past_behind_a_cleaned_log_is_said_to_be_gone_and_a_vacuumed_file_is_missed() {
    let folder = tempfile::tempdir().expect("a folder");
    let lake = Lake::open(&folder.path().to_string_lossy()).expect("opens");
    let mut table = lake.ensure_table(&spec(true), 0).await.expect("creates");
    for n in 1..=25 {
        let file = staged(&table, 20_000 + n, &[1]).await;
        let run = format!("r{n:02}");
        table.commit(by(&run, vec![file], vec![], &[("last", Some(&run))])).await.expect("commits");
    }
    let log = folder.path().join("dwd/dwd_test/_delta_log");
    for version in 0..20 {
        std::fs::remove_file(log.join(format!("{version:020}.json"))).expect("cleans up");
    }
    let after = |run: &str| lake.after(run);
    for run in ["r20", "r23"] {
        assert_eq!(after(run).records("dwd_test").await.expect("reads")["last"], run);
        assert!(after(run).table("dwd_test").await.expect("opens").is_some());
    }
    let error = after("r07").table("dwd_test").await.err().expect("gone");
    assert_eq!(error.to_string(), "what dwd_test was after run r07 is gone: its log was cleaned up");
    assert!(after("r19").records("dwd_test").await.is_err());

    let (table, _) = opened(&lake).await;
    let files = table.staged().expect("files");
    std::fs::remove_file(folder.path().join("dwd/dwd_test").join(&files[3].path)).expect("vacuums");
    assert_eq!(table.missing(&files).await.expect("looks"), [files[3].path.clone()]);
}

/// The numbers of a table's rows, file after file.
async fn numbers(table: &Table) -> Vec<i64> {
    use arrow::array::AsArray;
    let mut found = Vec::new();
    for file in table.files() {
        let batches = read_batches(&*table.lake().store(), &table.object_path(&file.path)).await.expect("reads");
        let columns = batches.iter().map(|batch| batch.column_by_name("n").expect("a column").clone());
        found.extend(columns.flat_map(|c| c.as_primitive::<arrow::datatypes::Int64Type>().values().to_vec()));
    }
    found
}

const NEVER: i64 = i64::MIN;
const ALWAYS: i64 = i64::MAX;

#[tokio::test]
async fn small_files_become_one_and_a_reader_who_came_before_reads_on() {
    let folder = tempfile::tempdir().expect("a folder");
    let lake = Lake::open(&folder.path().to_string_lossy()).expect("opens");
    let mut table = lake.ensure_table(&spec(true), 0).await.expect("creates");
    let order = sorted_by(&table.file_schema(), &["n"]);
    for (day, numbers) in [(20_000, [5, 6]), (20_000, [1, 9]), (20_001, [2, 3])] {
        let encoded = encode_parquet(&order, &[batch(&table, day, &numbers)]).expect("encodes");
        let file = table.put(Some(BizDate::from_days(day)), encoded, "run").await.expect("stages");
        table.commit(commit(vec![file], &[("strata.slot:x", Some("{}"))])).await.expect("commits");
    }
    let before = table.clone();
    let told = table.compact("r2", 0, true).await.expect("looks");
    assert_eq!((told.files, told.made, table.files().len()), (2, 1, 3));
    let done = table.compact("r2", 0, false).await.expect("compacts");
    assert_eq!((done.files, done.made, table.files().len()), (2, 1, 2));
    assert_eq!(numbers(&table).await, [1, 5, 6, 9, 2, 3], "sorted files stay sorted");
    let merged = table.files().iter().find(|file| file.rows == 4).expect("a file");
    let bytes = lake.store().get(&table.object_path(&merged.path)).await.expect("gets").bytes().await.expect("bytes");
    let reader = ParquetRecordBatchReaderBuilder::try_new(bytes).expect("Parquet");
    assert!(reader.metadata().row_group(0).sorting_columns().is_some_and(|columns| columns.len() == 1));
    assert_eq!(lake.records("dwd_test").await.expect("reads").len(), 1, "records stay");
    let log = folder.path().join(format!("dwd/dwd_test/_delta_log/{:020}.json", table.version()));
    let log = std::fs::read_to_string(log).expect("a commit");
    assert!(log.contains("\"dataChange\":false") && !log.contains("\"dataChange\":true"), "{log}");
    assert_eq!(table.compact("r3", 0, false).await.expect("compacts"), Compacted::default());

    // Whoever opened an earlier version, or asks for one that is kept, finds its files.
    for retention in [
        Retention { versions_since_ms: NEVER, untouched_since_ms: ALWAYS },
        Retention { versions_since_ms: ALWAYS, untouched_since_ms: NEVER },
    ] {
        let done = table.vacuum(retention, false).await.expect("cleans up");
        assert_eq!((done.files, numbers(&before).await.len()), (0, 6));
    }
    let all = Retention { versions_since_ms: ALWAYS, untouched_since_ms: ALWAYS };
    assert_eq!(table.vacuum(all, true).await.expect("looks").files, 2);
    assert_eq!(table.vacuum(all, false).await.expect("cleans up").files, 2);
    assert_eq!(table.vacuum(all, false).await.expect("cleans up"), Vacuumed::default());
    assert_eq!(numbers(&lake.table("dwd_test").await.expect("opens").expect("exists")).await, [1, 5, 6, 9, 2, 3]);
}

#[tokio::test]
async fn a_file_that_was_staged_and_never_committed_goes_and_the_log_is_cut_behind_a_checkpoint() {
    let folder = tempfile::tempdir().expect("a folder");
    let lake = Lake::open(&folder.path().to_string_lossy()).expect("opens");
    let mut table = lake.ensure_table(&spec(true), 0).await.expect("creates");
    for n in 0..45 {
        let file = staged(&table, 20_000 + n, &[i64::from(n)]).await;
        table.commit(commit(vec![file], &[(&format!("k{n}"), Some("v"))])).await.expect("commits");
    }
    staged(&table, 20_000, &[99]).await;
    let draft = folder.path().join("dwd/dwd_test/dt=2024-10-04/r-1.parquet#1");
    std::fs::write(&draft, "cut short").expect("writes");
    let (rows, records) = (numbers(&table).await, lake.records("dwd_test").await.expect("reads"));
    let spared = Retention { versions_since_ms: NEVER, untouched_since_ms: NEVER };
    assert_eq!(table.vacuum(spared, false).await.expect("cleans up"), Vacuumed { waiting: 1, ..Vacuumed::default() });
    let all = Retention { versions_since_ms: ALWAYS, untouched_since_ms: ALWAYS };
    let done = table.vacuum(all, false).await.expect("cleans up");
    assert_eq!((done.files, done.log_entries), (2, 41), "versions 0 to 39 and a checkpoint");
    assert!(!draft.exists());
    let mut again = lake.table("dwd_test").await.expect("opens").expect("exists");
    assert_eq!((numbers(&again).await, lake.records("dwd_test").await.expect("reads")), (rows, records));
    assert_eq!(again.vacuum(all, false).await.expect("cleans up"), Vacuumed::default());
    let file = staged(&again, 20_100, &[7]).await;
    again.commit(commit(vec![file], &[])).await.expect("goes on");
    assert_eq!(lake.table("dwd_test").await.expect("opens").expect("exists").files().len(), 46);
}

#[test]
fn a_file_has_row_groups_and_columns_of_all_kinds() {
    let rows = 256 * 1024 + 10_000;
    let numbers = || 0..rows as i64;
    let texts = |of: fn(i64) -> String| Arc::new(StringArray::from_iter_values(numbers().map(of))) as ArrayRef;
    let pair = StructArray::from(vec![
        (
            Arc::new(Field::new("x", DataType::Int64, true)),
            Arc::new(Int64Array::from_iter_values(numbers())) as ArrayRef,
        ),
        (Arc::new(Field::new("y", DataType::Utf8, true)), texts(|n| format!("{}", n % 5))),
    ]);
    let columns: [(&str, ArrayRef); 6] = [
        ("few", texts(|n| format!("one of a few, {}", n * 7919 % 11))),
        ("each", texts(|n| format!("{:x}", n.wrapping_mul(0x1E37_79B9_7F4A_7C15)))),
        ("pair", Arc::new(pair)),
        ("double", Arc::new(Float64Array::from_iter(numbers().map(|n| (n % 3 > 0).then_some(n as f64))))),
        // Worth a dictionary in the first row group, and no longer in the second.
        ("long", Arc::new(Int64Array::from_iter_values(numbers().map(|n| if n < 200_000 { n % 9 } else { n * 7919 })))),
        ("none", new_null_array(&DataType::Utf8, rows)),
    ];
    let whole =
        RecordBatch::try_from_iter_with_nullable(columns.map(|(name, column)| (name, column, true))).expect("rows");
    let parts = [whole.slice(0, 100_000), whole.slice(100_000, 0), whole.slice(100_000, rows - 100_000)];
    let file = encode_parquet(&whole.schema(), &parts).expect("encodes");
    let reader = ParquetRecordBatchReaderBuilder::try_new(file.bytes).expect("a file");
    assert_eq!(reader.metadata().num_row_groups(), 2);
    let read: Vec<RecordBatch> = reader.build().expect("a reader").collect::<Result<_, _>>().expect("rows");
    assert_eq!(concat_batches(&whole.schema(), &read).expect("of one schema").columns(), whole.columns());
    let other = Arc::new(Schema::new(vec![Field::new("few", DataType::Date32, true)]));
    assert!(encode_parquet(&other, &[whole.project(&[0]).expect("a column")]).is_err(), "rows of another kind");
    assert!(encode_parquet(&other, &[whole]).is_err(), "rows of other columns");
}
