//! SQL that people ask: one statement that reads, over every layer at its newest version, or as it was after a run.
//!
//! A question needs the lake and the seeds and none of the models, so that a mistake in one of them stops no question.

use std::sync::Arc;

use anyhow::{Result, anyhow};
use arrow::array::{ArrayRef, RecordBatch, StringArray};
use datafusion::execution::context::SessionContext;
use datafusion::sql::sqlparser::ast::Statement;

use super::moments::run_meant;
use super::project::{Context, Project, declared_tables};
use super::sql_error::{Names, byte_of, located, no_table};
use crate::engine::{register_calendar, register_lake, sql_type};
use crate::error::{Advice, Exit, SourceError};
use crate::model::{Layer, parse_statements, table_text};
use crate::progress::Event;

/// What a query is called in messages about its places.
const QUERY: &str = "query";

/// A statement that only reads.
#[derive(Debug, PartialEq)]
enum Question {
    /// `select …`, `explain …`: the engine's to answer.
    Rows,
    /// `show tables`.
    Tables,
    /// `describe <table>`.
    Columns(String),
}

/// Answers a question in SQL, of the newest versions or of those after a run or at a time; takes no lock.
///
/// # Errors
/// When the SQL is wrong or would change something, or there was no such run.
pub async fn query(ctx: &Context, sql: &str, as_of: Option<&str>) -> Result<Vec<RecordBatch>> {
    let question = question(sql).exit(Exit::Usage)?;
    let mut project = Project::without_models(ctx)?;
    if let Some(text) = as_of {
        let run = run_meant(ctx, &project.lake, text).await?;
        ctx.reporter.report(Event::Note(format!("as of run {run}")));
        project = project.after(&run);
    }
    let project = Arc::new(project);
    let session = project.engine.session();
    register_lake(&session, &project.lake, &project.seeds).await?;
    let names = Names {
        tables: tables(&session),
        declared: declared_tables(&ctx.config),
        functions: project.engine.functions(),
    };
    if sql.contains("latest_snapshot") || sql.contains("first_loaded_day") {
        let recorded = project.recorded_of_all(names.tables.clone()).await?;
        register_calendar(&session, project.calendar(&recorded.states));
    }
    match question {
        Question::Tables => listed(&names.tables),
        Question::Columns(table) if !session.table_exist(table.as_str()).unwrap_or_default() => {
            Err(no_table(&table, &names).at_its_word(QUERY, sql)).exit(Exit::Usage)
        }
        Question::Columns(table) => described(&project, &session, &table).await,
        Question::Rows => rows(session, sql, &names).await,
    }
}

async fn rows(session: SessionContext, sql: &str, names: &Names) -> Result<Vec<RecordBatch>> {
    let text = sql.to_owned();
    // In a task of its own: a defect of the engine is an error of this query.
    let task = tokio::spawn(async move { crate::engine::query(&session, &text).await });
    let result = task.await.unwrap_or_else(|_| Err(anyhow!("the engine stopped on this query: please report it")));
    result.map_err(|error| located(error, QUERY, sql, names)).exit(Exit::Usage)
}

/// What a text asks, when it is one statement that reads.
fn question(sql: &str) -> Result<Question> {
    let statements = parse_statements(sql).map_err(|error| match byte_of(sql, error.place) {
        Some(at) => SourceError::new(QUERY, sql, at..at + 1, error.message).into(),
        None => anyhow!(error.message),
    })?;
    match statements.as_slice() {
        [] => Err(anyhow!("there is no SQL")).hint("`strata query \"show tables\"` lists what can be asked"),
        [Statement::Query(_) | Statement::Explain { .. }] => Ok(Question::Rows),
        [Statement::ShowTables { .. }] => Ok(Question::Tables),
        [Statement::ExplainTable { table_name, .. }] => Ok(Question::Columns(table_text(table_name))),
        [Statement::ShowColumns { show_options, .. }] => {
            match show_options.show_in.as_ref().map(|of| &of.parent_name) {
                Some(Some(table)) => Ok(Question::Columns(table_text(table))),
                _ => Err(anyhow!("the columns of which table?")).hint("`describe app_gmv` lists those of one"),
            }
        }
        [other] => {
            let text = other.to_string();
            let verb = text.split_whitespace().next().unwrap_or_default();
            Err(anyhow!("a query reads: {verb} is not for it")).hint("it takes SELECT, EXPLAIN, SHOW TABLES, DESCRIBE")
        }
        several => Err(anyhow!("one statement at a time: these are {}", several.len())),
    }
}

/// The tables that can be asked, by name.
fn tables(session: &SessionContext) -> Vec<String> {
    let schema = session.catalog("strata").and_then(|catalog| catalog.schema("all"));
    let mut names = schema.map(|schema| schema.table_names()).unwrap_or_default();
    names.sort();
    names
}

fn listed(tables: &[String]) -> Result<Vec<RecordBatch>> {
    let layer = |table: &&String| Layer::of_table(table);
    let mut tables: Vec<&String> = tables.iter().collect();
    tables.sort_by_key(|table| (layer(table), *table));
    let layers = tables.iter().map(|table| layer(table).map_or("seed", Layer::name).to_owned());
    texts(&[("layer", layers.collect()), ("table", tables.iter().map(|table| (*table).clone()).collect())])
}

async fn described(project: &Project, session: &SessionContext, table: &str) -> Result<Vec<RecordBatch>> {
    let name = table.rsplit('.').next().unwrap_or(table);
    // Seeds are not in the lake, and what columns mean is nowhere else.
    let schema = match project.lake.table(name).await? {
        Some(table) => Arc::clone(table.schema()),
        None => session.table_provider(table).await?.schema(),
    };
    let column = |of: fn(&arrow::datatypes::Field) -> String| schema.fields().iter().map(|field| of(field)).collect();
    texts(&[
        ("column", column(|field| field.name().clone())),
        ("type", column(|field| sql_type(field.data_type()))),
        ("meaning", column(|field| field.metadata().get("comment").cloned().unwrap_or_default())),
    ])
}

/// Rows of texts from their columns.
fn texts(columns: &[(&str, Vec<String>)]) -> Result<Vec<RecordBatch>> {
    let array = |values: &Vec<String>| Arc::new(StringArray::from_iter_values(values)) as ArrayRef;
    Ok(vec![RecordBatch::try_from_iter(columns.iter().map(|(name, values)| (*name, array(values))))?])
}

#[cfg(test)]
mod tests {
    use super::{Question, question};

    #[test]
    fn a_question_is_one_statement_that_reads() {
        assert_eq!(question("show tables").expect("a question"), Question::Tables);
        assert_eq!(question("describe APP.app_gmv;").expect("a question"), Question::Columns("app.app_gmv".to_owned()));
        assert_eq!(question("show columns from a").expect("a question"), Question::Columns("a".to_owned()));
        for rows in ["select 1;", "with a as (select 1) select * from a", "explain select 1", "-- why\nvalues (1)"] {
            assert_eq!(question(rows).expect(rows), Question::Rows);
        }
        for other in ["", "-- nothing", "drop table app_gmv", "select 1; select 2", "set x = 1", "selct 1"] {
            assert!(question(other).is_err(), "{other}");
        }
    }
}
