//! Micro-benchmarks of the hot paths, apart from one another: `cargo bench`, or `cargo bench -- decode` for some of them.
//!
//! They say what a change of one path gains or costs. How whole runs compare with other engines, `scripts/bench` says.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use strata::config::{Config, source::Source};
use strata::date::BizDate;
use strata::engine::{Engine, LakeScan, query};
use strata::ingest::logs::decode::{DayBatch, Decoder, FileContext};
use strata::lake::{FileRef, Lake, Table, TableSpec, encode_parquet};
use strata::model::Models;
use strata::sample::{SampleOptions, write_sample};

/// Bytes of lines that are decoded at once.
const LINES_BYTES: usize = 4 << 20;
/// Days of a table with one small file a day, and rows of each.
const DAYS: i32 = 200;
const DAY_ROWS: i64 = 500;

/// The project of this repository: its declarations and its models.
fn project() -> Config {
    Config::load(Path::new(env!("CARGO_MANIFEST_DIR")), &[]).expect("the repository is a project")
}

/// Lines of a simulated shop's log, of one day, and the day.
fn lines(config: &Config) -> (Vec<u8>, BizDate) {
    let folder = tempfile::tempdir().expect("a folder");
    let start: BizDate = "2026-01-01".parse().expect("a date");
    let options = SampleOptions {
        out: folder.path().to_owned(),
        days: 1,
        devices: 5_000,
        events: 30_000,
        orders: 10,
        goods: 1_000,
        seed: 1,
        start,
        messy: 0.02,
        zone: config.timezone,
    };
    write_sample(&options, &mut |_, _| ()).expect("a sample");
    let mut files: Vec<_> = walk(&folder.path().join("user_action"));
    // The others are compressed.
    files.retain(|file| file.extension().is_some_and(|extension| extension == "log"));
    files.sort();
    let mut lines: Vec<u8> = files.iter().flat_map(|file| std::fs::read(file).expect("a log")).collect();
    let end = lines[..lines.len().min(LINES_BYTES)].iter().rposition(|byte| *byte == b'\n').expect("lines");
    lines.truncate(end + 1);
    (lines, start)
}

fn walk(folder: &Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    entries.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] }).collect()
}

fn decoded(config: &Config, lines: &[u8], arrival: BizDate) -> Vec<DayBatch> {
    let sources = config.sources.iter().map(|(name, source)| (name, &source.source));
    let mut logs = sources.filter_map(|(name, source)| match source {
        Source::Log(log) => Some((name, log)),
        Source::Tables(_) => None,
    });
    let (name, log) = logs.next().expect("the project has a log");
    let mut decoder = Decoder::new(name, log, config.timezone).expect("the log is declared well");
    decoder.begin_file(FileContext { name: "micro.log".into(), arrival, rejects_from: 0 });
    decoder.push(lines, 0).expect("whole lines");
    decoder.finish().expect("decoded").days
}

/// Lines to columns; columns to a file of the lake.
fn ingest(criterion: &mut Criterion) {
    let config = project();
    let (lines, arrival) = lines(&config);
    let mut group = criterion.benchmark_group("ingest");
    group.throughput(Throughput::Bytes(lines.len() as u64));
    group.bench_function("decode lines", |bench| bench.iter(|| decoded(&config, &lines, arrival)));

    let days = decoded(&config, &lines, arrival);
    let rows: usize = days.iter().map(|day| day.batch.num_rows()).sum();
    assert!(rows * 1_000 > lines.len(), "few of the lines are events: {rows} of {} bytes", lines.len());
    group.throughput(Throughput::Elements(rows as u64));
    group.bench_function("encode events", |bench| {
        bench.iter(|| {
            for day in &days {
                encode_parquet(&day.batch.schema(), std::slice::from_ref(&day.batch)).expect("a file");
            }
        });
    });
    group.finish();
}

/// A table with a small file for each day.
async fn small_files(lake: &Lake) -> (Table, Vec<FileRef>) {
    let rows = |day: i32| {
        let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values((0..DAY_ROWS).map(|n| n * i64::from(day))));
        RecordBatch::try_from_iter_with_nullable([("number", numbers, true)]).expect("a batch")
    };
    let file_schema = rows(0).schema();
    let day = Field::new("dt", DataType::Date32, true);
    let mut fields = vec![Arc::new(day)];
    fields.extend(file_schema.fields().iter().cloned());
    let spec = TableSpec {
        name: "dws_micro".to_owned(),
        schema: Arc::new(Schema::new(fields)),
        partitioned: true,
        description: "Numbers.".to_owned(),
    };
    let table = lake.ensure_table(&spec, 0).await.expect("a table");
    let mut files = Vec::new();
    for day in 0..DAYS {
        let slot = Some(BizDate::from_days(20_000 + day));
        let file = encode_parquet(&file_schema, &[rows(day)]).expect("a file");
        let staged = table.put(slot, file, "micro").await.expect("written");
        files.push(FileRef { path: staged.path, slot, days: None, size: staged.size, rows: staged.rows });
    }
    (table, files)
}

/// Many small files, as a window over months of a small shop reads them: the first time in a run, and again.
fn scan(criterion: &mut Criterion) {
    let folder = tempfile::tempdir().expect("a folder");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let lake = Lake::open(folder.path().to_str().expect("UTF-8")).expect("a lake");
    let zone = project().timezone;
    let engine = || Engine::new(&lake, 1 << 30, 2, zone).expect("an engine");
    let (table, files) = runtime.block_on(small_files(&lake));
    let sum = |engine: &Engine| {
        let session = engine.session_for(DAYS as u64 * DAY_ROWS as u64);
        let scan = LakeScan::new(&table, &files, Vec::new()).expect("a scan");
        session.register_table("dws_micro", Arc::new(scan)).expect("a new name");
        let sum = "select count(*) as rows, sum(number) as sum from dws_micro";
        runtime.block_on(query(&session, sum)).expect("a sum")
    };
    let mut group = criterion.benchmark_group("scan");
    group.throughput(Throughput::Elements(DAYS as u64));
    group.bench_function("small files", |bench| bench.iter(|| sum(&engine())));
    let kept = engine();
    group.bench_function("small files again", |bench| bench.iter(|| sum(&kept)));
    group.finish();
}

/// The models of the project, read, checked and put in order, as each command does first.
fn models(criterion: &mut Criterion) {
    let config = project();
    let sources: Vec<String> = config.sources.values().flat_map(|source| source.source.tables()).collect();
    let files = walk(&config.sql_dir()).into_iter().map(|path| {
        let text = std::fs::read_to_string(&path).expect("a model");
        (path.to_string_lossy().into_owned(), text)
    });
    let files: Vec<(String, String)> = files.collect();
    let seeds = walk(&config.seeds_dir())
        .into_iter()
        .map(|path| format!("seed_{}", path.file_stem().expect("a name").to_string_lossy()));
    let seeds: Vec<String> = seeds.collect();
    let mut group = criterion.benchmark_group("models");
    group.throughput(Throughput::Elements(files.len() as u64));
    let load = || Models::load(files.iter().map(|(path, text)| (path, text)), &sources, &seeds).expect("models");
    group.bench_function("load", |bench| bench.iter(load));
    group.finish();
}

criterion_group!(micro, ingest, scan, models);
criterion_main!(micro);
