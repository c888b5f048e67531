//! A strict scanner of JSON text (RFC 8259): it tells where values begin and end, and builds nothing.
//!
//! The text must be valid UTF-8 and be followed by one byte below 0x20 (a line's `\n`), at which every scan stops.
//! Not a parser into values: typing is the business of `typed`, the canonical form that of `extra`.

use std::fmt;

use super::chunk;

/// Why a text is not JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    Value,
    Key,
    Colon,
    CommaOrBrace,
    CommaOrBracket,
    Number,
    Control,
    Escape,
    Surrogate,
    Depth,
    Trailing,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Value => "expected a value",
            Self::Key => "expected a key in quotes",
            Self::Colon => "expected `:`",
            Self::CommaOrBrace => "expected `,` or `}`",
            Self::CommaOrBracket => "expected `,` or `]`",
            Self::Number => "not a number of JSON",
            Self::Control => "a string that does not end, or has a control character",
            Self::Escape => "an unknown escape",
            Self::Surrogate => "a lone surrogate",
            Self::Depth => "nested too deeply",
            Self::Trailing => "text after the value",
        })
    }
}

/// A stretch of the text under the scanner.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// Its first byte.
    pub start: usize,
    /// The byte after its last.
    pub end: usize,
}

/// A position in a text of JSON.
pub struct Cursor<'a> {
    bytes: &'a [u8],
    /// The next byte to be read.
    pub pos: usize,
    end: usize,
    depth: usize,
    max_depth: usize,
}

impl<'a> Cursor<'a> {
    /// Starts at the beginning of `bytes[span]`; the byte after the span must be below 0x20.
    pub fn new(bytes: &'a [u8], span: Span, max_depth: usize) -> Self {
        debug_assert!(bytes.get(span.end).is_some_and(|b| *b < 0x20), "a text ends in a control character");
        Self::within(bytes, span, max_depth)
    }

    /// Starts at a value within a text that was scanned before.
    pub fn within(bytes: &'a [u8], value: Span, max_depth: usize) -> Self {
        Self { bytes, pos: value.start, end: value.end, depth: 0, max_depth }
    }

    /// The whole text that the cursor moves in.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The next byte; at the end of the text the byte that follows it.
    #[inline(always)]
    pub fn peek(&self) -> u8 {
        self.bytes.get(self.pos).copied().unwrap_or(0)
    }

    /// Moves over white space and returns the next byte.
    #[inline(always)]
    pub fn next_token(&mut self) -> u8 {
        let byte = self.peek();
        if byte > b' ' { byte } else { self.skip_space() }
    }

    #[cold]
    fn skip_space(&mut self) -> u8 {
        while self.pos < self.end && matches!(self.peek(), b' ' | b'\t' | b'\r' | b'\n') {
            self.pos += 1;
        }
        // The byte at the end may be a line end, which must not be taken for a part of the text.
        if self.pos < self.end { self.peek() } else { 0 }
    }

    /// Enters an object or an array, of which the bracket is the next byte.
    #[inline(always)]
    pub fn enter(&mut self) -> Result<(), Fault> {
        self.pos += 1;
        self.depth += 1;
        if self.depth > self.max_depth { Err(Fault::Depth) } else { Ok(()) }
    }

    /// Leaves an object or an array, of which the bracket is the next byte.
    #[inline(always)]
    pub fn leave(&mut self) {
        self.pos += 1;
        self.depth -= 1;
    }

    /// Checks that only white space follows.
    pub fn finish(&mut self) -> Result<(), Fault> {
        self.next_token();
        if self.pos == self.end { Ok(()) } else { Err(Fault::Trailing) }
    }

    /// Moves over the colon after a key, to the first byte of the value, and returns that byte.
    #[inline(always)]
    pub fn colon(&mut self) -> Result<u8, Fault> {
        if self.next_token() != b':' {
            return Err(Fault::Colon);
        }
        self.pos += 1;
        Ok(self.next_token())
    }

    /// Moves over a string whose opening quote is the next byte, and tells whether it has escapes.
    ///
    /// What is between the quotes is for the caller to say: it knows where it was. (A span returned from here goes
    /// through memory, and waiting for that took a fifth of the whole scan.)
    #[inline(always)]
    pub fn string(&mut self) -> Result<bool, Fault> {
        let mut at = self.pos + 1;
        loop {
            let stops = chunk::string_stops(chunk::load(self.bytes, at));
            if stops != 0 {
                at += stops.trailing_zeros() as usize;
                break;
            }
            at += 16;
        }
        if self.bytes.get(at) == Some(&b'"') {
            self.pos = at + 1;
            return Ok(false);
        }
        self.escaped_string(at)
    }

    /// Moves over a string whose opening quote is the next byte, and returns what is between its quotes.
    pub fn quoted(&mut self) -> Result<Span, Fault> {
        let start = self.pos + 1;
        self.string()?;
        Ok(Span { start, end: self.pos - 1 })
    }

    /// Goes on with a string at its first escape, which may turn out to be a control character.
    #[inline(never)]
    fn escaped_string(&mut self, mut at: usize) -> Result<bool, Fault> {
        loop {
            self.pos = at;
            match self.peek() {
                b'"' => {
                    self.pos = at + 1;
                    return Ok(true);
                }
                b'\\' => at = self.escape(at)?,
                byte if byte < 0x20 => return Err(Fault::Control),
                _ => at += 1,
            }
        }
    }

    /// Checks the escape at `at` and returns the position after it.
    fn escape(&self, at: usize) -> Result<usize, Fault> {
        match self.bytes.get(at + 1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => Ok(at + 2),
            Some(b'u') => match hex4(self.bytes, at + 2).ok_or(Fault::Escape)? {
                0xD800..=0xDBFF => match low_surrogate(self.bytes, at + 6) {
                    Some(_) => Ok(at + 12),
                    None => Err(Fault::Surrogate),
                },
                0xDC00..=0xDFFF => Err(Fault::Surrogate),
                _ => Ok(at + 6),
            },
            _ => Err(Fault::Escape),
        }
    }

    /// Moves over a number, of which `-` or a digit is the next byte; tells whether it is an integer.
    pub fn number(&mut self) -> Result<bool, Fault> {
        if self.peek() == b'-' {
            self.pos += 1;
        }
        let zero = self.peek() == b'0';
        let whole = self.digits();
        if whole == 0 || (zero && whole > 1) {
            return Err(Fault::Number);
        }
        let mut integer = true;
        if self.peek() == b'.' {
            integer = false;
            self.pos += 1;
            if self.digits() == 0 {
                return Err(Fault::Number);
            }
        }
        if matches!(self.peek(), b'e' | b'E') {
            integer = false;
            self.pos += 1;
            if matches!(self.peek(), b'+' | b'-') {
                self.pos += 1;
            }
            if self.digits() == 0 {
                return Err(Fault::Number);
            }
        }
        Ok(integer)
    }

    fn digits(&mut self) -> usize {
        let start = self.pos;
        loop {
            let count = chunk::digits(chunk::load(self.bytes, self.pos));
            self.pos += count;
            if count < 16 {
                return self.pos - start;
            }
        }
    }

    /// Moves over `true`, `false` or `null`.
    pub fn word(&mut self, word: &'static [u8]) -> Result<(), Fault> {
        if self.bytes.get(self.pos..self.pos + word.len()) != Some(word) {
            return Err(Fault::Value);
        }
        self.pos += word.len();
        Ok(())
    }

    /// Moves over any value, checking all of it, and returns where it was.
    pub fn value(&mut self) -> Result<Span, Fault> {
        let byte = self.next_token();
        let start = self.pos;
        match byte {
            b'"' => self.string().map(drop)?,
            b'-' | b'0'..=b'9' => self.number().map(drop)?,
            b'{' => self.members(|cursor, _| cursor.value().map(drop))?,
            b'[' => self.elements(|cursor| cursor.value().map(drop))?,
            b't' => self.word(b"true")?,
            b'f' => self.word(b"false")?,
            b'n' => self.word(b"null")?,
            _ => return Err(Fault::Value),
        }
        Ok(Span { start, end: self.pos })
    }

    /// Moves over an array, whose bracket is the next byte; `each` is called at every element and moves over it.
    pub fn elements(&mut self, mut each: impl FnMut(&mut Self) -> Result<(), Fault>) -> Result<(), Fault> {
        self.enter()?;
        if self.next_token() == b']' {
            self.leave();
            return Ok(());
        }
        loop {
            self.next_token();
            each(self)?;
            match self.next_token() {
                b',' => self.pos += 1,
                b']' => {
                    self.leave();
                    return Ok(());
                }
                _ => return Err(Fault::CommaOrBracket),
            }
        }
    }

    /// Moves over an object, whose brace is the next byte; `each` is called with every key and moves over its value.
    pub fn members(&mut self, mut each: impl FnMut(&mut Self, Span) -> Result<(), Fault>) -> Result<(), Fault> {
        self.enter()?;
        if self.next_token() == b'}' {
            self.leave();
            return Ok(());
        }
        loop {
            if self.next_token() != b'"' {
                return Err(Fault::Key);
            }
            let key = self.quoted()?;
            self.colon()?;
            each(self, key)?;
            match self.next_token() {
                b',' => self.pos += 1,
                b'}' => {
                    self.leave();
                    return Ok(());
                }
                _ => return Err(Fault::CommaOrBrace),
            }
        }
    }
}

/// Whether the text is one complete JSON object; it needs no byte after it.
pub fn is_object(text: &[u8], max_depth: usize) -> bool {
    let mut line = text.to_vec();
    line.push(b'\n');
    let mut cursor = Cursor::new(&line, Span { start: 0, end: text.len() }, max_depth);
    let object = cursor.next_token() == b'{' && cursor.value().is_ok() && cursor.finish().is_ok();
    object && std::str::from_utf8(text).is_ok()
}

/// Appends what the inside of a string means; the text must have been scanned before.
pub fn unescape(written: &[u8], out: &mut Vec<u8>) {
    let mut rest = written;
    while let Some(plain) = memchr::memchr(b'\\', rest) {
        out.extend_from_slice(&rest[..plain]);
        rest = rest.get(plain + 1..).unwrap_or_default();
        let (letter, after) = rest.split_first().map_or((b'\\', rest), |(letter, after)| (*letter, after));
        rest = after;
        match letter {
            b'b' => out.push(0x08),
            b'f' => out.push(0x0c),
            b'n' => out.push(b'\n'),
            b'r' => out.push(b'\r'),
            b't' => out.push(b'\t'),
            b'u' => {
                let unit = hex4(rest, 0).unwrap_or(0xFFFD);
                let (code, used) = match low_surrogate(rest, 4) {
                    Some(low) if (0xD800..0xDC00).contains(&unit) => {
                        (0x10000 + ((unit - 0xD800) << 10) + (low - 0xDC00), 10)
                    }
                    _ => (unit, 4),
                };
                let mut utf8 = [0; 4];
                let char = char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER);
                out.extend_from_slice(char.encode_utf8(&mut utf8).as_bytes());
                rest = rest.get(used..).unwrap_or_default();
            }
            other => out.push(other),
        }
    }
    out.extend_from_slice(rest);
}

fn hex4(bytes: &[u8], at: usize) -> Option<u32> {
    let digits = bytes.get(at..at + 4)?;
    digits.iter().try_fold(0, |unit, digit| Some(unit << 4 | char::from(*digit).to_digit(16)?))
}

fn low_surrogate(bytes: &[u8], at: usize) -> Option<u32> {
    if bytes.get(at..at + 2)? != b"\\u" {
        return None;
    }
    hex4(bytes, at + 2).filter(|unit| (0xDC00..0xE000).contains(unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scan(text: &str) -> Result<(), Fault> {
        let line = format!("{text}\n");
        let mut cursor = Cursor::new(line.as_bytes(), Span { start: 0, end: text.len() }, 128);
        cursor.value()?;
        cursor.finish()
    }

    #[test]
    fn all_of_the_grammar_is_accepted() {
        for good in [
            "{}",
            " [ ] ",
            r#"{"a":[1,-0,0.5,1e9,-1.5E+3,1e999,{"b":null}],"c":true,"d":false}"#,
            "\t1\r",
            r#""\"\\\/\b\f\n\r\t\u0041\uD83D\uDE00""#,
            r#""中文 and a string longer than sixteen bytes""#,
            "12345678901234567890123",
            r#"{ "a" : 1 , "b" : [ 1 , 2 ] }"#,
            r#""""#,
        ] {
            assert_eq!(scan(good), Ok(()), "{good}");
        }
    }

    #[test]
    fn what_is_not_json_is_refused() {
        for bad in [
            "",
            " ",
            "{",
            "[",
            "[1,]",
            "[,1]",
            r#"{"a":1,}"#,
            r#"{,}"#,
            r#"{"a"}"#,
            r#"{"a":}"#,
            r#"{"a" 1}"#,
            "{a:1}",
            "{'a':1}",
            "NaN",
            "Infinity",
            "-Infinity",
            "nul",
            "tru",
            "True",
            "01",
            "-",
            "-a",
            "1.",
            ".5",
            "1e",
            "1e+",
            "+1",
            "0x10",
            "00",
            "-01",
            "\"",
            "\"a",
            "\"a\u{1}b\"",
            "\"a\tb\"",
            r#""\x""#,
            r#""\u12""#,
            r#""\u12G4""#,
            r#""\uD800""#,
            r#""\uDC00""#,
            r#""\uD800\u0041""#,
            r#""\uD800x""#,
            "1 2",
            "{} {}",
            "{}x",
            "[1 2]",
            r#"{"a":1 "b":2}"#,
            "[1}",
            r#"{"a":1]"#,
            "\u{feff}{}",
            "nullx",
            r#""\"#,
            "{\"a\u{0}\":1}",
            "\u{a0}1",
        ] {
            assert!(scan(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn nesting_ends_at_the_128th_level() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert_eq!(scan(&nested(128)), Ok(()));
        assert_eq!(scan(&nested(129)), Err(Fault::Depth));
        let objects = |depth: usize| format!("{}1{}", r#"{"a":"#.repeat(depth), "}".repeat(depth));
        assert_eq!(scan(&objects(128)), Ok(()));
        assert_eq!(scan(&objects(129)), Err(Fault::Depth));
        assert_eq!(scan(&"[".repeat(100_000)), Err(Fault::Depth));
    }

    #[test]
    fn escapes_mean_what_they_say() {
        let mut out = Vec::new();
        unescape(r#"a\"\\\/\b\f\n\r\t\u0041\u4e2d\uD83D\uDE00z"#.as_bytes(), &mut out);
        assert_eq!(String::from_utf8(out).expect("UTF-8"), "a\"\\/\u{8}\u{c}\n\r\tA中😀z");
    }

    #[test]
    fn an_unfinished_object_is_not_an_object() {
        assert!(is_object(br#" {"a":"}"} "#, 128));
        for bad in [&br#"{"a":1"#[..], b"[1]", b"5", b"", b"{}{", b"{\"\xff\":1}"] {
            assert!(!is_object(bad, 128), "{}", bad.escape_ascii());
        }
    }
}
