//! Checks: what must hold of staged rows before anybody may see them.
//!
//! The grain is always unique. A header check is a boolean over one row (true or NULL), or a query whose rows are
//! violations; in both the model's own name means its staged partitions only. A failed check publishes nothing.

use std::sync::Arc;

use anyhow::{Context, Result};
use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Int64Type, SchemaRef};
use datafusion::common::DFSchema;
use datafusion::execution::context::SessionContext;
use datafusion::physical_plan::PhysicalExpr;
use futures::TryStreamExt;

use crate::date::Slot;
use crate::engine::Template;

/// How many violating rows are counted.
const COUNTED_ROWS: usize = 10_000;

/// How many violating rows a report shows.
const SHOWN_ROWS: usize = 10;

/// What a failed check does to the partitions it looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// They are not published.
    Fail,
    /// They are published, and the violation is told.
    Warn,
}

/// What a check is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rule {
    /// No two rows share these columns.
    Unique(Vec<String>),
    /// A boolean expression that is true or NULL for each row.
    Row(String),
    /// A query that returns the violating rows; with `$dt` it runs once a partition, `$dt` being NULL for that of no day.
    Query(String),
}

/// One check of a model.
#[derive(Clone, Debug)]
pub struct Check {
    /// What must hold.
    pub rule: Rule,
    /// What a violation does.
    pub severity: Severity,
    /// Where it is written, for instance `sql/app/app_open.sql:5`.
    pub origin: String,
}

/// A check that found violations.
#[derive(Clone, Debug)]
pub struct Violation {
    /// The check, as it is written.
    pub check: String,
    /// What it does to the partitions.
    pub severity: Severity,
    /// Where it is written.
    pub origin: String,
    /// How many rows violate it.
    pub rows: u64,
    /// Some of them, as a small table.
    pub sample: String,
}

impl std::fmt::Display for Violation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let rows = if self.rows == 1 { "1 row violates".to_owned() } else { format!("{} rows violate", self.rows) };
        write!(f, "{}: {rows} `{}`\n{}", self.origin, self.check, self.sample)
    }
}

/// The row checks of a model as they are evaluated on rows in passing.
#[derive(Clone, Default)]
pub struct RowChecks(Vec<Arc<dyn PhysicalExpr>>);

impl RowChecks {
    /// The row checks among some for rows of a schema; `None` when one of them needs more than its row.
    pub fn new(session: &SessionContext, schema: &SchemaRef, checks: &[Check]) -> Option<Self> {
        let columns = DFSchema::try_from(Arc::clone(schema)).ok()?;
        let compiled = checks.iter().filter_map(|check| match &check.rule {
            Rule::Row(text) => Some(text),
            _ => None,
        });
        let compiled = compiled.map(|text| {
            let expression = session.parse_sql_expr(text, &columns).ok()?;
            let condition = session.create_physical_expr(expression, &columns).ok()?;
            let is_condition = matches!(condition.data_type(schema), Ok(DataType::Boolean | DataType::Null));
            is_condition.then_some(condition)
        });
        compiled.collect::<Option<Vec<_>>>().map(Self)
    }

    /// Whether all of them hold for every row.
    ///
    /// # Errors
    /// When one cannot be computed.
    pub fn hold(&self, rows: &RecordBatch) -> Result<bool> {
        for check in &self.0 {
            let verdict = check.evaluate(rows)?.into_array(rows.num_rows())?;
            let verdict = verdict.as_boolean_opt().context("a check is no condition")?;
            // True or NULL: as many as there are rows that are not false.
            if verdict.true_count() + verdict.null_count() < rows.num_rows() {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// Runs all checks of a model against a session in which its name means the staged rows.
///
/// # Errors
/// When a check itself cannot be run (wrong SQL, storage).
pub async fn run(session: &SessionContext, model: &str, checks: &[Check], slots: &[Slot]) -> Result<Vec<Violation>> {
    let mut violations = Vec::new();
    let rows: Vec<(&Check, &str)> = checks
        .iter()
        .filter_map(|check| match &check.rule {
            Rule::Row(expression) => Some((check, expression.as_str())),
            _ => None,
        })
        .collect();
    if !rows.is_empty() {
        violations.extend(check_rows(session, model, &rows).await?);
    }
    for check in checks {
        let (sql, text) = match &check.rule {
            Rule::Row(_) => continue,
            Rule::Unique(grain) => {
                let key = grain.join(", ");
                let sql = format!("select {key}, count(*) as rows from {model} group by {key} having count(*) > 1");
                (sql, format!("grain: {key} is unique"))
            }
            Rule::Query(sql) => (sql.clone(), sql.clone()),
        };
        let runs: &[Slot] = if sql.contains("$dt") { slots } else { &[None] };
        let query = violations_of(session, &sql).await.with_context(|| check.origin.clone())?;
        for slot in runs {
            let found = violating(session, &query, *slot).await.with_context(|| check.origin.clone())?;
            if let Some((count, sample)) = found {
                violations.push(violation(check, &text, count, sample));
                break;
            }
        }
    }
    Ok(violations)
}

/// All row checks in one pass; only a failing one is asked for its rows.
async fn check_rows(session: &SessionContext, model: &str, checks: &[(&Check, &str)]) -> Result<Vec<Violation>> {
    let counts: Vec<String> =
        checks.iter().map(|(_, text)| format!("count(*) filter (where ({text}) is false)")).collect();
    let sql = format!("select {} from {model}", counts.join(", "));
    let frame = session.sql(&sql).await.with_context(|| checks.first().map(|c| c.0.origin.clone()).unwrap_or_default());
    let batches = frame?.collect().await?;
    let mut violations = Vec::new();
    for (index, (check, text)) in checks.iter().enumerate() {
        let count: i64 = batches.iter().map(|b| b.column(index).as_primitive::<Int64Type>().value(0)).sum();
        if count > 0 {
            let sql = format!("select * from {model} where ({text}) is false limit {SHOWN_ROWS}");
            let query = violations_of(session, &sql).await?;
            let sample = violating(session, &query, None).await?.map(|(_, sample)| sample).unwrap_or_default();
            violations.push(violation(check, text, count.unsigned_abs(), sample));
        }
    }
    Ok(violations)
}

fn violation(check: &Check, text: &str, rows: u64, sample: String) -> Violation {
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    Violation { check: text, severity: check.severity, origin: check.origin.clone(), rows, sample }
}

/// A query for violations, planned. Some are enough to know that it is wrong: a broken grain may violate millions of times.
async fn violations_of(session: &SessionContext, sql: &str) -> Result<Template> {
    Template::new(session, session.sql(sql).await?.limit(0, Some(COUNTED_ROWS))?)
}

async fn violating(session: &SessionContext, query: &Template, slot: Slot) -> Result<Option<(u64, String)>> {
    let batches: Vec<RecordBatch> = query.rows(session, slot).await?.try_collect().await?;
    let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
    let Some(first) = batches.first().filter(|_| rows > 0) else { return Ok(None) };
    let shown = concat_batches(&first.schema(), &batches)?;
    let shown = shown.slice(0, rows.min(SHOWN_ROWS));
    let sample = arrow::util::pretty::pretty_format_batches(&[shown])?.to_string();
    Ok(Some((rows as u64, sample)))
}

#[cfg(test)]
mod tests {
    use arrow::array::{ArrayRef, Int64Array};

    use super::*;

    fn rows(numbers: &[Option<i64>]) -> RecordBatch {
        RecordBatch::try_from_iter([("n", Arc::new(Int64Array::from(numbers.to_vec())) as ArrayRef)]).expect("a batch")
    }

    fn in_passing(texts: &[&str]) -> Option<RowChecks> {
        let check = |text: &&str| {
            let rule = Rule::Row((*text).to_owned());
            Check { rule, severity: Severity::Fail, origin: "test".to_owned() }
        };
        let checks: Vec<Check> = texts.iter().map(check).collect();
        RowChecks::new(&SessionContext::new(), &rows(&[None]).schema(), &checks)
    }

    #[test]
    fn rows_hold_when_every_check_is_true_or_null_for_each() {
        let checks = in_passing(&["n >= 1", "n <> 7"]).expect("conditions");
        for (numbers, holds) in [
            (&[Some(1), Some(2), None][..], true),
            (&[Some(1), Some(0)], false),
            (&[Some(7)], false),
            (&[None], true),
            (&[], true),
        ] {
            assert_eq!(checks.hold(&rows(numbers)).expect("computed"), holds, "{numbers:?}");
        }
    }

    #[test]
    fn a_check_that_needs_more_than_its_row_or_cannot_be_read_is_left_to_a_query() {
        assert!(in_passing(&["n in (select n from other)"]).is_none());
        assert!(in_passing(&["n >= 1", "m >= 1"]).is_none());
        assert!(in_passing(&["n +"]).is_none());
        assert!(in_passing(&["n + 1"]).is_none());
    }
}
