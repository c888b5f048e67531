//! The same few rows in every format.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Date32Array, Decimal128Array, Float64Array, Int64Array, ListArray, StringArray,
    TimestampMicrosecondArray,
};
use arrow::datatypes::Int32Type;

use super::*;

fn batch() -> RecordBatch {
    let money = Decimal128Array::from(vec![Some(123_450), None]).with_precision_and_scale(18, 2).expect("it fits");
    let columns: [(&str, ArrayRef); 8] = [
        ("dt", Arc::new(Date32Array::from(vec![20_454, 20_455]))),
        ("goods", Arc::new(StringArray::from(vec![Some("茶, \"green\""), Some("")]))),
        ("orders", Arc::new(Int64Array::from(vec![9_007_199_254_740_993, 7]))),
        ("gmv", Arc::new(money)),
        ("rate", Arc::new(Float64Array::from(vec![0.5, f64::NAN]))),
        ("ok", Arc::new(BooleanArray::from(vec![Some(true), None]))),
        ("at", Arc::new(TimestampMicrosecondArray::from(vec![Some(1_767_225_600_500_000), None]))),
        ("ids", Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>([Some([Some(1), None]), None]))),
    ];
    RecordBatch::try_from_iter_with_nullable(columns.map(|(name, array)| (name, array, true))).expect("a batch")
}

fn written(format: Format, style: Style) -> String {
    let batch = batch();
    let mut out = Vec::new();
    // Twice in halves, so that a result of several batches is tested as well.
    let halves = [batch.slice(0, 1), batch.slice(1, 1)];
    write_batches(&mut out, &halves, format, style).expect("written");
    String::from_utf8(out).expect("text")
}

#[test]
fn a_table_aligns_numbers_right_and_text_left_whatever_its_width() {
    let expected = "\
dt          goods                  orders      gmv  rate  ok    at                       ids
----------  -----------  ----------------  -------  ----  ----  -----------------------  --------
2026-01-01  茶, \"green\"  9007199254740993  1234.50   0.5  true  2026-01-01 00:00:00.500  [1,null]
2026-01-02                              7     NULL   NaN  NULL  NULL                     NULL
";
    assert_eq!(written(Format::Table, Style::Plain), expected);
}

#[test]
fn a_coloured_table_differs_only_in_its_colours() {
    let coloured = written(Format::Table, Style::Coloured);
    let stripped = coloured.replace("\x1b[1m", "").replace("\x1b[2m", "").replace("\x1b[0m", "");
    let trimmed: Vec<&str> = stripped.lines().map(str::trim_end).collect();
    assert_eq!(trimmed, written(Format::Table, Style::Plain).lines().collect::<Vec<_>>());
}

#[test]
fn csv_tells_null_from_empty_text_and_quotes_what_needs_it() {
    let expected = "\
dt,goods,orders,gmv,rate,ok,at,ids
2026-01-01,\"茶, \"\"green\"\"\",9007199254740993,1234.50,0.5,true,2026-01-01 00:00:00.500,\"[1,null]\"
2026-01-02,\"\",7,,NaN,,,
";
    assert_eq!(written(Format::Csv, Style::Plain), expected);
}

#[test]
fn json_keeps_the_exact_digits_of_numbers() {
    let expected = concat!(
        r#"{"dt":"2026-01-01","goods":"茶, \"green\"","orders":9007199254740993,"gmv":1234.50,"rate":0.5,"#,
        r#""ok":true,"at":"2026-01-01 00:00:00.500","ids":[1,null]}"#,
        "\n",
        r#"{"dt":"2026-01-02","goods":"","orders":7,"gmv":null,"rate":null,"ok":null,"at":null,"ids":null}"#,
        "\n",
    );
    assert_eq!(written(Format::Json, Style::Plain), expected);
}

#[test]
fn markdown_escapes_what_would_end_a_cell() {
    let mut grid = Grid::new(&["na|me", "n#"]);
    grid.push(["a|b\nc".into(), 7.into()]);
    let mut out = Vec::new();
    write_grid(&mut out, &grid, Format::Markdown, Style::Plain).expect("written");
    let expected = "| na\\|me | n |\n| --- | ---: |\n| a\\|b\\nc | 7 |\n";
    assert_eq!(String::from_utf8_lossy(&out), expected);
}

#[test]
fn control_characters_of_raw_lines_cannot_move_the_cursor() {
    let mut grid = Grid::new(&["raw"]);
    grid.push(["\x1b[2Jhello\r".into()]);
    let mut out = Vec::new();
    write_grid(&mut out, &grid, Format::Table, Style::Plain).expect("written");
    let text = String::from_utf8_lossy(&out).into_owned();
    assert!(text.ends_with("\\u{1b}[2Jhello\\r\n"), "{text:?}");
}

#[test]
fn a_result_without_rows_still_has_its_header() {
    let mut out = Vec::new();
    write_batches(&mut out, &[batch().slice(0, 0)], Format::Csv, Style::Plain).expect("written");
    assert_eq!(String::from_utf8_lossy(&out), "dt,goods,orders,gmv,rate,ok,at,ids\n");
}
