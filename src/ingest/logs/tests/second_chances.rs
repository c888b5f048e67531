//! Rejects after a rule was mended: as if it had been so from the start, also when the program is killed on the way.

use super::*;
use crate::ingest::logs::replay_logs;
use crate::ingest::replay::{Replayed, Wanted};

impl Shop {
    async fn replay(&mut self, wanted: Wanted) -> Replayed {
        self.runs += 1;
        let (lake, run, root) = (self.lake(), format!("run{}", self.runs), self.path(""));
        let job = LogsIngest {
            lake: &lake,
            name: "user_action",
            source: &self.source,
            root: &root,
            zone: "Asia/Shanghai".parse().expect("a zone"),
            run: &run,
            now_ms: EVENING,
            threads: self.threads,
            reporter: &self.ears,
        };
        replay_logs(&job, &wanted).await.expect("replays")
    }

    /// Both tables and the books of each file, which do not depend on how they came about.
    async fn state(&self) -> (Vec<String>, Vec<String>, Vec<String>) {
        let events =
            self.rows("ods_user_action", &["dt", "xaid", "file", "byte_offset", "element", "arrival_dt"]).await;
        let columns = ["dt", "table_name", "file", "byte_offset", "element", "reason", "detail", "raw"];
        let records = self.lake().records("ods_user_action").await.expect("reads");
        let files = crate::ingest::logs::record::files(&records).expect("parses");
        let books = files.into_iter().map(|(name, file)| format!("{name} {:?}", file.tally)).collect();
        (events, self.rows(REJECT_TABLE, &columns).await, books)
    }
}

/// A line with an act of its own.
fn act(act: i32, device: &str) -> String {
    line(device).replace("\"act\":5", &format!("\"act\":{act}"))
}

/// Lines of all kinds, when the rules know neither act 4 nor more than two levels of JSON, nor long lines.
fn mistaken() -> Shop {
    let mut shop = Shop::new();
    shop.source.event.kinds.retain(|kind| *kind != 4);
    (shop.source.limits.json_depth, shop.source.limits.line_bytes, shop.source.limits.reject_bytes) = (2, 300, 250);
    let nested = format!("{{\"data\":[{},{}]}}\n", act(5, "n1").trim(), act(4, "n2").trim());
    let elements = [act(5, "e0"), act(4, "e1"), act(9, "e2"), act(4, "e3")].map(|text| text.trim().to_owned());
    let envelope = format!("{{\"data\":\"[{}]\"}}\n", elements.join(",").replace('"', "\\\""));
    let long = act(5, "long").replace("}", &format!(",\"note\":\"{}\"}}", "x".repeat(400)));
    let wide = act(4, "wide").replace("}", &format!(",\"note\":\"{}\"}}", "x".repeat(230)));
    let last = act(4, "last");
    shop.write("2026-01-01/a.log", format!("\u{feff}{}{}bad\n{nested}{long}", act(4, "a1"), act(5, "a2")));
    shop.write("2026-01-01/b.log.gz", gz(&format!("{envelope}{wide}{}", last.trim())));
    shop.write("2026-01-02/c.log", format!("{}{}", act(4, "c1"), act(9, "c2")));
    shop
}

fn mend(shop: &mut Shop) {
    shop.source = source();
    shop.source.limits.reject_bytes = 250;
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_land_as_if_the_rules_had_been_mended_from_the_start() {
    let (mut fresh, mut shop) = (mistaken(), mistaken());
    mend(&mut fresh);
    fresh.ingest(EVENING).await;
    shop.ingest(EVENING).await;
    let before = shop.state().await;
    let idle = shop.replay(Wanted::default()).await;
    assert_eq!((idle.landed, idle.files.len(), shop.state().await), (0, 0, before.clone()), "no rule was mended");

    mend(&mut shop);
    let dry = shop.replay(Wanted { dry_run: true, ..Wanted::default() }).await;
    assert_eq!(shop.state().await, before);
    let done = shop.replay(Wanted::default()).await;
    assert_eq!((done.read, done.landed, &done.rejected), (dry.read, dry.landed, &dry.rejected));
    assert_eq!(done.read, done.landed + done.rejected.values().sum::<u64>());
    assert!(done.untried.is_empty(), "{:?}", done.untried);
    assert_eq!(shop.state().await, fresh.state().await);
    for day in ["2026-01-01"] {
        assert_eq!(shop.version(day).await.rows, fresh.version(day).await.rows);
    }
    assert_eq!(shop.ingest(EVENING).await.files_new, 0, "no file is taken twice");
    assert_eq!(shop.replay(Wanted::default()).await.landed, 0);
    assert_eq!(shop.state().await, fresh.state().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_killed_between_its_commits_is_finished_by_whoever_comes_next() {
    let mut whole = mistaken();
    whole.ingest(EVENING).await;
    mend(&mut whole);
    whole.replay(Wanted::default()).await;
    let expected = whole.state().await;
    for by_replay in [false, true] {
        let mut shop = mistaken();
        shop.ingest(EVENING).await;
        mend(&mut shop);
        shop.replay(Wanted::default()).await;
        shop.undo(REJECT_TABLE);
        assert_ne!(shop.state().await, expected, "the events landed, and their rejects are there still");
        if by_replay {
            assert_eq!(shop.replay(Wanted::default()).await.landed, 0);
        } else {
            shop.ingest(EVENING).await;
        }
        assert_eq!(shop.state().await, expected, "{by_replay}");
        let versions = shop.versions(REJECT_TABLE);
        shop.ingest(EVENING).await;
        assert_eq!(shop.versions(REJECT_TABLE), versions, "and only once");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_of_which_only_the_beginning_was_kept_stays_when_its_file_is_another() {
    let mut shop = mistaken();
    shop.ingest(EVENING).await;
    mend(&mut shop);
    shop.write("2026-01-01/a.log", "something else\n");
    fs::remove_file(shop.path("2026-01-01/b.log.gz")).expect("removes");
    let done = shop.replay(Wanted::default()).await;
    assert_eq!(done.untried.len(), 2, "{:?}", done.untried);
    assert!(done.untried[0].contains("a.log") && done.untried[0].contains("something else now"), "{:?}", done.untried);
    assert!(done.untried[1].contains("b.log.gz") && done.untried[1].contains("is gone"), "{:?}", done.untried);
    let devices = shop.devices().await;
    assert!(devices.contains(&"a1".to_owned()) && devices.contains(&"last".to_owned()), "{devices:?}");
    assert!(!devices.contains(&"long".to_owned()) && !devices.contains(&"wide".to_owned()), "{devices:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_an_envelope_only_the_wanted_events_are_judged() {
    let mut shop = mistaken();
    shop.ingest(EVENING).await;
    mend(&mut shop);
    let day = "2026-01-02".parse().ok();
    let done = shop.replay(Wanted { from: day, to: day, ..Wanted::default() }).await;
    assert_eq!((done.read, done.landed), (2, 1));
    let done = shop.replay(Wanted { reason: Some("malformed_json".into()), ..Wanted::default() }).await;
    assert_eq!((done.read, done.landed), (3, 2), "a line that was rejected as a whole turns out to be two events");
}
