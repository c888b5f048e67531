//! The names of runs: the time at which they began and the process, so that later ones sort after earlier ones.
//!
//! Files that a database's rows land in are named after runs, and the last of several versions of a row is told by
//! them: a clock that was set back must not make an earlier name.

use chrono::{DateTime, NaiveDateTime};

const TIME: &str = "%Y%m%dT%H%M%S%3f";

/// The name of a run that begins at a time, in epoch milliseconds, in a process.
pub fn run_name(at_ms: i64, process: u32) -> String {
    let at = DateTime::from_timestamp_millis(at_ms).unwrap_or_default();
    format!("{}-{:05}", at.format(TIME), process % 100_000)
}

/// A run's name, or, where it does not sort after the newest run known, one of a millisecond later than that.
pub(super) fn name_after(name: &str, newest: &str) -> String {
    if name > newest {
        return name.to_owned();
    }
    let next = newest.split_once('-').and_then(|(time, _)| {
        let at = NaiveDateTime::parse_from_str(time, TIME).ok()?.and_utc().timestamp_millis();
        let process = name.rsplit_once('-')?.1.parse().ok()?;
        Some(run_name(at + 1, process)).filter(|next| next.as_str() > newest)
    });
    // What begins with a name and goes on sorts after it.
    next.unwrap_or_else(|| format!("{newest}-{name}"))
}

#[cfg(test)]
mod tests {
    use super::{name_after, run_name};

    #[test]
    fn a_run_sorts_after_the_newest_whatever_the_clock_says() {
        let before = run_name(1_772_366_400_000, 41);
        assert_eq!(before, "20260301T120000000-00041");
        let later = run_name(1_772_366_400_500, 7);
        assert_eq!(name_after(&later, &before), later);
        assert_eq!(name_after(&later, ""), later);
        let back = run_name(1_772_000_000_000, 9);
        assert_eq!(name_after(&back, &before), "20260301T120000001-00009");
        assert!(name_after(&before, &before) > before);
        assert!(name_after(&before, "zebra").as_str() > "zebra");
    }
}
