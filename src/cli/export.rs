//! `strata export`: the last step of a run, alone.

use anyhow::Result;

use super::args::{Days, Selection, Waiting};
use super::operations;
use super::session::Session;
use crate::error::Exit;
use crate::run::{RunRequest, Step};

/// Exports what changed: all tables in one transaction, read back before it is final
#[derive(clap::Args)]
#[command(after_help = "Examples:
  strata export
  strata export app_gmv --force
  strata export --set exports.metrics.url=sqlite:/tmp/metrics.db")]
pub struct Args {
    #[command(flatten)]
    selection: Selection,
    #[command(flatten)]
    days: Days,
    /// Exports the days asked for even when the target has them
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    waiting: Waiting,
}

impl Args {
    pub(super) fn run(self, session: &Session) -> Result<Exit> {
        let config = session.config()?;
        let request = operations::request(session, &config, &[Step::Export], &self.days, self.selection)?;
        operations::run(session, config, &RunRequest { force: self.force, wait: self.waiting.patience(), ..request })
    }
}
