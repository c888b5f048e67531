//! Landing in a lake: what is new, what is there already, what replaces what.

use std::collections::BTreeMap;
use std::fs;

use super::shop::{MONDAY_MS, Shop};
use crate::ingest::orders::Amount;
use crate::ingest::rejects::REJECT_TABLE;
use crate::lake::Lake;

const USER: &str = "user_id,user_name,user_gender,user_birthday,e_mail,mobile,register_time,is_blacklist\n";
const PAYMENT: &str = "pay_id,order_id,trade_no,pay_money,pay_type,pay_time\n";

fn user(id: u32) -> String {
    format!("{id},张三,1,,z@x.cn,13812348000,,0\n")
}

fn payment(id: u32, money: &str, day: &str) -> String {
    format!("{id},1,2,{money},1,{day}\n")
}

async fn versions(shop: &Shop) -> BTreeMap<String, u64> {
    let lake = shop.lake();
    let mut versions = BTreeMap::new();
    for name in lake.tables("ods").await.unwrap() {
        versions.insert(name.clone(), lake.table(&name).await.unwrap().unwrap().version());
    }
    versions
}

#[tokio::test(flavor = "multi_thread")]
async fn extracts_land_once_and_every_declared_table_exists() {
    let shop = Shop::new(&["user", "goods_info", "payment_flow"]);
    shop.write("2026-01-05/user.csv", &format!("{USER}{}{}", user(1), user(2)));
    shop.write(
        "2026-01-05/payment_flow.csv",
        &format!("{PAYMENT}{}{}", payment(1, "1.10", "2026-01-03"), payment(2, "2", "")),
    );
    let (outcome, warnings) = shop.ingest().await;
    assert!(warnings.is_empty() && outcome.failures.is_empty(), "{warnings:?} {outcome:?}");
    assert_eq!(
        shop.rows("ods_payment_flow").await,
        [
            "2026-01-03: 1,1,2,1.10,1,2026-01-03T00:00:00,2026-01-05,2026-01-05/payment_flow.csv,1",
            "∅: 2,1,2,2.00,1,∅,2026-01-05,2026-01-05/payment_flow.csv,2",
        ]
    );
    assert_eq!(shop.rows("ods_user").await.len(), 2);
    assert!(shop.rows("ods_goods_info").await.is_empty());
    let table = &outcome.tables[2];
    assert_eq!((table.files, table.tally.landed, table.slots.len()), (1, 2, 2));
    assert_eq!(table.tally.sums["pay_money"].landed, Amount(310));
    assert_eq!(table.last_arrival.unwrap().to_string(), "2026-01-05");

    let before = versions(&shop).await;
    let (outcome, _) = shop.ingest().await;
    assert_eq!((versions(&shop).await, outcome.total().read), (before, 0));
    assert_eq!(outcome.tables[2].last_arrival.unwrap().to_string(), "2026-01-05");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_of_known_size_and_time_is_not_opened_and_a_touched_one_not_loaded() {
    let shop = Shop::new(&["user"]);
    let text = format!("{USER}{}", user(1));
    shop.write("2026-01-05/user.csv", &text);
    shop.ingest().await;
    shop.touch("2026-01-05/user.csv");
    let (outcome, warnings) = shop.ingest().await;
    assert_eq!((outcome.total().read, warnings.len(), shop.rows("ods_user").await.len()), (0, 0, 1));
    // The touch is recorded: garbage of the same size and time is not looked at.
    let time = fs::metadata(shop.extracts.path().join("2026-01-05/user.csv")).unwrap().modified().unwrap();
    shop.write("2026-01-05/user.csv", &"x".repeat(text.len()));
    let file = fs::File::options().append(true).open(shop.extracts.path().join("2026-01-05/user.csv")).unwrap();
    file.set_modified(time).unwrap();
    assert!(shop.ingest().await.0.failures.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_extract_that_is_exported_again_replaces_its_earlier_rows() {
    let shop = Shop::new(&["payment_flow"]);
    let other = payment(9, "9", "2026-01-03");
    shop.write("2026-01-04/payment_flow.csv", &format!("{PAYMENT}{other}x,,,,,\n"));
    let first = format!("{PAYMENT}{}{}y,,,,,\n", payment(1, "1", "2026-01-02"), payment(2, "2", "2026-01-03"));
    shop.write("2026-01-05/payment_flow.csv", &first);
    shop.ingest().await;
    let before = shop.records("ods_payment_flow").await;
    shop.write("2026-01-05/payment_flow.csv", &format!("{PAYMENT}{}", payment(2, "3", "2026-01-04")));
    let (outcome, warnings) = shop.ingest().await;
    assert_eq!(warnings, ["`2026-01-05/payment_flow.csv` has changed since it was taken: 1 rows replace 2"]);
    assert_eq!((outcome.tables[0].replaced, outcome.tables[0].slots.len()), (2, 3));
    let tables = ["ods_payment_flow", REJECT_TABLE];
    assert_eq!(vec![shop.rows(tables[0]).await, shop.rows(tables[1]).await], shop.scratch_rows(&tables).await);
    let after = shop.records("ods_payment_flow").await;
    assert!(after["strata.slot:2026-01-02"].contains("\"rows\":0"));
    assert!(after["strata.slot:2026-01-03"].contains("\"rows\":1"));
    assert_ne!(before["strata.slot:2026-01-03"], after["strata.slot:2026-01-03"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_of_an_extract_of_the_same_day_lands_once() {
    let shop = Shop::new(&["user"]);
    let text = format!("{USER}{}", user(1));
    shop.write("2026-01-05/user.csv", &text);
    shop.write("2026-01-05/user.again.csv", &text);
    shop.write("2026-01-06/user.csv", &text);
    shop.ingest().await;
    let rows = shop.rows("ods_user").await;
    assert_eq!(rows.len(), 2, "{rows:?}");
    assert!(rows[0].contains("2026-01-05/user.again.csv") && rows[1].starts_with("2026-01-06"));
    let record = &shop.records("ods_user").await["strata.file:2026-01-05/user.csv"];
    assert!(record.contains("\"same_as\":\"2026-01-05/user.again.csv\""), "{record}");
}

#[tokio::test(flavor = "multi_thread")]
async fn whichever_copy_comes_first_the_least_path_lands() {
    let shop = Shop::new(&["payment_flow"]);
    let text = format!("{PAYMENT}{}z,,,,,\n", payment(1, "1", "2026-01-02"));
    for path in ["2026-01-05/payment_flow.b.csv", "2026-01-05/payment_flow.c.csv", "2026-01-05/payment_flow.a.csv"] {
        shop.write(path, &text);
        shop.ingest().await;
    }
    let tables = ["ods_payment_flow", REJECT_TABLE];
    assert_eq!(vec![shop.rows(tables[0]).await, shop.rows(tables[1]).await], shop.scratch_rows(&tables).await);
    // The original changes: its copies speak for themselves.
    shop.write("2026-01-05/payment_flow.a.csv", &format!("{PAYMENT}{}", payment(2, "1", "2026-01-02")));
    shop.ingest().await;
    assert_eq!(vec![shop.rows(tables[0]).await, shop.rows(tables[1]).await], shop.scratch_rows(&tables).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_file_lands_nothing_and_the_others_land() {
    let shop = Shop::new(&["user", "payment_flow"]);
    shop.write("2026-01-05/user.csv", "user_id,user_nam\n1,x\n");
    shop.write("2026-01-06/user.csv", &format!("{USER}{}", user(1)));
    shop.write("2026-01-05/payment_flow.csv.gz", "no gzip");
    shop.write("2026-01-06/payment_flow.csv", "");
    shop.write("2026-01-07/payment_flow.csv", PAYMENT);
    let (outcome, _) = shop.ingest().await;
    let failures = shop.failures(&outcome);
    assert_eq!(failures[0], "`2026-01-05/user.csv`: has no column `user_name`; did its column `user_nam` mean it?");
    assert!(failures[1].starts_with("`2026-01-05/payment_flow.csv.gz`: cannot be read: "), "{failures:?}");
    assert_eq!(
        failures[2..],
        ["`2026-01-06/payment_flow.csv`: is empty: not even a header with the names of the columns"]
    );
    assert_eq!(shop.rows("ods_user").await.len(), 1);
    // Mended, it lands.
    shop.write("2026-01-05/user.csv", &format!("{USER}{}", user(1)));
    fs::remove_file(shop.extracts.path().join("2026-01-05/payment_flow.csv.gz")).unwrap();
    shop.write("2026-01-06/payment_flow.csv", PAYMENT);
    assert!(shop.ingest().await.0.failures.is_empty());
    assert_eq!(shop.rows("ods_user").await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_snapshot_is_an_error_unless_another_file_has_its_rows() {
    let shop = Shop::new(&["user"]);
    shop.write("2026-01-05/user.csv", USER);
    let (outcome, _) = shop.ingest().await;
    assert_eq!(
        shop.failures(&outcome),
        ["`2026-01-05/user.csv`: has a header and no rows: an empty snapshot is an error, not an empty world"]
    );
    shop.write("2026-01-05/user.2.csv", &format!("{USER}{}", user(1)));
    assert!(shop.ingest().await.0.failures.is_empty());
    assert_eq!(shop.ingest().await.0.total().read, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_of_which_no_row_can_land_does_not_take_the_place_of_a_good_one() {
    let shop = Shop::new(&["user"]);
    shop.write("2026-01-05/user.csv", &format!("{USER}{}", user(1)));
    shop.ingest().await;
    shop.write("2026-01-05/user.csv", &format!("{USER}x,,,,,,,\ny,,,,,,,\n"));
    let (outcome, _) = shop.ingest().await;
    assert_eq!(
        shop.failures(&outcome),
        [
            "`2026-01-05/user.csv`: none of its 2 rows can land (line 2: column `user_id`: not an integer: `x`): an empty \
          snapshot is an error, not an empty world"
        ]
    );
    assert_eq!((shop.rows("ods_user").await.len(), shop.rows(REJECT_TABLE).await.len()), (1, 0));
    // Beside another file of the day it is one with bad rows like any other.
    shop.write("2026-01-05/user.2.csv", &format!("{USER}{}", user(2)));
    assert!(shop.ingest().await.0.failures.is_empty());
    assert_eq!((shop.rows("ods_user").await.len(), shop.rows(REJECT_TABLE).await.len()), (1, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_between_rejects_and_rows_doubles_nothing() {
    let shop = Shop::new(&["user", "payment_flow"]);
    shop.write("2026-01-05/user.csv", &format!("{USER}{}x,,,,,,,\n", user(1)));
    shop.write("2026-01-05/payment_flow.csv", &format!("{PAYMENT}x,,,,,\n{}", payment(1, "1", "")));
    let (outcome, warnings) = shop.ingest().await;
    assert_eq!(outcome.total().rejected["bad_type"], 2);
    assert_eq!(
        warnings[0],
        "user: 1 of 2 rows rejected (bad_type 1); `2026-01-05/user.csv`, line 3: column `user_id`: not an integer: `x`"
    );
    let mut crashed = Shop::new(&["user", "payment_flow"]);
    shop.copy_table(REJECT_TABLE, &crashed);
    crashed.extracts = shop.extracts;
    crashed.ingest().await;
    let tables = ["ods_user", "ods_payment_flow", REJECT_TABLE];
    let scratch = crashed.scratch_rows(&tables).await;
    for (table, rows) in tables.iter().zip(scratch) {
        assert_eq!(crashed.rows(table).await, rows, "{table}");
    }
    assert_eq!(crashed.rows(REJECT_TABLE).await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_undated_file_that_is_overwritten_on_a_later_day_is_another_extract() {
    let shop = Shop::new(&["user"]);
    shop.write("user.csv", &format!("{USER}{}", user(1)));
    shop.date("user.csv", MONDAY_MS);
    shop.ingest().await;
    shop.write("user.csv", &format!("{USER}{}", user(2)));
    shop.date("user.csv", MONDAY_MS + 86_400_000);
    shop.ingest().await;
    let rows = shop.rows("ods_user").await;
    assert!(
        rows.len() == 2 && rows[0].starts_with("2026-01-05: 1,") && rows[1].starts_with("2026-01-06: 2,"),
        "{rows:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn oddities_are_told_once_for_all_files() {
    let shop = Shop::new(&["payment_flow"]);
    for day in 5..8 {
        let text = format!("x,{PAYMENT}?,{},1,2,3.00,1,0000-00-00\n", day);
        shop.write(&format!("2026-01-0{day}/payment_flow.csv"), &text);
        shop.write(&format!("2026-01-0{day}/coupon.csv"), "a\n");
    }
    shop.write("2026-01-05/README", "");
    let (_, warnings) = shop.ingest().await;
    assert_eq!(
        warnings,
        [
            "`2026-01-05/README` is ignored: it is neither .csv (.gz, .zst) nor .parquet",
            "`2026-01-05/coupon.csv` is ignored: orders declares no table `coupon`",
            "payment_flow: column `x` is not declared and is ignored, in `2026-01-05/payment_flow.csv` and 2 more files",
            "payment_flow.pay_time: 3 zero dates (0000-00-00) became NULL, the first in `2026-01-05/payment_flow.csv`",
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_folder_is_an_error_and_an_empty_one_a_warning() {
    let shop = Shop::new(&["user"]);
    let (_, warnings) = shop.ingest().await;
    assert!(warnings[0].starts_with("there is no extract of any table beneath"), "{warnings:?}");
    assert!(shop.rows("ods_user").await.is_empty());
    fs::remove_dir(shop.extracts.path()).unwrap();
    let lake: Lake = shop.lake();
    let (outcome, _) = shop.ingest_into(&lake, "r").await;
    assert!(outcome.unwrap_err().to_string().contains("does not exist"));
    fs::create_dir(shop.extracts.path()).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn any_history_of_extracts_equals_a_lake_built_at_once() {
    let mut state = 0x2545_F491_4F6C_DD1D_u64;
    let mut pick = |from: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % from as u64) as usize
    };
    let paths = ["2026-01-05/T.csv", "2026-01-05/T.a.csv", "2026-01-05/T.b.csv", "2026-01-06/T.csv"];
    let payments = [
        PAYMENT.to_owned(),
        format!("{PAYMENT}{}", payment(1, "1", "2026-01-02")),
        format!("{PAYMENT}{}{}bad,,,,,\n", payment(1, "2", "2026-01-03"), payment(2, "2", "")),
        format!("{PAYMENT}{}{}", payment(3, "2", "2026-01-02"), payment(2, "2", "2026-01-03")),
    ];
    let users = [1, 2, 3].map(|id| format!("{USER}{}{},,,,,,,x\n", user(id), id));
    let tables = ["ods_payment_flow", "ods_user", REJECT_TABLE];
    for history in 0..6 {
        let shop = Shop::new(&["user", "payment_flow"]);
        for step in 0..6 {
            for _ in 0..=pick(3) {
                let path = paths[pick(paths.len())];
                match pick(2) {
                    0 => shop.write(&path.replace('T', "payment_flow"), &payments[pick(payments.len())]),
                    _ => shop.write(&path.replace('T', "user"), &users[pick(users.len())]),
                }
            }
            let (outcome, _) = shop.ingest().await;
            assert!(outcome.failures.is_empty(), "{outcome:?}");
            let scratch = shop.scratch_rows(&tables).await;
            for (table, rows) in tables.iter().zip(scratch) {
                assert_eq!(shop.rows(table).await, rows, "{table} in history {history}, step {step}");
            }
        }
    }
}
