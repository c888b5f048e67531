//! `strata maintain`: keeps the lake's folders small.

use std::time::Duration;

use anyhow::Result;

use super::args::{Results, Waiting};
use super::grid::Grid;
use super::operations;
use super::output::write_to;
use super::render::{Style, write_grid};
use super::session::Session;
use super::wording::parse_duration;
use crate::error::Exit;
use crate::run::{MaintainRequest, MaintenanceReport};

/// Merges small files and takes away what nothing needs any more; no number changes
///
/// Versions of tables within --keep stay readable and can be gone back to. A file that no such version refers to goes once
/// it is older than --grace, which spares readers that opened a table before: let it be longer than the longest query.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  strata maintain --dry-run
  strata maintain --keep 14d
  strata maintain --keep 30d --runs     records of older runs go, too")]
pub struct Args {
    /// How long the versions of tables can be read
    #[arg(long, value_name = "TIME", value_parser = parse_duration, default_value = "30d")]
    keep: Duration,
    /// How old files must be that nothing refers to
    #[arg(long, value_name = "TIME", value_parser = parse_duration, default_value = "24h")]
    grace: Duration,
    /// Takes away the records of runs before --keep as well, which `strata history` shows
    #[arg(long)]
    runs: bool,
    /// Only tells what would be done
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    waiting: Waiting,
    #[command(flatten)]
    results: Results,
}

impl Args {
    pub(super) fn run(self, session: &Session) -> Result<Exit> {
        let Self { keep, grace, runs, dry_run, .. } = self;
        let (wait, command) = (self.waiting.patience(), session.command_line());
        let request = MaintainRequest { keep, grace, runs, dry_run, wait, command };
        let (done, exit) = operations::maintain(session, session.config()?, &request)?;
        let Results { format, output } = self.results;
        let style = if output.is_some() { Style::Plain } else { session.style() };
        let grid = grid(&done);
        if !grid.rows.is_empty() {
            write_to(output.as_deref(), |out| write_grid(out, &grid, format, style))?;
        }
        session.terminal.note(&words(&done, dry_run));
        Ok(exit)
    }
}

/// A row for each table with something to do.
fn grid(done: &[MaintenanceReport]) -> Grid {
    let names = [
        "table",
        "merged#",
        "bytes#",
        "into#",
        "bytes_after#",
        "removed#",
        "bytes_removed#",
        "log_entries#",
        "waiting#",
    ];
    let mut grid = Grid::new(&names);
    for table in done.iter().filter(|table| !table.is_idle()) {
        let number = |number: usize| (number as u64).into();
        grid.push([
            table.table.as_str().into(),
            number(table.merged),
            table.merged_bytes.into(),
            number(table.made),
            table.made_bytes.into(),
            number(table.removed),
            table.removed_bytes.into(),
            number(table.log_entries),
            number(table.waiting),
        ]);
    }
    grid
}

fn words(done: &[MaintenanceReport], dry_run: bool) -> String {
    let waiting: usize = done.iter().map(|table| table.waiting).sum();
    let rest = if waiting == 0 { String::new() } else { format!("; {waiting} wait for the grace period to be over") };
    match (done.iter().all(MaintenanceReport::is_idle), dry_run) {
        (true, _) => format!("nothing to do{rest}"),
        (false, true) => format!("nothing was changed{rest}"),
        (false, false) => format!("done{rest}"),
    }
}
