//! `strata docs`: the handbook of the warehouse.

use std::path::PathBuf;

use anyhow::{Context, Result};

use super::args::Selection;
use super::operations;
use super::output::write_to;
use super::session::Session;
use crate::error::Exit;

/// Writes a page about the models in Markdown: what a row and each column is, formulas, checks, lineage
///
/// Metrics come first, then the tables they are made of. Nothing in it depends on the day or on what is built, so that
/// it can be kept in version control beside the models.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  strata docs --output docs/metrics.md
  strata docs app_gmv
  strata docs layer:app --output metrics.md")]
pub struct Args {
    #[command(flatten)]
    selection: Selection,
    /// The file to write to [default: stdout]
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

impl Args {
    pub(super) fn run(self, session: &Session) -> Result<Exit> {
        let text = operations::docs(session, session.config()?, &self.selection)?;
        write_to(self.output.as_deref(), |out| out.write_all(text.as_bytes()).context("write the page"))?;
        Ok(Exit::Done)
    }
}
