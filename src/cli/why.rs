//! `strata why`: what a number was made from.

use std::str::FromStr;

use anyhow::{Error, Result, bail};

use super::args::Results;
use super::grid::{Cell, Grid};
use super::operations;
use super::output::write_to;
use super::render::{Format, Style, write_grid};
use super::session::Session;
use crate::date::{BizDate, Zone};
use crate::error::Exit;
use crate::run::{Told, WhyRequest};

/// Explains a number: the rows it was made from down to the raw lines, and what was left out
///
/// Follows the number through the SQL of its model and of the tables beneath: how it was computed, which rows of each
/// table took part and what they come to, which partitions were read and which run gave them, the places of the raw lines
/// or rows, and the rows that conditions, rejects and dropped copies kept out. Of a rank or
/// a percentile these are all rows that were compared. Where rows cannot be followed (a table's own past, LIMIT), it says so
/// and tells the partitions. Takes no lock and changes nothing.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  strata why app_active_visitor.dau --dt 2026-01-05
  strata why app_goods_sales.units --dt 2026-01-05 --where \"goods_id = 7\" --limit 50 --format csv")]
pub struct Args {
    /// The number's table and column, with a dot between them
    #[arg(value_name = "TABLE.COLUMN")]
    number: Number,
    /// The business day of its row: YYYY-MM-DD
    #[arg(long, value_name = "DAY")]
    dt: Option<BizDate>,
    /// A condition in SQL that its row meets and no other of the day
    #[arg(long = "where", value_name = "CONDITION")]
    condition: Option<String>,
    /// How many raw lines and rows of extracts to show of each source table; totals are of all
    #[arg(long, value_name = "N", default_value_t = 10)]
    limit: usize,
    #[command(flatten)]
    results: Results,
}

/// A table and a column.
#[derive(Clone, Debug)]
struct Number {
    table: String,
    column: String,
}

impl FromStr for Number {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text.rsplit_once('.') {
            Some((table, column)) if !table.is_empty() && !column.is_empty() => {
                let table = table.rsplit('.').next().unwrap_or(table).to_owned();
                Ok(Self { table, column: column.to_owned() })
            }
            _ => bail!("a table and a column are meant, like app_gmv.gmv"),
        }
    }
}

impl Args {
    pub(super) fn run(self, session: &Session) -> Result<Exit> {
        let config = session.config()?;
        let zone = config.timezone;
        let Number { table, column } = self.number;
        let request = WhyRequest { table, column, day: self.dt, condition: self.condition, limit: self.limit };
        let told = operations::why(session, config, &request)?;
        let Results { format, output } = self.results;
        let grid = if format == Format::Table { shown(told) } else { listed(told, zone) };
        let style = if output.is_some() { Style::Plain } else { session.style() };
        write_to(output.as_deref(), |out| write_grid(out, &grid, format, style))?;
        Ok(Exit::Done)
    }
}

/// For people: a table's name once, and what they are likely to look at.
fn shown(all: Vec<Told>) -> Grid {
    let mut grid = Grid::new(&["table", "part", "days", "rows#", "says", "run"]);
    let mut above = String::new();
    for Told { part, table, days, rows, run, says, .. } in all {
        let name = if table == above { String::new() } else { table.clone() };
        above = table;
        grid.push([
            name.into(),
            part.name().into(),
            days.into(),
            filled(rows),
            says.into(),
            run.unwrap_or_default().into(),
        ]);
    }
    grid
}

/// Nothing rather than a NULL in the place of a number that is not meant.
fn filled(rows: Option<u64>) -> Cell {
    rows.map_or_else(|| String::new().into(), Cell::from)
}

/// For programs: all that is known, every line by itself.
fn listed(all: Vec<Told>, zone: Zone) -> Grid {
    let mut grid = Grid::new(&["part", "table", "days", "rows#", "says", "version", "run", "time"]);
    for Told { part, table, days, rows, version, run, at_ms, says } in all {
        let days = if days.is_empty() { Cell::Null } else { days.into() };
        let at = at_ms.and_then(chrono::DateTime::from_timestamp_millis);
        let time = at.map(|at| at.with_timezone(&zone.tz()).format("%Y-%m-%d %H:%M:%S").to_string());
        grid.push([
            part.name().into(),
            table.into(),
            days,
            rows.into(),
            says.into(),
            version.into(),
            run.into(),
            time.into(),
        ]);
    }
    grid
}
