//! `strata test`: the cases of models, small tables in and expected rows out.

use anyhow::Result;

use super::args::{Results, Selection};
use super::grid::Grid;
use super::operations;
use super::output::write_to;
use super::render::{Style, write_grid};
use super::session::Session;
use super::wording::counted;
use crate::error::Exit;

/// Tries models out on small cases, without touching the lake
///
/// A case is a folder tests/models/<model>/<case>/ with `case.toml` (`dt = "2026-01-05"`), a CSV for each table that
/// the model reads, and `expected.csv`. A table without CSV is empty; a column left out is NULL; an empty cell or NULL
/// is NULL, '' the empty text. `expected.csv` may have some of the columns. The model's checks are run too, those that
/// compare with other tables where the case has these; `violates = ["…"]` in case.toml names what must find something.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  strata test
  strata test app_gmv layer:dws")]
pub struct Args {
    #[command(flatten)]
    selection: Selection,
    #[command(flatten)]
    results: Results,
}

impl Args {
    pub(super) fn run(self, session: &Session) -> Result<Exit> {
        let trials = operations::test(session, session.config()?, &self.selection)?;
        let mut grid = Grid::new(&["layer", "model", "checks#", "cases#", "failed#"]);
        let (mut cases, mut failed) = (0, 0);
        for trial in trials {
            cases += trial.cases;
            failed += trial.failed.len();
            grid.push([
                trial.layer.into(),
                trial.model.into(),
                // That the grain is unique is a check of every model.
                (trial.checks as u64 + 1).into(),
                (trial.cases as u64).into(),
                (trial.failed.len() as u64).into(),
            ]);
        }
        let Results { format, output } = self.results;
        let style = if output.is_some() { Style::Plain } else { session.style() };
        write_to(output.as_deref(), |out| write_grid(out, &grid, format, style))?;
        session.terminal.note(&format!("{}, {failed} failed", counted(cases as u64, "case")));
        Ok(if failed == 0 { Exit::Done } else { Exit::Failed })
    }
}
