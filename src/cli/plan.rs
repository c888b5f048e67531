//! `strata plan`: what a run would do.

use anyhow::{Context as _, Result};

use super::args::{Days, Results, Selection};
use super::grid::{Cell, Grid};
use super::operations;
use super::output::write_to;
use super::render::{Format, Style, write_grid};
use super::session::Session;
use crate::error::Exit;
use crate::run::{Outlook, RunRequest, Step};

/// Shows what `run` would do and why, and changes nothing
///
/// First what waits at the sources (a database is only asked by the run itself), then the partitions to build: the rows
/// and bytes that are read for them, as they are now, and the time that past runs took for as many; models are built side
/// by side, so that a run takes less than the total. `+` says that there is more to come, `?` that nothing is known;
/// "if … changes" is built only if a rebuild of what it reads comes out different. `run` prints the same, with alike
/// models in one line where it would fill more than a screen.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  strata plan
  strata plan dws+ --from 2026-01-01 --to 2026-01-16
  strata plan --format json
  strata plan --explain app_gmv 2026-01-03")]
pub struct Args {
    #[command(flatten)]
    selection: Selection,
    #[command(flatten)]
    days: Days,
    /// Plans as if all were stale
    #[arg(long)]
    force: bool,
    /// Shows all that is recorded of one partition, and what it would be made from today; without a day for a model
    /// that is made in one go, `none` for rows on no day
    #[arg(long, num_args = 1..=2, value_names = ["MODEL", "DAY"], conflicts_with_all = ["select", "force", "from", "to", "date"])]
    explain: Vec<String>,
    #[command(flatten)]
    results: Results,
}

impl Args {
    pub(super) fn run(self, session: &Session) -> Result<Exit> {
        let config = session.config()?;
        let Results { format, output } = self.results;
        if let Some((model, rest)) = self.explain.split_first() {
            let day = rest.first().map(String::as_str);
            let explained = operations::explain(session, config, model, day)?;
            write_to(output.as_deref(), |out| match format {
                Format::Json => writeln!(out, "{}", serde_json::to_string(&explained)?).context("write the record"),
                _ => write!(out, "{explained}").context("write the record"),
            })?;
            return Ok(Exit::Done);
        }
        let steps = [Step::Ingest, Step::Build];
        let request = operations::request(session, &config, &steps, &self.days, self.selection)?;
        let outlook = operations::plan(session, config, &RunRequest { force: self.force, ..request })?;
        let style = if output.is_some() { Style::Plain } else { session.style() };
        write_to(output.as_deref(), |out| match format {
            Format::Table => {
                let end = if outlook.is_empty() { "nothing to build: all is fresh\n" } else { "" };
                write!(out, "{outlook}{end}").context("write the plan")
            }
            _ => write_grid(out, &grid(&outlook), format, style),
        })?;
        Ok(Exit::Done)
    }
}

/// The plan for programs: a row for what waits for a table, then a row for each run of days of a model.
fn grid(outlook: &Outlook) -> Grid {
    let names = ["step", "name", "from", "to", "partitions#", "files#", "rows#", "bytes#", "seconds#", "partial"];
    let mut grid = Grid::new(&[&names[..], &["certain", "reason"]].concat());
    let number = |number: usize| Cell::from(number as u64);
    let truth = |truth: bool| Cell::Bare(truth.to_string());
    for source in &outlook.arrivals {
        for waiting in &source.waiting {
            let days = || waiting.slots.iter().flatten();
            grid.push([
                "ingest".into(),
                waiting.table.as_str().into(),
                days().next().map(ToString::to_string).into(),
                days().next_back().map(ToString::to_string).into(),
                number(waiting.slots.len()),
                number(waiting.files),
                Cell::Null,
                waiting.bytes.into(),
                Cell::Null,
                truth(waiting.at_least),
                truth(true),
                format!("new at source {}", source.source).into(),
            ]);
        }
    }
    for row in &outlook.rows {
        grid.push([
            "build".into(),
            row.model.as_str().into(),
            row.from.map(|day| day.to_string()).into(),
            row.to.map(|day| day.to_string()).into(),
            number(row.partitions),
            Cell::Null,
            row.cost.rows.into(),
            row.cost.bytes.into(),
            row.cost.seconds.map_or(Cell::Null, |seconds| Cell::Bare(format!("{seconds:.3}"))),
            truth(row.cost.partial),
            truth(row.certain),
            row.reason.as_str().into(),
        ]);
    }
    grid
}
