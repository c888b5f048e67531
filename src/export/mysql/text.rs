//! Rows as text for a MySQL server: what LOAD DATA reads, what an INSERT lists, and what a checksum is taken of. Pure.
//!
//! All three spell a value the same way ([`super::spell`]); they differ in what stands around it. A checksum's text has
//! before each text value its length in bytes, so that no two rows have the same.

use std::io::Write as _;

use anyhow::{Result, anyhow, bail};
use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Decimal128Array, Float64Array, PrimitiveArray, RecordBatch, StringArray,
    StringViewArray, TimestampMicrosecondArray,
};
use arrow::datatypes::TimestampMicrosecondType;
use arrow::datatypes::{DataType, Date32Type, Decimal128Type, Float64Type, Int32Type, Int64Type, TimeUnit};
use arrow::temporal_conversions::timestamp_us_to_datetime;

use super::spell::{push_date, push_decimal, push_double, push_integer};
use crate::date::{BizDate, Slot};

/// How rows are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Lines for LOAD DATA: fields by tabs, `\N` for NULL, backslash escapes.
    Lines,
    /// Rows of literals for `insert … values`, each in parentheses.
    Literals,
}

/// The limit of a text column.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limit {
    /// In characters.
    pub chars: Option<usize>,
    /// In bytes.
    pub bytes: Option<usize>,
}

/// A text that its column does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TooLong {
    /// The column.
    pub column: String,
    /// Its length in bytes.
    pub bytes: usize,
    /// Its length in characters.
    pub chars: usize,
}

impl std::fmt::Display for TooLong {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "a text of column {} has {} characters, {} bytes", self.column, self.chars, self.bytes)
    }
}

impl std::error::Error for TooLong {}

/// The columns of a batch, each as the type it has.
pub struct Rows<'a> {
    columns: Vec<Column<'a>>,
    day: Option<usize>,
    rows: usize,
}

struct Column<'a> {
    name: String,
    cells: Cells<'a>,
    nulls: &'a ArrayRef,
    limit: Limit,
}

enum Cells<'a> {
    Int32(&'a PrimitiveArray<Int32Type>),
    Int64(&'a PrimitiveArray<Int64Type>),
    Boolean(&'a BooleanArray),
    Double(&'a Float64Array),
    Decimal(&'a Decimal128Array, usize),
    Date(&'a PrimitiveArray<Date32Type>),
    Time(&'a TimestampMicrosecondArray),
    Text(&'a StringArray),
    View(&'a StringViewArray),
}

impl<'a> Rows<'a> {
    /// The rows of a batch; `limits` are those of its columns.
    ///
    /// # Errors
    /// When a column is of a type that MySQL does not have.
    pub fn of(batch: &'a RecordBatch, limits: &[Limit]) -> Result<Self> {
        let schema = batch.schema();
        let columns = batch.columns().iter().zip(schema.fields()).zip(limits).map(|((array, field), limit)| {
            Ok(Column { name: field.name().clone(), cells: cells(array)?, nulls: array, limit: *limit })
        });
        Ok(Self { columns: columns.collect::<Result<_>>()?, day: schema.index_of("dt").ok(), rows: batch.num_rows() })
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.rows
    }

    /// The partition of a row.
    pub fn slot(&self, row: usize) -> Slot {
        match self.day.map(|index| &self.columns[index]) {
            Some(Column { cells: Cells::Date(days), .. }) if days.is_valid(row) => {
                Some(BizDate::from_days(days.value(row)))
            }
            _ => None,
        }
    }

    /// Appends a row in a format to `out`, and its text for a checksum to `canonical`.
    ///
    /// # Errors
    /// When a value does not fit its column; a text is then [`TooLong`].
    pub fn write(&self, row: usize, format: Format, out: &mut Vec<u8>, canonical: &mut Vec<u8>) -> Result<()> {
        if format == Format::Literals {
            out.push(b'(');
        }
        for (index, column) in self.columns.iter().enumerate() {
            if index > 0 {
                out.push(if format == Format::Lines { b'\t' } else { b',' });
                canonical.push(b'\t');
            }
            column.write(row, format, out, canonical)?;
        }
        out.extend_from_slice(if format == Format::Lines { b"\n" } else { b")" });
        Ok(())
    }
}

impl Column<'_> {
    fn write(&self, row: usize, format: Format, out: &mut Vec<u8>, canonical: &mut Vec<u8>) -> Result<()> {
        let is_text = matches!(self.cells, Cells::Text(_) | Cells::View(_));
        if self.nulls.is_null(row) {
            out.extend_from_slice(if format == Format::Lines { b"\\N" } else { b"NULL" });
            if is_text {
                canonical.push(b'\t');
            }
            return Ok(());
        }
        let text = match &self.cells {
            Cells::Text(array) => array.value(row),
            Cells::View(array) => array.value(row),
            _ => {
                let start = canonical.len();
                let is_quoted = matches!(self.cells, Cells::Date(_) | Cells::Time(_)) && format == Format::Literals;
                self.spell(row, canonical)?;
                let spelled = &canonical[start..];
                out.extend_from_slice(if is_quoted { b"'" } else { b"" });
                out.extend_from_slice(spelled);
                out.extend_from_slice(if is_quoted { b"'" } else { b"" });
                if format == Format::Literals && matches!(self.cells, Cells::Double(_)) && !spelled.contains(&b'e') {
                    // Without an exponent it is an exact number to the server, of so many digits at most.
                    out.extend_from_slice(b"e0");
                }
                return Ok(());
            }
        };
        self.check(text)?;
        push_integer(canonical, text.len() as i64);
        canonical.push(b'\t');
        canonical.extend_from_slice(text.as_bytes());
        match format {
            Format::Lines => push_escaped(out, text),
            Format::Literals => push_literal(out, text),
        }
        Ok(())
    }

    /// Appends a value that is no text as the server spells it.
    fn spell(&self, row: usize, out: &mut Vec<u8>) -> Result<()> {
        match &self.cells {
            Cells::Int32(array) => push_integer(out, array.value(row).into()),
            Cells::Int64(array) => push_integer(out, array.value(row)),
            Cells::Boolean(array) => out.push(if array.value(row) { b'1' } else { b'0' }),
            Cells::Double(array) => {
                let number = array.value(row);
                if !number.is_finite() {
                    bail!("column {} has {number}, which MySQL has not", self.name);
                }
                push_double(out, number);
            }
            Cells::Decimal(array, scale) => push_decimal(out, array.value(row), *scale),
            Cells::Date(array) => push_date(out, BizDate::from_days(array.value(row))),
            Cells::Time(array) => {
                let micros = array.value(row);
                let time = timestamp_us_to_datetime(micros)
                    .ok_or_else(|| anyhow!("column {} has a time beyond the calendar", self.name))?;
                write!(out, "{}", time.format("%Y-%m-%d %H:%M:%S%.6f"))?;
            }
            Cells::Text(_) | Cells::View(_) => {}
        }
        Ok(())
    }

    fn check(&self, text: &str) -> Result<()> {
        let has_too_many = |most: usize| text.len() > most && text.chars().count() > most;
        if self.limit.chars.is_some_and(has_too_many) || self.limit.bytes.is_some_and(|most| text.len() > most) {
            let chars = text.chars().count();
            return Err(TooLong { column: self.name.clone(), bytes: text.len(), chars }.into());
        }
        Ok(())
    }
}

fn cells(array: &ArrayRef) -> Result<Cells<'_>> {
    Ok(match array.data_type() {
        DataType::Int32 => Cells::Int32(array.as_primitive::<Int32Type>()),
        DataType::Int64 => Cells::Int64(array.as_primitive::<Int64Type>()),
        DataType::Boolean => Cells::Boolean(array.as_boolean()),
        DataType::Float64 => Cells::Double(array.as_primitive::<Float64Type>()),
        DataType::Decimal128(_, scale) => {
            Cells::Decimal(array.as_primitive::<Decimal128Type>(), usize::try_from(*scale).unwrap_or_default())
        }
        DataType::Date32 => Cells::Date(array.as_primitive::<Date32Type>()),
        DataType::Timestamp(TimeUnit::Microsecond, None) => {
            Cells::Time(array.as_primitive::<TimestampMicrosecondType>())
        }
        DataType::Utf8 => Cells::Text(array.as_string::<i32>()),
        DataType::Utf8View => Cells::View(array.as_string_view()),
        other => bail!("a column of type {other} cannot be exported"),
    })
}

/// Appends a text for LOAD DATA.
fn push_escaped(out: &mut Vec<u8>, text: &str) {
    push_with(out, text, |byte| match byte {
        b'\\' => Some(b'\\'),
        b'\t' => Some(b't'),
        b'\n' => Some(b'n'),
        b'\r' => Some(b'r'),
        0 => Some(b'0'),
        _ => None,
    });
}

/// Appends a text as a literal in single quotes.
fn push_literal(out: &mut Vec<u8>, text: &str) {
    out.push(b'\'');
    push_with(out, text, |byte| match byte {
        b'\\' | b'\'' | b'"' => Some(byte),
        b'\n' => Some(b'n'),
        b'\r' => Some(b'r'),
        0x1a => Some(b'Z'),
        0 => Some(b'0'),
        _ => None,
    });
    out.push(b'\'');
}

fn push_with(out: &mut Vec<u8>, text: &str, escape: impl Fn(u8) -> Option<u8>) {
    let bytes = text.as_bytes();
    let mut done = 0;
    for (at, byte) in bytes.iter().enumerate() {
        if let Some(letter) = escape(*byte) {
            out.extend_from_slice(&bytes[done..at]);
            out.extend_from_slice(&[b'\\', letter]);
            done = at + 1;
        }
    }
    out.extend_from_slice(&bytes[done..]);
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Date32Array, Int64Array};

    use super::*;

    fn batch() -> RecordBatch {
        let money = Decimal128Array::from(vec![Some(-5_i128), None]).with_precision_and_scale(18, 2).expect("a scale");
        RecordBatch::try_from_iter([
            ("dt", Arc::new(Date32Array::from(vec![0, 1])) as ArrayRef),
            ("n", Arc::new(Int64Array::from(vec![Some(i64::MIN), None]))),
            ("m", Arc::new(money)),
            ("x", Arc::new(Float64Array::from(vec![Some(0.5), None]))),
            ("at", Arc::new(TimestampMicrosecondArray::from(vec![Some(1_500_000), None]))),
            ("t", Arc::new(StringArray::from(vec![Some("a\tb\\'\n\0"), None]))),
        ])
        .expect("a batch")
    }

    fn written(format: Format) -> (String, String) {
        let (batch, mut out, mut canonical) = (batch(), Vec::new(), Vec::new());
        let rows = Rows::of(&batch, &[Limit::default(); 6]).expect("rows");
        for row in 0..rows.len() {
            rows.write(row, format, &mut out, &mut canonical).expect("a row");
            canonical.push(b'|');
        }
        (String::from_utf8(out).expect("UTF-8"), String::from_utf8(canonical).expect("UTF-8"))
    }

    #[test]
    fn rows_are_lines_for_load_data_and_literals_for_an_insert() {
        let (lines, canonical) = written(Format::Lines);
        let first = "1970-01-01\t-9223372036854775808\t-0.05\t0.5\t1970-01-01 00:00:01.500000\ta\\tb\\\\'\\n\\0\n";
        assert_eq!(lines, format!("{first}1970-01-02\t\\N\t\\N\t\\N\t\\N\t\\N\n"));
        let (literals, same) = written(Format::Literals);
        let first = "('1970-01-01',-9223372036854775808,-0.05,0.5e0,'1970-01-01 00:00:01.500000','a\tb\\\\\\'\\n\\0')";
        assert_eq!(literals, format!("{first}('1970-01-02',NULL,NULL,NULL,NULL,NULL)"));
        assert_eq!(canonical, same);
        let first = "1970-01-01\t-9223372036854775808\t-0.05\t0.5\t1970-01-01 00:00:01.500000\t7\ta\tb\\'\n\0";
        assert_eq!(canonical, format!("{first}|1970-01-02\t\t\t\t\t\t|"));
    }

    #[test]
    fn a_zero_has_no_sign() {
        let batch =
            RecordBatch::try_from_iter([("x", Arc::new(Float64Array::from(vec![-0.0])) as ArrayRef)]).expect("a batch");
        let rows = Rows::of(&batch, &[Limit::default()]).expect("rows");
        let (mut out, mut canonical) = (Vec::new(), Vec::new());
        rows.write(0, Format::Literals, &mut out, &mut canonical).expect("a row");
        assert_eq!((out.as_slice(), canonical.as_slice()), (&b"(0e0)"[..], &b"0"[..]));
    }

    #[test]
    fn the_partition_of_a_row_is_its_day() {
        let batch = batch();
        let rows = Rows::of(&batch, &[Limit::default(); 6]).expect("rows");
        assert_eq!(rows.slot(1), Some(BizDate::from_days(1)));
    }

    #[test]
    fn a_text_beyond_its_column_is_told_with_its_length() {
        let text: ArrayRef = Arc::new(StringArray::from(vec!["ääää", "äää"]));
        let batch = RecordBatch::try_from_iter([("t", text)]).expect("a batch");
        let rows = Rows::of(&batch, &[Limit { chars: Some(3), bytes: None }]).expect("rows");
        let error = rows.write(0, Format::Lines, &mut Vec::new(), &mut Vec::new()).expect_err("too long");
        let expected = TooLong { column: "t".to_owned(), bytes: 8, chars: 4 };
        assert_eq!(error.downcast_ref::<TooLong>(), Some(&expected));
        assert!(rows.write(1, Format::Lines, &mut Vec::new(), &mut Vec::new()).is_ok());
    }
}
