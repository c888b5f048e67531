//! A TOML file as read: its values with their places, overrides laid over it, variables filled in. Knows nothing of what
//! the keys mean; turns whatever serde finds wrong into an error with file, line, column and a hint.

use std::borrow::Cow;
use std::ops::Range;

use anyhow::{Error, Result, bail};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeTable, DeValue, Deserializer};

use super::Environment;
use crate::error::{Advice, SourceError, nearest, with_hint};

/// Where a value stands: its byte range in the file, or beyond the file's end for an override.
pub(super) type Span = Range<usize>;

/// One file, parsed.
pub(super) struct Document<'t> {
    file: String,
    text: &'t str,
    root: DeTable<'t>,
    /// The names of the overrides (`--set lake.url`); the n-th has the span that begins n + 1 bytes after the text.
    overrides: Vec<String>,
}

impl<'t> Document<'t> {
    /// Parses a file's text.
    pub(super) fn parse(file: &str, text: &'t str) -> Result<Self> {
        match DeTable::parse(text) {
            Ok(root) => Ok(Self { file: file.to_owned(), text, root: root.into_inner(), overrides: Vec::new() }),
            Err(e) => {
                let span = e.span().unwrap_or(text.len()..text.len());
                Err(SourceError::new(file, text, span, format!("not valid TOML: {}", e.message())).into())
            }
        }
    }

    /// Lays one setting over the file's; `name` is what an error calls it.
    pub(super) fn set(&mut self, name: &str, key: &str, value: &str) -> Result<()> {
        self.overrides.push(name.to_owned());
        let at = self.text.len() + self.overrides.len();
        let span = at..at;
        let mut parts: Vec<&str> = key.split('.').collect();
        let last = parts.pop().unwrap_or_default();
        if last.is_empty() || parts.iter().any(|part| part.is_empty()) {
            bail!("{name}: `{key}` is not a setting; one is written like `lake.url`");
        }
        let mut table = &mut self.root;
        for part in parts {
            if !table.contains_key(part) {
                let empty = DeValue::Table(DeTable::new());
                table
                    .insert(Spanned::new(span.clone(), Cow::Owned(part.to_owned())), Spanned::new(span.clone(), empty));
            }
            table = match table.get_mut(part).map(Spanned::get_mut) {
                Some(DeValue::Table(inner)) => inner,
                _ => bail!("{name}: `{part}` is a value and has no settings of its own"),
            };
        }
        // Removed first, since an insert would keep the place of the key it replaces.
        table.remove(last);
        let value = DeValue::String(Cow::Owned(value.to_owned()));
        table.insert(Spanned::new(span.clone(), Cow::Owned(last.to_owned())), Spanned::new(span, value));
        Ok(())
    }

    /// Fills in `${NAME}` and `${NAME:-default}` in every string of the file; settings from outside stay as they are.
    pub(super) fn expand(&mut self, environment: &Environment) -> Result<()> {
        let mut failure = None;
        let end = self.text.len();
        for (_, value) in &mut self.root {
            expand_in(value, end, environment, &mut failure);
        }
        match failure {
            Some((span, error)) => self.fail(&span, error),
            None => Ok(()),
        }
    }

    /// Reads the values into `T`.
    pub(super) fn read<T: DeserializeOwned>(&self) -> Result<T> {
        let root = Spanned::new(0..self.text.len(), self.root.clone());
        T::deserialize(Deserializer::from(root)).or_else(|e| {
            let span = e.span().unwrap_or(0..0);
            let (message, hint) = explain(e.message());
            let error = Error::msg(message);
            self.fail(&span, hint.into_iter().fold(error, with_hint))
        })
    }

    /// Takes a key of the root away, as text; `None` when it is not there.
    pub(super) fn take_text(&mut self, key: &str) -> Result<Option<(Span, String)>> {
        match self.root.remove(key) {
            None => Ok(None),
            Some(value) => match value.get_ref() {
                DeValue::String(text) => Ok(Some((value.span(), text.to_string()))),
                other => self.fail(&value.span(), Error::msg(format!("expected a string, found {}", kind_of(other)))),
            },
        }
    }

    /// Where a value stands; the steps of the path are keys and, in arrays, positions.
    pub(super) fn span_of(&self, path: &[&str]) -> Span {
        let mut span = 0..0;
        let mut steps = path.iter();
        let Some(mut value) = steps.next().and_then(|key| self.root.get(*key)) else { return span };
        loop {
            span = value.span();
            let Some(step) = steps.next() else { return span };
            let next = match value.get_ref() {
                DeValue::Table(table) => table.get(*step),
                DeValue::Array(array) => step.parse::<usize>().ok().and_then(|i| array.get(i)),
                _ => None,
            };
            match next {
                Some(inner) => value = inner,
                None => return span,
            }
        }
    }

    /// Fails with an error's message and advice, at a place of the file.
    pub(super) fn fail<T>(&self, span: &Span, error: Error) -> Result<T> {
        let past_end = span.start.checked_sub(self.text.len() + 1);
        let located = match past_end.and_then(|i| self.overrides.get(i)) {
            Some(name) => Error::msg(format!("{name}: {error}")),
            None => SourceError::new(&self.file, self.text, span.clone(), error.to_string()).into(),
        };
        Err(crate::error::hints(&error).into_iter().fold(located, with_hint))
    }
}

fn expand_in(
    value: &mut Spanned<DeValue<'_>>,
    end: usize,
    environment: &Environment,
    failure: &mut Option<(Span, Error)>,
) {
    let span = value.span();
    match value.get_mut() {
        DeValue::Array(array) => array.iter_mut().for_each(|v| expand_in(v, end, environment, failure)),
        DeValue::Table(table) => table.into_iter().for_each(|(_, v)| expand_in(v, end, environment, failure)),
        DeValue::String(text) if span.start <= end && text.contains("${") => match filled_in(text, environment) {
            Ok(filled) => *text = Cow::Owned(filled),
            Err(e) => drop(failure.get_or_insert((span, e))),
        },
        _ => {}
    }
}

/// Fills in the variables of one text; `$${` is a literal `${`.
pub(super) fn filled_in(text: &str, environment: &Environment) -> Result<String> {
    let mut filled = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        if let Some(before) = rest[..at].strip_suffix('$') {
            filled.push_str(before);
            filled.push_str("${");
            rest = &rest[at + 2..];
            continue;
        }
        filled.push_str(&rest[..at]);
        let Some(length) = rest[at..].find('}') else {
            return Err(Error::msg("`${` without its `}`")).hint("write `$${` for the characters themselves");
        };
        let inside = &rest[at + 2..at + length];
        let (name, default) = inside.split_once(":-").map_or((inside, None), |(name, default)| (name, Some(default)));
        let is_name = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        if !is_name {
            bail!("`{name}` is not the name of an environment variable");
        }
        // As in the shell, `:-` also replaces a variable that is empty.
        match (environment.get(name), default) {
            (None | Some(""), Some(default)) => filled.push_str(default),
            (Some(value), _) => filled.push_str(value),
            (None, None) => {
                let error = Error::msg(format!("the environment variable `{name}` is not set"));
                return Err(error).hint(format!("set it, or write `${{{name}:-default}}`"));
            }
        }
        rest = &rest[at + length + 1..];
    }
    Ok(filled + rest)
}

fn kind_of(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a number",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "an array",
        DeValue::Table(_) => "a table",
    }
}

/// Puts serde's words into those of a person who writes TOML, and never repeats a value, which may be a secret.
fn explain(message: &str) -> (String, Option<String>) {
    let quoted = |text: &str| -> Vec<String> { text.split('`').skip(1).step_by(2).map(str::to_owned).collect() };
    let names = quoted(message);
    let advise = |word: &str, known: &[String]| match nearest(word, known.iter().map(String::as_str)) {
        Some(near) => Some(format!("did you mean `{near}`?")),
        None if known.is_empty() => None,
        None => Some(format!("known here: {}", known.join(", "))),
    };
    match (message, names.as_slice()) {
        (m, [key, known @ ..]) if m.starts_with("unknown field") => {
            (format!("unknown key `{key}`"), advise(key, known))
        }
        (m, [word, known @ ..]) if m.starts_with("unknown variant") => {
            (format!("unknown value `{word}`"), advise(word, known))
        }
        (m, [key, ..]) if m.starts_with("missing field") => (format!("the key `{key}` is missing"), None),
        (m, _) if m.starts_with("invalid type: ") || m.starts_with("invalid value: ") => {
            match m.rsplit_once(", expected ") {
                Some((found, expected)) => (format!("expected {}, found {}", wanted(expected), given(found)), None),
                None => (m.to_owned(), None),
            }
        }
        ("wanted string or table", _) => ("expected a string".to_owned(), None),
        (m, _) => (m.to_owned(), None),
    }
}

fn wanted(expected: &str) -> &str {
    match expected {
        "usize" | "u64" | "u32" => "an integer of 0 or more",
        "i64" => "an integer",
        "i32" => "an integer of 32 bits",
        "a boolean" => "true or false",
        "a sequence" => "an array",
        "a map" => "a table",
        "a TOML datetime" => "a string",
        other if other.starts_with("struct ") => "a table",
        other => other,
    }
}

fn given(found: &str) -> &str {
    let found = found.trim_start_matches("invalid type: ").trim_start_matches("invalid value: ");
    match found.split(' ').next().unwrap_or_default() {
        "string" => "a string",
        "integer" => found.trim_start_matches("integer ").trim_matches('`'),
        "floating" => "a number with a fraction",
        "boolean" => "true or false",
        "sequence" => "an array",
        "map" => "a table",
        _ => found,
    }
}

/// A setting as text: a string, or an integer, a date or a truth value written without quotes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Text(pub(super) String);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Text;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a string")
            }
            fn visit_str<E>(self, text: &str) -> Result<Text, E> {
                Ok(Text(text.to_owned()))
            }
            fn visit_i64<E>(self, number: i64) -> Result<Text, E> {
                Ok(Text(number.to_string()))
            }
            fn visit_bool<E>(self, yes: bool) -> Result<Text, E> {
                Ok(Text(yes.to_string()))
            }
            // TOML's dates come as a map with one entry of toml's own.
            fn visit_map<A: serde::de::MapAccess<'de>>(self, map: A) -> Result<Text, A::Error> {
                let date = toml::value::Datetime::deserialize(serde::de::value::MapAccessDeserializer::new(map))?;
                Ok(Text(date.to_string()))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}
