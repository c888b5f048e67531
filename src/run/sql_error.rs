//! What is wrong with an SQL text, in the words of the warehouse: the engine's errors with their place in the text and
//! with the name that was probably meant, and without the engine's own names for catalogs, types and phases.

use std::collections::BTreeSet;
use std::ops::Range;

use anyhow::{Error, anyhow};
use datafusion::common::{Column, SchemaError, Span};
use datafusion::error::DataFusionError;

use crate::engine::{Engine, in_sql_words};
use crate::error::{SourceError, nearest, with_hint};
use crate::model::Layer;

/// How many columns a hint lists when none is like the one that was written.
const LISTED_COLUMNS: usize = 20;

/// What the engine puts before its messages, and what means nothing to who wrote the SQL.
const PREFIXES: [&str; 8] = [
    "Error during planning: ",
    "This feature is not implemented: ",
    "Internal error: ",
    "Execution error: ",
    "Schema error: ",
    "Arrow error: ",
    "Compute error: ",
    "Cast error: ",
];

/// The names that an SQL text may use.
#[derive(Default)]
pub struct Names {
    /// The tables that can be read.
    pub tables: Vec<String>,
    /// The tables that the project declares, built or not.
    pub declared: Vec<String>,
    /// The functions.
    pub functions: Vec<String>,
}

impl Names {
    /// The functions alone: what a model reads is known before the engine sees it.
    pub fn of_functions(engine: &Engine) -> Self {
        Self { functions: engine.functions(), ..Self::default() }
    }
}

/// What is wrong and what to do about it.
#[derive(Debug, PartialEq)]
pub struct Mistake {
    message: String,
    hint: Option<String>,
    /// The word of the text that it is about, where the engine does not say the place.
    word: Option<String>,
}

impl Mistake {
    fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None, word: None }
    }

    fn with_hint(self, hint: Option<String>) -> Self {
        Self { hint, ..self }
    }

    fn about(self, word: &str) -> Self {
        Self { word: Some(word.to_owned()), ..self }
    }

    /// The error at the word that it is about.
    pub fn at_its_word(self, path: &str, sql: &str) -> Error {
        let range = self.word.as_deref().and_then(|word| word_in(sql, word));
        self.at(path, sql, range)
    }

    fn at(self, path: &str, sql: &str, range: Option<Range<usize>>) -> Error {
        let error = match range {
            Some(range) => SourceError::new(path, sql, range, self.message).into(),
            None => anyhow!(self.message),
        };
        match self.hint {
            Some(hint) => with_hint(error, hint),
            None => error,
        }
    }
}

/// The error in words with its place in the text; as it is when it is not about the text.
pub fn located(error: Error, path: &str, sql: &str, names: &Names) -> Error {
    let Some(cause) = error.chain().find_map(|cause| cause.downcast_ref::<DataFusionError>()) else { return error };
    let Some(mistake) = mistake(cause.find_root(), names) else { return error };
    match cause.diagnostic().and_then(|d| d.span).and_then(|span| range_of(sql, span)) {
        Some(range) => mistake.at(path, sql, Some(range)),
        None => mistake.at_its_word(path, sql),
    }
}

/// What an error says about the SQL; nothing when it is about storage, memory or the engine itself.
fn mistake(root: &DataFusionError, names: &Names) -> Option<Mistake> {
    match root {
        DataFusionError::SchemaError(error, _) => Some(of_schema(error)),
        DataFusionError::Plan(text) => Some(of_plan(text, names)),
        DataFusionError::NotImplemented(text) | DataFusionError::Execution(text) => Some(other(text)),
        DataFusionError::ArrowError(error, _) => Some(other(&error.to_string())),
        DataFusionError::SQL(error, _) => Some(other(&error.to_string())),
        _ => None,
    }
}

fn of_schema(error: &SchemaError) -> Mistake {
    match error {
        SchemaError::FieldNotFound { field, valid_fields } => no_column(field, valid_fields),
        SchemaError::AmbiguousReference { field } => {
            let name = field.name();
            let hint = format!("name the table too, as in `t.{name}`");
            Mistake::new(format!("`{name}` is a column of several tables here")).with_hint(Some(hint))
        }
        SchemaError::DuplicateQualifiedField { name, .. } | SchemaError::DuplicateUnqualifiedField { name } => {
            Mistake::new(format!("two columns are called `{name}`"))
        }
    }
}

fn no_column(field: &Column, valid: &[Column]) -> Mistake {
    let table_of = |column: &Column| column.relation.as_ref().map(|relation| relation.table().to_owned());
    let tables: BTreeSet<String> = valid.iter().filter_map(table_of).collect();
    if let Some(table) = table_of(field).filter(|table| !tables.contains(table) && !tables.is_empty()) {
        let here = tables.iter().map(|table| format!("`{table}`")).collect::<Vec<_>>().join(", ");
        return Mistake::new(format!("no table is called `{table}` here")).with_hint(Some(format!("there is {here}")));
    }
    let wanted = table_of(field);
    let eligible = valid.iter().filter(|column| wanted.is_none() || table_of(column) == wanted);
    let columns: Vec<&str> = eligible.map(|column| column.name.as_str()).collect();
    let near = |name: &str| nearest(name, columns.iter().copied());
    let hint = match near(field.name()).or_else(|| near(&field.name().to_lowercase())) {
        Some(near) => Some(format!("did you mean `{near}`?")),
        None if (1..=LISTED_COLUMNS).contains(&columns.len()) => Some(format!("there are {}", columns.join(", "))),
        None => None,
    };
    let name = field.flat_name();
    Mistake::new(format!("there is no column `{name}`")).with_hint(hint).about(&name)
}

fn of_plan(text: &str, names: &Names) -> Mistake {
    if let Some(table) = between(text, "table '", "' not found") {
        return no_table(table, names);
    }
    if let Some(function) = between(text, "Invalid function '", "'") {
        let hint = nearest(function, names.functions.iter().map(String::as_str));
        let hint = hint.map(|near| format!("did you mean `{near}`?"));
        return Mistake::new(format!("there is no function `{function}`")).with_hint(hint).about(function);
    }
    if let Some(call) = between(text, "name and argument types '", "'") {
        let function = call.split('(').next().unwrap_or_default();
        let message = format!("`{function}` does not take these: {}", in_sql_words(call));
        return Mistake::new(message).about(function);
    }
    if let Some((_, column)) = text.split_once("column \"").filter(|_| text.contains("must appear in the GROUP BY")) {
        let column = column.split('"').next().unwrap_or_default();
        let hint = format!("add it to GROUP BY, or take max({column})");
        let message = format!("`{column}` is neither grouped by nor inside an aggregate function");
        return Mistake::new(message).with_hint(Some(hint));
    }
    if ["DDL", "DML", "Statement"].iter().any(|kind| text.starts_with(&format!("{kind} not supported"))) {
        return Mistake::new("a query reads, and this would change something");
    }
    other(text)
}

/// What the engine says, about the value in quotes when it names one.
fn other(text: &str) -> Mistake {
    let mistake = Mistake::new(cleaned(text));
    match between(text, "'", "'") {
        Some(value) => mistake.about(&format!("'{value}'")),
        None => mistake,
    }
}

/// That a table cannot be read, and why: it is not built yet, or it is called otherwise.
pub fn no_table(table: &str, names: &Names) -> Mistake {
    let shown = table.strip_prefix("strata.").unwrap_or(table);
    let shown = shown.strip_prefix("all.").unwrap_or(shown);
    let (layer, name) = shown.rsplit_once('.').map_or((None, shown), |(layer, name)| (Some(layer), name));
    let known = |list: &[String]| list.iter().any(|known| known == name);
    let right_layer = Layer::of_table(name).is_none_or(|of| layer.is_none_or(|layer| layer == of.name()));
    if right_layer && known(&names.declared) && !known(&names.tables) {
        let nothing = names.tables.iter().all(|table| Layer::of_table(table).is_none());
        let hint = if nothing { "the lake is empty: `strata run` fills it" } else { "`strata run` builds it" };
        return Mistake::new(format!("`{name}` is not built yet")).with_hint(Some(hint.to_owned())).about(shown);
    }
    let all = || names.tables.iter().chain(&names.declared).map(String::as_str);
    let near = nearest(name, all()).or_else(|| {
        // `gmv` is meant to be `app_gmv`.
        let ends = |table: &&str| table.split_once('_').is_some_and(|(_, rest)| rest == name);
        all().filter(ends).max_by_key(|table| Layer::of_table(table))
    });
    let hint = match near {
        Some(near) => format!("did you mean `{near}`?"),
        None => "`strata query \"show tables\"` lists them".to_owned(),
    };
    Mistake::new(format!("there is no table `{shown}`")).with_hint(Some(hint)).about(shown)
}

/// The engine's message on one line, without its phases and in SQL's words for types.
fn cleaned(text: &str) -> String {
    let mut text = text.lines().next().unwrap_or_default().trim();
    while let Some(rest) = PREFIXES.iter().find_map(|prefix| text.strip_prefix(prefix)) {
        text = rest;
    }
    // The engine's view of the syntax is for who works on the engine.
    if text.contains("Span(Location") {
        let before = text.split('{').next().unwrap_or_default();
        text = before.trim_end().rsplit_once(' ').map_or(before, |(words, _)| words);
    }
    in_sql_words(&text.replace("strata.all.", "").replace("strata.", ""))
}

fn between<'a>(text: &'a str, before: &str, after: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(before)?;
    rest.split_once(after).map(|(inside, _)| inside)
}

/// Where a word first stands by itself in a text, whatever its case.
fn word_in(text: &str, word: &str) -> Option<Range<usize>> {
    let (lower, word) = (text.to_ascii_lowercase(), word.to_ascii_lowercase());
    let part = |c: char| c.is_alphanumeric() || c == '_';
    let alone = |at: &usize| !lower[..*at].ends_with(part) && !lower[at + word.len()..].starts_with(part);
    let mut found = lower.match_indices(&word).map(|(at, _)| at).filter(alone);
    found.next().map(|at| at..at + word.len())
}

fn range_of(text: &str, span: Span) -> Option<Range<usize>> {
    let byte = |line: u64, column: u64| byte_of(text, (usize::try_from(line).ok()?, usize::try_from(column).ok()?));
    let start = byte(span.start.line, span.start.column)?;
    let end = byte(span.end.line, span.end.column).filter(|end| *end > start);
    Some(start..end.unwrap_or(start + 1))
}

/// The byte at a line and column, both from 1; the end of a line is a place too.
pub fn byte_of(text: &str, (line, column): (usize, usize)) -> Option<usize> {
    let (line, column) = (line.checked_sub(1)?, column.checked_sub(1)?);
    let before: usize = text.split_inclusive('\n').take(line).map(str::len).sum();
    let rest = text.get(before..).filter(|_| line < text.lines().count())?;
    Some(before + rest.char_indices().nth(column).map_or(rest.len(), |(at, _)| at))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Names {
        let list = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        Names {
            tables: list(&["app_gmv", "dwd_order", "seed_status"]),
            declared: list(&["app_gmv", "app_open", "dwd_order"]),
            functions: list(&["sum", "ratio"]),
        }
    }

    #[test]
    fn places_count_characters_and_not_bytes() {
        assert_eq!(byte_of("ab\ncé x\n", (2, 4)), Some(7));
        assert_eq!(byte_of("ab", (1, 3)), Some(2));
        assert_eq!(byte_of("ab\n", (9, 1)), None);
        assert_eq!(word_in("select summe(a), SUM(b)", "sum"), Some(17..20));
    }

    #[test]
    fn a_table_is_unknown_misspelled_elsewhere_or_not_built() {
        for (table, message, hint) in [
            ("strata.all.app_gmw", "there is no table `app_gmw`", "did you mean `app_gmv`?"),
            ("strata.all.gmv", "there is no table `gmv`", "did you mean `app_gmv`?"),
            ("strata.dwd.app_gmv", "there is no table `dwd.app_gmv`", "did you mean `app_gmv`?"),
            ("strata.all.app_open", "`app_open` is not built yet", "`strata run` builds it"),
            ("nonsense", "there is no table `nonsense`", "`strata query \"show tables\"` lists them"),
        ] {
            let mistake = no_table(table, &names());
            assert_eq!((mistake.message.as_str(), mistake.hint.as_deref()), (message, Some(hint)));
        }
        let empty = Names { tables: Vec::new(), ..names() };
        assert_eq!(no_table("app_gmv", &empty).hint.as_deref(), Some("the lake is empty: `strata run` fills it"));
    }

    #[test]
    fn the_engines_messages_lose_its_own_words() {
        let said = |text: &str| of_plan(text, &names()).message;
        assert_eq!(
            said("Error during planning: cannot add Decimal128(18, 2) + Utf8"),
            "cannot add DECIMAL(18, 2) + VARCHAR"
        );
        let syntax = "Substring without for/from is not valid Substring { expr: Ident { span: Span(Location(1,15)";
        assert_eq!(said(syntax), "Substring without for/from is not valid");
        let call = "Internal error: x. No function matches the given name and argument types 'sum(Utf8, Int64)'. You";
        assert_eq!(said(call), "`sum` does not take these: sum(VARCHAR, BIGINT)");
        assert_eq!(of_plan("Invalid function 'sume'.", &names()).hint.as_deref(), Some("did you mean `sum`?"));
    }

    #[test]
    fn a_column_is_looked_for_in_the_table_that_was_named() {
        let column = |text: &str| Column::from_qualified_name(text);
        let valid = [column("a.gmv"), column("b.gmw")];
        let near = |text: &str| no_column(&column(text), &valid).hint.unwrap_or_default();
        assert_eq!(near("a.gmx"), "did you mean `gmv`?");
        assert_eq!(near("a.\"GMV\""), "did you mean `gmv`?");
        assert_eq!(near("z.gmv"), "there is `a`, `b`");
        assert_eq!(near("b.orders"), "there are gmw");
    }
}
