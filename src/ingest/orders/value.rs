//! Typed values of order tables, and how text becomes one: the rules of `sources.md` §3 and §4, to the letter.
//!
//! A value that cannot be read is a [`Fault`], which rejects its row. Masking and landing come later, so that every
//! way in (CSV, Parquet, a database connection) shares them.

use std::borrow::Cow;

use chrono::NaiveDate;

use crate::config::source::ColumnType;
use crate::date::BizDate;

/// The longest string, as long as a MySQL `TEXT`.
pub const STRING_BYTES: usize = 65_535;
/// The greatest amount of `decimal(18,2)`, in hundredths.
pub const MONEY_LIMIT: i128 = 999_999_999_999_999_999;

/// Microseconds of a calendar day on the wall clock, which knows no summer time.
pub const MICROS_A_DAY: i64 = 86_400_000_000;

/// A value of a row, not yet masked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    /// No value.
    Null,
    /// `0000-00-00…`: lands as NULL, and is told.
    ZeroDate,
    /// An integer within its column's range.
    Integer(i64),
    /// An amount in hundredths.
    Money(i128),
    /// Microseconds since 1970-01-01T00:00 of the business zone's wall clock.
    Datetime(i64),
    /// Text.
    Text(Cow<'a, str>),
    /// Of an undeclared column: bytes.
    Bytes(Cow<'a, [u8]>),
    /// Of an undeclared column: true or false.
    Flag(bool),
    /// Of an undeclared column: a decimal, counted in units of its last digit.
    Decimal(i128),
    /// Of an undeclared column: the bits of a floating-point number of double precision.
    Double(u64),
    /// Of an undeclared column: a day.
    Day(i32),
}

/// Why a value cannot be read, in words that contain nothing of it.
pub type Fault = &'static str;

impl Value<'_> {
    /// Whether it lands as NULL.
    pub fn is_null(&self) -> bool {
        matches!(self, Self::Null | Self::ZeroDate)
    }
}

/// Reads a CSV field, or text of another format as if it were quoted.
///
/// # Errors
/// What is wrong with it, without repeating it.
pub fn read_text(kind: ColumnType, bytes: &[u8], quoted: bool) -> Result<Value<'_>, Fault> {
    if bytes.is_empty() && !(quoted && kind == ColumnType::String) {
        return Ok(Value::Null);
    }
    match kind {
        ColumnType::String => text(bytes),
        ColumnType::Money => money(bytes).map(Value::Money),
        ColumnType::Datetime => datetime(bytes),
        ColumnType::I32 | ColumnType::I64 => {
            let digits = if quoted { std::str::from_utf8(bytes).map_err(|_| NOT_INTEGER)?.trim() } else { "" };
            match (quoted, digits) {
                (true, "") => Ok(Value::Null),
                (true, digits) => integer(kind, digits.as_bytes()),
                (false, _) => integer(kind, bytes),
            }
        }
    }
}

const NOT_INTEGER: Fault = "not an integer";
const NOT_MONEY: Fault = "not an amount with at most two decimals";
const NOT_DATETIME: Fault = "not a time of the form YYYY-MM-DD[ HH:MM:SS[.ffffff]]";

fn text(bytes: &[u8]) -> Result<Value<'_>, Fault> {
    if bytes.len() > STRING_BYTES {
        return Err("longer than 65,535 bytes");
    }
    let text = std::str::from_utf8(bytes).map_err(|_| "not UTF-8")?;
    Ok(Value::Text(Cow::Borrowed(text)))
}

fn integer(kind: ColumnType, bytes: &[u8]) -> Result<Value<'static>, Fault> {
    let (negative, digits) = signed(bytes);
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err(NOT_INTEGER);
    }
    // Counted downwards, since the least number has no positive counterpart.
    let below = digits.iter().try_fold(0_i64, |sum, d| sum.checked_mul(10)?.checked_sub(i64::from(d - b'0')));
    let number = below.and_then(|n| if negative { Some(n) } else { n.checked_neg() });
    integer_in_range(kind, number)
}

/// An integer of any width, if it fits the column.
///
/// # Errors
/// When it does not, or is `None`: beyond 64 bits.
pub fn integer_in_range(kind: ColumnType, number: Option<i64>) -> Result<Value<'static>, Fault> {
    match (kind, number) {
        (ColumnType::I32, Some(n)) if i32::try_from(n).is_ok() => Ok(Value::Integer(n)),
        (ColumnType::I32, _) => Err("beyond the range of a 32-bit integer"),
        (_, Some(n)) => Ok(Value::Integer(n)),
        (_, None) => Err("beyond the range of a 64-bit integer"),
    }
}

/// An amount in hundredths, if it fits `decimal(18,2)`.
///
/// # Errors
/// When it does not, or is `None`: beyond counting.
pub fn money_in_range(hundredths: Option<i128>) -> Result<i128, Fault> {
    hundredths.filter(|amount| amount.abs() <= MONEY_LIMIT).ok_or("beyond the range of decimal(18,2)")
}

fn money(bytes: &[u8]) -> Result<i128, Fault> {
    let (negative, digits) = signed(bytes);
    let amount = if digits.len() <= SHORT_MONEY { short_money(digits)? } else { long_money(digits)? };
    Ok(if negative { -amount } else { amount })
}

/// Digits, a point among them or not, whose hundredths 64 bits hold.
const SHORT_MONEY: usize = 16;

fn short_money(digits: &[u8]) -> Result<i128, Fault> {
    let (mut amount, mut point) = (0_i64, None);
    for (at, byte) in digits.iter().enumerate() {
        match byte {
            b'0'..=b'9' => amount = amount * 10 + i64::from(byte - b'0'),
            b'.' if point.is_none() => point = Some(at),
            _ => return Err(NOT_MONEY),
        }
    }
    let missing = match point {
        None if digits.is_empty() => return Err(NOT_MONEY),
        None => 100,
        Some(0) => return Err(NOT_MONEY),
        Some(at) if at + 2 == digits.len() => 10,
        Some(at) if at + 3 == digits.len() => 1,
        Some(_) => return Err(NOT_MONEY),
    };
    Ok(i128::from(amount * missing))
}

fn long_money(digits: &[u8]) -> Result<i128, Fault> {
    let (whole, fraction) = match memchr::memchr(b'.', digits) {
        Some(point) => (&digits[..point], &digits[point + 1..]),
        None => (digits, &b"00"[..]),
    };
    let all_digits = whole.iter().chain(fraction).all(u8::is_ascii_digit);
    if whole.is_empty() || !(1..=2).contains(&fraction.len()) || !all_digits {
        return Err(NOT_MONEY);
    }
    let padding = &b"0"[..2 - fraction.len()];
    let shifted = |sum: i128, d: &u8| sum.checked_mul(10)?.checked_add(i128::from(d - b'0'));
    let amount = whole.iter().chain(fraction).chain(padding).try_fold(0_i128, shifted);
    money_in_range(amount)
}

/// An amount as servers mostly write it, in hundredths: few digits, two of them behind the point. `None` of any other,
/// good or bad.
pub fn plain_amount(bytes: &[u8]) -> Option<i64> {
    let (negative, digits) = match bytes {
        [b'-', rest @ ..] => (true, rest),
        digits => (false, digits),
    };
    let [whole @ .., b'.', tens, ones] = digits else { return None };
    if whole.is_empty() || digits.len() > SHORT_MONEY {
        return None;
    }
    let mut amount = 0_i64;
    for byte in whole.iter().chain([tens, ones]) {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        amount = amount * 10 + i64::from(digit);
    }
    Some(if negative { -amount } else { amount })
}

fn signed(bytes: &[u8]) -> (bool, &[u8]) {
    match bytes {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, bytes),
    }
}

fn datetime(bytes: &[u8]) -> Result<Value<'static>, Fault> {
    let (date, time) = bytes.split_at_checked(10).ok_or(NOT_DATETIME)?;
    let micros = time_of_day(time)?;
    let [y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2] = date else { return Err(NOT_DATETIME) };
    let year = number(&[*y1, *y2, *y3, *y4]).ok_or(NOT_DATETIME)?;
    let month = number(&[*m1, *m2]).ok_or(NOT_DATETIME)?;
    let day = number(&[*d1, *d2]).ok_or(NOT_DATETIME)?;
    if (year, month, day) == (0, 0, 0) {
        return Ok(Value::ZeroDate);
    }
    let date = NaiveDate::from_ymd_opt(i32::try_from(year).map_err(|_| NOT_DATETIME)?, month, day);
    let days = BizDate::from(date.ok_or("not a day of the calendar")?).days();
    Ok(Value::Datetime(i64::from(days) * MICROS_A_DAY + micros))
}

/// Microseconds since midnight of `` (midnight itself) or ` HH:MM:SS[.f{1,6}]`.
fn time_of_day(bytes: &[u8]) -> Result<i64, Fault> {
    if bytes.is_empty() {
        return Ok(0);
    }
    let (clock, fraction) = bytes.split_at_checked(9).ok_or(NOT_DATETIME)?;
    let [b' ', h1, h2, b':', m1, m2, b':', s1, s2] = clock else { return Err(NOT_DATETIME) };
    let hour = number(&[*h1, *h2]).ok_or(NOT_DATETIME)?;
    let minute = number(&[*m1, *m2]).ok_or(NOT_DATETIME)?;
    let second = number(&[*s1, *s2]).ok_or(NOT_DATETIME)?;
    if hour > 23 || minute > 59 || second > 59 {
        return Err("not a time of the day");
    }
    let micros = match fraction {
        [] => 0,
        // Six digits, no fewer: the shape is exact.
        [b'.', digits @ ..] if digits.len() == 6 => number(digits).ok_or(NOT_DATETIME)?,
        _ => return Err(NOT_DATETIME),
    };
    Ok(i64::from(hour * 3600 + minute * 60 + second) * 1_000_000 + i64::from(micros))
}

/// The number of at most nine digits.
fn number(digits: &[u8]) -> Option<u32> {
    digits.iter().try_fold(0_u32, |sum, d| d.is_ascii_digit().then(|| sum * 10 + u32::from(d - b'0')))
}

/// A wall-clock instant in microseconds, if its year has four digits.
///
/// # Errors
/// When it does not, or is `None`: not a whole number of microseconds in range.
pub fn datetime_in_range(micros: Option<i64>) -> Result<Value<'static>, Fault> {
    // 0000-01-01 and 10000-01-01.
    const YEARS: std::ops::Range<i64> = -719_528 * MICROS_A_DAY..2_932_897 * MICROS_A_DAY;
    match micros {
        Some(micros) if YEARS.contains(&micros) => Ok(Value::Datetime(micros)),
        Some(_) => Err("not within the years 0000 to 9999"),
        None => Err("not a whole number of microseconds"),
    }
}

/// The day a wall-clock instant lies on.
pub fn day_of(micros: i64) -> Option<BizDate> {
    i32::try_from(micros.div_euclid(MICROS_A_DAY)).ok().map(BizDate::from_days)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bare(kind: ColumnType, text: &str) -> Result<Value<'_>, Fault> {
        read_text(kind, text.as_bytes(), false)
    }

    fn quoted(kind: ColumnType, text: &str) -> Result<Value<'_>, Fault> {
        read_text(kind, text.as_bytes(), true)
    }

    #[test]
    fn an_integer_is_a_sign_and_digits_within_its_range() {
        for (text, number) in [("0", 0), ("-0", 0), ("+7", 7), ("007", 7), ("-2147483648", i64::from(i32::MIN))] {
            assert_eq!(bare(ColumnType::I32, text), Ok(Value::Integer(number)), "{text}");
        }
        assert_eq!(bare(ColumnType::I64, "-9223372036854775808"), Ok(Value::Integer(i64::MIN)));
        assert_eq!(bare(ColumnType::I64, "9223372036854775807"), Ok(Value::Integer(i64::MAX)));
        for bad in ["12.0", "1e3", "true", "+", "-", "--1", "1 ", " 1", "1_000", "１", "0x1"] {
            assert_eq!(bare(ColumnType::I64, bad), Err(NOT_INTEGER), "{bad}");
        }
        assert!(bare(ColumnType::I32, "2147483648").is_err());
        assert!(bare(ColumnType::I64, "9223372036854775808").is_err());
        assert!(bare(ColumnType::I64, &"9".repeat(500)).is_err());
    }

    #[test]
    fn a_plain_amount_is_what_any_amount_is() {
        for text in ["0.00", "-0.05", "12.30", "99999999999.99", "-99999999999.99"] {
            let plain = plain_amount(text.as_bytes()).map(i128::from);
            assert_eq!(plain.map(Value::Money).ok_or(""), bare(ColumnType::Money, text), "{text}");
            assert!(plain.is_some(), "{text}");
        }
        for other in
            ["", ".", "-", "7", "7.", "7.1", ".10", "-.10", "+1.00", "1.0x", "x.00", "1.000", "12345678901234567.00"]
        {
            assert_eq!(plain_amount(other.as_bytes()), None, "{other}");
        }
    }

    #[test]
    fn white_space_within_the_quotes_of_an_integer_is_no_part_of_it() {
        assert_eq!(quoted(ColumnType::I32, " \u{3000}42\t"), Ok(Value::Integer(42)));
        assert_eq!(quoted(ColumnType::I32, "  "), Ok(Value::Null));
        assert_eq!(quoted(ColumnType::I32, "4 2"), Err(NOT_INTEGER));
        assert_eq!(read_text(ColumnType::I32, b"\xFF", true), Err(NOT_INTEGER));
        assert!(quoted(ColumnType::Money, " 1").is_err() && quoted(ColumnType::Datetime, " ").is_err());
    }

    #[test]
    fn money_is_exact_and_within_decimal_18_2() {
        for (text, amount) in [
            ("12", 1200),
            ("12.3", 1230),
            ("-12.34", -1234),
            ("+0.01", 1),
            ("-0.00", 0),
            ("0001.10", 110),
            ("1234567890123.45", 123_456_789_012_345),
            ("00000000000001234567.8", 123_456_780),
        ] {
            assert_eq!(bare(ColumnType::Money, text), Ok(Value::Money(amount)), "{text}");
        }
        assert_eq!(bare(ColumnType::Money, "9999999999999999.99"), Ok(Value::Money(MONEY_LIMIT)));
        for bad in [
            "1.",
            ".5",
            "1.234",
            "1,00",
            "1e2",
            "NaN",
            "¥1",
            "1.2.3",
            "10000000000000000.00",
            "+",
            "-.1",
            "1.-1",
            ".",
            "1..2",
            "00000000000001234567.",
            "00000000000001234567.891",
            "0000000000000123456x.89",
        ] {
            assert!(bare(ColumnType::Money, bad).is_err(), "{bad}");
        }
        assert!(bare(ColumnType::Money, &"9".repeat(500)).is_err());
    }

    #[test]
    fn a_datetime_has_exactly_the_given_shape_and_is_a_real_time() {
        let day = 20_454 * MICROS_A_DAY; // 2026-01-01
        for (text, micros) in [
            ("2026-01-01", 0),
            ("2026-01-01 00:00:00", 0),
            ("2026-01-01 23:59:59.500000", 86_399_500_000),
            ("2026-01-01 00:00:01.000001", 1_000_001),
        ] {
            assert_eq!(bare(ColumnType::Datetime, text), Ok(Value::Datetime(day + micros)), "{text}");
        }
        for bad in [
            "2026-02-30",
            "2026-1-01",
            "2026-01-01T00:00:00",
            "2026-01-01 24:00:00",
            "2026-01-01 00:60:00",
            "2026-00-01",
            "2026-01-01 00:00:60",
            "2026-01-01 00:00",
            "2026-01-01 ",
            "2026-01-01 00:00:00.",
            "2026-01-01 00:00:00.5",
            "2026-01-01 00:00:00.1234567",
            "2026-01-01 00:00:00Z",
            "01/02/2026",
            "now",
            "0000-00-00x",
            "0000-00-00 25:00:00",
            "二〇二六年一月",
            "+026-01-01",
        ] {
            assert!(bare(ColumnType::Datetime, bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_zero_date_is_null_and_told_apart() {
        for text in ["0000-00-00", "0000-00-00 00:00:00", "0000-00-00 00:00:00.000000"] {
            let value = bare(ColumnType::Datetime, text).unwrap();
            assert!(value.is_null() && value == Value::ZeroDate, "{text}");
        }
    }

    #[test]
    fn an_empty_field_is_null_but_a_quoted_one_is_an_empty_string() {
        for kind in [ColumnType::I32, ColumnType::I64, ColumnType::Money, ColumnType::Datetime] {
            assert_eq!((bare(kind, ""), quoted(kind, "")), (Ok(Value::Null), Ok(Value::Null)));
        }
        assert_eq!(bare(ColumnType::String, ""), Ok(Value::Null));
        assert_eq!(quoted(ColumnType::String, ""), Ok(Value::Text("".into())));
        assert_eq!(bare(ColumnType::String, " "), Ok(Value::Text(" ".into())));
    }

    #[test]
    fn a_string_is_utf8_of_at_most_65_535_bytes() {
        assert!(bare(ColumnType::String, &"x".repeat(STRING_BYTES)).is_ok());
        assert!(bare(ColumnType::String, &"x".repeat(STRING_BYTES + 1)).is_err());
        assert_eq!(read_text(ColumnType::String, b"a\xFF", false), Err("not UTF-8"));
    }

    #[test]
    fn an_instant_belongs_to_the_day_it_lies_on_before_1970_too() {
        assert_eq!(day_of(-1), Some(BizDate::from_days(-1)));
        assert_eq!(day_of(MICROS_A_DAY), Some(BizDate::from_days(1)));
        assert!(datetime_in_range(Some(-719_528 * MICROS_A_DAY - 1)).is_err());
        assert!(datetime_in_range(Some(i64::MAX)).is_err() && datetime_in_range(None).is_err());
        assert_eq!(BizDate::from_ymd(0, 1, 1).unwrap().days(), -719_528);
        assert_eq!(BizDate::from_ymd(9999, 12, 31).unwrap().days(), 2_932_896);
    }
}
