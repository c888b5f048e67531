//! The lake against a real folder: what is committed together is there together, through checkpoints too.

use std::sync::Arc;

use arrow::array::{Date32Array, Int64Array, RecordBatch, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};

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
    let history = seen.history(5).await.expect("reads");
    assert_eq!((history[0].run.as_str(), history[0].operation.as_str()), ("r1", "test"));
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
