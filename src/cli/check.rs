//! `strata check`: the checks alone, over what is published.

use anyhow::Result;

use super::args::{Days, Selection, Waiting};
use super::operations;
use super::session::Session;
use crate::error::Exit;
use crate::run::{RunRequest, Step};

/// Checks the published days of models again, and builds nothing
#[derive(clap::Args)]
#[command(after_help = "Examples:
  strata check
  strata check layer:app --date yesterday")]
pub struct Args {
    #[command(flatten)]
    selection: Selection,
    #[command(flatten)]
    days: Days,
    #[command(flatten)]
    waiting: Waiting,
}

impl Args {
    pub(super) fn run(self, session: &Session) -> Result<Exit> {
        let config = session.config()?;
        let request = operations::request(session, &config, &[Step::Check], &self.days, self.selection)?;
        operations::run(session, config, &RunRequest { wait: self.waiting.patience(), ..request })
    }
}
