//! What a source's file must satisfy beyond its shape: names that exist, are unique and are not taken by the warehouse.

use std::collections::BTreeSet;

use anyhow::{Error, Result};

use super::document::Document;
use super::source::{
    ColumnType, Delivery, LogField, LogLimits, LogSource, LogType, Mask, SourceColumn, SourceTable, TableSource,
};
use crate::error::{Advice, nearest};

/// Columns that the warehouse adds to an events table.
const LOG_COLUMNS: [&str; 7] = ["dt", "extra", "event_hash", "arrival_dt", "file", "byte_offset", "element"];
/// Columns that the warehouse adds to a table of an order database.
const TABLE_COLUMNS: [&str; 4] = ["dt", "arrival_dt", "file", "row_number"];

/// Tables of ODS that the warehouse keeps itself, without their layer.
const OWN_TABLES: [&str; 2] = ["reject", "deleted"];

/// Checks a log source.
pub(super) fn log(document: &Document<'_>, log: &LogSource) -> Result<()> {
    let at = |path: &[&str], message: String| document.fail::<()>(&document.span_of(path), Error::msg(message));
    if log.table.strip_prefix("ods_").is_some_and(|name| OWN_TABLES.contains(&name)) {
        return at(&["table"], format!("`{}` is a table of the warehouse's own", log.table));
    }
    if !log.table.starts_with("ods_") || !is_name(&log.table) {
        return at(&["table"], format!("`{}` is not the name of an ODS table", log.table))
            .hint("it begins with `ods_` and has only small letters, digits and `_`");
    }
    let mut seen = BTreeSet::new();
    for (i, field) in log.fields.iter().enumerate() {
        let path = ["field", &i.to_string(), "name"];
        if let Some(problem) = name_problem(&field.name, &LOG_COLUMNS, &mut seen, "field") {
            return at(&path, problem);
        }
        if field.name == log.event.envelope {
            return at(&path, format!("`{}` is the envelope and cannot be a field", field.name));
        }
        if let Some(problem) = field_problem(field) {
            return at(&["field", &i.to_string()], problem);
        }
    }
    event(document, log)?;
    match limits_problem(&log.limits) {
        Some((key, problem)) => at(&["limits", key], problem),
        None => Ok(()),
    }
}

fn event(document: &Document<'_>, log: &LogSource) -> Result<()> {
    let rules = &log.event;
    let mut wanted = vec![
        (vec!["id"], &rules.id, None),
        (vec!["kind"], &rules.kind, Some("an integer")),
        (vec!["time"], &rules.time, Some("i64")),
    ];
    let positions: Vec<String> = (0..rules.visitor.len()).map(|i| i.to_string()).collect();
    wanted.extend(rules.visitor.iter().zip(&positions).map(|(name, i)| (vec!["visitor", i.as_str()], name, None)));
    for (mut path, name, kind) in wanted {
        path.insert(0, "event");
        let span = document.span_of(&path);
        let Some(field) = log.fields.iter().find(|f| f.name == *name) else {
            let known: Vec<&str> = log.fields.iter().map(|f| f.name.as_str()).collect();
            return document.fail(&span, undeclared("field", name, &known));
        };
        let fits = match kind {
            None => true,
            Some("i64") => field.kind == LogType::I64,
            Some(_) => field.kind != LogType::String,
        };
        if !fits {
            return document
                .fail(&span, Error::msg(format!("the field `{name}` must be {}", kind.unwrap_or_default())));
        }
    }
    if rules.kinds.is_empty() {
        return document.fail(&document.span_of(&["event", "kinds"]), Error::msg("there are no kinds of events"));
    }
    if rules.visitor.is_empty() {
        return document.fail(&document.span_of(&["event", "visitor"]), Error::msg("no field tells the visitor"));
    }
    Ok(())
}

fn field_problem(field: &LogField) -> Option<String> {
    let LogField { name, kind, .. } = field;
    match kind {
        LogType::String if field.zero_is_null => Some(format!("`zero_is_null` is for integers; `{name}` is a string")),
        LogType::String | LogType::I32 if field.seconds_to_ms => {
            Some(format!("`seconds_to_ms` is for times of type i64; `{name}` is not one"))
        }
        LogType::I32 | LogType::I64 if field.trim => Some(format!("`trim` is for strings; `{name}` is an integer")),
        _ => None,
    }
}

fn limits_problem(limits: &LogLimits) -> Option<(&'static str, String)> {
    let between = |key, value: i64, least: i64, most: i64| {
        let message = format!("`{key}` must be between {least} and {most}");
        (value < least || value > most).then_some((key, message))
    };
    let size = |value: usize| i64::try_from(value).unwrap_or(i64::MAX);
    between("line_bytes", size(limits.line_bytes), 1, 1 << 28)
        .or_else(|| between("reject_bytes", size(limits.reject_bytes), 1, 1 << 28))
        .or_else(|| between("string_chars", size(limits.string_chars), 1, 1 << 20))
        .or_else(|| between("json_depth", size(limits.json_depth), 1, 128))
        .or_else(|| between("days_late", limits.days_late.into(), 0, 36_500))
        .or_else(|| between("days_early", limits.days_early.into(), 0, 36_500))
}

/// Checks a source of tables.
pub(super) fn tables(document: &Document<'_>, source: &TableSource) -> Result<()> {
    if !is_name(&source.first_day) {
        let message = format!("`{}` is not the name of a table", source.first_day);
        return document.fail(&document.span_of(&["first_day"]), Error::msg(message));
    }
    let mut seen = BTreeSet::new();
    for (i, table) in source.tables.iter().enumerate() {
        let i = i.to_string();
        if let Some(problem) = name_problem(&table.name, &OWN_TABLES, &mut seen, "table") {
            return document.fail(&document.span_of(&["table", &i, "name"]), Error::msg(problem));
        }
        columns(document, table, &i)?;
        keys(document, table, &i)?;
        day(document, table, &i)?;
        database(document, table, &i)?;
    }
    Ok(())
}

fn columns(document: &Document<'_>, table: &SourceTable, i: &str) -> Result<()> {
    let mut seen = BTreeSet::new();
    for (j, column) in table.columns.iter().enumerate() {
        let j = j.to_string();
        let fail = |key: &str, message: String| {
            let span = document.span_of(&["table", i, "column", &j, key]);
            document.fail::<()>(&span, Error::msg(format!("{message} (table `{}`)", table.name)))
        };
        if let Some(problem) = name_problem(&column.name, &TABLE_COLUMNS, &mut seen, "column") {
            return fail("name", problem);
        }
        let masked = column.mask.is_some_and(|mask| mask != Mask::None);
        if masked && !matches!(column.kind, ColumnType::String | ColumnType::I64) {
            return fail("mask", format!("only strings and i64 are masked; `{}` is neither", column.name));
        }
        if masked && table.key.contains(&column.name) {
            return fail("mask", format!("`{}` belongs to the key and cannot be masked", column.name));
        }
        if column.from.as_ref().is_some_and(|from| from.is_empty() || from.chars().count() > 64) {
            return fail("from", format!("`from` of `{}` is the name of a column", column.name));
        }
        if column.optional && table.key.contains(&column.name) {
            return fail("optional", format!("`{}` belongs to the key and cannot be optional", column.name));
        }
    }
    Ok(())
}

fn keys(document: &Document<'_>, table: &SourceTable, i: &str) -> Result<()> {
    let span = document.span_of(&["table", i, "key"]);
    if table.key.is_empty() {
        return document.fail(&span, Error::msg(format!("the table `{}` has no key", table.name)));
    }
    let mut seen = BTreeSet::new();
    for (j, name) in table.key.iter().enumerate() {
        let span = document.span_of(&["table", i, "key", &j.to_string()]);
        if !table.columns.iter().any(|c| c.name == *name) {
            let known: Vec<&str> = table.columns.iter().map(|c| c.name.as_str()).collect();
            return document.fail(&span, undeclared("column", name, &known));
        }
        if !seen.insert(name) {
            return document.fail(&span, Error::msg(format!("the column `{name}` is in the key twice")));
        }
    }
    Ok(())
}

fn day(document: &Document<'_>, table: &SourceTable, i: &str) -> Result<()> {
    let span = document.span_of(&["table", i, "day"]);
    let name = &table.name;
    match (table.delivery, &table.day) {
        (Delivery::Snapshot, None) => Ok(()),
        (Delivery::Snapshot, Some(_)) => {
            let error = Error::msg(format!("the table `{name}` is a snapshot: its day is its folder's"));
            document.fail(&span, error).hint("remove `day`, or make the table's kind `changes`")
        }
        (Delivery::Changes, None) => {
            let error = Error::msg(format!("the table `{name}` comes as changes and has no `day`"));
            document.fail(&span, error).hint("name the datetime column whose day a row belongs to")
        }
        (Delivery::Changes, Some(day)) => match table.columns.iter().find(|c| c.name == *day) {
            None => {
                let known: Vec<&str> = table.columns.iter().map(|c| c.name.as_str()).collect();
                document.fail(&span, undeclared("column", day, &known))
            }
            Some(column) if column.kind != ColumnType::Datetime => {
                document.fail(&span, Error::msg(format!("the column `{day}` is not a datetime")))
            }
            Some(_) => Ok(()),
        },
    }
}

/// What a database is told: expressions are its business, but some things are wrong everywhere.
fn database(document: &Document<'_>, table: &SourceTable, i: &str) -> Result<()> {
    let name = &table.name;
    let fail =
        |key: &str, message: String| document.fail::<()>(&document.span_of(&["table", i, key]), Error::msg(message));
    if let Some(select) = &table.select {
        let word = select.trim_start().get(..6).unwrap_or_default().to_ascii_lowercase();
        if word != "select" && !word.starts_with("with") {
            return fail("select", format!("the `select` of `{name}` is no SELECT"));
        }
        if select.contains(';') {
            return fail("select", format!("the `select` of `{name}` is one SELECT, without `;`"));
        }
    }
    match &table.changed {
        Some(_) if table.delivery == Delivery::Snapshot => {
            return fail("changed", format!("the table `{name}` is a snapshot: it is taken whole"))
                .hint("remove `changed`, or make the table's kind `changes`");
        }
        Some(text) if text.trim().is_empty() || text.contains(';') => {
            return fail("changed", format!("the `changed` of `{name}` is an expression of SQL"));
        }
        _ => {}
    }
    let is_declared = |name: &&String| table.columns.iter().any(|c| c.name.eq_ignore_ascii_case(name));
    if let Some(column) = table.dropped.iter().find(is_declared) {
        return fail("dropped", format!("the column `{column}` of `{name}` is declared, and cannot be `dropped`"))
            .hint("`dropped` is for columns that nobody declares; `optional = true` lets a table lack one that is declared");
    }
    deletes(document, table, i)?;
    match &table.split {
        Some(split) if !table.columns.iter().any(|c| c.name == *split) => {
            let known: Vec<&str> = table.columns.iter().map(|c| c.name.as_str()).collect();
            document.fail(&document.span_of(&["table", i, "split"]), undeclared("column", split, &known))
        }
        _ => Ok(()),
    }
}

fn deletes(document: &Document<'_>, table: &SourceTable, i: &str) -> Result<()> {
    let fail = |key: &str, message: String| document.fail(&document.span_of(&["table", i, key]), Error::msg(message));
    let name = &table.name;
    if table.deletes && table.delivery == Delivery::Snapshot {
        return fail("deletes", format!("the table `{name}` is a snapshot: what is deleted is not in the next one"))
            .hint("remove `deletes`");
    }
    let places = [ColumnType::I32, ColumnType::I64, ColumnType::Datetime];
    let is_placed = |c: &SourceColumn| table.key.contains(&c.name) && places.contains(&c.kind);
    if table.deletes && !table.columns.iter().any(is_placed) {
        let message = format!("deleted rows are found by ranges of the key, and that of `{name}` has only text");
        return fail("deletes", message).hint("remove `deletes`");
    }
    match table.deletes_at_most {
        Some(_) if !table.deletes => {
            fail("deletes_at_most", format!("the table `{name}` does not look for deleted rows"))
                .hint("write `deletes = true`, or remove it")
        }
        Some(share) if !(0.0..=1.0).contains(&share) => {
            fail("deletes_at_most", format!("the share of `{name}` must be between 0 and 1"))
        }
        _ => Ok(()),
    }
}

fn undeclared(what: &str, name: &str, known: &[&str]) -> Error {
    let error = Error::msg(format!("no {what} `{name}` is declared"));
    match nearest(name, known.iter().copied()) {
        Some(near) => crate::error::with_hint(error, format!("did you mean `{near}`?")),
        None => error,
    }
}

fn name_problem<'a>(name: &'a str, taken: &[&str], seen: &mut BTreeSet<&'a str>, what: &str) -> Option<String> {
    if !is_column(name) {
        return Some(format!("`{name}` is not a name for a {what}: only letters, digits and `_`"));
    }
    if taken.contains(&name) {
        return Some(format!("the {what} `{name}` clashes with one of the warehouse's own"));
    }
    (!seen.insert(name)).then(|| format!("the {what} `{name}` is declared twice"))
}

fn is_name(name: &str) -> bool {
    is_column(name) && !name.contains(|c: char| c.is_ascii_uppercase())
}

fn is_column(name: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '_';
    name.len() <= 64 && name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') && name.chars().all(fits)
}
