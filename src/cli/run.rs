//! `strata run`: the nightly job.

use anyhow::Result;

use super::args::{Days, Selection, Waiting};
use super::operations;
use super::session::Session;
use crate::error::Exit;
use crate::run::{RunRequest, Step};

/// The nightly job: ingests what is new, builds what is stale, checks it, exports what changed
///
/// Does nothing, and says so, when nothing is new. May be interrupted at any moment: the next run finishes the job.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  strata run                        everything loaded up to yesterday
  strata run --to today             the intraday run
  strata run --quiet --wait 30m     from cron: says only what went wrong")]
pub struct Args {
    #[command(flatten)]
    selection: Selection,
    #[command(flatten)]
    days: Days,
    /// Builds the days asked for even when they are fresh
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    waiting: Waiting,
}

impl Args {
    pub(super) fn run(self, session: &Session) -> Result<Exit> {
        let config = session.config()?;
        let steps = [Step::Ingest, Step::Build, Step::Export];
        let request = operations::request(session, &config, &steps, &self.days, self.selection)?;
        operations::run(session, config, &RunRequest { force: self.force, wait: self.waiting.patience(), ..request })
    }
}
