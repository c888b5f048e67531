//! Values as a database sends them become typed values: exactly, or not at all.

use std::borrow::Cow;

use arrow::datatypes::DataType;
use mysql_async::{Row, Value as Sent};

use super::columns::{Bound, Kind};
use crate::config::source::ColumnType;
use crate::date::BizDate;
use crate::ingest::orders::chunk::{Chunk, Column, Values};
use crate::ingest::orders::intake::{SourceRow, TypedRow};
use crate::ingest::orders::value::{
    Fault, MICROS_A_DAY, Value, integer_in_range, money_in_range, plain_amount, read_text,
};
use crate::mysql::SessionZone;

const NOT_A_DAY: Fault = "not a day of the calendar";

/// The value of a declared column.
///
/// # Errors
/// What is wrong with it, without repeating it.
pub fn declared(wanted: ColumnType, kind: Kind, zone: SessionZone, sent: &Sent) -> Result<Value<'_>, Fault> {
    match (wanted, sent) {
        (_, Sent::NULL) => Ok(Value::Null),
        (ColumnType::I32 | ColumnType::I64, Sent::Int(number)) => integer_in_range(wanted, Some(*number)),
        (ColumnType::I32 | ColumnType::I64, Sent::UInt(number)) => {
            integer_in_range(wanted, i64::try_from(*number).ok())
        }
        (ColumnType::I32 | ColumnType::I64, Sent::Bytes(bytes)) => match kind {
            Kind::Bits(_) => integer_in_range(wanted, i64::try_from(bits(bytes)).ok()),
            _ => read_text(wanted, bytes, false),
        },
        (ColumnType::Datetime, Sent::Date(..)) => match micros(sent) {
            Some(_) if is_zero(sent) => Ok(Value::ZeroDate),
            Some(micros) => Ok(Value::Datetime(on_clock(kind, zone, micros))),
            None => Err(NOT_A_DAY),
        },
        (ColumnType::Money, Sent::Bytes(bytes)) => read_text(wanted, bytes, false),
        (ColumnType::Money, Sent::Int(number)) => money_in_range(Some(i128::from(*number) * 100)).map(Value::Money),
        (ColumnType::Money, Sent::UInt(number)) => money_in_range(Some(i128::from(*number) * 100)).map(Value::Money),
        (ColumnType::String, Sent::Bytes(bytes)) => read_text(wanted, bytes, true),
        (ColumnType::String, Sent::Int(number)) => Ok(Value::Text(Cow::Owned(number.to_string()))),
        (ColumnType::String, Sent::UInt(number)) => Ok(Value::Text(Cow::Owned(number.to_string()))),
        (ColumnType::String, Sent::Time(..)) => Ok(Value::Text(Cow::Owned(time(sent)))),
        _ => Err("of another type than its column"),
    }
}

/// The value of an undeclared column, which lands as a type that holds every value it can have; a date that is none
/// becomes NULL like a zero date.
pub fn extra<'v>(landed: &DataType, kind: Kind, zone: SessionZone, sent: &'v Sent) -> Value<'v> {
    match (landed, sent) {
        (_, Sent::NULL) => Value::Null,
        (DataType::Timestamp(..) | DataType::Date32, Sent::Date(..)) if is_zero(sent) => Value::ZeroDate,
        (DataType::Timestamp(..), Sent::Date(..)) => {
            micros(sent).map_or(Value::ZeroDate, |micros| Value::Datetime(on_clock(kind, zone, micros)))
        }
        (DataType::Date32, Sent::Date(..)) => {
            let days = micros(sent).and_then(|micros| i32::try_from(micros.div_euclid(MICROS_A_DAY)).ok());
            days.map_or(Value::ZeroDate, Value::Day)
        }
        (DataType::Boolean, Sent::Bytes(bytes)) => Value::Flag(bits(bytes) != 0),
        (DataType::Decimal128(..), Sent::Bytes(bytes)) if matches!(kind, Kind::Bits(_)) => {
            Value::Decimal(i128::from(bits(bytes)))
        }
        (DataType::Decimal128(_, scale), Sent::Bytes(bytes)) => {
            units(bytes, usize::from(scale.unsigned_abs())).map_or(Value::Null, Value::Decimal)
        }
        (DataType::Decimal128(..), Sent::Int(number)) => Value::Decimal(i128::from(*number)),
        (DataType::Decimal128(..), Sent::UInt(number)) => Value::Decimal(i128::from(*number)),
        (DataType::Int64, Sent::Bytes(bytes)) => i64::try_from(bits(bytes)).map_or(Value::Null, Value::Integer),
        (_, Sent::Int(number)) => Value::Integer(*number),
        (_, Sent::UInt(number)) => i64::try_from(*number).map_or(Value::Null, Value::Integer),
        (_, Sent::Float(number)) => Value::Double(f64::from(*number).to_bits()),
        (_, Sent::Double(number)) => Value::Double(number.to_bits()),
        (DataType::Binary, Sent::Bytes(bytes)) => Value::Bytes(Cow::Borrowed(bytes)),
        (_, Sent::Bytes(bytes)) => Value::Text(String::from_utf8_lossy(bytes)),
        (_, Sent::Time(..)) => Value::Text(Cow::Owned(time(sent))),
        (_, Sent::Date(..)) => Value::Null,
    }
}

/// The rows by column; `None` when a value is bad or a zero date, or where there are undeclared columns.
pub fn read_columns<'r>(rows: &'r [Row], bound: &Bound, wanted: &[ColumnType], zone: SessionZone) -> Option<Chunk<'r>> {
    if !bound.extras.is_empty() {
        return None;
    }
    let mut next = 0..;
    let column = |(there, wanted): (&Option<(Kind, String)>, &ColumnType)| {
        let place = there.as_ref().and_then(|(kind, _)| Some((*kind, next.next()?)));
        let kind = place.map_or(Kind::Nothing, |(kind, _)| kind);
        let sent = rows.iter().map(|row| place.and_then(|(_, at)| row.as_ref(at)).unwrap_or(&Sent::NULL));
        read_column(*wanted, kind, zone, rows.len(), sent)
    };
    let columns = bound.declared.iter().zip(wanted).map(column).collect::<Option<_>>()?;
    Some(Chunk { rows: rows.len(), columns })
}

/// A column of so many rows. What servers send most is looked at here: it goes through no [`Value`], whose way through
/// memory takes longer than to read it.
fn read_column<'r>(
    wanted: ColumnType,
    kind: Kind,
    zone: SessionZone,
    rows: usize,
    sent: impl Iterator<Item = &'r Sent>,
) -> Option<Column<'r>> {
    let read = |sent: &'r Sent| declared(wanted, kind, zone, sent).ok();
    let integer = |sent: &'r Sent| match (wanted, sent) {
        (ColumnType::I64, Sent::Int(number)) => Some(Some(*number)),
        _ => match read(sent)? {
            Value::Integer(number) => Some(Some(number)),
            value => matches!(value, Value::Null).then_some(None),
        },
    };
    let amount = |sent: &'r Sent| match sent {
        Sent::Bytes(bytes) if let Some(amount) = plain_amount(bytes) => Some(Some(i128::from(amount))),
        _ => match read(sent)? {
            Value::Money(amount) => Some(Some(amount)),
            value => matches!(value, Value::Null).then_some(None),
        },
    };
    let time = |sent: &'r Sent| match sent {
        Sent::Date(..) if !is_zero(sent) => Some(Some(on_clock(kind, zone, micros(sent)?))),
        _ => match read(sent)? {
            Value::Datetime(micros) => Some(Some(micros)),
            value => matches!(value, Value::Null).then_some(None),
        },
    };
    let text = |sent: &'r Sent| match read(sent)? {
        Value::Text(text) => Some(Some(text)),
        value => matches!(value, Value::Null).then_some(None),
    };
    Some(match wanted {
        ColumnType::I32 | ColumnType::I64 => Column::Integers(Values::of(rows, sent.map(integer))?),
        ColumnType::Money => Column::Money(Values::of(rows, sent.map(amount))?),
        ColumnType::Datetime => Column::Datetimes(Values::of(rows, sent.map(time))?),
        ColumnType::String => Column::Texts(sent.map(text).collect::<Option<_>>()?),
    })
}

/// Puts a row's values, the declared ones and then the undeclared ones, into the place of another row's.
pub fn read_values<'r>(
    row: &'r Row,
    bound: &Bound,
    wanted: &[ColumnType],
    zone: SessionZone,
    typed: &mut TypedRow<'r>,
) {
    typed.clear();
    let mut next = 0;
    let null = &Sent::NULL;
    let mut sent = || {
        next += 1;
        row.as_ref(next - 1).unwrap_or(null)
    };
    for (column, wanted) in bound.declared.iter().zip(wanted) {
        typed.push(match column {
            Some((kind, _)) => declared(*wanted, *kind, zone, sent()),
            None => Ok(Value::Null),
        });
    }
    for (_, kind, landed) in &bound.extras {
        typed.push(Ok(extra(landed, *kind, zone, sent())));
    }
}

/// An amount in hundredths as the server sent it, also one that is beyond what lands; `None` when it is none.
pub fn hundredths(sent: &Sent) -> Option<i128> {
    match sent {
        Sent::Bytes(bytes) => units(bytes, 2),
        Sent::Int(number) => Some(i128::from(*number) * 100),
        Sent::UInt(number) => Some(i128::from(*number) * 100),
        _ => None,
    }
}

/// A decimal in units of its digit after so many: `-1.5` with a scale of two is -150; `None` when it is none.
pub fn units(text: &[u8], scale: usize) -> Option<i128> {
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        digits => (false, digits),
    };
    let (whole, fraction) = match memchr::memchr(b'.', digits) {
        Some(point) => (&digits[..point], &digits[point + 1..]),
        None => (digits, &b""[..]),
    };
    if fraction.len() > scale || whole.is_empty() {
        return None;
    }
    let padding = std::iter::repeat_n(&b'0', scale - fraction.len());
    let sum = whole.iter().chain(fraction).chain(padding).try_fold(0_i128, |sum, digit| {
        digit.is_ascii_digit().then(|| sum.checked_mul(10)?.checked_add(i128::from(digit - b'0'))).flatten()
    })?;
    Some(if negative { -sum } else { sum })
}

/// A date and time in microseconds since 1970-01-01T00:00, zero dates as year zero; `None` when there is no such day.
pub fn micros(sent: &Sent) -> Option<i64> {
    let Sent::Date(year, month, day, hour, minute, second, micro) = sent else { return None };
    let time = (i64::from(*hour) * 3600 + i64::from(*minute) * 60 + i64::from(*second)) * 1_000_000 + i64::from(*micro);
    if (*year, *month, *day) == (0, 0, 0) {
        return Some(time);
    }
    let days = BizDate::from_ymd(i32::from(*year), u32::from(*month), u32::from(*day))?.days();
    Some(i64::from(days) * MICROS_A_DAY + time)
}

/// Whether it is the date that is none, `0000-00-00`.
pub fn is_zero(sent: &Sent) -> bool {
    matches!(sent, Sent::Date(0, 0, 0, ..))
}

fn on_clock(kind: Kind, zone: SessionZone, micros: i64) -> i64 {
    if kind == Kind::Timestamp { zone.on_business_clock(micros) } else { micros }
}

fn bits(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |sum, byte| (sum << 8) | u64::from(*byte))
}

/// A TIME as the server writes it: `-838:59:59.000000`, without a fraction of zero.
fn time(sent: &Sent) -> String {
    let Sent::Time(negative, days, hours, minutes, seconds, micros) = sent else { return String::new() };
    let (sign, hours) = (if *negative { "-" } else { "" }, days * 24 + u32::from(*hours));
    let fraction = if *micros == 0 { String::new() } else { format!(".{micros:06}") };
    format!("{sign}{hours:02}:{minutes:02}:{seconds:02}{fraction}")
}

/// A row of an answer, for those who look at a bad one.
pub struct DatabaseRow<'r> {
    /// The row.
    pub row: &'r Row,
    /// For each declared column where it is in the row.
    pub places: &'r [Option<usize>],
    /// Its number in the extract.
    pub number: u64,
}

impl SourceRow for DatabaseRow<'_> {
    fn byte_offset(&self) -> Option<u64> {
        None
    }

    fn place(&self) -> String {
        format!("row {}", self.number)
    }

    fn text(&self, column: usize) -> Cow<'_, [u8]> {
        match self.places.get(column).copied().flatten().and_then(|at| self.row.as_ref(at)) {
            None | Some(Sent::NULL) => Cow::Borrowed(&b""[..]),
            Some(Sent::Bytes(bytes)) => Cow::Borrowed(bytes),
            Some(sent @ Sent::Time(..)) => Cow::Owned(time(sent).into_bytes()),
            Some(other) => Cow::Owned(other.as_sql(true).trim_matches('\'').as_bytes().to_vec()),
        }
    }

    fn bytes(&self) -> Option<&[u8]> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::source::Source;
    use crate::ingest::orders::intake::{Intake, Part};
    use crate::ingest::orders::layout::Layout;

    const TABLE: &str = "kind = 'tables'\nfirst_day = 'x'\n[[table]]\nname = 't'\nkind = 'changes'\nkey = ['id']\nday = 'at'\n\
        column = [{ name = 'id', type = 'i64', about = 'a' }, { name = 'small', type = 'i32', about = 'a' }, \
        { name = 'at', type = 'datetime', about = 'a' }, { name = 'stamp', type = 'datetime', about = 'a' }, \
        { name = 'money', type = 'money', about = 'a' }, { name = 'text', type = 'string', about = 'a' }, \
        { name = 'mobile', type = 'i64', about = 'a', mask = 'phone' }, \
        { name = 'mail', type = 'string', about = 'a', mask = 'email' }]";

    /// Never asked of good rows.
    struct NoRow;

    impl SourceRow for NoRow {
        fn byte_offset(&self) -> Option<u64> {
            None
        }
        fn place(&self) -> String {
            "row".to_owned()
        }
        fn text(&self, _: usize) -> Cow<'_, [u8]> {
            Cow::Borrowed(b"")
        }
        fn bytes(&self) -> Option<&[u8]> {
            None
        }
    }

    /// What came of rows: everything that goes out, written out, and whether they were taken by column.
    fn taken(layout: &Layout, rows: &[Vec<Sent>], by_column: bool) -> (bool, Vec<String>) {
        let kinds = [Kind::Integer, Kind::Integer, Kind::Datetime, Kind::Timestamp].into_iter();
        let kinds = kinds.chain([Kind::Decimal(2), Kind::Text, Kind::Integer, Kind::Text]);
        let zone = "Asia/Shanghai".parse().expect("a zone");
        let zone = SessionZone::Fixed { east_s: 3600, zone };
        let columns: Vec<(ColumnType, Kind)> = layout.columns.iter().map(|column| column.kind).zip(kinds).collect();
        let mut out = Vec::new();
        let mut sink = |part: Part| {
            out.push(match part {
                Part::Rows { parts, bytes } => format!("{bytes} {parts:?}"),
                Part::Rejects(batch) => format!("{batch:?}"),
            });
            Ok(())
        };
        let day = "2026-01-05".parse().expect("a day");
        let mut intake = Intake::new("s", layout, "f", day, &mut sink).numbered_after(7);
        let read = columns.iter().enumerate().map(|(at, (wanted, kind))| {
            read_column(*wanted, *kind, zone, rows.len(), rows.iter().map(move |row| &row[at]))
        });
        let chunk = read.collect::<Option<Vec<_>>>().map(|columns| Chunk { rows: rows.len(), columns });
        let is_taken = by_column && chunk.is_some_and(|chunk| intake.chunk(&chunk).expect("taken"));
        for row in rows.iter().filter(|_| !is_taken) {
            let mut typed = TypedRow::with_capacity(columns.len());
            columns.iter().zip(row).for_each(|((wanted, kind), sent)| typed.push(declared(*wanted, *kind, zone, sent)));
            intake.row(&typed, &NoRow).expect("taken");
        }
        let (tally, findings) = intake.finish().expect("finished");
        out.push(format!("{tally:?} {findings:?}"));
        (is_taken, out)
    }

    #[test]
    fn rows_taken_by_column_are_those_taken_one_by_one() {
        let Source::Tables(source) = toml::from_str(TABLE).expect("a source") else { panic!("of tables") };
        let layout = Layout::new(&source.tables[0]).expect("a layout");
        let text = |text: &str| Sent::Bytes(text.as_bytes().to_vec());
        let at = |day, hour| Sent::Date(2026, 1, day, hour, 2, 3, 4);
        let good = |id| {
            let money = text(["12.30", "-0.05", "7", "7.1", "99999999999999.99"][id as usize % 5]);
            let day = 1 + id as u8 % 3;
            let texts = (text("héllo"), Sent::UInt(13_800_000_000), text("a@b.example"));
            vec![Sent::Int(id), Sent::Int(-3), at(day, 4), at(day, 23), money, texts.0, texts.1, texts.2]
        };
        let with = |column: usize, sent: Sent| {
            let mut row = good(9);
            row[column] = sent;
            row
        };
        for (row, by_column) in [
            (good(9), true),
            (with(0, Sent::UInt(1 << 62)), true),
            (with(0, text("17")), true),
            (with(0, Sent::NULL), false),
            (with(0, Sent::UInt(u64::MAX)), false),
            (with(1, Sent::NULL), true),
            (with(1, Sent::Int(i64::from(i32::MAX) + 1)), false),
            (with(2, Sent::NULL), true),
            (with(2, Sent::Date(0, 0, 0, 0, 0, 0, 0)), false),
            (with(2, Sent::Date(2026, 2, 30, 0, 0, 0, 0)), false),
            (with(2, Sent::Date(1969, 12, 31, 23, 59, 59, 999_999)), true),
            (with(3, Sent::NULL), true),
            (with(4, Sent::NULL), true),
            (with(4, Sent::Int(12)), true),
            (with(4, text("1.234")), false),
            (with(4, text("--1.00")), false),
            (with(4, text("9999999999999999.99")), true),
            (with(4, text("99999999999999999.99")), false),
            (with(5, text("")), true),
            (with(5, text(&"x".repeat(65_536))), false),
            (with(5, Sent::Bytes(vec![0xff])), false),
            (with(5, Sent::NULL), true),
            (with(6, Sent::NULL), true),
            (with(6, text("x")), false),
            (with(7, Sent::NULL), true),
        ] {
            let rows: Vec<Vec<Sent>> = (1..5).map(good).chain([row.clone()]).chain((5..8).map(good)).collect();
            let (was_by_column, columns) = taken(&layout, &rows, true);
            assert_eq!(was_by_column, by_column, "{:?}", &row[..5]);
            assert_eq!(columns, taken(&layout, &rows, false).1, "{:?}", &row[..5]);
        }
    }

    #[test]
    fn decimals_are_counted_in_their_last_digit() {
        for (text, scale, expected) in [
            ("12.3", 2, Some(1230)),
            ("-0.05", 2, Some(-5)),
            ("7", 0, Some(7)),
            ("1.234", 2, None),
            ("", 2, None),
            ("x", 2, None),
        ] {
            assert_eq!(units(text.as_bytes(), scale), expected, "{text}");
        }
    }

    #[test]
    fn times_are_written_as_the_server_writes_them() {
        assert_eq!(time(&Sent::Time(true, 34, 22, 59, 59, 0)), "-838:59:59");
        assert_eq!(time(&Sent::Time(false, 0, 1, 2, 3, 40)), "01:02:03.000040");
    }

    #[test]
    fn a_day_that_is_none_is_no_time_and_zero_is_told_apart() {
        let date = |y, m, d| Sent::Date(y, m, d, 1, 0, 0, 0);
        assert_eq!(micros(&date(1970, 1, 2)), Some(MICROS_A_DAY + 3_600_000_000));
        assert_eq!(micros(&date(2026, 2, 30)), None);
        assert_eq!(micros(&date(2026, 0, 1)), None);
        assert!(is_zero(&date(0, 0, 0)) && !is_zero(&date(2026, 0, 0)));
        let read =
            |sent: &Sent| declared(ColumnType::Datetime, Kind::Datetime, SessionZone::Named, sent).map(|v| v.is_null());
        assert_eq!((read(&date(0, 0, 0)), read(&date(2026, 0, 1))), (Ok(true), Err(NOT_A_DAY)));
    }
}
