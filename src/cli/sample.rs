//! `strata sample`: the shop simulator.

use std::path::PathBuf;

use anyhow::{Error, Result};

use super::session::Session;
use super::wording::{count, counted};
use crate::config::ByteSize;
use crate::date::{BizDate, Zone};
use crate::error::{Advice, Exit};
use crate::progress::{Event, Reporter};
use crate::sample::{SampleOptions, write_sample};

/// Writes the logs and order extracts of a made-up shop
///
/// The same arguments give the same bytes. OUT/user_action and OUT/orders must be empty or not there.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  strata sample --out sample-logs
  strata sample --out /tmp/big --days 30 --devices 200000 --events 1000000 --orders 20000")]
pub struct Args {
    /// The folder to write to
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// How many business days
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=3660))]
    days: u32,
    /// How many devices there are in all
    #[arg(long, value_name = "N", default_value_t = 400)]
    devices: u64,
    /// Client events a day, on average
    #[arg(long, value_name = "N", default_value_t = 1000)]
    events: u64,
    /// Orders a day, on average
    #[arg(long, value_name = "N", default_value_t = 60)]
    orders: u64,
    /// How many goods the shop has
    #[arg(long, value_name = "N", default_value_t = 300)]
    goods: u64,
    /// Another seed is another shop
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// The first business day
    #[arg(long, value_name = "DATE", default_value = "2026-01-01")]
    start: BizDate,
    /// The share of dirt that real logs have, 0 to 1
    #[arg(long, value_name = "SHARE", default_value_t = 0.0, default_missing_value = "0.03", num_args = 0..=1)]
    messy: f64,
    /// The zone of the shop's days
    #[arg(long, value_name = "ZONE", default_value = "Asia/Shanghai")]
    timezone: Zone,
}

impl Args {
    pub(super) fn run(self, session: &Session) -> Result<Exit> {
        if !(0.0..=1.0).contains(&self.messy) {
            let error = Error::msg(format!("--messy {} is not a share", self.messy));
            return Err(error).hint("write it like 0.03; 0 is clean, 1 is all dirt").exit(Exit::Usage);
        }
        let options = SampleOptions {
            out: self.out.clone(),
            days: self.days,
            devices: self.devices,
            events: self.events,
            orders: self.orders,
            goods: self.goods,
            seed: self.seed,
            start: self.start,
            messy: self.messy,
            zone: self.timezone,
        };
        let step = "sample".to_owned();
        session.terminal.report(Event::StepStarted { step: step.clone(), total: u64::from(self.days) });
        let advance = |done, _| session.terminal.report(Event::StepAdvanced { step: step.clone(), done });
        let summary = write_sample(&options, &mut { advance })?;
        let line = format!(
            "{}: {}, {}, {}, {} before compression",
            self.out.display(),
            counted(summary.events, "event"),
            counted(summary.orders, "order"),
            counted(summary.files, "file"),
            ByteSize(summary.bytes),
        );
        let dirt = if summary.dirty > 0 { format!(", {} dirty", count(summary.dirty)) } else { String::new() };
        session.terminal.report(Event::StepFinished { step, line: line + &dirt });
        Ok(Exit::Done)
    }
}
