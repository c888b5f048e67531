//! `strata verify`: whether what is published is what its raw inputs make.

use std::path::PathBuf;

use anyhow::Result;

use super::args::{Days, Selection};
use super::operations;
use super::output;
use super::session::Session;
use crate::date::slot_words;
use crate::error::Exit;
use crate::progress::counted;
use crate::run::{Verified, VerifyRequest};

/// Builds published days again from the raw inputs, in a scratch lake, and compares
///
/// Ends with 1 when a partition has other rows than its inputs make, and says which. The lake is only read, and nothing
/// is exported; a run may be at work. Only what the lake has taken counts: files that wait at a source are left out, and
/// days that the next run would build are counted and not compared. Where a source is a database, or a raw file is no
/// longer what it was, the landed table stands in for it. The scratch lake needs the space of the raw inputs and of what is
/// made of them; it is taken away afterwards.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  strata verify
  strata verify layer:app --from 2026-01-03
  strata verify --sample 20")]
pub struct Args {
    #[command(flatten)]
    selection: Selection,
    #[command(flatten)]
    days: Days,
    /// Compares so many partitions, drawn at random; what they are made from is built all the same
    #[arg(long, value_name = "N")]
    sample: Option<usize>,
    /// Draws the same sample again [default: another one each time, which is told]
    #[arg(long, value_name = "S", requires = "sample")]
    seed: Option<u64>,
    /// The folder in which the scratch lake is made [default: beside the lake]
    #[arg(long, value_name = "DIR")]
    scratch: Option<PathBuf>,
}

impl Args {
    pub(super) fn run(self, session: &Session) -> Result<Exit> {
        let config = session.config()?;
        let span = self.days.resolve(&config, session.now_ms)?;
        let seed = self.seed.unwrap_or_else(|| session.now_ms.unsigned_abs() % 1_000_000);
        if self.sample.is_some() {
            session.terminal.note(&format!("drawn with --seed {seed}"));
        }
        let request = VerifyRequest {
            select: self.selection.select,
            exclude: self.selection.exclude,
            from: span.from,
            to: span.to,
            sample: self.sample,
            seed,
            scratch: self.scratch,
        };
        let verified = operations::verify(session, config, &request)?;
        for (table, why) in &verified.copied {
            session.terminal.note(&format!("{table} stands in for its raw input: {why}"));
        }
        output::print(&differences(&verified))?;
        session.terminal.note(&line(&verified));
        Ok(if verified.unlike.is_empty() { Exit::Done } else { Exit::Failed })
    }
}

fn differences(verified: &Verified) -> String {
    let mut text = String::new();
    for unlike in &verified.unlike {
        text.push_str(&format!("{} {}\n", unlike.table, slot_words(unlike.slot)));
        unlike.lines.iter().flat_map(|line| line.lines()).for_each(|line| text.push_str(&format!("  {line}\n")));
    }
    text
}

fn line(verified: &Verified) -> String {
    let Verified { partitions, models, stale, unlike, .. } = verified;
    let result = match unlike.len() {
        0 => "all as their inputs make them".to_owned(),
        1 => "1 differs".to_owned(),
        many => format!("{many} differ"),
    };
    let compared = format!(
        "{} of {} compared, {result}",
        counted(*partitions as u64, "partition"),
        counted(*models as u64, "model")
    );
    match *stale {
        0 => compared,
        due => format!("{compared}; {} due for the next run not compared", counted(due as u64, "partition")),
    }
}
