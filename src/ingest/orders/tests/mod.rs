//! Reading extracts: each rule of `sources.md` §3 good and bad, and what is told of the bad.

mod csv_extracts;
mod csv_records;
mod landing;
mod parquet_extracts;
mod second_chances;
mod shop;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::util::display::{ArrayFormatter, FormatOptions};

use super::intake::{Findings, Intake, Part};
use super::layout::Layout;
use super::tally::Tally;
use crate::config::source::{Source, TableSource};
use crate::date::BizDate;

/// The shop's declared tables.
pub fn shop() -> TableSource {
    match toml::from_str(include_str!("../../../../conf/sources/orders.toml")).unwrap() {
        Source::Tables(source) => source,
        Source::Log(_) => panic!("orders is a source of tables"),
    }
}

pub fn layout(table: &str) -> Layout {
    Layout::new(shop().tables.iter().find(|t| t.name == table).unwrap()).unwrap()
}

pub fn arrival() -> BizDate {
    "2026-01-05".parse().unwrap()
}

/// What came of an extract, written out.
#[derive(Debug)]
pub struct Landed {
    /// Each row as `dt: value, value, …`, without provenance; NULL is `∅`.
    pub rows: Vec<String>,
    /// Each reject as `reason: detail`.
    pub rejects: Vec<String>,
    /// What was kept of each reject.
    pub raw: Vec<String>,
    pub batches: Vec<RecordBatch>,
    pub tally: Tally,
    pub findings: Findings,
}

/// Reads an extract by a function, collecting its parts.
pub fn take(layout: &Layout, read: impl FnOnce(&mut Intake<'_>) -> anyhow::Result<()>) -> anyhow::Result<Landed> {
    let (mut rows, mut batches, mut rejects) = (Vec::new(), Vec::new(), Vec::new());
    let mut sink = |part: Part| {
        match part {
            Part::Rows { parts, .. } => {
                for (slot, batch) in parts {
                    let day = slot.map_or("∅".to_owned(), |day| day.to_string());
                    rows.extend(shown(&batch, layout.columns.len()).into_iter().map(|row| format!("{day}: {row}")));
                    batches.push(batch);
                }
            }
            Part::Rejects(batch) => rejects.push(batch),
        }
        Ok(())
    };
    let mut intake = Intake::new("orders", layout, "2026-01-05/extract", arrival(), &mut sink);
    read(&mut intake)?;
    let (tally, findings) = intake.finish()?;
    assert!(tally.closes(), "{tally:?}");
    assert_eq!(tally.landed as usize, rows.len());
    let text = |name: &str| -> Vec<String> {
        let columns = rejects.iter().map(|batch| batch.column_by_name(name).unwrap());
        columns.flat_map(|c| (0..c.len()).map(|row| cell(c, row)).collect::<Vec<_>>()).collect()
    };
    let told = text("reason").into_iter().zip(text("detail")).map(|(reason, detail)| format!("{reason}: {detail}"));
    let raw = rejects.iter().map(|batch| batch.column_by_name("raw").unwrap().as_binary::<i32>());
    let raw =
        raw.flat_map(|c| c.iter().flatten().map(|raw| String::from_utf8_lossy(raw).into_owned()).collect::<Vec<_>>());
    Ok(Landed { rows, rejects: told.collect(), raw: raw.collect(), batches, tally, findings })
}

fn shown(batch: &RecordBatch, columns: usize) -> Vec<String> {
    let row = |row| batch.columns()[..columns].iter().map(|c| cell(c, row)).collect::<Vec<_>>().join(", ");
    (0..batch.num_rows()).map(row).collect()
}

fn cell(column: &ArrayRef, row: usize) -> String {
    let options = FormatOptions::new().with_null("∅");
    ArrayFormatter::try_new(column, &options).unwrap().value(row).to_string()
}
