//! `strata undo`: back to the state before a run.

use anyhow::Result;

use super::args::{Days, Selection, Waiting};
use super::operations;
use super::output;
use super::session::Session;
use crate::error::Exit;
use crate::run::{RunRequest, Step};

/// Brings the lake and the exports back to the state before a run
///
/// Every table that this run or a later one changed becomes what it was, with its columns and with the records of what was
/// ingested and built; then the exports follow. An undo is a run of its own: `strata undo` with its name brings everything
/// back. What the undone runs had ingested, the next `strata run` takes in again: mend or take away what was wrong with it
/// before. A database that is read directly is asked again, and answers as it is then. The SQL, conf/ and its seeds are not
/// touched. Interrupted, it is finished by undoing the same run again.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  strata undo 20260105T010203123-04711 --dry-run
  strata undo 20260105T0102")]
pub struct Args {
    /// The run to undo, with all later ones: its name or the beginning of it; `strata history` lists them
    #[arg(value_name = "RUN")]
    run: String,
    /// Shows what would be undone, and changes nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    waiting: Waiting,
}

impl Args {
    pub(super) fn run(self, session: &Session) -> Result<Exit> {
        let config = session.config()?;
        if self.dry_run {
            let lines = operations::undo_plan(session, config, &self.run)?;
            output::print(&(lines.join("\n") + "\n"))?;
            return Ok(Exit::Done);
        }
        let request = operations::request(session, &config, &[Step::Export], &Days::default(), Selection::default())?;
        let request = RunRequest { wait: self.waiting.patience(), ..request };
        operations::undo(session, config, &self.run, &request)
    }
}
