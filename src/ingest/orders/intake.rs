//! The decision about each row of an extract: it lands or it is rejected, and either way it is counted.
//!
//! Whatever reads rows (CSV, Parquet, a database connection) gives typed values and a [`SourceRow`] to look at when one
//! is bad. Rows and rejects go out as [`Part`]s of bounded size. Nothing personal passes unmasked: neither into a
//! reject's detail nor into the bytes kept of it.

use std::borrow::Cow;
use std::collections::BTreeMap;

use anyhow::Result;
use arrow::array::RecordBatch;

use super::chunk::{Chunk, Column};
use super::layout::{Layout, mask_of};
use super::mask::{masked, shape, shown};
use super::rows::RowBuilder;
use super::tally::{MoneySum, Tally};
use super::value::{Fault, Value};
use crate::config::source::ColumnType;
use crate::date::{BizDate, Slot};
use crate::ingest::rejects::{RAW_LIMIT_BYTES, Reject, RejectBuilder};

/// The most rows of a part; it is also cut when its rows or its rejects take so many bytes.
const PART_ROWS: usize = 250_000;
const PART_BYTES: usize = 32 * 1024 * 1024;
const REJECT_PART_BYTES: usize = 8 * 1024 * 1024;

/// What comes out of an extract, piece by piece.
pub enum Part {
    /// Rows that land.
    Rows {
        /// The rows by partition, in the order they were read: the ODS schema without `dt`.
        parts: Vec<(Slot, RecordBatch)>,
        /// About how much memory they take together.
        bytes: usize,
    },
    /// Rows that do not: the schema of `ods_reject` without `dt`.
    Rejects(RecordBatch),
}

/// Takes the parts of an extract as they are ready.
pub type Sink<'a> = &'a mut dyn FnMut(Part) -> Result<()>;

/// A row as its extract has it, for those who look at a bad one.
pub trait SourceRow {
    /// Where it begins in the decompressed stream, for formats that have lines.
    fn byte_offset(&self) -> Option<u64>;
    /// Where it is, for a person: `line 7`.
    fn place(&self) -> String;
    /// What the extract says in a declared column.
    fn text(&self, column: usize) -> Cow<'_, [u8]>;
    /// Its bytes as the extract has them, or none when the extract holds more than the declared columns.
    fn bytes(&self) -> Option<&[u8]>;
}

/// A row's values, one for each declared column, and what was wrong with those that could not be read.
pub struct TypedRow<'a> {
    /// The values; NULL where there is a fault.
    pub values: Vec<Value<'a>>,
    /// The columns that could not be read.
    pub faults: Vec<(usize, Fault)>,
}

impl<'a> TypedRow<'a> {
    /// A row without values, with room for as many as there are columns.
    pub fn with_capacity(columns: usize) -> Self {
        Self { values: Vec::with_capacity(columns), faults: Vec::new() }
    }

    /// Takes the values away, for those of the next row.
    pub fn clear(&mut self) {
        self.values.clear();
        self.faults.clear();
    }

    /// Adds the value of the next column.
    pub fn push(&mut self, value: Result<Value<'a>, Fault>) {
        let value = value.unwrap_or_else(|fault| {
            self.faults.push((self.values.len(), fault));
            Value::Null
        });
        self.values.push(value);
    }
}

/// What a person should know of an extract that is no error.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// Columns that nobody declared.
    pub unknown_columns: Vec<String>,
    /// How many zero dates became NULL, by column.
    pub zero_dates: BTreeMap<String, u64>,
    /// Reason and detail of the first reject.
    pub first_reject: Option<(String, String)>,
}

/// Takes the rows of one extract.
pub struct Intake<'a> {
    layout: &'a Layout,
    file: String,
    arrival: BizDate,
    rows: RowBuilder,
    rejects: RejectBuilder,
    /// How many rows of the extract are before the first of these.
    before: u64,
    /// What the money columns add up to, by column.
    sums: Vec<MoneySum>,
    tally: Tally,
    findings: Findings,
    sink: Sink<'a>,
}

impl<'a> Intake<'a> {
    /// An intake for the extract at a path, of a source, that arrived on a day.
    pub fn new(source: &str, layout: &'a Layout, file: &str, arrival: BizDate, sink: Sink<'a>) -> Self {
        let money = layout.columns.iter().filter(|c| c.kind == ColumnType::Money);
        Self {
            layout,
            file: file.to_owned(),
            arrival,
            rows: RowBuilder::new(layout, file, arrival),
            rejects: RejectBuilder::new(source, &layout.table, RAW_LIMIT_BYTES),
            tally: Tally::for_columns(money.map(|c| c.name.as_str())),
            before: 0,
            sums: vec![MoneySum::default(); layout.columns.len()],
            findings: Findings::default(),
            sink,
        }
    }

    /// Takes the rows of a part of the extract, before which it has so many.
    pub fn numbered_after(self, before: u64) -> Self {
        Self { before, ..self }
    }

    /// The table's layout.
    pub fn layout(&self) -> &'a Layout {
        self.layout
    }

    /// How many rows of the extract come before the next one.
    pub fn rows_read(&self) -> u64 {
        self.before + self.tally.read
    }

    /// Remembers columns that nobody declared.
    pub fn unknown_columns(&mut self, names: Vec<String>) {
        self.findings.unknown_columns = names;
    }

    /// Takes a row that was read.
    ///
    /// # Errors
    /// When the sink fails.
    pub fn row(&mut self, row: &TypedRow<'_>, source: &dyn SourceRow) -> Result<()> {
        let verdict = self.verdict(row, source);
        self.count(row, verdict.is_none());
        let Some((reason, detail)) = verdict else {
            self.rows.push(&row.values, self.layout.slot_of(&row.values, self.arrival), self.before + self.tally.read);
            return self.flush_if_full();
        };
        let raw = self.keepable(row, source);
        self.reject(source.byte_offset(), reason, &format!("{}: {detail}", source.place()), &raw)
    }

    /// Takes many rows of which none is bad; `false`, and nothing is taken, when one lacks its key.
    ///
    /// # Errors
    /// When the sink fails.
    pub fn chunk(&mut self, chunk: &Chunk<'_>) -> Result<bool> {
        if self.layout.key.iter().any(|column| chunk.columns[*column].has_nulls()) {
            return Ok(false);
        }
        for (column, sum) in chunk.columns.iter().zip(&mut self.sums) {
            if let Column::Money(amounts) = column {
                let amount: i128 = amounts.values.iter().sum();
                sum.read.0 += amount;
                sum.landed.0 += amount;
            }
        }
        let day = self.layout.day.map(|day| &chunk.columns[day]);
        let time = |row| if let Some(Column::Datetimes(times)) = day { times.get(row) } else { None };
        let slots = (0..chunk.rows).map(|row| self.layout.slot(time(row), self.arrival));
        self.rows.extend(&chunk.columns, slots, self.before + self.tally.read + 1);
        self.tally.read += chunk.rows as u64;
        self.tally.landed += chunk.rows as u64;
        self.flush_if_full()?;
        Ok(true)
    }

    /// Takes a record that has no readable fields: it is a row too.
    ///
    /// # Errors
    /// When the sink fails.
    pub fn broken(&mut self, offset: u64, reason: &'static str, detail: &str, raw: &[u8]) -> Result<()> {
        self.tally.read += 1;
        // Which column is which cannot be told here, so that anything may be personal.
        let start = &raw[..raw.len().min(RAW_LIMIT_BYTES)];
        let guarded = self.layout.is_personal() || !self.findings.unknown_columns.is_empty();
        let raw = if guarded { Cow::Owned(shape(start).into_bytes()) } else { Cow::Borrowed(start) };
        self.reject(Some(offset), reason, detail, &raw)
    }

    /// Hands out what is left and tells what came of the extract.
    ///
    /// # Errors
    /// When the sink fails.
    pub fn finish(mut self) -> Result<(Tally, Findings)> {
        self.flush_rows()?;
        self.flush_rejects()?;
        for (column, sum) in self.layout.columns.iter().zip(&self.sums) {
            self.tally.add(&column.name, *sum);
        }
        Ok((self.tally, self.findings))
    }

    fn verdict(&self, row: &TypedRow<'_>, source: &dyn SourceRow) -> Option<(&'static str, String)> {
        if let Some((column, fault)) = row.faults.first() {
            let value = shown(&source.text(*column), self.layout.is_personal());
            return Some(("bad_type", format!("column `{}`: {fault}: {value}", self.layout.columns[*column].name)));
        }
        let missing = self.layout.key.iter().find(|column| row.values[**column].is_null())?;
        Some(("missing_key", format!("column `{}`: the key is NULL", self.layout.columns[*missing].name)))
    }

    fn count(&mut self, row: &TypedRow<'_>, lands: bool) {
        self.tally.read += 1;
        self.tally.landed += u64::from(lands);
        for (at, value) in row.values.iter().enumerate() {
            match (value, self.layout.columns.get(at)) {
                (Value::Money(amount), Some(_)) => {
                    self.sums[at].read.0 += amount;
                    self.sums[at].landed.0 += if lands { *amount } else { 0 };
                }
                (Value::ZeroDate, column) if lands => {
                    let name =
                        column.map_or_else(|| self.layout.extras[at - self.layout.columns.len()].name(), |c| &c.name);
                    *self.findings.zero_dates.entry(name.clone()).or_default() += 1;
                }
                _ => {}
            }
        }
    }

    /// What may be kept of a rejected row: all of it, or its declared columns with masked and unreadable ones made unrecognisable.
    fn keepable<'r>(&self, row: &TypedRow<'_>, source: &'r dyn SourceRow) -> Cow<'r, [u8]> {
        let personal = self.layout.is_personal();
        if let (false, Some(bytes)) = (personal, source.bytes()) {
            return Cow::Borrowed(bytes);
        }
        let mut line = String::new();
        for (at, column) in self.layout.columns.iter().enumerate() {
            let text = source.text(at);
            let faulty = row.faults.iter().any(|(faulty, _)| *faulty == at);
            let text = match std::str::from_utf8(&text) {
                Ok(text) if !(faulty && personal) => masked(mask_of(column), text).into_owned(),
                _ if personal => shape(&text),
                _ => String::from_utf8_lossy(&text).into_owned(),
            };
            line.push_str(if at == 0 { "" } else { "," });
            push_csv(&mut line, &text);
        }
        Cow::Owned(line.into_bytes())
    }

    fn reject(&mut self, offset: Option<u64>, reason: &'static str, detail: &str, raw: &[u8]) -> Result<()> {
        *self.tally.rejected.entry(reason.to_owned()).or_default() += 1;
        if self.findings.first_reject.is_none() {
            self.findings.first_reject = Some((reason.to_owned(), detail.to_owned()));
        }
        let row_number = Some(self.before + self.tally.read);
        self.rejects.push(&self.file, &Reject { byte_offset: offset, row_number, element: None, reason, detail, raw });
        if self.rejects.bytes() >= REJECT_PART_BYTES { self.flush_rejects() } else { Ok(()) }
    }

    fn flush_if_full(&mut self) -> Result<()> {
        if self.rows.count() >= PART_ROWS || self.rows.bytes() >= PART_BYTES { self.flush_rows() } else { Ok(()) }
    }

    fn flush_rows(&mut self) -> Result<()> {
        if self.rows.count() == 0 {
            return Ok(());
        }
        let bytes = self.rows.bytes();
        (self.sink)(Part::Rows { parts: self.rows.finish()?, bytes })
    }

    fn flush_rejects(&mut self) -> Result<()> {
        if self.rejects.is_empty() {
            return Ok(());
        }
        (self.sink)(Part::Rejects(self.rejects.finish()?))
    }
}

fn push_csv(line: &mut String, text: &str) {
    if text.contains([',', '"', '\n', '\r']) {
        line.push('"');
        line.push_str(&text.replace('"', "\"\""));
        line.push('"');
    } else {
        line.push_str(text);
    }
}
