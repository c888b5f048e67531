//! CSV extracts as they come: headers, types, bad rows.

use arrow::array::AsArray;
use arrow::datatypes::{Date32Type, Int64Type};

use super::super::from_csv::read_csv;
use super::super::tally::Amount;
use super::{Landed, arrival, layout, shop, take};
use crate::ingest::orders::layout::Layout;
use crate::ingest::orders::rows::staged;

fn land(table: &str, csv: impl AsRef<[u8]>) -> Landed {
    take(&layout(table), |intake| read_csv(csv.as_ref(), intake)).unwrap()
}

fn refused(table: &str, csv: &str) -> String {
    format!("{:#}", take(&layout(table), |intake| read_csv(csv.as_bytes(), intake)).unwrap_err())
}

const ORDER: &str = "order_id,order_date,user_id,order_money,order_type,order_status,pay_id,update_time\n";
const PAYMENT: &str = "pay_id,order_id,trade_no,pay_money,pay_type,pay_time\n";
const USER: &str = "user_id,user_name,user_gender,user_birthday,e_mail,mobile,register_time,is_blacklist\n";
const GOODS: &str = "goods_id,goods_no,goods_name,curr_price,third_category_id,goods_desc,create_time\n";

#[test]
fn changes_land_under_the_day_they_belong_to_with_their_provenance() {
    let landed = land(
        "user_order",
        format!(
            "{ORDER}7,2026-01-03 23:59:59.500000,0,12.3,1,0,,\n8,2026-01-02,5,-0.05,1,1,9,2026-01-04 00:00:00\n9,,5,1,1,1,9,\n"
        ),
    );
    assert_eq!(
        landed.rows,
        [
            "∅: 9, ∅, 5, 1.00, 1, 1, 9, ∅",
            "2026-01-02: 8, 2026-01-02T00:00:00, 5, -0.05, 1, 1, 9, 2026-01-04T00:00:00",
            "2026-01-03: 7, 2026-01-03T23:59:59.500, 0, 12.30, 1, 0, ∅, ∅",
        ]
    );
    let batch = &landed.batches[1];
    assert_eq!(batch.column_by_name("row_number").unwrap().as_primitive::<Int64Type>().value(0), 2);
    assert_eq!(super::cell(batch.column_by_name("file").unwrap(), 0), "2026-01-05/extract");
    assert_eq!(batch.column_by_name("arrival_dt").unwrap().as_primitive::<Date32Type>().value(0), arrival().days());
    assert_eq!(batch.schema(), staged(&layout("user_order").file_schema));
}

#[test]
fn a_snapshot_lands_under_the_date_it_describes_masked() {
    let landed = land(
        "user",
        format!("{USER}1,张三丰,1,1990-02-03,zhang@example.com,13812348000,2025-01-01 08:00:00,0\n2,\"\",,,,,,\n"),
    );
    assert_eq!(
        landed.rows,
        [
            "2026-01-05: 1, 张**, 1, 1990-02-03T00:00:00, z***@example.com, 138****8000, 2025-01-01T08:00:00, 0",
            "2026-01-05: 2, , ∅, ∅, ∅, ∅, ∅, ∅",
        ]
    );
}

#[test]
fn columns_go_by_name_and_unknown_ones_are_told() {
    let landed =
        land("payment_flow", "pay_time,x,pay_type,pay_money,y,trade_no,order_id,pay_id\n2026-01-01,?,1,2,?,3,4,5\n");
    assert_eq!(landed.rows, ["2026-01-01: 5, 4, 3, 2.00, 1, 2026-01-01T00:00:00"]);
    assert_eq!(landed.findings.unknown_columns, ["x", "y"]);
}

#[test]
fn a_file_without_its_columns_is_refused_by_name() {
    assert_eq!(refused("payment_flow", ""), "is empty: not even a header with the names of the columns");
    assert_eq!(refused("payment_flow", "\u{feff}\n\n"), "is empty: not even a header with the names of the columns");
    assert_eq!(
        refused("payment_flow", "pay_id,order_id,trade_no,pay_amount,pay_type,pay_time\n"),
        "has no column `pay_money`"
    );
    assert_eq!(
        refused("payment_flow", "pay_id,order_id,trade_no,Pay Money,pay_type,pay_time\n"),
        "has no column `pay_money`; did its column `Pay Money` mean it?"
    );
    assert_eq!(refused("payment_flow", &format!("{},pay_id\n", PAYMENT.trim_end())), "has two columns named `pay_id`");
    assert_eq!(refused("payment_flow", "pay_id,\"x\"y\n"), "has no readable header: a quote where none may be");
}

#[test]
fn an_optional_column_that_is_missing_is_null() {
    let mut table = shop().tables.into_iter().find(|t| t.name == "payment_flow").unwrap();
    table.columns[4].optional = true;
    let layout = Layout::new(&table).unwrap();
    let csv = "pay_id,order_id,trade_no,pay_money,pay_time\n1,2,3,4,\n";
    let landed = take(&layout, |intake| read_csv(csv.as_bytes(), intake)).unwrap();
    assert_eq!(landed.rows, ["∅: 1, 2, 3, 4.00, ∅, ∅"]);
}

#[test]
fn a_bad_row_is_rejected_by_line_and_column_and_the_rest_lands() {
    let landed = land(
        "payment_flow",
        format!("{PAYMENT}1,2,3,4.00,1,\nx,2,3,4,1,\n\n3,2,3,4.005,1,\n4,2,3,4.00,1,2026-02-30\n5,2,3,4,1,\n"),
    );
    assert_eq!(landed.rows.len(), 2);
    assert_eq!(
        landed.rejects,
        [
            "bad_type: line 3: column `pay_id`: not an integer: `x`",
            "bad_type: line 5: column `pay_money`: not an amount with at most two decimals: `4.005`",
            "bad_type: line 6: column `pay_time`: not a day of the calendar: `2026-02-30`",
        ]
    );
    assert_eq!(landed.raw, ["x,2,3,4,1,", "3,2,3,4.005,1,", "4,2,3,4.00,1,2026-02-30"]);
    assert_eq!(landed.tally.rejected["bad_type"], 3);
    let first = landed.findings.first_reject.unwrap();
    assert_eq!(first.1, "line 3: column `pay_id`: not an integer: `x`");
}

#[test]
fn a_null_key_is_missing_and_an_unreadable_one_is_bad() {
    let csv = "order_id,goods_id,goods_amount,curr_price,create_time\n1,,1,1,\n,2,1,1,\n\"\",\" \",1,1,\n,x,1,1,\n";
    let landed = land("order_item", csv);
    assert!(landed.rows.is_empty());
    assert_eq!(
        landed.rejects,
        [
            "missing_key: line 2: column `goods_id`: the key is NULL",
            "missing_key: line 3: column `order_id`: the key is NULL",
            "missing_key: line 4: column `order_id`: the key is NULL",
            "bad_type: line 5: column `goods_id`: not an integer: `x`",
        ]
    );
}

#[test]
fn too_few_or_too_many_fields_and_stray_quotes_are_bad_rows() {
    let landed =
        land("payment_flow", format!("{PAYMENT}1,2,3\n1,2,3,4,5,,\n1,2,3,4,5,\"\"x\n1,\"2,3,4,5,\n1,2,3,4,5,\n"));
    assert_eq!(landed.rows.len(), 1);
    assert_eq!(
        landed.rejects,
        [
            "bad_type: line 2: 3 fields, the header has 6",
            "bad_type: line 3: 7 fields, the header has 6",
            "bad_type: line 4: a quote where none may be",
            "bad_type: line 5: a quote that is never closed",
        ]
    );
}

#[test]
fn a_record_over_a_mebibyte_is_too_long_and_kept_in_part() {
    let long = "x".repeat(1_048_577);
    let landed = land("goods_info", format!("{GOODS}1,a,{long},1,1,,\n2,a,b,1,1,,\n"));
    assert_eq!((landed.rows.len(), landed.rejects.len(), landed.raw[0].len()), (1, 1, 65_536));
    assert_eq!(landed.rejects[0], "too_long: line 2: over 1,048,576 bytes without its end");
    assert!(landed.raw[0].starts_with("1,a,xxx"));
}

#[test]
fn strings_keep_newlines_quotes_and_white_space_and_an_empty_one_is_not_null() {
    let landed = land("goods_info", format!("{GOODS}1,\" a \",\"say \"\"hi\"\"\nthere\",\"2.50\",,\"\",\n"));
    assert_eq!(landed.rows, ["2026-01-05: 1,  a , say \"hi\"\nthere, 2.50, ∅, , ∅"]);
}

#[test]
fn a_string_that_is_no_utf8_or_too_long_for_a_text_is_bad() {
    let mut csv = format!("{GOODS}1,").into_bytes();
    csv.extend_from_slice(b"\xFF\xFE,b,1,1,,\n2,");
    csv.extend_from_slice("é".repeat(32_768).as_bytes());
    csv.extend_from_slice(b",b,1,1,,\n");
    let landed = land("goods_info", csv);
    assert_eq!(landed.rejects[0], "bad_type: line 2: column `goods_no`: not UTF-8: `\u{fffd}\u{fffd}`");
    assert!(landed.rejects[1].starts_with("bad_type: line 3: column `goods_no`: longer than 65,535 bytes: `éééé"));
    assert!(landed.rejects[1].len() < 200);
}

#[test]
fn zero_dates_are_null_counted_by_column_and_on_no_day() {
    let landed = land(
        "user_order",
        format!("{ORDER}1,0000-00-00 00:00:00,1,1,1,1,1,0000-00-00\n2,2026-01-01,1,1,1,1,1,0000-00-00\n"),
    );
    assert_eq!(
        landed.rows,
        ["∅: 1, ∅, 1, 1.00, 1, 1, 1, ∅", "2026-01-01: 2, 2026-01-01T00:00:00, 1, 1.00, 1, 1, 1, ∅"]
    );
    let counted: Vec<(&str, u64)> = landed.findings.zero_dates.iter().map(|(c, n)| (c.as_str(), *n)).collect();
    assert_eq!(counted, [("order_date", 1), ("update_time", 2)]);
}

#[test]
fn money_adds_up_exactly_over_what_was_read_and_what_landed() {
    let landed = land(
        "payment_flow",
        format!("{PAYMENT}1,2,3,0.10,1,\n2,2,3,0.20,1,\n,2,3,5.00,1,\n4,2,3,x,1,\n5,,3,-0.01,1,\n"),
    );
    let sum = landed.tally.sums["pay_money"];
    assert_eq!((sum.read, sum.landed), (Amount(529), Amount(29)));
    assert_eq!((landed.tally.read, landed.tally.landed, landed.tally.rows_rejected()), (5, 3, 2));
}

#[test]
fn a_rejected_row_never_shows_personal_values() {
    let secret = ["张三丰", "zhangsan@example.com", "13812348000"];
    let csv = format!(
        "{USER}x1,张三丰,1,,zhangsan@example.com,13812348000,,0\n\
         2,张三丰,1,,zhangsan@example.com,1381234800O,,0\n\
         3,张三丰,1,,zhangsan@example.com,13812348000,,0,extra\n\
         4,\"张三丰\"zhangsan@example.com,13812348000\n\
         ,张三丰,1,,zhangsan@example.com,13812348000,,13812348000\n"
    );
    let landed = land("user", csv);
    assert!(landed.rows.is_empty() && landed.rejects.len() == 5);
    let told = format!("{:?} {:?} {:?}", landed.rejects, landed.raw, landed.findings);
    for text in secret.iter().chain(&["1381234800O", "13812348"]) {
        assert!(!told.contains(text), "{text} in {told}");
    }
    assert_eq!(landed.raw[0], "x9,张**,1,,z***@example.com,138****8000,,0");
    assert_eq!(landed.rejects[1], "bad_type: line 3: column `mobile`: not an integer: `9999999999x`");
    assert_eq!(landed.raw[1], "2,张**,1,,z***@example.com,9999999999x,,0");
    assert_eq!(landed.raw[2], "9,xxx,9,,xxxxxxxx@xxxxxxx.xxx,99999999999,,9,xxxxx");
}

#[test]
fn an_undeclared_column_of_a_rejected_row_is_not_kept() {
    let landed = land("payment_flow", format!("mobile,{PAYMENT}13812348000,x,2,3,\"4\",5,\n13812348000,1\n"));
    assert_eq!(landed.raw, ["x,2,3,4,5,", "99999999999,9"]);
}

#[test]
fn an_extract_with_a_header_only_has_no_rows() {
    let landed = land("user", USER);
    assert_eq!((landed.tally.read, landed.rows.len()), (0, 0));
}

#[test]
fn no_text_whatever_makes_it_fail() {
    // A generator of our own keeps the test the same for ever: an xorshift over bytes that matter to CSV.
    let alphabet: &[u8] = b"\"\"\",,\n\n\r0123456789-.: x\xFF\xC3\xA9";
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    for _ in 0..400 {
        let length = next() % 400;
        let body: Vec<u8> = (0..length).map(|_| alphabet[(next() % alphabet.len() as u64) as usize]).collect();
        for (table, header) in [("payment_flow", PAYMENT), ("user", USER), ("goods_info", "")] {
            let csv = [header.as_bytes(), &body].concat();
            // A random header is refused; whatever is read must add up, which `take` asserts.
            let _ = take(&layout(table), |intake| read_csv(&csv[..], intake));
        }
    }
}
