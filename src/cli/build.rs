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
  strata build 'app_*' --exclude tag:orders
  strata build --empty")]
pub struct Args {
    #[command(flatten)]
    selection: Selection,
    #[command(flatten)]
    days: Days,
    /// Builds the days asked for even when they are fresh
    #[arg(long)]
    force: bool,
    /// Only checks that models and their checks fit the columns of what they read: nothing is read or built, and no
    /// lake is needed
    #[arg(long, conflicts_with_all = ["force", "date", "from", "to", "wait"])]
    empty: bool,
    #[command(flatten)]
    waiting: Waiting,
}

impl Args {
    pub(super) fn run(self, session: &Session) -> Result<Exit> {
        let config = session.config()?;
        if self.empty {
            return operations::rehearse(session, config, &self.selection);
        }
        let request = operations::request(session, &config, &[Step::Build], &self.days, self.selection)?;
        operations::run(session, config, &RunRequest { force: self.force, wait: self.waiting.patience(), ..request })
    }
}
