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
  strata export --verify
  strata export --set exports.metrics.url=sqlite:/tmp/metrics.db")]
pub struct Args {
    #[command(flatten)]
    selection: Selection,
    #[command(flatten)]
    days: Days,
    /// Exports the days asked for even when the target has them
    #[arg(long)]
    force: bool,
    /// Compares every partition of the targets with the lake instead; ends with 1 when one differs
    #[arg(long, conflicts_with_all = ["force", "date", "from", "to"])]
    verify: bool,
    /// With --verify: writes again what differs, and takes away what the lake has not
    #[arg(long, requires = "verify")]
    repair: bool,
    #[command(flatten)]
    waiting: Waiting,
}

impl Args {
    pub(super) fn run(self, session: &Session) -> Result<Exit> {
        let config = session.config()?;
        let steps: &[Step] = match (self.verify, self.repair) {
            (false, _) => &[Step::Export],
            (true, false) => &[Step::Verify],
            (true, true) => &[Step::Verify, Step::Export],
        };
        let request = operations::request(session, &config, steps, &self.days, self.selection)?;
        operations::run(session, config, &RunRequest { force: self.force, wait: self.waiting.patience(), ..request })
    }
}
