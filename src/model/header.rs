//! The comment at the top of a model file: one sentence of what a row is, then `key: value` lines.
//!
//! The description ends at the first empty comment line; more paragraphs may follow before the first key, and the header
//! ends at the first line that is no comment. A value goes on in the next comment lines as long as they are indented
//! deeper than its key. `check:` and `warn:` may be repeated.

use super::diagnostic::{Diagnostic, did_you_mean};

const KEYS: [&str; 5] = ["grain", "check", "warn", "export", "tags"];

/// What the header of a model says, as text.
#[derive(Debug, Default, PartialEq)]
pub struct Header {
    /// The sentences before the first empty comment line, joined by spaces.
    pub description: String,
    /// The paragraphs after it, each on a line.
    pub notes: String,
    /// The keys with their values, in order.
    pub entries: Vec<Entry>,
}

/// One `key: value`.
#[derive(Debug, PartialEq)]
pub struct Entry {
    /// The key, one of those that exist.
    pub key: &'static str,
    /// The pieces of the value: line and column (from 1) of each, and its text.
    pub pieces: Vec<(usize, usize, String)>,
}

impl Entry {
    /// The line of the value's first piece.
    pub fn line(&self) -> usize {
        self.pieces.first().map_or(0, |(line, _, _)| *line)
    }

    /// The value on one line.
    pub fn value(&self) -> String {
        let texts: Vec<&str> = self.pieces.iter().map(|(_, _, text)| text.as_str()).filter(|t| !t.is_empty()).collect();
        texts.join(" ")
    }

    /// The value at its own place in an otherwise blank text, so that what the parser says of it holds for the file.
    pub fn in_place(&self) -> String {
        let (mut text, mut at) = (String::new(), 1);
        for (line, column, piece) in &self.pieces {
            text.push_str(&"\n".repeat(line - at));
            text.push_str(&" ".repeat(column - 1));
            text.push_str(piece);
            at = *line;
        }
        text
    }

    /// The items of a comma-separated value.
    pub fn items(&self) -> Vec<String> {
        self.value().split(',').map(|item| item.trim().to_owned()).filter(|item| !item.is_empty()).collect()
    }
}

/// Reads the header of a model file.
pub fn parse_header(path: &str, text: &str) -> Result<Header, Diagnostic> {
    let mut header = Header::default();
    let mut key_column = None;
    let mut paragraph = 0;
    for (number, line) in (1..).zip(text.lines()) {
        let indent = line.chars().take_while(|c| c.is_whitespace()).count();
        let Some(comment) = line.trim_start().strip_prefix("--") else {
            if line.trim().is_empty() && header == Header::default() {
                continue;
            }
            break;
        };
        let body = comment.trim();
        if body.is_empty() {
            key_column = None;
            paragraph += usize::from(!header.description.is_empty());
            continue;
        }
        let column = 1 + indent + 2 + comment.chars().take_while(|c| c.is_whitespace()).count();
        match key_column {
            Some(key) if column > key => {
                if let Some(entry) = header.entries.last_mut() {
                    entry.pieces.push((number, column, body.to_owned()));
                }
            }
            _ if paragraph == 0 => append(&mut header.description, " ", body),
            _ if header.entries.is_empty() && key_and_value(body).is_none() => {
                let gap = if paragraph > 1 { "\n" } else { " " };
                append(&mut header.notes, gap, body);
                paragraph = 1;
            }
            _ => {
                let entry = entry(path, text, (number, column), body)?;
                if !matches!(entry.key, "check" | "warn") && header.entries.iter().any(|other| other.key == entry.key) {
                    let message = format!("header key `{}` is given twice", entry.key);
                    return Err(Diagnostic::at(path, text, (number, 0), message));
                }
                header.entries.push(entry);
                key_column = Some(column);
            }
        }
    }
    Ok(header)
}

fn append(text: &mut String, gap: &str, more: &str) {
    if !text.is_empty() {
        text.push_str(gap);
    }
    text.push_str(more);
}

/// A line that is one word, a colon and anything.
fn key_and_value(body: &str) -> Option<(&str, &str)> {
    let (key, value) = body.split_once(':')?;
    let key = key.trim_end();
    let is_word = !key.is_empty() && key.chars().all(|c| c.is_alphanumeric() || c == '_' || c == '-');
    is_word.then_some((key, value))
}

fn entry(path: &str, text: &str, (line, column): (usize, usize), body: &str) -> Result<Entry, Diagnostic> {
    let wrong = |message: String, hint: Option<String>| Diagnostic::at(path, text, (line, 0), message).with_hint(hint);
    let Some((key, value)) = key_and_value(body) else {
        let hint = "a long value goes on in lines indented deeper than its key; prose stands before the keys";
        return Err(wrong("not a `key: value` line".to_owned(), Some(hint.to_owned())));
    };
    let Some(known) = KEYS.into_iter().find(|known| *known == key) else {
        let hint = did_you_mean(key, KEYS).unwrap_or_else(|| format!("the keys are {}", KEYS.join(", ")));
        return Err(wrong(format!("unknown header key `{key}`"), Some(hint)));
    };
    let skipped = body.chars().count() - value.trim_start().chars().count();
    let pieces = vec![(line, column + skipped, value.trim().to_owned())];
    Ok(Entry { key: known, pieces })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(header: &Header) -> Vec<(&str, String)> {
        header.entries.iter().map(|e| (e.key, e.value())).collect()
    }

    #[test]
    fn a_header_is_a_description_and_keys() {
        let text = "\n-- Visitors active on the day,\n-- with their opens.\n--\n-- grain:  dt, visitor_id\n\
                    -- check:  opens >= 0\n-- check:  select *\n--           from x\n--         where a::int = 1\n--\n\
                    -- export: metrics\nselect 1 -- grain: no\n-- check: no\n";
        let header = parse_header("a.sql", text).expect("a header");
        assert_eq!(header.description, "Visitors active on the day, with their opens.");
        let expected = [
            ("grain", "dt, visitor_id".to_owned()),
            ("check", "opens >= 0".to_owned()),
            ("check", "select * from x where a::int = 1".to_owned()),
            ("export", "metrics".to_owned()),
        ];
        assert_eq!(values(&header), expected);
        assert_eq!(header.entries[0].items(), ["dt", "visitor_id"]);
        assert_eq!(header.entries[2].line(), 7);
        assert_eq!(header.entries[2].in_place().lines().nth(8), Some("           where a::int = 1"));
    }

    #[test]
    fn an_unknown_key_is_named_with_the_one_that_was_meant() {
        let text = "-- Visitors.\n--\n-- check: a\n-- grian: dt\nselect 1";
        let error = parse_header("sql/dws/dws_visitor_day.sql", text).expect_err("a typo");
        let expected = "sql/dws/dws_visitor_day.sql:4: unknown header key `grian`\n 4 | -- grian: dt\n hint: did you mean `grain`?";
        assert_eq!(error.to_string(), expected);
    }

    #[test]
    fn paragraphs_before_the_keys_are_notes() {
        let text = "-- Visitors.\n--\n-- The first note\n-- goes on.\n--\n-- The second.\n--\n-- grain: dt\nselect 1";
        let header = parse_header("a.sql", text).expect("a header");
        assert_eq!(header.description, "Visitors.");
        assert_eq!(header.notes, "The first note goes on.\nThe second.");
        assert_eq!(values(&header), [("grain", "dt".to_owned())]);
    }

    #[test]
    fn prose_among_the_keys_and_repeated_keys_are_mistakes() {
        let text = "-- Visitors.\n--\n-- grain: dt\n-- Some more prose here.\nselect 1";
        assert_eq!(parse_header("a.sql", text).expect_err("prose").line, 4);
        let text = "-- Visitors.\n--\n-- grain: dt\n-- grain: dt\nselect 1";
        assert_eq!(parse_header("a.sql", text).expect_err("twice").line, 4);
    }

    #[test]
    fn a_file_without_a_header_has_an_empty_one() {
        for text in ["", "select 1", "\n\n", "select 1 -- x"] {
            assert_eq!(parse_header("a.sql", text).expect("nothing wrong"), Header::default());
        }
    }
}
