//! Parquet extracts: columns by name, exact casts, refusals.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, Date32Array, Decimal128Array, Decimal256Array, Float64Array, Int16Array, Int32Array, Int64Array,
    RecordBatch, StringArray, TimestampMicrosecondArray, TimestampMillisecondArray, TimestampNanosecondArray,
    UInt64Array,
};
use arrow::datatypes::i256;
use bytes::Bytes;
use parquet::arrow::ArrowWriter;

use super::super::from_parquet::read_parquet;
use super::super::tally::Amount;
use super::{Landed, layout, take};

fn parquet(columns: Vec<(&str, ArrayRef)>) -> Bytes {
    let batch = RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, c)| (name, c, true))).unwrap();
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.into_inner().unwrap().into()
}

fn land(table: &str, columns: Vec<(&str, ArrayRef)>) -> Landed {
    take(&layout(table), |intake| read_parquet(parquet(columns), intake)).unwrap()
}

fn refused(table: &str, columns: Vec<(&str, ArrayRef)>) -> String {
    format!("{:#}", take(&layout(table), |intake| read_parquet(parquet(columns), intake)).unwrap_err())
}

fn payment() -> Vec<(&'static str, ArrayRef)> {
    vec![
        ("pay_time", Arc::new(TimestampMillisecondArray::from(vec![Some(1_767_225_600_500), None]))),
        ("pay_type", Arc::new(Int16Array::from(vec![1, 2]))),
        ("pay_money", Arc::new(Decimal128Array::from(vec![1050, -1]).with_precision_and_scale(10, 1).unwrap())),
        ("trade_no", Arc::new(UInt64Array::from(vec![3, u64::MAX]))),
        ("order_id", Arc::new(Int32Array::from(vec![4, 5]))),
        ("pay_id", Arc::new(StringArray::from(vec!["6", " 7 "]))),
    ]
}

/// Two payments with another column in the place of one, the second row otherwise good.
fn with(name: &str, column: ArrayRef) -> Vec<(&'static str, ArrayRef)> {
    let mut columns = payment();
    let at = columns.iter().position(|(n, _)| *n == name).unwrap();
    columns[at].1 = column;
    columns[3].1 = Arc::new(Int64Array::from(vec![3, 3]));
    columns
}

#[test]
fn columns_go_by_name_and_types_widen_and_narrow_exactly() {
    let landed = land("payment_flow", payment());
    assert_eq!(landed.rows, ["2026-01-01: 6, 4, 3, 105.00, 1, 2026-01-01T00:00:00.500"]);
    assert_eq!(
        landed.rejects,
        ["bad_type: row 2: column `trade_no`: beyond the range of a 64-bit integer: `18446744073709551615`"]
    );
    assert_eq!(landed.raw, [" 7 ,5,18446744073709551615,-0.1,2,"]);
    assert_eq!(
        (landed.tally.sums["pay_money"].read, landed.tally.sums["pay_money"].landed),
        (Amount(10_490), Amount(10_500))
    );
}

#[test]
fn decimals_of_any_scale_are_taken_where_they_are_exact() {
    let fine = Decimal128Array::from(vec![12_340, 12_345]).with_precision_and_scale(18, 3).unwrap();
    let landed = land("payment_flow", with("pay_money", Arc::new(fine)));
    assert_eq!(landed.rows, ["2026-01-01: 6, 4, 3, 12.34, 1, 2026-01-01T00:00:00.500"]);
    assert_eq!(
        landed.rejects[0],
        "bad_type: row 2: column `pay_money`: not an amount with at most two decimals: `12.345`"
    );
    let wide = vec![i256::from_i128(5_000), i256::from_i128(i128::MAX)];
    let wide = Decimal256Array::from(wide).with_precision_and_scale(76, 4).unwrap();
    let landed = land("payment_flow", with("pay_money", Arc::new(wide)));
    assert!(landed.rows[0].contains(", 0.50, ") && landed.rejects.len() == 1, "{landed:?}");
    let whole = Int64Array::from(vec![12, 99_999_999_999_999_999]);
    let landed = land("payment_flow", with("pay_money", Arc::new(whole)));
    assert!(landed.rows[0].contains(", 12.00, ") && landed.rejects[0].contains("beyond the range of decimal(18,2)"));
}

#[test]
fn times_of_any_unit_dates_and_text_become_datetimes() {
    let times: Vec<ArrayRef> = vec![
        Arc::new(Date32Array::from(vec![20_454, i32::MAX])),
        Arc::new(TimestampMicrosecondArray::from(vec![20_454 * 86_400_000_000, i64::MIN])),
        Arc::new(TimestampNanosecondArray::from(vec![20_454 * 86_400_000_000_000, 1])),
        Arc::new(StringArray::from(vec!["2026-01-01 00:00:00", "2026-01-01T00:00:00"])),
    ];
    for time in times {
        let landed = land("payment_flow", with("pay_time", time));
        assert_eq!(landed.rows, ["2026-01-01: 6, 4, 3, 105.00, 1, 2026-01-01T00:00:00"]);
        assert!(landed.rejects[0].starts_with("bad_type: row 2: column `pay_time`: not "), "{landed:?}");
    }
}

#[test]
fn types_that_cannot_become_the_declared_ones_refuse_the_file() {
    let utc = TimestampMicrosecondArray::from(vec![0, 0]).with_timezone("UTC");
    assert!(
        refused("payment_flow", with("pay_time", Arc::new(utc))).starts_with("column `pay_time` has instants of UTC")
    );
    let floats = || Arc::new(Float64Array::from(vec![1.0, 2.0]));
    assert_eq!(
        refused("payment_flow", with("pay_money", floats())),
        "column `pay_money` is of type Float64, which cannot be read as money, decimal(18,2)"
    );
    assert_eq!(
        refused("payment_flow", with("pay_id", floats())),
        "column `pay_id` is of type Float64, which cannot be read as i64"
    );
    let mut columns = payment();
    columns.remove(0);
    assert_eq!(refused("payment_flow", columns), "has no column `pay_time`");
    let garbage = take(&layout("user"), |intake| read_parquet(Bytes::from_static(b"PAR1 no parquet"), intake));
    assert!(format!("{:#}", garbage.unwrap_err()).starts_with("cannot be read as Parquet"));
}

#[test]
fn an_empty_text_is_null_for_all_but_strings_and_masks_hold() {
    let text = |values: [&str; 2]| -> ArrayRef { Arc::new(StringArray::from(values.to_vec())) };
    let columns = vec![
        ("addr_id", text(["1", "x"])),
        ("user_id", text(["2", "2"])),
        ("addr_name", text(["", "北京市"])),
        ("order_flag", text(["", "1"])),
        ("user_name", text(["张三", "张三"])),
        ("mobile", Arc::new(Int64Array::from(vec![13_812_348_000, 13_812_348_000])) as ArrayRef),
    ];
    let landed = land("user_addr", columns);
    assert_eq!(landed.rows, ["2026-01-05: 1, 2, , ∅, 张**, 138****8000"]);
    assert_eq!(landed.rejects, ["bad_type: row 2: column `addr_id`: not an integer: `x`"]);
    assert_eq!(landed.raw, ["x,2,北**,1,张**,138****8000"]);
}

#[test]
fn a_damaged_file_ends_in_a_result() {
    let whole = parquet(payment());
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    for _ in 0..2_000 {
        let mut damaged = whole.to_vec();
        for _ in 0..3 {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            let at = (state % damaged.len() as u64) as usize;
            damaged[at] ^= (state >> 32) as u8;
        }
        // Refused, or read as something else: either way it ends in a result.
        let _ = take(&layout("payment_flow"), |intake| read_parquet(Bytes::from(damaged), intake));
    }
}
