//! `strata build`: models and days of one's choice.

use anyhow::Result;

use super::args::{Days, Selection, Waiting};
use super::operations;
use super::session::Session;
use crate::error::Exit;
use crate::run::{RunRequest, Step};

/// Builds what is stale of the models and days asked for
///
/// Whatever these need upstream and is missing or stale is built too, so that a number asked for is always right.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  strata build dws+ --from 2026-01-01 --to 2026-01-16
  strata build +app_gmv --date yesterday --force
  strata build 'app_*' --exclude tag:orders")]
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
        let request = operations::request(session, &config, &[Step::Build], &self.days, self.selection)?;
        operations::run(session, config, &RunRequest { force: self.force, wait: self.waiting.patience(), ..request })
    }
}
