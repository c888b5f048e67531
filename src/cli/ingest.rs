//! `strata ingest`: the first step of a run, alone.

use anyhow::{Error, Result};

use super::args::{Days, Selection, Waiting};
use super::operations;
use super::session::Session;
use crate::config::Config;
use crate::config::source::Source;
use crate::error::{Advice, Exit, nearest};
use crate::run::{RunRequest, Step};

/// Takes in what is new at the sources, and no more
///
/// Each line and row lands in ODS or is rejected, counted and kept; see `strata rejects`. Snapshots of a database describe
/// the day of --to, by default yesterday; with --from or --date, what changed there on these days is read again, and
/// snapshots are not.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  strata ingest
  strata ingest logs
  strata ingest orders --from 2026-03-01 --to 2026-03-05
  strata ingest user_action --set sources.user_action.path=/var/log/shop")]
pub struct Args {
    /// `logs`, `orders`, or the name of a source [default: all]
    #[arg(value_name = "SOURCE")]
    source: Option<String>,
    #[command(flatten)]
    days: Days,
    #[command(flatten)]
    waiting: Waiting,
}

impl Args {
    pub(super) fn run(self, session: &Session) -> Result<Exit> {
        let config = session.config()?;
        let sources = self.source.map_or_else(|| Ok(Vec::new()), |name| chosen(&config, &name))?;
        let request = operations::request(session, &config, &[Step::Ingest], &self.days, Selection::default())?;
        operations::run(session, config, &RunRequest { sources, wait: self.waiting.patience(), ..request })
    }
}

/// The sources that a word stands for.
fn chosen(config: &Config, word: &str) -> Result<Vec<String>> {
    if config.sources.contains_key(word) {
        return Ok(vec![word.to_owned()]);
    }
    let fits = |source: &Source| match source {
        Source::Log(_) => word == "logs",
        Source::Tables(_) => word == "orders",
    };
    let names: Vec<String> =
        config.sources.iter().filter(|(_, s)| fits(&s.source)).map(|(name, _)| name.clone()).collect();
    if !names.is_empty() {
        return Ok(names);
    }
    let known: Vec<&str> = ["logs", "orders"].into_iter().chain(config.sources.keys().map(String::as_str)).collect();
    let hint = match nearest(word, known.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("known: {}", known.join(", ")),
    };
    Err(Error::msg(format!("there is no source `{word}`"))).hint(hint).exit(Exit::Usage)
}
