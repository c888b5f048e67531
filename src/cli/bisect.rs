//! `strata bisect`: which runs changed a number.

use anyhow::Result;

use super::args::Results;
use super::grid::{Cell, Grid};
use super::operations;
use super::output::write_to;
use super::render::{Style, write_grid};
use super::session::Session;
use crate::date::Zone;
use crate::error::Exit;
use crate::run::{Turning, Value};

/// Finds the runs that changed a number, and why
///
/// Walks the versions of the table in which the row's partition changed, and shows each run that left another value, oldest
/// first, with what had changed of that which the partition is made from. `strata diff` gives keys in the form it takes.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  strata bisect app_gmv dt=2026-01-05 gmv
  strata bisect app_goods_sales dt=2026-01-05,goods_id=7 units --format csv")]
pub struct Args {
    /// The table
    #[arg(value_name = "TABLE")]
    table: String,
    /// The row: the columns of its key, dt=2026-01-05,goods_id=7
    #[arg(value_name = "KEY")]
    key: String,
    /// The column
    #[arg(value_name = "COLUMN")]
    column: String,
    #[command(flatten)]
    results: Results,
}

impl Args {
    pub(super) fn run(self, session: &Session) -> Result<Exit> {
        let config = session.config()?;
        let zone = config.timezone;
        let turnings = operations::bisect(session, config, &self.table, &self.key, &self.column)?;
        if turnings.is_empty() {
            session.terminal.note(&format!("{} never had a row {}", self.table, self.key));
        }
        let mut grid = Grid::new(&["run", "time", "version#", "before", "after", "why"]);
        for Turning { run, at_ms, version, before, after, why } in turnings {
            let time = time(at_ms, zone);
            grid.push([run.into(), time, version.into(), cell(before), cell(after), why.into()]);
        }
        let Results { format, output } = self.results;
        let style = if output.is_some() { Style::Plain } else { session.style() };
        write_to(output.as_deref(), |out| write_grid(out, &grid, format, style))?;
        Ok(Exit::Done)
    }
}

/// A moment on the warehouse's clock.
fn time(at_ms: i64, zone: Zone) -> Cell {
    let at = chrono::DateTime::from_timestamp_millis(at_ms).filter(|_| at_ms > 0);
    at.map(|at| at.with_timezone(&zone.tz()).format("%Y-%m-%d %H:%M:%S").to_string()).into()
}

fn cell(value: Value) -> Cell {
    match value {
        Value::NoRow => "no row".into(),
        Value::Null => "NULL".into(),
        Value::Text(text) => text.into(),
    }
}
