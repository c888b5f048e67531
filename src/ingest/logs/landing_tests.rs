//! What a folder's history comes to in the lake: files that grow, move, are copied, damaged or interrupted.

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

use super::decode_tests::source;
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

#[tokio::test]
async fn a_file_lands_once_and_a_second_run_changes_nothing() {
    let mut shop = Shop::new();
    shop.write("2026-01-01/a.log", lines(0..3));
    shop.write("2026-01-01/b.log.gz", gz(&lines(3..5)));
    shop.write("2026-01-01/c.log.zst", zstd::encode_all(lines(5..6).as_bytes(), 1).expect("compresses"));
    let outcome = shop.ingest(NOON).await;
    assert_eq!((outcome.files_seen, outcome.files_new, outcome.tally.read, outcome.tally.landed), (3, 3, 6, 6));
    assert_eq!(outcome.last_arrival.map(|day| day.to_string()).as_deref(), Some("2026-01-01"));
    assert_eq!(shop.devices().await, devices(0..6));
    let versions = shop.versions("ods_user_action");
    let again = shop.ingest(EVENING).await;
    assert_eq!((again.files_seen, again.files_new, again.tally.read), (3, 0, 0));
    assert_eq!(again.last_arrival, outcome.last_arrival);
    assert_eq!(shop.versions("ods_user_action"), versions);
    assert_eq!(shop.ears.0.lock().expect("no panic").last().map(String::as_str), Some("nothing new"));
}

#[tokio::test]
async fn a_missing_folder_is_an_error_and_an_empty_one_says_so() {
    let mut shop = Shop::new();
    let outcome = shop.ingest(NOON).await;
    assert_eq!((outcome.files_seen, outcome.tally.read), (0, 0));
    assert!(shop.ears.0.lock().expect("no panic")[0].ends_with("is empty"));
    assert!(shop.devices().await.is_empty());
    fs::remove_dir(shop.path("")).expect("removes");
    let error = format!("{:#}", shop.try_ingest(NOON).await.expect_err("missing"));
    assert!(error.contains("does not exist") && error.contains("hint:"), "{error}");
}

#[tokio::test]
async fn a_grown_file_is_taken_from_where_it_ended() {
    let mut shop = Shop::new();
    shop.write("a.log", lines(0..2));
    shop.ingest(NOON).await;
    shop.append("a.log", &lines(2..4));
    let outcome = shop.ingest(NOON).await;
    assert_eq!(outcome.tally.read, 2);
    let size = line("d00000").len();
    let expected: Vec<String> = (0..4).map(|i| format!("d{i:05} a.log {}", i * size)).collect();
    assert_eq!(shop.events().await, expected);
    assert_eq!(shop.record("a.log").await.tally.landed, 4);
    // Compressed anew with one line more, it is still the same file.
    fs::remove_file(shop.path("a.log")).expect("removes");
    shop.write("a.log.gz", gz(&lines(0..5)));
    assert_eq!(shop.ingest(NOON).await.tally.read, 1);
    assert_eq!(shop.events().await[4], format!("d00004 a.log {}", 4 * size));
    assert_eq!(shop.ingest(NOON).await.files_new, 0);
}

#[tokio::test]
async fn an_unfinished_last_line_waits_until_it_is_whole_or_its_day_is_over() {
    let mut shop = Shop::new();
    let whole = line("d1");
    let (first, rest) = whole.split_at(20);
    shop.write("2026-01-01/a.log", format!("{}{first}", line("d0")));
    assert_eq!(shop.ingest(NOON).await.tally.read, 1);
    assert_eq!(shop.ingest(NOON).await.files_new, 0);
    // The whole object is taken at once, its line end is nothing new.
    shop.append("2026-01-01/a.log", rest.trim_end());
    assert_eq!(shop.ingest(NOON).await.tally.landed, 1);
    shop.append("2026-01-01/a.log", "\n");
    assert_eq!(shop.ingest(NOON).await.tally.read, 0);
    assert_eq!(shop.devices().await, ["d0", "d1"]);
    // Torn for good: rejected once the arrival day is over.
    shop.append("2026-01-01/a.log", first);
    assert_eq!(shop.ingest(EVENING - 1).await.tally.read, 0);
    let outcome = shop.ingest(EVENING).await;
    assert_eq!(outcome.tally.rejected, BTreeMap::from([("malformed_json".to_owned(), 1)]));
    assert_eq!(shop.ingest(EVENING).await.files_new, 0);
    // Copied later than its arrival day: taken when a second run finds it unchanged.
    shop.write("2025-12-30/b.log", first);
    assert_eq!(shop.ingest(EVENING).await.tally.read, 0);
    assert_eq!(shop.ingest(EVENING).await.tally.read, 1);
}

#[tokio::test]
async fn rotated_files_are_not_read_twice() {
    let mut shop = Shop::new();
    shop.write("2026-01-01/app.log", lines(0..3));
    shop.ingest(NOON).await;
    shop.append("2026-01-01/app.log", &lines(3..4));
    shop.rename("2026-01-01/app.log", "2026-01-01/app.log.1");
    shop.write("2026-01-01/app.log", lines(4..6));
    let outcome = shop.ingest(NOON).await;
    assert_eq!((outcome.tally.read, outcome.warnings.len()), (3, 0));
    // The next rotation shifts both, and compresses the older one.
    shop.write("2026-01-01/app.log.2.gz", gz(&lines(0..4)));
    shop.rename("2026-01-01/app.log", "2026-01-01/app.log.1");
    shop.write("2026-01-01/app.log", lines(6..7));
    let outcome = shop.ingest(NOON).await;
    assert_eq!((outcome.tally.read, outcome.warnings.len()), (1, 0), "{:?}", outcome.warnings);
    // Copy and truncate.
    shop.write("2026-01-01/app.log.0", lines(6..7));
    shop.write("2026-01-01/app.log", lines(7..8));
    let outcome = shop.ingest(NOON).await;
    assert_eq!((outcome.tally.read, outcome.warnings.len()), (1, 0), "{:?}", outcome.warnings);
    assert_eq!(shop.devices().await, devices(0..8));
    assert_eq!(shop.ingest(NOON).await.files_new, 0);
}

#[tokio::test]
async fn a_rewritten_or_truncated_file_is_noticed_and_taken_as_another() {
    let mut shop = Shop::new();
    shop.write("a.log", lines(0..3));
    shop.write("b.log", lines(10..13));
    shop.ingest(NOON).await;
    shop.write("a.log", lines(20..24));
    shop.write("b.log", lines(30..31));
    let outcome = shop.ingest(NOON).await;
    assert_eq!(outcome.tally.landed, 5);
    let warnings = outcome.warnings.join("\n");
    assert!(warnings.contains("a.log` was rewritten") && warnings.contains("`a.log#2`"), "{warnings}");
    assert!(warnings.contains("b.log` was truncated") && warnings.contains("`b.log#2`"), "{warnings}");
    assert!(shop.events().await.iter().any(|event| event.starts_with("d00020 a.log#2 0")));
    let again = shop.ingest(NOON).await;
    assert_eq!((again.files_new, again.warnings.len()), (0, 0));
    shop.append("a.log", &lines(24..25));
    assert_eq!(shop.ingest(NOON).await.tally.read, 1);
}

#[tokio::test]
async fn copies_land_once_whenever_they_come() {
    let mut shop = Shop::new();
    shop.write("a.log", lines(0..3));
    shop.write("b.log", lines(0..3));
    shop.write("c.log.gz", gz(&lines(0..4)));
    assert_eq!(shop.ingest(NOON).await.tally.read, 4);
    shop.write("d.log", lines(0..4));
    shop.write("e.log", lines(0..3));
    let outcome = shop.ingest(NOON).await;
    assert_eq!((outcome.files_new, outcome.tally.read), (2, 0));
    // The original and one copy go on alike, another copy differently.
    shop.append("a.log", &lines(3..6));
    shop.append("b.log", &lines(3..6));
    shop.append("e.log", &lines(50..51));
    assert_eq!(shop.ingest(NOON).await.tally.read, 3);
    let mut expected = devices((0..6).chain(50..51));
    expected.sort();
    assert_eq!(shop.devices().await, expected);
    assert_eq!(shop.ingest(NOON).await.files_new, 0);
}

#[tokio::test]
async fn what_can_be_read_of_a_damaged_file_is_taken() {
    let mut shop = Shop::new();
    let mut state = 7_u32;
    let random = std::iter::from_fn(move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        Some(line(format!("{state:010}")))
    });
    let text: String = random.take(2000).collect();
    let whole = gz(&text);
    shop.write("a.log.gz", &whole[..whole.len() / 2]);
    shop.write("b.log.zst", b"this is no zst");
    let outcome = shop.ingest(EVENING).await;
    let taken = outcome.tally.landed;
    assert!(taken > 100 && taken < 2000, "{taken}");
    assert_eq!(outcome.tally.read, taken);
    let warnings = outcome.warnings.join("\n");
    assert!(warnings.contains("a.log.gz` ends in the middle") && warnings.contains("b.log.zst"), "{warnings}");
    assert_eq!(shop.ingest(EVENING).await.files_new, 0);
    shop.write("a.log.gz", &whole);
    assert_eq!(shop.ingest(EVENING).await.tally.landed, 2000 - taken);
}

#[tokio::test]
async fn rejects_are_kept_with_their_place_on_their_arrival_date() {
    let mut shop = Shop::new();
    shop.write("2026-01-01/a.log", format!("{}nonsense\n{}", line("d0"), "{\"act\":9}\n"));
    let outcome = shop.ingest(NOON).await;
    assert_eq!((outcome.tally.read, outcome.tally.landed, outcome.tally.rejected_total()), (3, 1, 2));
    let at = line("d0").len();
    let expected =
        [format!("2026-01-01 2026-01-01/a.log {at} malformed_json"), format!("2026-01-01 2026-01-01/a.log {} unknown_act", at + 9)];
    assert_eq!(shop.rejects().await, expected);
    assert_eq!(shop.record("2026-01-01/a.log").await.tally, outcome.tally);
}

/// A folder with every kind of file, in segments so small that files are cut everywhere.
fn mixed_shop(sizes: Sizes, threads: usize) -> Shop {
    let mut shop = Shop::new();
    (shop.sizes, shop.threads) = (sizes, threads);
    shop.source.limits.line_bytes = 300;
    shop.source.limits.reject_bytes = 50;
    let late = |device: usize| line(format!("d{device:05}")).replace("17672", if device % 3 == 0 { "17671" } else { "17672" });
    let big: String = (0..200).map(late).collect();
    let long = format!("{}{}\n{}{}\n", line("d01000"), "x".repeat(5000), " ".repeat(4000), "");
    shop.write("2026-01-01/big.log", format!("\u{feff}{big}bad\n{long}"));
    shop.write("2026-01-01/big.log.gz", gz(&lines(200..300)));
    for file in 0..40 {
        shop.write(&format!("2026-01-01/small/{file}.log"), format!("{}{{}}\n", lines(300 + file..301 + file)));
    }
    shop.write("2026-01-02/tail.log", lines(400..402).trim_end());
    shop
}

#[tokio::test(flavor = "multi_thread")]
async fn segments_threads_and_commits_make_no_difference() {
    let mut expected = None;
    for (segment_bytes, commit_bytes, threads) in
        [(SEGMENT_BYTES, u64::MAX, 1), (1, u64::MAX, 4), (1000, 5000, 1), (1000, 5000, 3), (4096, 1, 2)]
    {
        let mut shop = mixed_shop(Sizes { segment_bytes, commit_bytes }, threads);
        let outcome = shop.ingest(EVENING).await;
        assert_eq!((outcome.tally.read, outcome.tally.landed), (385, 343), "{:?}", outcome.tally);
        let versions = shop.version("2026-01-01").await.rows + shop.version("2025-12-31").await.rows;
        assert_eq!(versions, 343);
        let found = (shop.events().await, shop.rejects().await, outcome.tally);
        let expected = expected.get_or_insert_with(|| found.clone());
        assert_eq!(expected, &found);
        assert_eq!(shop.ingest(EVENING).await.files_new, 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn partition_versions_do_not_depend_on_threads_and_change_only_when_touched() {
    let sizes = Sizes { segment_bytes: 1000, commit_bytes: 5000 };
    let (mut one, mut four) = (mixed_shop(sizes, 1), mixed_shop(sizes, 4));
    one.ingest(EVENING).await;
    four.ingest(EVENING).await;
    for day in ["2025-12-31", "2026-01-01"] {
        assert_eq!(one.version(day).await, four.version(day).await);
    }
    let (before, other) = (one.version("2026-01-01").await, one.version("2025-12-31").await);
    one.write("2026-01-02/more.log", lines(900..901));
    let outcome = one.ingest(EVENING).await;
    assert_eq!(outcome.days.len(), 1);
    assert_ne!(one.version("2026-01-01").await.version, before.version);
    assert_eq!(one.version("2026-01-01").await.rows, before.rows + 1);
    assert_eq!(one.version("2025-12-31").await, other);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_killed_between_any_two_commits_is_finished_by_the_next() {
    let sizes = Sizes { segment_bytes: 1000, commit_bytes: 5000 };
    let mut whole = mixed_shop(sizes, 2);
    whole.ingest(EVENING).await;
    let expected = (whole.events().await, whole.rejects().await);
    let commits = whole.versions("ods_user_action");
    assert!(commits > 3);
    for lost in 1..commits {
        // Rejects are committed before events: the last of them may be there without theirs.
        for ahead in [false, true] {
            let mut shop = mixed_shop(sizes, 2);
            shop.ingest(EVENING).await;
            for _ in 0..lost {
                shop.undo("ods_user_action");
            }
            let rejected = shop.rejects_committed_with(commits - lost - 1).await;
            while shop.versions(REJECT_TABLE) > rejected + 1 + usize::from(ahead) {
                shop.undo(REJECT_TABLE);
            }
            shop.ingest(EVENING).await;
            assert_eq!((shop.events().await, shop.rejects().await), expected, "{lost} {ahead}");
            assert_eq!(shop.ingest(EVENING).await.files_new, 0);
        }
    }
}

impl Shop {
    /// How many of the commits of rejects came before the given number of commits of events.
    async fn rejects_committed_with(&self, events: usize) -> usize {
        let of = |table: &str, version: usize| {
            let log = self.lake_folder().join("ods").join(table).join("_delta_log");
            let text = fs::read_to_string(log.join(format!("{version:020}.json"))).expect("a commit");
            let info = text.lines().find_map(|line| {
                serde_json::from_str::<serde_json::Value>(line).ok()?.get("commitInfo")?.get("timestamp")?.as_i64()
            });
            info.unwrap_or_default()
        };
        if events == 0 {
            return 0;
        }
        let until = of("ods_user_action", events);
        (1..self.versions(REJECT_TABLE)).filter(|version| of(REJECT_TABLE, *version) <= until).count()
    }
}

#[tokio::test]
async fn whatever_a_rotating_writer_does_every_line_lands_once() {
    for seed in 1..=12_u64 {
        let mut state = seed;
        let mut random = move |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % below
        };
        let mut shop = Shop::new();
        let (mut written, mut rotations) = (0, 0);
        shop.write("app.log", "");
        for _ in 0..30 {
            match random(6) {
                0 | 1 => {
                    let count = 1 + random(60) as usize;
                    shop.append("app.log", &lines(written..written + count));
                    written += count;
                }
                2 => {
                    rotations += 1;
                    shop.rename("app.log", &format!("app.log.{rotations}"));
                    shop.write("app.log", "");
                }
                3 if rotations > 0 => {
                    let old = format!("app.log.{}", 1 + random(rotations));
                    if let Ok(text) = fs::read_to_string(shop.path(&old)) {
                        fs::remove_file(shop.path(&old)).expect("removes");
                        shop.write(&format!("{old}.gz"), gz(&text));
                    }
                }
                4 => {
                    rotations += 1;
                    let text = fs::read(shop.path("app.log")).expect("reads");
                    shop.write(&format!("app.log.{rotations}"), text);
                    shop.write("app.log", "");
                }
                _ => {
                    let outcome = shop.ingest(NOON).await;
                    assert!(outcome.warnings.is_empty(), "{seed}: {:?}", outcome.warnings);
                }
            }
        }
        shop.ingest(NOON).await;
        assert_eq!(shop.devices().await, devices(0..written), "{seed}");
        assert_eq!(shop.ingest(NOON).await.files_new, 0, "{seed}");
    }
}
