//! Unknown fields and their canonical JSON text: keys sorted by byte, no white space, of a repeated key the last,
//! numbers as they were written, strings with the fewest escapes.
//!
//! Two objects that mean the same have the same text, but for how numbers are written (`sources.md` §2).

use super::json::{Cursor, Fault, Span, unescape};

/// An unknown field of the object being read.
#[derive(Clone, Copy, Debug)]
pub struct Unknown {
    /// Its key as written, between the quotes.
    pub key: Span,
    /// Its value as written.
    pub value: Span,
}

/// Unknown fields together with the text that they lie in.
#[derive(Clone, Copy)]
pub struct Fields<'a> {
    /// The text, which was scanned before; a byte below 0x20 follows it.
    pub text: &'a [u8],
    /// The fields in the order of the text.
    pub unknown: &'a [Unknown],
}

impl<'a> Fields<'a> {
    fn members(self) -> impl Iterator<Item = Member<'a>> {
        self.unknown.iter().map(move |field| Member::new(self.text, field.key, field.value))
    }
}

struct Member<'a> {
    key: Vec<u8>,
    text: &'a [u8],
    value: Span,
}

impl<'a> Member<'a> {
    fn new(text: &'a [u8], key: Span, value: Span) -> Self {
        let mut meant = Vec::new();
        unescape(&text[key.start..key.end], &mut meant);
        Self { key: meant, text, value }
    }
}

/// Appends the canonical object of the header's unknown fields and the event's own, which win.
///
/// # Errors
/// When a text was not scanned before, or is nested deeper than when it was.
pub fn write(header: Fields<'_>, own: Fields<'_>, max_depth: usize, out: &mut Vec<u8>) -> Result<(), Fault> {
    write_object(header.members().chain(own.members()).collect(), max_depth, out)
}

fn write_object(mut members: Vec<Member<'_>>, max_depth: usize, out: &mut Vec<u8>) -> Result<(), Fault> {
    // Stable: of equal keys the last stays last.
    members.sort_by(|a, b| a.key.cmp(&b.key));
    out.push(b'{');
    let mut first = true;
    for (index, member) in members.iter().enumerate() {
        if members.get(index + 1).is_some_and(|next| next.key == member.key) {
            continue;
        }
        if !first {
            out.push(b',');
        }
        first = false;
        write_string(&member.key, out);
        out.push(b':');
        write_value(member.text, member.value, max_depth, out)?;
    }
    out.push(b'}');
    Ok(())
}

fn write_value(text: &[u8], span: Span, max_depth: usize, out: &mut Vec<u8>) -> Result<(), Fault> {
    let mut cursor = Cursor::within(text, span, max_depth);
    match cursor.peek() {
        b'{' => {
            let mut members = Vec::new();
            cursor.members(|cursor, key| {
                let value = cursor.value()?;
                members.push(Member::new(text, key, value));
                Ok(())
            })?;
            write_object(members, max_depth, out)
        }
        b'[' => {
            out.push(b'[');
            let mut first = true;
            cursor.elements(|cursor| {
                if !first {
                    out.push(b',');
                }
                first = false;
                let value = cursor.value()?;
                write_value(text, value, max_depth, out)
            })?;
            out.push(b']');
            Ok(())
        }
        b'"' => {
            let mut meant = Vec::new();
            unescape(&text[span.start + 1..span.end - 1], &mut meant);
            write_string(&meant, out);
            Ok(())
        }
        _ => {
            out.extend_from_slice(&text[span.start..span.end]);
            Ok(())
        }
    }
}

fn write_string(meant: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    for byte in meant {
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            0x08 => out.extend_from_slice(b"\\b"),
            0x0c => out.extend_from_slice(b"\\f"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            control if *control < 0x20 => out.extend_from_slice(format!("\\u{control:04x}").as_bytes()),
            plain => out.push(*plain),
        }
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canonical(object: &str) -> String {
        let line = format!("{object}\n");
        let mut out = Vec::new();
        let span = Span { start: 0, end: object.len() };
        write_value(line.as_bytes(), span, 128, &mut out).expect("JSON");
        String::from_utf8(out).expect("UTF-8")
    }

    #[test]
    fn objects_that_mean_the_same_have_the_same_text() {
        for (written, expected) in [
            (r#"{ "b" : 1 , "a" : [ 1 , 2 ] }"#, r#"{"a":[1,2],"b":1}"#),
            (r#"{"b":{"z":1,"y":{}},"a":[]}"#, r#"{"a":[],"b":{"y":{},"z":1}}"#),
            (r#"{"a":1,"a":2,"\u0061":3}"#, r#"{"a":3}"#),
            (r#"{"k":"\u0041\/\u4e2d\n\u0001\""}"#, r#"{"k":"A/中\n\u0001\""}"#),
            (r#"{"n":1.0,"m":1e999,"x":-0,"t":true,"z":null}"#, r#"{"m":1e999,"n":1.0,"t":true,"x":-0,"z":null}"#),
            (r#"{"é":1,"z":2,"Z":3}"#, r#"{"Z":3,"z":2,"é":1}"#),
        ] {
            assert_eq!(canonical(written), expected);
        }
    }

    #[test]
    fn an_events_own_fields_win_over_the_headers() {
        let field = |start: usize, value: Span| Unknown { key: Span { start, end: start + 1 }, value };
        let header = [field(0, Span { start: 1, end: 2 }), field(2, Span { start: 3, end: 4 })];
        let own = [field(0, Span { start: 1, end: 2 })];
        let mut out = Vec::new();
        let header = Fields { text: b"a1b2\n", unknown: &header };
        let own = Fields { text: b"a9\n", unknown: &own };
        write(header, own, 128, &mut out).expect("JSON");
        assert_eq!(out, br#"{"a":9,"b":2}"#);
    }
}
