//! Cases of models: small tables that go in, and the rows that must come out, as files that a person can check by eye.
//!
//! `tests/models/<model>/<case>/` holds `case.toml` (the day and what else is not in a table), a CSV for each table
//! that is read, and `expected.csv`. An empty cell or `NULL` is NULL, `''` is the empty text.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result, anyhow, bail};
use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringArray, new_null_array};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::csv::ReaderBuilder;
use arrow::csv::reader::Format;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use serde::Deserialize;

use crate::date::BizDate;
use crate::engine::sql_type;
use crate::error::{Advice, nearest};

/// The size of a CSV that no case comes near.
const CSV_BYTES: usize = 1 << 20;

/// What a case says besides its tables.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Setting {
    /// The business day that is built; without it, for a model that covers it, no day.
    pub dt: Option<BizDate>,
    /// The warehouse's zone, the project's when not said.
    pub timezone: Option<String>,
    /// The first loaded day of the logs.
    pub logs: Option<BizDate>,
    /// The first loaded day of the orders.
    pub orders: Option<BizDate>,
    /// Fragments of the checks that must find something; without it none may.
    #[serde(default)]
    pub violates: Vec<String>,
}

/// One case of a model.
#[derive(Clone, Debug)]
pub struct Case {
    /// What it says besides its tables.
    pub setting: Setting,
    /// The CSV files of tables, by table.
    pub tables: BTreeMap<String, PathBuf>,
    /// The CSV file of the expected rows.
    pub expected: Option<PathBuf>,
}

/// The cases in the folder of a model, by name, each read or with what is wrong about it; none when there is no folder.
///
/// # Errors
/// When the folder cannot be listed.
pub fn cases_of(folder: &Path) -> Result<Vec<(String, Result<Case>)>> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Ok(Vec::new()) };
    let mut folders = Vec::new();
    for entry in entries {
        let path = entry.with_context(|| format!("list {}", folder.display()))?.path();
        if path.is_dir() {
            folders.push(path);
        }
    }
    folders.sort();
    Ok(folders.iter().map(|folder| (name_of(folder), load(folder))).collect())
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn load(folder: &Path) -> Result<Case> {
    let mut case = Case { setting: Setting::default(), tables: BTreeMap::new(), expected: None };
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let file = name_of(&path);
        match (file.as_str(), file.strip_suffix(".csv")) {
            // What editors and file managers leave behind.
            _ if file.starts_with('.') || file.ends_with('~') => {}
            ("case.toml", _) => {
                let setting = toml::from_str(&std::fs::read_to_string(&path)?).context("case.toml");
                case.setting = setting.hint("dates stand in quotes: dt = \"2026-01-05\"")?;
            }
            ("expected.csv", _) => case.expected = Some(path),
            (_, Some(table)) => {
                case.tables.insert(table.to_owned(), path);
            }
            _ => bail!("`{file}` is no part of a case: there are case.toml, <table>.csv and expected.csv"),
        }
    }
    if case.expected.is_none() && case.setting.violates.is_empty() {
        bail!("it expects nothing: add expected.csv, or `violates` to case.toml");
    }
    Ok(case)
}

/// Rows of a table's columns from a CSV; the columns it leaves out are NULL.
///
/// # Errors
/// When it names a column that the table lacks, or a value is not of the column's type.
pub fn read_rows(path: &Path, schema: &SchemaRef) -> Result<RecordBatch> {
    let given = read_some(path, schema)?;
    let columns = schema.fields().iter().map(|field| match given.column_by_name(field.name()) {
        Some(column) => Arc::clone(column),
        None => new_null_array(field.data_type(), given.num_rows()),
    });
    let columns: Vec<ArrayRef> = columns.collect();
    let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(given.num_rows()));
    Ok(RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)?)
}

/// The columns that a CSV has, in the types that the table has them.
///
/// # Errors
/// When it names a column that the table lacks, or a value is not of the column's type.
pub fn read_some(path: &Path, schema: &SchemaRef) -> Result<RecordBatch> {
    let file = name_of(path);
    let text = std::fs::read(path).with_context(|| format!("read {file}"))?;
    if text.len() > CSV_BYTES {
        bail!("{file} has {} bytes: a case is small enough to be checked by eye", text.len());
    }
    let format = Format::default().with_header(true);
    let (header, _) = format.infer_schema(text.as_slice(), Some(0)).with_context(|| file.clone())?;
    let mut fields = Vec::new();
    for name in header.fields().iter().map(|field| field.name()) {
        let Some((_, field)) = schema.column_with_name(name) else {
            let near = nearest(name, schema.fields().iter().map(|field| field.name().as_str()));
            let near = near.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
            bail!("{file}: the table has no column `{name}`{near}");
        };
        if fields.iter().any(|known: &Field| known.name() == name) {
            bail!("{file}: two columns are called `{name}`");
        }
        fields.push(field.clone());
    }
    let texts: Vec<Field> = fields.iter().map(|field| Field::new(field.name(), DataType::Utf8, true)).collect();
    let reader = ReaderBuilder::new(Arc::new(Schema::new(texts))).with_format(format).build(text.as_slice())?;
    let rows = reader.collect::<Result<Vec<_>, _>>().with_context(|| file.clone())?;
    let schema = Arc::new(Schema::new(fields));
    let Some(first) = rows.first() else { return Ok(RecordBatch::new_empty(schema)) };
    let rows = arrow::compute::concat_batches(&first.schema(), &rows)?;
    let columns = rows.columns().iter().zip(schema.fields()).map(|(texts, field)| {
        typed(texts.as_string(), field.data_type()).with_context(|| format!("{file}: column `{}`", field.name()))
    });
    Ok(RecordBatch::try_new(Arc::clone(&schema), columns.collect::<Result<_>>()?)?)
}

fn typed(texts: &StringArray, kind: &DataType) -> Result<ArrayRef> {
    let values: StringArray = texts
        .iter()
        .map(|text| match text {
            None | Some("" | "NULL") => None,
            Some("''") => Some(""),
            Some(text) => Some(text),
        })
        .collect();
    let values: ArrayRef = Arc::new(values);
    let options = CastOptions { safe: true, ..CastOptions::default() };
    let cast = cast_with_options(&values, kind, &options)?;
    let texts = values.as_string::<i32>();
    let lost = (0..values.len()).find(|row| {
        values.is_valid(*row) && (cast.is_null(*row) || fraction(texts.value(*row)) > fraction_digits(kind))
    });
    match lost {
        // The header is line 1.
        Some(row) => Err(anyhow!("line {}: `{}` is no {}", row + 2, texts.value(row), sql_type(kind))),
        None => Ok(cast),
    }
}

/// How many digits of a value stand behind its point, zeros at the end aside.
fn fraction(text: &str) -> usize {
    text.rsplit_once('.').map_or(0, |(_, digits)| digits.trim_end_matches('0').len())
}

/// How many digits behind the point a type holds: a cast would round the others away, and a wrong expectation pass.
fn fraction_digits(kind: &DataType) -> usize {
    match kind {
        DataType::Decimal128(_, scale) => usize::try_from(*scale).unwrap_or_default(),
        DataType::Timestamp(..) => 6,
        _ => usize::MAX,
    }
}
