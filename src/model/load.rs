//! Loads one model from its file's text: the header, the one SELECT, and what can be told of it alone.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::Arc;

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Expr, Query, Spanned, Statement, Value, ValueWithSpan, Visit, Visitor,
};
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan, Whitespace};

use super::columns::columns;
use super::date_parse::DAY_PARAMETER;
use super::diagnostic::{Diagnostic, did_you_mean};
use super::facts::snapshot;
use super::header::{Entry, Header, parse_header};
use super::meaning::Form;
use super::range::add;
use super::reads::{Catalog, Reads, reads};
use super::relation::HasDt;
use super::sql::{
    SqlError, ident_text, parse_expression, parse_statements, parse_tokens, place, table_place, table_text, tokens,
    words,
};
use super::{
    Check, CheckKind, ColumnDoc, Columns, DayRange, FIRST_LOADED_DAY, LATEST_SNAPSHOT, Layer, Model, Read, Severity,
};

/// What gives another result at another time or by chance; a rebuilt partition would not be the same.
const UNSTABLE: [&str; 15] = [
    "now",
    "today",
    "current_date",
    "current_time",
    "current_timestamp",
    "localtime",
    "localtimestamp",
    "random",
    "rand",
    "uuid",
    "approx_distinct",
    "approx_median",
    "approx_percentile_cont",
    "approx_percentile_cont_with_weight",
    "approx_top_k",
];

/// Loads one model from the text of its file. Every table it reads is taken to have partitions, seeds excepted;
/// `Models::load` knows better.
pub fn load_model(path: &str, text: &str) -> Result<Model, Diagnostic> {
    let mut model = load_alone(path, text)?;
    let guess = |table: &str| if table.starts_with("seed_") { HasDt::Maybe } else { HasDt::Yes };
    derive_reads(&mut model, &guess)?;
    Ok(model)
}

/// Loads all of a model that can be told from its file alone: not what it reads.
pub(super) fn load_alone(path: &str, text: &str) -> Result<Model, Diagnostic> {
    let whole_file = |message: String| Diagnostic::at(path, text, (0, 0), message);
    let (layer, name) = layer_and_name(path).map_err(whole_file)?;
    let header = parse_header(path, text)?;
    // Cut into tokens once: a project has many models, and every command loads them.
    let tokens = tokens(text).map_err(|error| diagnose(path, text, error))?;
    let statements = parse_tokens(&tokens, text);
    let ast = statements.and_then(the_query).map_err(|error| diagnose(path, text, error))?;
    let columns = columns(&ast, &tokens).map_err(|error| diagnose(path, text, error))?;
    let uses_day = inspect(ast.as_ref()).map_err(|error| diagnose(path, text, error))?.uses_day;
    if header.description.is_empty() {
        let hint = "begin the file with a comment, for instance `-- Visitors active on the day.`";
        let wrong = Diagnostic::at(path, text, (1, 0), "the header does not say what a row is");
        return Err(wrong.with_hint(Some(hint.to_owned())));
    }
    let grain = grain(path, text, &header, &columns)?;
    let mut checks = Vec::new();
    for entry in &header.entries {
        let severity = match entry.key {
            "check" => Severity::Fail,
            "warn" => Severity::Warn,
            _ => continue,
        };
        checks.push(check(path, text, entry, severity, &columns)?);
    }
    if uses_day && !columns.iter().any(|column| column.name == "dt") {
        let wrong = whole_file("the model is made by the day, but has no column `dt`".to_owned());
        return Err(wrong.with_hint(Some("add `$dt as dt` to the last SELECT".to_owned())));
    }
    let export = listed(&header, "export");
    if let Some(entry) = header.entries.iter().find(|entry| entry.key == "export" && layer != Layer::App) {
        let message = format!("only models of the app layer are exported, and this is {layer}");
        return Err(Diagnostic::at(path, text, (entry.line(), 0), message));
    }
    let tags = listed(&header, "tags");
    let mut named: BTreeSet<String> = words(&tokens).collect();
    for check in checks.iter().filter(|check| matches!(check.kind, CheckKind::Query(_))) {
        named.extend(words(&super::sql::tokens(&check.text).map_err(|error| diagnose(path, text, error))?));
    }
    Ok(Model {
        words: Arc::new(named),
        meaning: Form::new(&tokens, &grain, &checks).meaning(),
        name,
        layer,
        path: path.to_owned(),
        description: header.description,
        notes: header.notes,
        grain,
        checks,
        export,
        tags,
        sql: text.to_owned(),
        ast,
        uses_day,
        reads: Vec::new(),
        dependencies: Vec::new(),
        columns,
    })
}

/// Derives what a model and its checks read, by what is known of the tables.
pub(super) fn derive_reads(model: &mut Model, catalog: Catalog<'_>) -> Result<(), Diagnostic> {
    let missed = |name: String, line: usize| {
        let message = format!("cannot follow which days of `{name}` are read");
        let hint = "name tables only in FROM and JOIN of a SELECT";
        Diagnostic::at(&model.path, &model.sql, (line, 0), message).with_hint(Some(hint.to_owned()))
    };
    let listed = |Reads { ranges, starred }: Reads| {
        let columns = |table: &String| match starred.contains(table) {
            true => Columns::All,
            false => Columns::Named(Arc::clone(&model.words)),
        };
        let read = |(table, ranges)| Read { columns: columns(&table), table, ranges };
        ranges.into_iter().map(read).collect()
    };
    let of_query = reads(&model.ast, catalog).map_err(|name| missed(name, 0))?;
    let mut dependencies = of_query.clone();
    let mut checks = model.checks.clone();
    for check in &mut checks {
        let CheckKind::Query(query) = &check.kind else { continue };
        let mut found = reads(query, catalog).map_err(|name| missed(name, check.line))?;
        found.ranges.remove(&model.name);
        if !model.uses_day && inspect(query.as_ref()).is_ok_and(|words| words.uses_day) {
            // It runs for every day of a table that is made in one go.
            found.ranges.values_mut().for_each(|union| *union = vec![DayRange::All]);
        }
        for (table, union) in &found.ranges {
            let all = dependencies.ranges.entry(table.clone()).or_default();
            union.iter().for_each(|range| add(all, range.clone()));
        }
        dependencies.starred.extend(found.starred.iter().cloned());
        check.reads = listed(found);
    }
    (model.reads, model.dependencies, model.checks) = (listed(of_query), listed(dependencies), checks);
    Ok(())
}

/// The tables that a query read by a person names, common table expressions aside.
///
/// Anything but one query is an error: the warehouse is read with it, never written.
pub fn tables_in(sql: &str) -> Result<Vec<String>, SqlError> {
    let query = one_query(sql)?;
    let found = reads(&query, &|_| HasDt::Maybe);
    let unclear = |name| SqlError { message: format!("cannot read `{name}` in this place"), place: (0, 0) };
    found.map(|found| found.ranges.into_keys().collect()).map_err(unclear)
}

fn layer_and_name(path: &str) -> Result<(Layer, String), String> {
    let mut parts = path.rsplit(['/', '\\']);
    let file = parts.next().unwrap_or_default();
    let folder = parts.next().unwrap_or_default();
    let layer: Layer = folder
        .parse()
        .map_err(|_| format!("models live in the folders ods, dwd, dws and app; `{folder}` is none of them"))?;
    let name = file.strip_suffix(".sql").ok_or_else(|| format!("`{file}` is not a .sql file"))?;
    let rest = name.strip_prefix(layer.name()).and_then(|rest| rest.strip_prefix('_')).unwrap_or_default();
    let word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    if rest.is_empty() || !rest.chars().all(word) {
        return Err(format!(
            "`{name}` is not a name for a table of {layer}: it begins with `{layer}_` and has only a–z, 0–9 and _"
        ));
    }
    Ok((layer, name.to_owned()))
}

fn diagnose(path: &str, text: &str, error: SqlError) -> Diagnostic {
    Diagnostic::at(path, text, error.place, error.message)
}

/// The one query that a text is.
fn one_query(text: &str) -> Result<Box<Query>, SqlError> {
    the_query(parse_statements(text)?)
}

/// The one query among the statements of a text.
fn the_query(statements: Vec<Statement>) -> Result<Box<Query>, SqlError> {
    let wrong = |message: String| Err(SqlError { message, place: (0, 0) });
    let count = statements.len();
    let Some(first) = statements.into_iter().next() else { return wrong("there is no SELECT".to_owned()) };
    match first {
        _ if count > 1 => wrong(format!("expected one SELECT and nothing else, found {count} statements")),
        Statement::Query(query) => Ok(query),
        other => {
            let text = other.to_string();
            let verb = text.split_whitespace().next().unwrap_or_default();
            wrong(format!("expected one SELECT and nothing else, found {verb}"))
        }
    }
}

fn listed(header: &Header, key: &str) -> Vec<String> {
    header.entries.iter().filter(|entry| entry.key == key).flat_map(Entry::items).collect()
}

fn grain(path: &str, text: &str, header: &Header, columns: &[ColumnDoc]) -> Result<Vec<String>, Diagnostic> {
    let grain = listed(header, "grain");
    let Some(entry) = header.entries.iter().find(|entry| entry.key == "grain" && !grain.is_empty()) else {
        let hint = "add `-- grain: <columns that tell rows apart>` after an empty comment line";
        return Err(Diagnostic::at(path, text, (1, 0), "the header has no `grain`").with_hint(Some(hint.to_owned())));
    };
    for (at, name) in grain.iter().enumerate() {
        let wrong = |message: String| Diagnostic::at(path, text, (entry.line(), 0), message);
        if grain[..at].contains(name) {
            return Err(wrong(format!("grain column `{name}` is given twice")));
        }
        if !columns.iter().any(|column| column.name == *name) {
            let hint = did_you_mean(name, columns.iter().map(|column| column.name.as_str()));
            return Err(wrong(format!("grain column `{name}` is not a column of the model")).with_hint(hint));
        }
    }
    Ok(grain)
}

fn check(
    path: &str,
    text: &str,
    entry: &Entry,
    severity: Severity,
    columns: &[ColumnDoc],
) -> Result<Check, Diagnostic> {
    let sql = entry.in_place();
    let value = entry.value();
    let wrong = |error: SqlError| match error.place {
        (0, _) => Diagnostic::at(path, text, (entry.line(), 0), error.message),
        _ => diagnose(path, text, error),
    };
    let first = value.split(|c: char| !c.is_ascii_alphanumeric()).next().unwrap_or_default().to_ascii_lowercase();
    let is_query = first == "select" || first == "with";
    // It is run on one line.
    let within = tokens(&sql).unwrap_or_default();
    let ends = within.iter().rposition(|token| !matches!(token.token, Token::Whitespace(_) | Token::EOF));
    let counts = |at: usize| !is_query || ends.is_some_and(|last| at < last);
    if let Some((_, comment)) = within.iter().enumerate().find(|(at, token)| is_line_comment(token) && counts(*at)) {
        let message = "a check has no comment in it: it would end there".to_owned();
        return Err(diagnose(path, text, SqlError { message, place: place(comment.span.start) }));
    }
    let kind = if is_query {
        let query = one_query(&sql).map_err(wrong)?;
        inspect(query.as_ref()).map_err(wrong)?;
        CheckKind::Query(query)
    } else {
        let condition = parse_expression(&sql).map_err(wrong)?;
        let words = inspect(&condition).map_err(wrong)?;
        if words.has_query {
            let hint = "a check that begins with `select` returns the rows that are wrong";
            let message = "a check of a row cannot contain a query".to_owned();
            return Err(wrong(SqlError { message, place: (0, 0) }).with_hint(Some(hint.to_owned())));
        }
        if words.asks_lake {
            // It would not be made again when the answer changes.
            let hint = "write it as a query that returns the rows that are wrong";
            let message = "a check of a row cannot ask which days are loaded".to_owned();
            return Err(wrong(SqlError { message, place: (0, 0) }).with_hint(Some(hint.to_owned())));
        }
        for (name, place) in words.columns {
            if !columns.iter().any(|column| column.name == name) {
                let hint = did_you_mean(&name, columns.iter().map(|column| column.name.as_str()));
                let message = format!("`{name}` is not a column of the model");
                return Err(wrong(SqlError { message, place }).with_hint(hint));
            }
        }
        CheckKind::Row
    };
    Ok(Check { text: value, line: entry.line(), kind, severity, reads: Vec::new() })
}

fn is_line_comment(token: &TokenWithSpan) -> bool {
    matches!(token.token, Token::Whitespace(Whitespace::SingleLineComment { .. }))
}

/// What occurs in a piece of SQL.
#[derive(Default)]
struct Words {
    uses_day: bool,
    has_query: bool,
    /// Whether a function answers from the days that are loaded.
    asks_lake: bool,
    columns: Vec<(String, (usize, usize))>,
}

/// Looks through a piece of SQL; complains about unknown parameters, about functions that are not repeatable, and about
/// snapshots of which it cannot be told before the query runs which they are.
fn inspect(sql: &impl Visit) -> Result<Words, SqlError> {
    let mut words = Words::default();
    match sql.visit(&mut words) {
        ControlFlow::Break(error) => Err(*error),
        ControlFlow::Continue(()) => Ok(words),
    }
}

impl Visitor for Words {
    type Break = Box<SqlError>;

    fn pre_visit_query(&mut self, _: &Query) -> ControlFlow<Self::Break> {
        self.has_query = true;
        ControlFlow::Continue(())
    }

    fn pre_visit_value(&mut self, value: &ValueWithSpan) -> ControlFlow<Self::Break> {
        match &value.value {
            Value::Placeholder(name) if name == DAY_PARAMETER => self.uses_day = true,
            Value::Placeholder(name) => {
                let message = format!("unknown parameter `{name}`; the only one is {DAY_PARAMETER}");
                return ControlFlow::Break(Box::new(SqlError { message, place: place(value.span.start) }));
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<Self::Break> {
        match expr {
            Expr::Identifier(ident) => self.columns.push((ident_text(ident), place(ident.span.start))),
            Expr::Function(function) => {
                let name = table_text(&function.name);
                self.asks_lake |= [LATEST_SNAPSHOT, FIRST_LOADED_DAY].contains(&name.as_str());
                let message = if UNSTABLE.contains(&name.as_str()) {
                    format!("`{name}` does not give the same result every time")
                } else if name == LATEST_SNAPSHOT && snapshot(expr).is_none() {
                    format!("expected {LATEST_SNAPSHOT}('<table>', <date that follows from $dt>)")
                } else {
                    return ControlFlow::Continue(());
                };
                return ControlFlow::Break(Box::new(SqlError { message, place: table_place(&function.name) }));
            }
            Expr::IsDistinctFrom(_, right) | Expr::IsNotDistinctFrom(_, right)
                if matches!(&**right, Expr::BinaryOp { op: BinaryOperator::And | BinaryOperator::Or, .. }) =>
            {
                let message =
                    "put `… is [not] distinct from …` in parentheses: it takes in all that follows".to_owned();
                return ControlFlow::Break(Box::new(SqlError { message, place: place(right.span().start) }));
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }
}

#[cfg(test)]
mod tests;
