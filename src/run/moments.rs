//! Which moment of the warehouse is meant: a run by its name or the beginning of it, or a time.
//!
//! The runs there are are those that the lake's tables name in their logs, and those that left a record in the project:
//! a run that found nothing to do is a moment too.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, anyhow};
use chrono::{DateTime, NaiveDateTime, TimeZone};

use super::inspect::recorded_runs;
use super::project::Context;
use crate::date::Zone;
use crate::error::{Advice, Exit, nearest};
use crate::lake::{Lake, Version};

/// The run after which the warehouse was what is meant: a run, the beginning of its name, or a time, which means the last
/// run begun by then.
///
/// # Errors
/// When there is no such run, or there are several.
pub async fn run_meant(ctx: &Context, lake: &Lake, text: &str) -> Result<String> {
    let recorded = recorded_runs(ctx);
    if recorded.contains(text) {
        return Ok(text.to_owned());
    }
    let mut known = runs_of(&lake.histories().await?);
    known.extend(recorded);
    let Some(at_ms) = time_of(text, ctx.config.timezone) else { return picked(text, &known) };
    let began_by = format!("{}~", run_time(at_ms));
    match known.range(..=began_by).next_back() {
        Some(run) => Ok(run.clone()),
        None => {
            let first = known.first().map(|run| format!("the first one known is {run}"));
            let hint = first.unwrap_or_else(|| "nothing has been loaded yet".to_owned());
            Err(anyhow!("no run had begun by {text}")).hint(hint).exit(Exit::Usage)
        }
    }
}

/// One of the runs that the lake tells of, by its name or the beginning of it.
///
/// # Errors
/// When there is no such run, or there are several.
pub fn run_of_lake(ctx: &Context, histories: &BTreeMap<String, Vec<Version>>, text: &str) -> Result<String> {
    let known = runs_of(histories);
    let found = picked(text, &known);
    let idle = recorded_runs(ctx).into_iter().filter(|run| !known.contains(run)).collect();
    match (found, picked(text, &idle)) {
        // One that is recorded in the project, and is no run's of the lake.
        (Err(_), Ok(run)) => {
            let next = known.range(run.clone()..).next();
            let hint = next.map(|next| format!("the next run that did is {next}: `strata undo {next}`"));
            let hint = hint.unwrap_or_else(|| "there is nothing to be undone".to_owned());
            Err(anyhow!("run {run} changed nothing in the lake")).hint(hint).exit(Exit::Usage)
        }
        (found, _) => found,
    }
}

fn runs_of(histories: &BTreeMap<String, Vec<Version>>) -> BTreeSet<String> {
    let runs = histories.values().flatten().map(|version| &version.run);
    runs.filter(|run| !run.is_empty()).cloned().collect()
}

/// The run that a name, or the beginning of one, stands for.
///
/// # Errors
/// When there is none, or there are several.
pub fn picked(text: &str, known: &BTreeSet<String>) -> Result<String> {
    if known.contains(text) {
        return Ok(text.to_owned());
    }
    let alike: Vec<&String> =
        known.range(text.to_owned()..).take_while(|run| !text.is_empty() && run.starts_with(text)).collect();
    match alike.as_slice() {
        [run] => Ok((*run).clone()),
        [] => {
            let near = nearest(text, known.iter().map(String::as_str)).map(|near| format!("did you mean `{near}`?"));
            let hint = near.unwrap_or_else(|| "`strata history` lists the runs".to_owned());
            Err(anyhow!("there is no run `{text}`")).hint(hint).exit(Exit::Usage)
        }
        [first, .., last] => {
            let error = anyhow!("`{text}` is the beginning of {} runs, from {first} to {last}", alike.len());
            Err(error).hint("give more of the name").exit(Exit::Usage)
        }
    }
}

/// When a run began, as its name tells: epoch milliseconds.
pub fn began_ms(run: &str) -> Option<i64> {
    let time = NaiveDateTime::parse_from_str(run.get(..15)?, "%Y%m%dT%H%M%S").ok()?;
    let millis: i64 = run.get(15..18)?.parse().ok()?;
    Some(time.and_utc().timestamp_millis() + millis)
}

/// How the names of runs that begin at a moment begin.
fn run_time(at_ms: i64) -> String {
    let at = DateTime::from_timestamp_millis(at_ms).unwrap_or_default();
    at.format("%Y%m%dT%H%M%S%3f").to_string()
}

/// A time as people write it: RFC 3339, or date and time on the clock of the warehouse's zone.
fn time_of(text: &str, zone: Zone) -> Option<i64> {
    if let Ok(time) = DateTime::parse_from_rfc3339(text) {
        return Some(time.timestamp_millis());
    }
    let forms = ["%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S"];
    let local = forms.iter().find_map(|form| NaiveDateTime::parse_from_str(text, form).ok())?;
    // Where the clock is turned back an hour comes twice, and by its second time both are over.
    Some(zone.tz().from_local_datetime(&local).latest()?.timestamp_millis())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_known_by_its_name_or_a_beginning_that_no_other_has() {
        let known = ["20260105T010203123-04711", "20260105T020000000-00001", "20260106T010203123-04711"];
        let known = known.map(str::to_owned).into();
        assert_eq!(picked("20260106", &known).expect("one"), "20260106T010203123-04711");
        assert_eq!(picked("20260105T02", &known).expect("one"), "20260105T020000000-00001");
        let several = picked("20260105", &known).expect_err("two").to_string();
        assert!(several.starts_with("`20260105` is the beginning of 2 runs"), "{several}");
        let wrong = picked("20260105T010203123-04712", &known).expect_err("none");
        assert!(crate::error::render(&wrong).contains("did you mean `20260105T010203123-04711`?"));
        assert!(picked("", &known).is_err());
    }

    #[test]
    fn times_are_those_of_the_warehouse_zone_unless_they_say_otherwise() {
        let zone: Zone = "Asia/Shanghai".parse().expect("a zone");
        let expected = Some(1_767_553_200_000);
        for text in ["2026-01-05 03:00", "2026-01-05T03:00:00", "2026-01-04T19:00:00Z", "2026-01-05T04:00:00+09:00"] {
            assert_eq!(time_of(text, zone), expected, "{text}");
        }
        assert_eq!(time_of("20260105T010203123-04711", zone), None);
        assert_eq!(began_ms("20260104T190000000-04711"), expected);
        assert_eq!(run_time(1_767_553_200_000), "20260104T190000000");
    }
}
