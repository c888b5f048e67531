//! `strata plan`: what a run would do.

use anyhow::Result;

use super::args::{Days, Selection};
use super::operations;
use super::output;
use super::session::Session;
use crate::error::Exit;
use crate::run::{RunRequest, Step};

/// Shows what `run` would do and why, and changes nothing
#[derive(clap::Args)]
#[command(after_help = "Examples:
  strata plan
  strata plan dws+ --from 2026-01-01 --to 2026-01-16")]
pub struct Args {
    #[command(flatten)]
    selection: Selection,
    #[command(flatten)]
    days: Days,
    /// Plans as if all were stale
    #[arg(long)]
    force: bool,
}

impl Args {
    pub(super) fn run(self, session: &Session) -> Result<Exit> {
        let config = session.config()?;
        let steps = [Step::Build];
        let request = operations::request(session, &config, &steps, &self.days, self.selection)?;
        output::print(&operations::plan(session, config, &RunRequest { force: self.force, ..request })?)?;
        Ok(Exit::Done)
    }
}
