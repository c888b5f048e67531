//! Reads one JSON object straight into a row of typed values, in a single pass and without a value of JSON in between.
//!
//! A repeated key overwrites what it said before. A value that is no value of its field's type is marked bad, for the
//! rules of `decode` to judge: only they know whether it matters.

use super::chunk;
use super::dictionary::Dictionary;
use super::extra::Unknown;
use super::fields::{Column, Fields, Held};
use super::json::{Cursor, Fault, Span, unescape};
use super::keys::UNKNOWN;

/// What is known of a field of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum State {
    /// Not there, `null` or empty: NULL, unless the envelope's header has a value.
    Absent,
    /// A value of its type.
    Present,
    /// Something else.
    Bad,
    /// A value that means none: NULL, whatever the header says.
    Void,
}

/// The typed values of one object: an integer, the number of a text, or a place in the arena ([`place`]).
pub struct Row<'a> {
    /// Every `stride`-th is a column's value.
    pub values: &'a mut [i64],
    /// The distance between the values of two columns.
    pub stride: usize,
    /// A state for every column.
    pub states: &'a mut [State],
}

impl Row<'_> {
    #[inline(always)]
    fn set(&mut self, column: usize, state: State, value: i64) {
        self.values[column * self.stride] = value;
        self.states[column] = state;
    }
}

/// What a scan writes to, besides the row.
pub struct Scan<'a> {
    /// The declaration.
    pub fields: &'a Fields,
    /// The dictionaries of the coded columns.
    pub dictionaries: &'a mut [Dictionary],
    /// The texts of the other string columns.
    pub arena: &'a mut Vec<u8>,
    /// The unknown fields found.
    pub unknown: &'a mut Vec<Unknown>,
    /// Room for unescaping.
    pub scratch: &'a mut Vec<u8>,
    /// The longest string, in code points.
    pub string_chars: usize,
    /// Some value was bad; it may have been overwritten since.
    pub doubtful: bool,
    /// The row being filled.
    pub row: Row<'a>,
}

/// Packs a place in the arena into a row's value.
pub fn place(start: usize, len: usize) -> i64 {
    ((start as u64) << 32 | len as u64) as i64
}

/// The text at a packed place.
#[inline(always)]
pub fn text_at(arena: &[u8], place: i64) -> &[u8] {
    let (start, len) = ((place as u64 >> 32) as usize, place as u64 as u32 as usize);
    arena.get(start..start + len).unwrap_or_default()
}

impl Scan<'_> {
    /// Moves over the object whose brace is the next byte and returns the span of its envelope's data, unless that is
    /// absent or null. In an `element` the envelope's key is a field like any other.
    #[inline(always)]
    pub fn object(&mut self, cursor: &mut Cursor<'_>, element: bool) -> Result<Option<Span>, Fault> {
        let mut data = None;
        cursor.enter()?;
        if cursor.next_token() == b'}' {
            cursor.leave();
            return Ok(data);
        }
        loop {
            if cursor.next_token() != b'"' {
                return Err(Fault::Key);
            }
            let start = cursor.pos + 1;
            let field = self.key(cursor)?;
            let end = cursor.pos - 1;
            let first = cursor.colon()?;
            if let Some(column) = self.fields.columns.get(field) {
                self.field(cursor, field, column, first)?;
            } else {
                let value = cursor.value()?;
                if field == UNKNOWN || element {
                    self.unknown.push(Unknown { key: Span { start, end }, value });
                } else {
                    data = (first != b'n').then_some(value);
                }
            }
            match cursor.next_token() {
                b',' => cursor.pos += 1,
                b'}' => {
                    cursor.leave();
                    return Ok(data);
                }
                _ => return Err(Fault::CommaOrBrace),
            }
        }
    }

    /// Moves over a key and finds the field it names, the envelope's key being the one after the last.
    #[inline(always)]
    fn key(&mut self, cursor: &mut Cursor<'_>) -> Result<usize, Fault> {
        let start = cursor.pos + 1;
        let bytes = cursor.bytes();
        let chunk = chunk::load(bytes, start);
        let len = chunk::string_stops(chunk).trailing_zeros() as usize;
        if len < 16 && bytes.get(start + len) == Some(&b'"') {
            cursor.pos = start + len + 1;
            return Ok(self.fields.keys.find_short(chunk::head(chunk, len)));
        }
        self.long_key(cursor)
    }

    #[cold]
    fn long_key(&mut self, cursor: &mut Cursor<'_>) -> Result<usize, Fault> {
        let key = cursor.quoted()?;
        self.scratch.clear();
        unescape(&cursor.bytes()[key.start..key.end], self.scratch);
        Ok(self.fields.keys.find(self.scratch))
    }

    #[inline(always)]
    fn field(&mut self, cursor: &mut Cursor<'_>, field: usize, column: &Column, first: u8) -> Result<(), Fault> {
        match column.held {
            Held::Int { .. } => self.integer(cursor, field, column, first),
            Held::Coded(dictionary) => self.coded(cursor, field, column, dictionary, first),
            Held::Text => self.text(cursor, field, column, first),
        }
    }

    #[inline(always)]
    fn integer(&mut self, cursor: &mut Cursor<'_>, field: usize, column: &Column, first: u8) -> Result<(), Fault> {
        let bytes = cursor.bytes();
        let negative = first == b'-';
        let start = cursor.pos + usize::from(negative);
        let chunk = chunk::load(bytes, start);
        let len = chunk::digits(chunk);
        let next = bytes.get(start + len).copied().unwrap_or(0);
        let odd = len == 0 || len == 16 || (chunk as u8 == b'0' && len > 1) || matches!(next, b'.' | b'e' | b'E');
        if odd {
            return self.odd_integer(cursor, field, column, first);
        }
        let magnitude = chunk::decimal(chunk, len) as i64;
        cursor.pos = start + len;
        self.set_integer(field, column, if negative { -magnitude } else { magnitude });
        Ok(())
    }

    /// An integer field whose value is not a bare integer of at most 15 digits.
    #[cold]
    #[inline(never)]
    fn odd_integer(&mut self, cursor: &mut Cursor<'_>, field: usize, column: &Column, first: u8) -> Result<(), Fault> {
        match first {
            b'"' => {
                let text = cursor.quoted()?;
                self.scratch.clear();
                unescape(&cursor.bytes()[text.start..text.end], self.scratch);
                let written = std::str::from_utf8(self.scratch).unwrap_or("?").trim();
                if written.is_empty() {
                    self.row.set(field, State::Absent, 0);
                    return Ok(());
                }
                let value = parse_integer(written.as_bytes());
                self.set_parsed(field, column, value);
            }
            b'-' | b'0'..=b'9' => {
                let start = cursor.pos;
                let integer = cursor.number()?;
                let value = if integer { parse_integer(&cursor.bytes()[start..cursor.pos]) } else { None };
                self.set_parsed(field, column, value);
            }
            _ => self.other(cursor, field, first)?,
        }
        Ok(())
    }

    fn set_parsed(&mut self, field: usize, column: &Column, value: Option<i64>) {
        match value {
            Some(value) => self.set_integer(field, column, value),
            None => self.set_bad(field),
        }
    }

    #[inline(always)]
    fn set_integer(&mut self, field: usize, column: &Column, mut value: i64) {
        if let Held::Int { min, max } = column.held
            && (value < min || value > max)
        {
            return self.set_bad(field);
        }
        if column.seconds_to_ms && (1_000_000_000..10_000_000_000).contains(&value.unsigned_abs()) {
            value *= 1000;
        }
        let state = if column.zero_is_null && value == 0 { State::Void } else { State::Present };
        self.row.set(field, state, value);
    }

    #[inline(always)]
    fn coded(
        &mut self,
        cursor: &mut Cursor<'_>,
        field: usize,
        column: &Column,
        dictionary: usize,
        first: u8,
    ) -> Result<(), Fault> {
        if first != b'"' {
            return self.odd_text(cursor, field, column, first);
        }
        let bytes = cursor.bytes();
        let start = cursor.pos + 1;
        let chunk = chunk::load(bytes, start);
        let len = chunk::string_stops(chunk).trailing_zeros() as usize;
        if len >= 16 || column.trim || bytes.get(start + len) != Some(&b'"') {
            return self.odd_text(cursor, field, column, first);
        }
        cursor.pos = start + len + 1;
        let number = self.dictionaries[dictionary].number_short(chunk::head(chunk, len));
        let state = if len == 0 { State::Absent } else { State::Present };
        self.row.set(field, state, i64::from(number));
        Ok(())
    }

    #[inline(always)]
    fn text(&mut self, cursor: &mut Cursor<'_>, field: usize, column: &Column, first: u8) -> Result<(), Fault> {
        if first != b'"' {
            return self.odd_text(cursor, field, column, first);
        }
        let before = cursor.pos;
        let escaped = cursor.string()?;
        let written = &cursor.bytes()[before + 1..cursor.pos - 1];
        let (Some(head), Some(tail)) = (written.first(), written.last()) else {
            self.row.set(field, State::Absent, 0);
            return Ok(());
        };
        let plain = |byte: &u8| *byte > b' ' && *byte < 0x7f;
        let to_trim = column.trim && !(plain(head) && plain(tail));
        if escaped || to_trim || written.len() > self.string_chars {
            cursor.pos = before;
            return self.odd_text(cursor, field, column, first);
        }
        let start = self.arena.len();
        self.arena.extend_from_slice(written);
        self.row.set(field, State::Present, place(start, written.len()));
        Ok(())
    }

    /// A string field whose value is not a short plain string.
    #[cold]
    #[inline(never)]
    fn odd_text(&mut self, cursor: &mut Cursor<'_>, field: usize, column: &Column, first: u8) -> Result<(), Fault> {
        self.scratch.clear();
        match first {
            b'"' => {
                let text = cursor.quoted()?;
                unescape(&cursor.bytes()[text.start..text.end], self.scratch);
            }
            b'-' | b'0'..=b'9' => {
                let start = cursor.pos;
                cursor.number()?;
                self.scratch.extend_from_slice(&cursor.bytes()[start..cursor.pos]);
            }
            _ => return self.other(cursor, field, first),
        }
        let chars = self.scratch.iter().filter(|byte| **byte & 0xC0 != 0x80).count();
        if chars > self.string_chars {
            self.set_bad(field);
            return Ok(());
        }
        let meant = std::str::from_utf8(self.scratch).unwrap_or_default();
        let meant = if column.trim { meant.trim() } else { meant };
        if meant.is_empty() {
            self.row.set(field, State::Absent, 0);
            return Ok(());
        }
        let value = match column.held {
            Held::Coded(dictionary) => i64::from(self.dictionaries[dictionary].number(meant.as_bytes())),
            _ => {
                let start = self.arena.len();
                self.arena.extend_from_slice(meant.as_bytes());
                place(start, meant.len())
            }
        };
        self.row.set(field, State::Present, value);
        Ok(())
    }

    /// A value that is neither a string nor a number: `null` is absent, all others are bad.
    fn other(&mut self, cursor: &mut Cursor<'_>, field: usize, first: u8) -> Result<(), Fault> {
        cursor.value()?;
        if first == b'n' {
            self.row.set(field, State::Absent, 0);
        } else {
            self.set_bad(field);
        }
        Ok(())
    }

    fn set_bad(&mut self, field: usize) {
        self.doubtful = true;
        self.row.set(field, State::Bad, 0);
    }
}

/// Reads `[+-]?[0-9]+` within 64 bits.
fn parse_integer(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] | digits => (false, digits),
    };
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_i64, |value, digit| {
        let digit = i64::from(digit.is_ascii_digit().then(|| digit - b'0')?);
        let shifted = value.checked_mul(10)?;
        if negative { shifted.checked_sub(digit) } else { shifted.checked_add(digit) }
    })
}

#[cfg(test)]
mod tests {
    use super::parse_integer;

    #[test]
    fn integers_are_read_to_the_limits_of_64_bits_and_no_further() {
        for (text, value) in [
            ("0", Some(0)),
            ("+5", Some(5)),
            ("-007", Some(-7)),
            ("9223372036854775807", Some(i64::MAX)),
            ("-9223372036854775808", Some(i64::MIN)),
            ("9223372036854775808", None),
            ("-9223372036854775809", None),
            ("000000000000000000000000001", Some(1)),
            ("", None),
            ("+", None),
            ("--1", None),
            ("1 2", None),
            ("1.0", None),
            ("١", None),
        ] {
            assert_eq!(parse_integer(text.as_bytes()), value, "{text}");
        }
    }
}
