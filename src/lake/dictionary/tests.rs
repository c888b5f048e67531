//! What is written is what is read, by the crate's reader; and what is said of it is true.

use std::sync::Arc;

use arrow::array::{
    BinaryArray, Date32Array, Decimal128Array, DictionaryArray, Int32Array, Int64Array, RecordBatch, StringArray,
    TimestampMicrosecondArray,
};
use arrow::compute::{cast, concat_batches};
use parquet::arrow::ArrowSchemaConverter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::ZstdLevel;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;

use super::*;

/// The batches as a file of dictionaries alone is read back; `None` when a column is not worth one.
fn read_back(batches: &[RecordBatch], compression: Compression) -> Option<(RecordBatch, Vec<Statistics>)> {
    let schema = batches[0].schema();
    let described = ArrowSchemaConverter::new().convert(&schema).expect("a schema");
    let mut file = SerializedFileWriter::new(
        Vec::new(),
        described.root_schema_ptr(),
        Arc::new(WriterProperties::builder().build()),
    )
    .expect("a file");
    let mut encoder = DictionaryEncoder::new(compression).expect("a codec");
    let mut group = file.next_row_group().expect("a row group");
    for (at, column) in described.columns().iter().enumerate() {
        let parts: Vec<ArrayRef> = batches.iter().map(|batch| batch.column(at).clone()).collect();
        let chunk = encoder.chunk(column, &parts, true).expect("encodes")?;
        group.append_column(&chunk.bytes, chunk.close).expect("a column");
    }
    let metadata = group.close().expect("a row group");
    let statistics =
        metadata.columns().iter().map(|column| column.statistics().cloned().expect("statistics")).collect();
    let bytes = Bytes::from(file.into_inner().expect("a file"));
    let reader = ParquetRecordBatchReaderBuilder::try_new(bytes).expect("a file").build().expect("a reader");
    let read: Vec<RecordBatch> = reader.collect::<Result<_, _>>().expect("rows");
    Some((concat_batches(&read[0].schema(), &read).expect("of one schema"), statistics))
}

/// Columns of every kind, in two batches, with the given number for each row; NULL where there is none.
fn batches(numbers: &[Option<i64>]) -> Vec<RecordBatch> {
    let text = |short: bool| {
        let told =
            move |n: i64| if short { "x".repeat(n as usize % 13) } else { format!("a text of some length, {n}") };
        numbers.iter().map(|n| n.map(told)).collect::<StringArray>()
    };
    let coded: DictionaryArray<Int32Type> = {
        let texts = text(false);
        texts.iter().collect()
    };
    let columns: [(&str, ArrayRef); 8] = [
        ("int", Arc::new(numbers.iter().map(|n| n.map(|n| 3 - n as i32)).collect::<Int32Array>())),
        ("day", Arc::new(numbers.iter().map(|n| n.map(|n| n as i32)).collect::<Date32Array>())),
        ("long", Arc::new(numbers.iter().map(|n| n.map(|n| n - (1 << 40))).collect::<Int64Array>())),
        ("time", Arc::new(numbers.iter().map(|n| n.map(|n| n * 1_000_000)).collect::<TimestampMicrosecondArray>())),
        (
            "money",
            Arc::new(
                numbers
                    .iter()
                    .map(|n| n.map(|n| i128::from(n) * 100 - 7))
                    .collect::<Decimal128Array>()
                    .with_precision_and_scale(18, 2)
                    .expect("a decimal"),
            ),
        ),
        ("short", Arc::new(text(true))),
        ("long_text", Arc::new(text(false))),
        ("coded", Arc::new(coded)),
    ];
    let batch = RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(n, c)| (n, c, true))).expect("rows");
    let cut = numbers.len() / 3;
    vec![batch.slice(0, cut), batch.slice(cut, numbers.len() - cut)]
}

fn plain(batches: &[RecordBatch]) -> RecordBatch {
    let whole = concat_batches(&batches[0].schema(), batches).expect("of one schema");
    let schema = whole.schema();
    let columns = schema.fields().iter().zip(whole.columns()).map(|(field, column)| {
        let plain = match field.data_type() {
            DataType::Dictionary(..) => cast(column, &DataType::Utf8).expect("texts"),
            _ => column.clone(),
        };
        (field.name().clone(), plain, true)
    });
    RecordBatch::try_from_iter_with_nullable(columns).expect("rows")
}

#[test]
fn what_is_written_is_read_back() {
    let zstd = Compression::ZSTD(ZstdLevel::default());
    // Rows in numbers around a group's and a page's; few and many values, with runs and without, with NULLs and without.
    for rows in [1, 2, 7, 8, 9, 63, 64, 65, 1_000, PAGE_ROWS - 1, PAGE_ROWS, PAGE_ROWS + 1, 2 * PAGE_ROWS + 5] {
        for (values, run) in [(1, 1), (2, 9), (3, 30), (13, 2), (300, 17), (5_000, 1)] {
            // Many rows take their time.
            for nulls in if rows > 1_000 { &[0, 11][..] } else { &[0, 2, 11, 40] } {
                let nulls = *nulls;
                let number = |row: usize| {
                    let at = (row / run).wrapping_mul(0x9E37_79B9) >> 7;
                    (nulls == 0 || row % 97 >= nulls).then_some((at % values) as i64)
                };
                let numbers: Vec<Option<i64>> = (0..rows).map(number).collect();
                if numbers.iter().flatten().next().is_none() {
                    continue;
                }
                let batches = batches(&numbers);
                let compression = if rows % 2 == 0 { zstd } else { Compression::SNAPPY };
                let (read, statistics) = read_back(&batches, compression).expect("worth a dictionary");
                assert_eq!(read.columns(), plain(&batches).columns(), "{rows} rows of {values}, {nulls} NULLs");
                let there = || numbers.iter().flatten();
                let long = |n: Option<&i64>| n.map(|n| n - (1 << 40));
                let missing = numbers.iter().filter(|n| n.is_none()).count() as u64;
                let told = Statistics::int64(long(there().min()), long(there().max()), None, Some(missing), false);
                assert_eq!(statistics[2], told);
                let texts = || {
                    plain(&batches).column(6).as_string::<i32>().iter().flatten().map(str::to_owned).collect::<Vec<_>>()
                };
                let bound = |text: Option<String>| text.map(|text| ByteArray::from(text.as_bytes().to_vec()));
                let told = Statistics::byte_array(
                    bound(texts().into_iter().min()),
                    bound(texts().into_iter().max()),
                    None,
                    Some(missing),
                    false,
                );
                assert_eq!(statistics[6], told);
            }
        }
    }
}

#[test]
fn what_is_not_worth_a_dictionary_is_left_to_others() {
    let one = |column: ArrayRef| vec![RecordBatch::try_from_iter_with_nullable([("c", column, true)]).expect("rows")];
    let left = |column: ArrayRef| read_back(&one(column), Compression::SNAPPY).is_none();
    assert!(left(Arc::new(Int64Array::from_iter_values(0..200_000))), "more than a dictionary holds");
    assert!(
        left(Arc::new(StringArray::from_iter_values((0..90_000).map(|n| format!("{n:020}"))))),
        "the same of texts"
    );
    assert!(left(Arc::new(Int64Array::from(vec![None::<i64>; 3]))), "no value");
    assert!(left(Arc::new(arrow::array::Float64Array::from(vec![1.0]))), "another kind");
}

#[test]
fn a_text_is_the_same_wherever_it_stands_and_no_other() {
    // Short ones, of which some are others' beginnings, some hold zeros, and some stand at the end of the data.
    let texts = ["", "\0", "\0\0", "a", "ab", "abcdefghijkl", "abcdefghijklm", "abcdefghijkl\0", "é", "a"];
    let column: ArrayRef = Arc::new(StringArray::from_iter_values(texts.iter().cycle().take(1_000)));
    let rows = RecordBatch::try_from_iter_with_nullable([("c", column, true)]).expect("rows");
    let (read, _) = read_back(std::slice::from_ref(&rows), Compression::SNAPPY).expect("worth a dictionary");
    assert_eq!(read.columns(), rows.columns());
}

fn statistics_of(column: ArrayRef) -> Statistics {
    let rows = RecordBatch::try_from_iter_with_nullable([("c", column, true)]).expect("rows");
    read_back(&[rows], Compression::SNAPPY).expect("worth a dictionary").1.remove(0)
}

#[test]
fn long_texts_are_bounded_by_shorter_ones_or_not_at_all() {
    let told = |texts: &[String]| statistics_of(Arc::new(StringArray::from_iter_values(texts)));
    let short = told(&["b".repeat(BOUND_BYTES), "c".to_owned()]);
    assert!(short.min_is_exact() && short.max_is_exact());
    assert_eq!(short.min_bytes_opt(), Some("b".repeat(BOUND_BYTES).as_bytes()));
    let long = told(&["é".repeat(50), "é".repeat(60)]);
    assert!(!long.min_is_exact() && !long.max_is_exact());
    assert_eq!(long.min_bytes_opt(), Some("é".repeat(32).as_bytes()));
    assert_eq!(long.max_bytes_opt(), Some(format!("{}ê", "é".repeat(31)).as_bytes()));
    let last = told(&["a".to_owned(), format!("z{}", "\u{10FFFF}".repeat(20))]);
    assert_eq!(last.max_bytes_opt(), Some(&b"{"[..]), "nothing comes after its last characters");
    let none = told(&["a".to_owned(), "\u{10FFFF}".repeat(20)]);
    assert_eq!((none.min_bytes_opt(), none.max_bytes_opt()), (None, None), "both or none");
}

#[test]
fn a_dictionary_says_what_its_rows_hold_and_not_what_it_could() {
    let keys = Int32Array::from(vec![Some(2), None, Some(2), Some(0)]);
    let texts = DictionaryArray::new(keys.clone(), Arc::new(StringArray::from(vec!["m", "a", "n", "z"])));
    let told = Statistics::byte_array(Some("m".into()), Some("n".into()), None, Some(1), false);
    assert_eq!(statistics_of(Arc::new(texts)), told);
    let bytes = DictionaryArray::new(keys.clone(), Arc::new(BinaryArray::from_vec(vec![b"m\xff", b"a", b"n"])));
    let rows = RecordBatch::try_from_iter_with_nullable([("c", Arc::new(bytes) as ArrayRef, true)]).expect("rows");
    let (read, _) = read_back(std::slice::from_ref(&rows), Compression::SNAPPY).expect("worth a dictionary");
    assert_eq!(read.column(0), &cast(rows.column(0), &DataType::Binary).expect("bytes"));
    let with_null = DictionaryArray::new(keys, Arc::new(StringArray::from(vec![Some("m"), None, None])));
    let rows = RecordBatch::try_from_iter_with_nullable([("c", Arc::new(with_null) as ArrayRef, true)]).expect("rows");
    assert!(read_back(&[rows], Compression::SNAPPY).is_none(), "a value that is NULL is left to others");
}

#[test]
fn a_column_that_is_never_null_and_a_small_decimal_are_read_back() {
    let money = Decimal128Array::from(vec![-995, 0, 995]).with_precision_and_scale(9, 2).expect("a decimal");
    let columns = [("n", Arc::new(Int64Array::from(vec![7, 7, -1])) as ArrayRef), ("m", Arc::new(money) as ArrayRef)];
    let rows = RecordBatch::try_from_iter_with_nullable(columns.map(|(n, c)| (n, c, false))).expect("rows");
    let (read, statistics) = read_back(std::slice::from_ref(&rows), Compression::SNAPPY).expect("worth a dictionary");
    assert_eq!(read.columns(), rows.columns());
    assert_eq!(statistics[1], Statistics::int32(Some(-995), Some(995), None, Some(0), false));
}

#[test]
fn a_page_of_nulls_stands_between_others() {
    let number = |row: usize| (!(PAGE_ROWS..2 * PAGE_ROWS).contains(&row)).then_some(row as i64 / 1000);
    let column: ArrayRef = Arc::new((0..3 * PAGE_ROWS).map(number).collect::<Int64Array>());
    let rows = RecordBatch::try_from_iter_with_nullable([("c", column, true)]).expect("rows");
    let (read, _) = read_back(std::slice::from_ref(&rows), Compression::SNAPPY).expect("worth a dictionary");
    assert_eq!(read.columns(), rows.columns());
}
