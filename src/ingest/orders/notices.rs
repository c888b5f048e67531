//! What is odd about a table's extracts and no error: gathered over all files of a run, so that a year of extracts with
//! the same oddity is one warning and not a year of them.

use std::collections::BTreeMap;

use super::intake::Findings;
use super::tally::Tally;
use crate::progress::{Event, Reporter, counted};

/// The oddities of one table's extracts.
#[derive(Debug, Default)]
pub struct Notices {
    /// By column: how many files have it undeclared, and the first.
    unknown_columns: BTreeMap<String, (u64, String)>,
    /// By column: how many zero dates became NULL, and the first file with one.
    zero_dates: BTreeMap<String, (u64, String)>,
    /// Where the first reject is, and what was wrong.
    first_reject: Option<String>,
    /// Files that say something else than before.
    replaced: Vec<String>,
}

impl Notices {
    /// Adds what was found in a file.
    pub fn add(&mut self, file: &str, findings: Findings) {
        for column in findings.unknown_columns {
            self.unknown_columns.entry(column).or_insert_with(|| (0, file.to_owned())).0 += 1;
        }
        for (column, count) in findings.zero_dates {
            self.zero_dates.entry(column).or_insert_with(|| (0, file.to_owned())).0 += count;
        }
        if let (None, Some((_, detail))) = (&self.first_reject, findings.first_reject) {
            self.first_reject = Some(format!("`{file}`, {detail}"));
        }
    }

    /// Adds that a file's rows took the place of its earlier ones.
    pub fn replaced(&mut self, file: &str, before: u64, after: u64) {
        self.replaced.push(format!("`{file}` has changed since it was taken: {after} rows replace {before}"));
    }

    /// Warns of everything, with the rejects counted in the table's tally.
    pub fn report(&self, table: &str, tally: &Tally, reporter: &dyn Reporter) {
        let warn = |text| reporter.report(Event::Warning(text));
        self.replaced.iter().for_each(|text| warn(text.clone()));
        for (column, (files, first)) in &self.unknown_columns {
            warn(format!(
                "{table}: column `{column}` is not declared and is ignored, in `{first}`{}",
                and_more(files - 1)
            ));
        }
        for (column, (count, first)) in &self.zero_dates {
            let dates = counted(*count, "zero date");
            warn(format!("{table}.{column}: {dates} (0000-00-00) became NULL, the first in `{first}`"));
        }
        // A reject that landed before is none of this run's.
        if let Some(first) = self.first_reject.as_ref().filter(|_| tally.rows_rejected() > 0) {
            let reasons: Vec<String> = tally.rejected.iter().map(|(reason, rows)| format!("{reason} {rows}")).collect();
            let rows = tally.rows_rejected();
            warn(format!("{table}: {rows} of {} rows rejected ({}); {first}", tally.read, reasons.join(", ")));
        }
    }
}

fn and_more(files: u64) -> String {
    match files {
        0 => String::new(),
        1 => " and 1 more file".to_owned(),
        more => format!(" and {more} more files"),
    }
}
