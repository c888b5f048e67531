//! What a folder's history comes to in the lake: files that grow, move, are copied, damaged or interrupted.

mod identity;
mod interruptions;
mod second_chances;

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::{Duration, UNIX_EPOCH};

use arrow::array::{Array, AsArray};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use tempfile::TempDir;

use super::decode::tests::source;
use super::record::{FileRecord, SlotRecord, slot_domain};
use super::{IngestOutcome, LogsIngest, SEGMENT_BYTES, Sizes, ingest_with};
use crate::config::source::LogSource;
use crate::ingest::rejects::REJECT_TABLE;
use crate::lake::{Lake, read_batches};
use crate::progress::{Event, Reporter};

/// 2026-01-01 12:00 in Shanghai.
const NOON: i64 = 1_767_240_000_000;
const DAY: i64 = 86_400_000;
/// When the first arrival day is over.
const EVENING: i64 = NOON + DAY / 2;

#[derive(Default)]
struct Ears(Mutex<Vec<String>>);

impl Reporter for Ears {
    fn report(&self, event: Event) {
        if let Event::StepFinished { line, .. } = event {
            self.0.lock().expect("no panic").push(line);
        }
    }
}

struct Shop {
    folder: TempDir,
    source: LogSource,
    sizes: Sizes,
    threads: usize,
    runs: usize,
    ears: Ears,
}

impl Shop {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temp dir");
        fs::create_dir_all(folder.path().join("in")).expect("a folder");
        let sizes = Sizes { segment_bytes: SEGMENT_BYTES, commit_bytes: u64::MAX };
        Self { folder, source: source(), sizes, threads: 2, runs: 0, ears: Ears::default() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join("in").join(name)
    }

    fn lake_folder(&self) -> PathBuf {
        self.folder.path().join("lake")
    }

    /// Writes a file, last changed at noon of its arrival day.
    fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
        fs::write(&path, content).expect("a file");
        self.touch(name, NOON);
    }

    fn touch(&self, name: &str, mtime_ms: i64) {
        let file = fs::File::options().append(true).open(self.path(name)).expect("opens");
        file.set_modified(UNIX_EPOCH + Duration::from_millis(mtime_ms as u64)).expect("sets");
    }

    fn append(&self, name: &str, content: &str) {
        let mut file = fs::File::options().append(true).open(self.path(name)).expect("opens");
        file.write_all(content.as_bytes()).expect("writes");
        drop(file);
        self.touch(name, NOON);
    }

    fn rename(&self, from: &str, to: &str) {
        fs::rename(self.path(from), self.path(to)).expect("renames");
    }

    fn lake(&self) -> Lake {
        Lake::open(self.lake_folder().to_str().expect("UTF-8")).expect("opens")
    }

    async fn try_ingest(&mut self, now_ms: i64) -> anyhow::Result<IngestOutcome> {
        self.runs += 1;
        let (lake, run, root) = (self.lake(), format!("run{}", self.runs), self.path(""));
        let job = LogsIngest {
            lake: &lake,
            name: "user_action",
            source: &self.source,
            root: &root,
            zone: "Asia/Shanghai".parse().expect("a zone"),
            run: &run,
            now_ms,
            threads: self.threads,
            reporter: &self.ears,
        };
        ingest_with(&job, self.sizes).await
    }

    async fn ingest(&mut self, now_ms: i64) -> IngestOutcome {
        self.try_ingest(now_ms).await.expect("ingests")
    }

    /// The values of some columns of all rows of a table, sorted.
    async fn rows(&self, table: &str, columns: &[&str]) -> Vec<String> {
        let lake = self.lake();
        let Some(table) = lake.table(table).await.expect("opens") else { return Vec::new() };
        let mut rows = Vec::new();
        for file in table.files() {
            for batch in read_batches(&*lake.store(), &table.object_path(&file.path)).await.expect("reads") {
                let texts: Vec<_> = columns
                    .iter()
                    .map(|name| match *name {
                        "dt" => None,
                        name => Some(cast(batch.column_by_name(name).expect(name), &DataType::Utf8).expect("casts")),
                    })
                    .collect();
                for row in 0..batch.num_rows() {
                    let value = |text: &Option<arrow::array::ArrayRef>| match text {
                        None => file.slot.map_or("-".to_owned(), |day| day.to_string()),
                        Some(text) if text.is_null(row) => "-".to_owned(),
                        Some(text) => text.as_string::<i32>().value(row).to_owned(),
                    };
                    rows.push(texts.iter().map(value).collect::<Vec<_>>().join(" "));
                }
            }
        }
        rows.sort();
        rows
    }

    async fn events(&self) -> Vec<String> {
        self.rows("ods_user_action", &["xaid", "file", "byte_offset"]).await
    }

    /// The devices of all events, sorted: every test gives each line a device of its own.
    async fn devices(&self) -> Vec<String> {
        self.rows("ods_user_action", &["xaid"]).await
    }

    async fn rejects(&self) -> Vec<String> {
        self.rows(REJECT_TABLE, &["dt", "file", "byte_offset", "reason"]).await
    }

    async fn record(&self, landed: &str) -> FileRecord {
        let records = self.lake().records("ods_user_action").await.expect("reads");
        super::record::files(&records).expect("parses")[landed].clone()
    }

    async fn version(&self, day: &str) -> SlotRecord {
        let records = self.lake().records("ods_user_action").await.expect("reads");
        let domain = slot_domain(day.parse().expect("a date"));
        super::record::find(&records, &domain).expect("parses").expect("a record")
    }

    /// How many versions a table's log has.
    fn versions(&self, table: &str) -> usize {
        let log = self.lake_folder().join("ods").join(table).join("_delta_log");
        let names = fs::read_dir(log).expect("lists").map(|entry| entry.expect("an entry").file_name());
        names.filter(|name| name.to_string_lossy().ends_with(".json")).count()
    }

    /// Takes the last version of a table away, as if the program had been killed before.
    fn undo(&self, table: &str) {
        let log = self.lake_folder().join("ods").join(table).join("_delta_log");
        fs::remove_file(log.join(format!("{:020}.json", self.versions(table) - 1))).expect("removes");
    }
}

fn line(device: impl std::fmt::Display) -> String {
    format!("{{\"act\":5,\"acttime\":{NOON},\"xaid\":\"{device}\"}}\n")
}

fn lines(devices: impl IntoIterator<Item = usize>) -> String {
    devices.into_iter().map(|device| line(format!("d{device:05}"))).collect()
}

fn devices(devices: impl IntoIterator<Item = usize>) -> Vec<String> {
    let mut names: Vec<String> = devices.into_iter().map(|device| format!("d{device:05}")).collect();
    names.sort();
    names
}

fn gz(text: &str) -> Vec<u8> {
    let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    out.write_all(text.as_bytes()).expect("writes");
    out.finish().expect("finishes")
}
