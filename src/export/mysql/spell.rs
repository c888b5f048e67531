//! Numbers and days as MySQL and MariaDB spell them. Pure.

use chrono::Datelike;

use crate::date::BizDate;

/// Appends an integer.
pub fn push_integer(out: &mut Vec<u8>, number: i64) {
    let mut digits = [0_u8; 20];
    let mut at = digits.len();
    let mut rest = number.unsigned_abs();
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    if number < 0 {
        out.push(b'-');
    }
    out.extend_from_slice(&digits[at..]);
}

/// Appends a decimal with all digits of its scale.
pub fn push_decimal(out: &mut Vec<u8>, unscaled: i128, scale: usize) {
    match i64::try_from(unscaled) {
        // The usual amounts; larger ones are spelled by the slow road.
        Ok(small) if scale > 0 && scale < 18 => {
            let power = 10_u64.pow(scale as u32);
            let magnitude = small.unsigned_abs();
            if small < 0 {
                out.push(b'-');
            }
            push_integer(out, (magnitude / power) as i64);
            out.push(b'.');
            let start = out.len();
            // One more digit in front keeps the zeros after the point.
            push_integer(out, (magnitude % power + power) as i64);
            out.remove(start);
        }
        _ => {
            let text = crate::export::rows::decimal_text(unscaled, i8::try_from(scale).unwrap_or_default());
            out.extend_from_slice(text.as_bytes());
        }
    }
}

/// Appends a day.
pub fn push_date(out: &mut Vec<u8>, day: BizDate) {
    let date = day.naive();
    match u32::try_from(date.year()) {
        Ok(year) if year <= 9999 => {
            let digit = |n: u32| b'0' + (n % 10) as u8;
            let (month, day) = (date.month(), date.day());
            out.extend_from_slice(&[digit(year / 1000), digit(year / 100), digit(year / 10), digit(year), b'-']);
            out.extend_from_slice(&[digit(month / 10), digit(month), b'-', digit(day / 10), digit(day)]);
        }
        _ => out.extend_from_slice(day.to_string().as_bytes()),
    }
}

/// Appends a number as MySQL and MariaDB spell a DOUBLE: the fewest digits that tell it apart, of two equally near such
/// numbers the one that ends even (which Rust's own `{:e}` does not), with an exponent where zeros would have to be put more
/// than fifteen places off (their `my_gcvt`). A zero has no sign: some versions tell it and others do not (MariaDB 10.11.19).
pub fn push_double(out: &mut Vec<u8>, number: f64) {
    if number == 0.0 {
        out.push(b'0');
        return;
    }
    if number.is_sign_negative() {
        out.push(b'-');
    }
    let mut buffer = ryu::Buffer::new();
    let (digits, count, point) = digits_of(buffer.format_finite(number.abs()));
    let digits = &digits[..count];
    let places = point.unsigned_abs() as usize;
    if point < -14 || (point > 15 && count <= places) {
        out.push(digits[0]);
        if count > 1 {
            out.push(b'.');
            out.extend_from_slice(&digits[1..]);
        }
        out.push(b'e');
        push_integer(out, i64::from(point - 1));
    } else if point <= 0 {
        out.extend_from_slice(b"0.");
        out.resize(out.len() + places, b'0');
        out.extend_from_slice(digits);
    } else if count <= places {
        out.extend_from_slice(digits);
        out.resize(out.len() + places - count, b'0');
    } else {
        out.extend_from_slice(&digits[..places]);
        out.push(b'.');
        out.extend_from_slice(&digits[places..]);
    }
}

/// The digits of a number's text without zeros at their ends, how many they are, and where the point is, counted from before
/// the first of them.
fn digits_of(text: &str) -> ([u8; 32], usize, i32) {
    let (mantissa, exponent) = text.split_once('e').unwrap_or((text, "0"));
    let whole = mantissa.find('.').unwrap_or(mantissa.len());
    let mut point = i32::try_from(whole).unwrap_or_default() + exponent.parse().unwrap_or(0);
    let (mut digits, mut count) = ([b'0'; 32], 0);
    for digit in mantissa.bytes().filter(u8::is_ascii_digit) {
        if count == 0 && digit == b'0' {
            point -= 1;
        } else {
            digits[count] = digit;
            count += 1;
        }
    }
    while count > 1 && digits[count - 1] == b'0' {
        count -= 1;
    }
    (digits, count, point)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_spelled_as_the_server_spells_them() {
        for (number, text) in [
            (0.0, "0"),
            (-0.0, "0"),
            (1.0 / 3.0, "0.3333333333333333"),
            (1e15, "1e15"),
            (999_999_999_999_999.0, "999999999999999"),
            (1_039_514_241_563_211.8, "1039514241563211.8"),
            (1e-15, "0.000000000000001"),
            (1.25e-16, "1.25e-16"),
            (-1.5e300, "-1.5e300"),
            (1200.0, "1200"),
            (3_276_801.0 / 32_768.0, "100.00003051757812"),
            (3_822_726_791_224_653.0 / 4.0, "955681697806163.2"),
            (5e-324, "5e-324"),
            (f64::MAX, "1.7976931348623157e308"),
            (123_456_789_012_345_680.0, "1.2345678901234568e17"),
        ] {
            let mut out = Vec::new();
            push_double(&mut out, number);
            assert_eq!(String::from_utf8(out).expect("UTF-8"), text);
        }
        for (unscaled, scale, text) in [
            (1230, 2, "12.30"),
            (-5, 2, "-0.05"),
            (0, 6, "0.000000"),
            (7, 0, "7"),
            (-i128::from(i64::MAX) * 10, 2, "-922337203685477580.70"),
        ] {
            let mut out = Vec::new();
            push_decimal(&mut out, unscaled, scale);
            assert_eq!(String::from_utf8(out).expect("UTF-8"), text);
        }
    }
}
