//! Rejects of extracts after a rule was mended: as if it had been so from the start, also when the program is killed.

use std::collections::BTreeMap;
use std::fs;

use super::shop::Shop;
use crate::ingest::rejects::REJECT_TABLE;
use crate::ingest::replay::Wanted;

const PAYMENT: &str = "pay_id,order_id,trade_no,pay_money,pay_type,pay_time\n";
const TABLES: [&str; 2] = ["ods_payment_flow", REJECT_TABLE];

/// Two extracts and a copy of one, when the rules want every payment to name its order.
fn mistaken() -> Shop {
    let mut shop = Shop::new(&["payment_flow"]);
    shop.source.tables[0].key = vec!["pay_id".to_owned(), "order_id".to_owned()];
    let first = "1,7,2,1.10,1,2026-01-03\n2,,2,2.20,1,2026-01-04\n3,,2,x,1,2026-01-04\n";
    shop.write("2026-01-05/payment_flow.csv", &format!("{PAYMENT}{first}"));
    shop.write("2026-01-05/payment_flow.copy.csv", &format!("{PAYMENT}{first}"));
    shop.write("2026-01-06/payment_flow.csv", &format!("{PAYMENT}4,7,2,4.40,1,2026-01-03\n5,8,2,y,1,\n"));
    shop
}

fn mend(shop: &mut Shop) {
    shop.source.tables[0].key = vec!["pay_id".to_owned()];
}

async fn state(shop: &Shop) -> (Vec<String>, Vec<String>, BTreeMap<String, String>) {
    let mut files = shop.records("ods_payment_flow").await;
    files.retain(|domain, _| domain.starts_with("strata.file:"));
    for text in files.values_mut() {
        // The run is another.
        *text = text.split("\"run\"").next().unwrap_or_default().to_owned();
    }
    (shop.rows(TABLES[0]).await, shop.rows(TABLES[1]).await, files)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_extract_takes_its_own_place_when_something_of_it_would_land() {
    let mut shop = mistaken();
    shop.ingest().await;
    let before = state(&shop).await;
    let idle = shop.replay(&Wanted::default()).await;
    assert_eq!((idle[0].read, idle[0].landed, state(&shop).await), (3, 0, before.clone()));
    mend(&mut shop);
    let dry = shop.replay(&Wanted { dry_run: true, ..Wanted::default() }).await;
    assert_eq!((dry[0].landed, state(&shop).await), (1, before));
    let untouched = shop.records(TABLES[0]).await["strata.file:2026-01-06/payment_flow.csv"].clone();
    let done = shop.replay(&Wanted::default()).await;
    assert_eq!((done[0].read, done[0].landed, done[0].files.len()), (3, 1, 1));
    let tables = vec![shop.rows(TABLES[0]).await, shop.rows(TABLES[1]).await];
    assert_eq!(tables, shop.scratch_rows(&TABLES).await, "as if built from nothing");
    assert_eq!(shop.records(TABLES[0]).await["strata.file:2026-01-06/payment_flow.csv"], untouched);
    let after = state(&shop).await;
    let (outcome, warnings) = shop.ingest().await;
    assert_eq!((outcome.total().read, warnings.len(), state(&shop).await), (0, 0, after), "no file is taken twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_killed_between_its_commits_is_finished_by_whoever_comes_next() {
    let mut whole = mistaken();
    whole.ingest().await;
    mend(&mut whole);
    whole.replay(&Wanted::default()).await;
    let expected = (whole.rows(TABLES[0]).await, whole.rows(TABLES[1]).await);
    for by_replay in [false, true] {
        let mut shop = mistaken();
        shop.ingest().await;
        mend(&mut shop);
        shop.replay(&Wanted::default()).await;
        let version = shop.lake().table(REJECT_TABLE).await.unwrap().unwrap().version();
        let log = shop.lake_folder.path().join("ods").join(REJECT_TABLE).join("_delta_log");
        fs::remove_file(log.join(format!("{version:020}.json"))).unwrap();
        assert_ne!(shop.rows(REJECT_TABLE).await, expected.1, "the row landed, and is a reject still");
        // The extract is not needed any more.
        fs::remove_file(shop.extracts.path().join("2026-01-05/payment_flow.csv")).unwrap();
        if by_replay {
            shop.replay(&Wanted::default()).await;
        } else {
            shop.ingest().await;
        }
        assert_eq!((shop.rows(TABLES[0]).await, shop.rows(TABLES[1]).await), expected, "{by_replay}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_extract_that_says_something_else_by_now_is_left_to_the_next_run() {
    let mut shop = mistaken();
    shop.ingest().await;
    mend(&mut shop);
    shop.write("2026-01-06/payment_flow.csv", &format!("{PAYMENT}6,7,2,4.40,1,2026-01-03\n"));
    let done = shop.replay(&Wanted { from: "2026-01-06".parse().ok(), ..Wanted::default() }).await;
    assert!(done[0].untried[0].contains("something else now"), "{:?}", done[0].untried);
    assert_eq!((done[0].read, done[0].landed), (1, 0));
}
