//! Reads a CSV extract: a header that names the columns, then a row a record.

use std::borrow::Cow;
use std::io::Read;

use anyhow::{Context, Result, anyhow, bail};

use super::csv::{Broken, Fields, Record, Splitter};
use super::intake::{Intake, SourceRow, TypedRow};
use super::layout::Binding;
use super::value::read_text;

/// The longest record, quotes included; a longer one is `too_long`.
const RECORD_BYTES: usize = 1_048_576;

/// Reads all records of a stream into an intake.
///
/// # Errors
/// When there is no header, the header lacks a declared column or names one twice, the stream cannot be read, or the
/// intake's sink fails. A bad row is no error.
pub fn read_csv(input: impl Read, intake: &mut Intake<'_>) -> Result<()> {
    let mut splitter = Splitter::new(input, RECORD_BYTES).context("cannot be read")?;
    let binding = match splitter.next_record().context("cannot be read")? {
        Some(header) => bind(&header, intake)?,
        None => bail!("is empty: not even a header with the names of the columns"),
    };
    let width = binding.declared.len();
    splitter.keep_fields(width);
    intake.unknown_columns(binding.unknown.clone());
    while let Some(record) = splitter.next_record().context("cannot be read")? {
        match record.fields {
            Ok(fields) if fields.count() == width => {
                let row = CsvRow { record: &record, fields, binding: &binding };
                intake.row(&typed(&row, intake), &row)?;
            }
            Ok(fields) => {
                let detail = format!("line {}: {} fields, the header has {width}", record.line, fields.count());
                intake.broken(record.offset, "bad_type", &detail, record.raw)?;
            }
            Err(broken) => {
                let (reason, what) = explain(broken);
                let detail = format!("line {}: {what}", record.line);
                intake.broken(record.offset, reason, &detail, record.raw)?;
            }
        }
    }
    Ok(())
}

fn bind(header: &Record<'_>, intake: &Intake<'_>) -> Result<Binding> {
    let fields = match header.fields {
        Ok(fields) => fields,
        Err(broken) => bail!("has no readable header: {}", explain(broken).1),
    };
    let names = (0..fields.count()).map(|i| std::str::from_utf8(fields.get(i).0)).collect::<Result<Vec<_>, _>>();
    let names = names.map_err(|_| anyhow!("has a header that is not UTF-8"))?;
    intake.layout().bind(&names)
}

fn typed<'a>(row: &CsvRow<'a>, intake: &Intake<'_>) -> TypedRow<'a> {
    let columns = &intake.layout().columns;
    let mut typed = TypedRow::with_capacity(columns.len());
    for (column, field) in columns.iter().zip(&row.binding.fields) {
        let (bytes, quoted) = field.map_or((&b""[..], false), |field| row.fields.get(field));
        typed.push(read_text(column.kind, bytes, quoted));
    }
    typed
}

fn explain(broken: Broken) -> (&'static str, &'static str) {
    match broken {
        Broken::StrayQuote => ("bad_type", "a quote where none may be"),
        Broken::OpenQuote => ("bad_type", "a quote that is never closed"),
        Broken::TooLong => ("too_long", "over 1,048,576 bytes without its end"),
    }
}

struct CsvRow<'a> {
    record: &'a Record<'a>,
    fields: Fields<'a>,
    binding: &'a Binding,
}

impl SourceRow for CsvRow<'_> {
    fn byte_offset(&self) -> Option<u64> {
        Some(self.record.offset)
    }

    fn place(&self) -> String {
        format!("line {}", self.record.line)
    }

    fn text(&self, column: usize) -> Cow<'_, [u8]> {
        Cow::Borrowed(self.binding.fields[column].map_or(&b""[..], |field| self.fields.get(field).0))
    }

    fn bytes(&self) -> Option<&[u8]> {
        self.binding.unknown.is_empty().then_some(self.record.raw)
    }
}
