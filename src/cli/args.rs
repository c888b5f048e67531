//! Arguments that several commands share: which models, which days, how to wait, how to write.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Error, Result, bail};
use clap::Args;

use super::render::Format;
use super::wording::parse_duration;
use crate::config::Config;
use crate::date::BizDate;
use crate::error::{Advice, Exit, with_hint};

/// Which models.
#[derive(Args, Clone, Debug, Default)]
pub struct Selection {
    /// Models to work on: app_gmv, +app_gmv (with all it reads), dwd_order+ (with all that reads it), 2+x+1,
    /// layer:dws or dws, tag:orders, app_*; several are a union, a comma intersects [default: all]
    #[arg(value_name = "SELECT")]
    pub select: Vec<String>,
    /// Models to leave out, written the same way
    #[arg(long, value_name = "SELECT")]
    pub exclude: Vec<String>,
}

/// Which business days.
#[derive(Args, Clone, Debug, Default)]
pub struct Days {
    /// One business day: YYYY-MM-DD, today or yesterday
    #[arg(long, value_name = "DAY", help_heading = "Days", conflicts_with_all = ["from", "to"])]
    date: Option<Day>,
    /// The first business day [default: the first loaded]
    #[arg(long, value_name = "DAY", help_heading = "Days")]
    from: Option<Day>,
    /// The last business day; `today` is the intraday run [default: the last loaded, at most yesterday]
    #[arg(long, value_name = "DAY", help_heading = "Days")]
    to: Option<Day>,
}

/// A range of business days with the ends that were asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DaySpan {
    /// The first day, when one was asked for.
    pub from: Option<BizDate>,
    /// The last day, when one was asked for; otherwise it follows from what has arrived.
    pub to: Option<BizDate>,
}

impl Days {
    /// Whether any days were asked for.
    pub fn given(&self) -> bool {
        self.date.is_some() || self.from.is_some() || self.to.is_some()
    }

    /// Turns words into dates: by the warehouse's zone, at this moment.
    pub fn resolve(&self, config: &Config, now_ms: i64) -> Result<DaySpan> {
        let Some(today) = config.timezone.day_of_ms(now_ms) else {
            bail!("the clock shows no real date: {now_ms} ms since 1970");
        };
        let day = |day: Day| match day {
            Day::Date(date) => date,
            Day::Today => today,
            Day::Yesterday => today.plus_days(-1),
        };
        let (from, to) = if self.date.is_some() { (self.date, self.date) } else { (self.from, self.to) };
        let span = DaySpan { from: from.map(day), to: to.map(day) };
        let last = span.to.unwrap_or(day(Day::Yesterday));
        match span.from {
            Some(from) if from > last => {
                let error = Error::msg(format!("the range is empty: it begins on {from} and ends on {last}"));
                let error = if to.is_none() { with_hint(error, "give its end with --to") } else { error };
                Err(error).exit(Exit::Usage)
            }
            _ => Ok(span),
        }
    }
}

/// A business day as it is written on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Day {
    /// A date.
    Date(BizDate),
    /// The day it is in the warehouse's zone.
    Today,
    /// The day before.
    Yesterday,
}

impl FromStr for Day {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "today" => Ok(Self::Today),
            "yesterday" => Ok(Self::Yesterday),
            date => Ok(Self::Date(date.parse()?)),
        }
    }
}

/// What to do about another run.
#[derive(Args, Clone, Debug, Default)]
pub struct Waiting {
    /// Waits as long for another run to end, for instance 30m; otherwise exits with 4 at once
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    wait: Option<Duration>,
}

impl Waiting {
    /// How long to wait; no time at all unless asked to.
    pub fn patience(&self) -> Duration {
        self.wait.unwrap_or_default()
    }
}

/// How and where to write results.
#[derive(Args, Clone, Debug, Default)]
pub struct Results {
    /// How to write the rows
    #[arg(long, short, value_name = "FORMAT", value_enum, default_value_t)]
    pub format: Format,
    /// The file to write to [default: stdout]
    #[arg(long, short, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn days(date: &str, from: &str, to: &str) -> Days {
        let day = |text: &str| (!text.is_empty()).then(|| text.parse().expect("a day"));
        Days { date: day(date), from: day(from), to: day(to) }
    }

    fn resolved(days: &Days) -> Result<String> {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::create_dir(folder.path().join("conf")).expect("made");
        let text = "timezone = \"Asia/Shanghai\"\n[lake]\nurl = \"lake\"\n";
        std::fs::write(folder.path().join("conf/warehouse.toml"), text).expect("written");
        let config = Config::load(folder.path(), &[]).expect("a project");
        // 2026-01-05T00:30 in Shanghai, still the 4th in UTC.
        let span = days.resolve(&config, 1_767_544_200_000)?;
        let word = |day: Option<BizDate>| day.map_or_else(|| "open".to_owned(), |d| d.to_string());
        Ok(format!("{}..{}", word(span.from), word(span.to)))
    }

    #[test]
    fn days_are_told_by_the_clock_of_the_warehouse_zone() {
        for (given, expected) in [
            (days("", "", ""), "open..open"),
            (days("", "", "today"), "open..2026-01-05"),
            (days("today", "", ""), "2026-01-05..2026-01-05"),
            (days("", "2026-01-01", ""), "2026-01-01..open"),
            (days("", "yesterday", "yesterday"), "2026-01-04..2026-01-04"),
            (days("2025-12-31", "", ""), "2025-12-31..2025-12-31"),
        ] {
            assert_eq!(resolved(&given).expect("a range"), expected);
        }
    }

    #[test]
    fn an_empty_range_is_a_usage_error() {
        let error = resolved(&days("", "today", "")).expect_err("empty");
        let expected = "error: the range is empty: it begins on 2026-01-05 and ends on 2026-01-04\n \
                        hint: give its end with --to";
        assert_eq!(crate::error::render(&error), expected);
        assert_eq!(crate::error::exit_of(&error), Exit::Usage);
    }
}
