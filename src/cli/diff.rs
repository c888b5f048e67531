//! `strata diff`: what is different after one run and after another.

use anyhow::Result;

use super::args::Results;
use super::grid::{Cell, Grid};
use super::operations;
use super::output::write_to;
use super::render::{Style, write_grid};
use super::session::Session;
use super::wording::{count, counted};
use crate::error::Exit;
use crate::plan::folded;
use crate::run::{Diff, DiffRequest, Fate, TableDiff};

/// Shows what is different after one run and after another: tables, rows, cells
///
/// With tables, every row that came or went and every cell that changed, told by the key of its row; without, a line for each
/// table that differs. Only partitions whose recorded versions differ are read. Rows of a table without a key are told by all
/// they say. Cells of a column that only one of the two has are not compared; it is named.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  strata diff 20260105T0102 20260106T0102
  strata diff 20260105T0102 20260106T0102 app_gmv
  strata diff \"2026-01-05 03:00\" \"2026-01-06 03:00\" app_gmv dwd_order --format csv --limit 0")]
pub struct Args {
    /// The run after which the first state was: its name, the beginning of it, or a time as --as-of takes it
    #[arg(value_name = "RUN1")]
    before: String,
    /// The run after which the second state was
    #[arg(value_name = "RUN2")]
    after: String,
    /// Tables whose changes to show [default: a summary of all]
    #[arg(value_name = "TABLE")]
    tables: Vec<String>,
    /// How many changes to show; 0: all
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: usize,
    #[command(flatten)]
    results: Results,
}

impl Args {
    pub(super) fn run(self, session: &Session) -> Result<Exit> {
        let limit = if self.limit == 0 { usize::MAX } else { self.limit };
        let is_summary = self.tables.is_empty();
        let request = DiffRequest { before: self.before, after: self.after, tables: self.tables, limit };
        let diff = operations::diff(session, session.config()?, &request)?;
        session.terminal.note(&format!("after run {}, and after run {}", diff.before, diff.after));
        let grid = if is_summary { summary(&diff) } else { changes(&diff) };
        let Results { format, output } = self.results;
        let style = if output.is_some() { Style::Plain } else { session.style() };
        write_to(output.as_deref(), |out| write_grid(out, &grid, format, style))?;
        if !is_summary {
            diff.tables.iter().for_each(|table| session.terminal.note(&words(table)));
        }
        if diff.tables.is_empty() {
            session.terminal.note("nothing differs");
        }
        if diff.unlisted > 0 && !is_summary {
            session.terminal.note(&format!("{}; `--limit 0` shows all", counted(diff.unlisted, "more row")));
        }
        Ok(Exit::Done)
    }
}

fn summary(diff: &Diff) -> Grid {
    let mut grid = Grid::new(&["table", "partitions#", "days", "added#", "removed#", "changed#", "columns"]);
    for TableDiff { table, slots, rows, columns } in &diff.tables {
        grid.push([
            table.as_str().into(),
            (slots.len() as u64).into(),
            days(slots).into(),
            rows.added.into(),
            rows.removed.into(),
            rows.changed.into(),
            columns.join(" ").into(),
        ]);
    }
    grid
}

fn days(slots: &[crate::date::Slot]) -> String {
    if slots == [None] { String::new() } else { folded(&slots.iter().copied().collect()) }
}

fn changes(diff: &Diff) -> Grid {
    let mut grid = Grid::new(&["table", "key", "change", "column", "before", "after"]);
    for (table, change) in &diff.changes {
        let fate = match change.fate {
            Fate::Added => "added",
            Fate::Removed => "removed",
            Fate::Changed => "changed",
        };
        let cell = |text: &Option<String>| Cell::from(text.clone());
        grid.push([
            table.as_str().into(),
            change.key.as_str().into(),
            fate.into(),
            cell(&change.column),
            cell(&change.before),
            cell(&change.after),
        ]);
    }
    grid
}

fn words(table: &TableDiff) -> String {
    let TableDiff { table, slots, rows, columns } = table;
    let parts = counted(slots.len() as u64, "partition");
    let columns = if columns.is_empty() { String::new() } else { format!("; columns {}", columns.join(" ")) };
    let (added, removed, changed) = (count(rows.added), count(rows.removed), count(rows.changed));
    format!("{table}: {parts} {}: rows {added} added, {removed} removed, {changed} changed{columns}", days(slots))
}
