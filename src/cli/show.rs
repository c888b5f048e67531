//! `strata show`: all about one model.

use anyhow::Result;

use super::operations;
use super::output;
use super::session::Session;
use crate::error::Exit;

/// Shows a model: what a row is, grain, columns, checks, days, what it reads and what reads it
#[derive(clap::Args)]
#[command(after_help = "Example:
  strata show app_gmv")]
pub struct Args {
    /// The model
    #[arg(value_name = "MODEL")]
    model: String,
}

impl Args {
    pub(super) fn run(self, session: &Session) -> Result<Exit> {
        output::print(&operations::describe(session, session.config()?, &self.model)?)?;
        Ok(Exit::Done)
    }
}
