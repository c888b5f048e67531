//! `strata ls`: the models there are.

use anyhow::Result;

use super::args::{Results, Selection};
use super::grid::Grid;
use super::operations;
use super::output::write_to;
use super::render::{Style, write_grid};
use super::session::Session;
use crate::error::Exit;

/// Lists models: their layer, days, rows and what a row is
#[derive(clap::Args)]
#[command(after_help = "Examples:
  strata ls
  strata ls layer:app
  strata ls +app_gmv --format json")]
pub struct Args {
    #[command(flatten)]
    selection: Selection,
    #[command(flatten)]
    results: Results,
}

impl Args {
    pub(super) fn run(self, session: &Session) -> Result<Exit> {
        let mut grid = Grid::new(&["layer", "model", "partitions#", "from", "to", "rows#", "description"]);
        for model in operations::models(session, session.config()?, &self.selection)? {
            grid.push([
                model.layer.into(),
                model.name.into(),
                (model.partitions as u64).into(),
                model.days.map(|(first, _)| first.to_string()).into(),
                model.days.map(|(_, last)| last.to_string()).into(),
                model.rows.into(),
                model.description.into(),
            ]);
        }
        let Results { format, output } = self.results;
        let style = if output.is_some() { Style::Plain } else { session.style() };
        write_to(output.as_deref(), |out| write_grid(out, &grid, format, style))?;
        Ok(Exit::Done)
    }
}
