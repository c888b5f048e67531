//! The same rows come of any way of cutting, sharing and interrupting the work.

use super::*;

/// A folder with every kind of file, in segments so small that files are cut everywhere.
fn mixed_shop(sizes: Sizes, threads: usize) -> Shop {
    let mut shop = Shop::new();
    (shop.sizes, shop.threads) = (sizes, threads);
    shop.source.limits.line_bytes = 300;
    shop.source.limits.reject_bytes = 50;
    let late = |device: usize| {
        line(format!("d{device:05}")).replace("17672", if device.is_multiple_of(3) { "17671" } else { "17672" })
    };
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
