//! Records of a CSV file: quotes, ends of lines, limits.

use std::io::{self, Read};

use super::super::csv::Splitter;

/// Gives a few bytes at a time, to cut records at every place.
struct Drip<'a>(&'a [u8], usize);

impl Read for Drip<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let bytes = self.1.min(self.0.len()).min(out.len());
        out[..bytes].copy_from_slice(&self.0[..bytes]);
        self.0 = &self.0[bytes..];
        Ok(bytes)
    }
}

/// Each record as `offset:line:` and its fields in `[]`, quoted ones with `"`.
fn shown(text: &[u8], limit: usize) -> Vec<String> {
    let all: Vec<Vec<String>> = [1, 2, 7, 1 << 20].iter().map(|step| split(text, limit, *step)).collect();
    assert!(all.iter().all(|one| *one == all[0]), "the answer depends on how the input is cut: {all:?}");
    all[0].clone()
}

fn split(text: &[u8], limit: usize, step: usize) -> Vec<String> {
    let mut splitter = Splitter::new(Drip(text, step), limit).unwrap();
    let mut out = Vec::new();
    while let Some(record) = splitter.next_record().unwrap() {
        let fields = match record.fields {
            Err(broken) => format!("{broken:?} {}", String::from_utf8_lossy(record.raw)),
            Ok(fields) => (0..fields.count())
                .map(|i| {
                    let (bytes, quoted) = fields.get(i);
                    let mark = if quoted { "\"" } else { "" };
                    format!("[{mark}{}{mark}]", String::from_utf8_lossy(bytes))
                })
                .collect(),
        };
        out.push(format!("{}:{}:{fields}", record.offset, record.line));
    }
    out
}

#[test]
fn quotes_commas_newlines_and_doubled_quotes_stay_within_their_field() {
    let text = b"a,\"b,\"\"c\"\"\nd\",\"\"\r\ne,,\"\"\"\"\n";
    assert_eq!(shown(text, 100), [r#"0:1:[a]["b,"c"#.to_owned() + "\"\nd\"][\"\"]", r#"18:3:[e][]["""]"#.to_owned()]);
}

#[test]
fn crlf_a_byte_order_mark_and_a_missing_last_line_end_are_allowed() {
    assert_eq!(shown(b"\xEF\xBB\xBFa,b\r\n1,\r\n2,\"x\"", 100), ["3:1:[a][b]", "8:2:[1][]", "12:3:[2][\"x\"]"]);
    assert_eq!(shown(b"a\r", 100), ["0:1:[a]"]);
    assert_eq!(shown(b"\"a\"\r", 100), ["0:1:[\"a\"]"]);
}

#[test]
fn blank_lines_are_no_records_but_count_as_lines() {
    assert_eq!(shown(b"\n\r\na\n\n,\n\"\"\n\n", 100), ["3:3:[a]", "6:5:[][]", "8:6:[\"\"]"]);
    assert_eq!(shown(b"", 100), Vec::<String>::new());
    assert_eq!(shown(b"\xEF\xBB\xBF\n", 100), Vec::<String>::new());
}

#[test]
fn a_stray_quote_breaks_its_own_line_only() {
    assert_eq!(shown(b"a\"b,c\n1,2\n", 100), ["0:1:StrayQuote a\"b,c", "6:2:[1][2]"]);
    assert_eq!(shown(b"\"a\"b,c\n1,2\n", 100), ["0:1:StrayQuote \"a\"b,c", "7:2:[1][2]"]);
}

#[test]
fn a_quote_that_is_never_closed_costs_one_line() {
    assert_eq!(shown(b"1,\"a\n2,b\n3,c\n", 100), ["0:1:OpenQuote 1,\"a", "5:2:[2][b]", "9:3:[3][c]"]);
    // The next quote shows that the first was stray.
    assert_eq!(shown(b"1,\"a\n2,\"b\"\n", 100), ["0:1:StrayQuote 1,\"a", "5:2:[2][\"b\"]"]);
}

#[test]
fn a_record_beyond_the_limit_is_too_long_and_the_next_is_read() {
    assert_eq!(shown(b"12345678\r\n123456789\r\n1\n", 8), ["0:1:[12345678]", "10:2:TooLong 12345678", "21:3:[1]"]);
    assert_eq!(shown(b"\"123\n567890\"\n1\n", 8), ["0:1:TooLong \"123", "5:2:StrayQuote 567890\"", "13:3:[1]"]);
    let long = [vec![b'x'; 700_000], b"\n7,8\n".to_vec()].concat();
    assert_eq!(split(&long, 4, 300_000), ["0:1:TooLong xxxx", "700001:2:[7][8]"]);
    assert_eq!(split(&long[..700_000], 4, 99_999), ["0:1:TooLong xxxx"]);
}

#[test]
fn fields_beyond_those_kept_are_counted() {
    let mut splitter = Splitter::new(&b"a,b\n1,2,3,4\n"[..], 100).unwrap();
    let header = splitter.next_record().unwrap().unwrap().fields.unwrap().count();
    splitter.keep_fields(header);
    let record = splitter.next_record().unwrap().unwrap();
    let fields = record.fields.unwrap();
    assert_eq!((fields.count(), fields.get(1), fields.get(3)), (4, (&b"2"[..], false), (&b""[..], false)));
}
