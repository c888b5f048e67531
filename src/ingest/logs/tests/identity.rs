//! Files are known by their content: those that grow, move, are copied, rewritten or damaged.

use super::*;

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
    shop.touch("2026-01-01/app.log", NOON + 1);
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
    // A file that only begins like another is another file, whichever came first.
    assert_eq!(shop.ingest(NOON).await.tally.read, 7);
    shop.write("d.log", lines(0..4));
    shop.write("e.log", lines(0..3));
    let outcome = shop.ingest(NOON).await;
    assert_eq!((outcome.files_new, outcome.tally.read), (2, 0));
    // The original and one copy go on alike, another copy differently.
    shop.append("a.log", &lines(3..6));
    shop.append("b.log", &lines(3..6));
    shop.append("e.log", &lines(50..51));
    assert_eq!(shop.ingest(NOON).await.tally.read, 4);
    let mut expected = devices((0..6).chain(50..51).chain(0..4));
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
    let expected = [
        format!("2026-01-01 2026-01-01/a.log {at} malformed_json"),
        format!("2026-01-01 2026-01-01/a.log {} unknown_act", at + 9),
    ];
    assert_eq!(shop.rejects().await, expected);
    assert_eq!(shop.record("2026-01-01/a.log").await.tally, outcome.tally);
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
