//! How numbers, durations, ranges of days and lines of models are put into words. Pure.

use std::time::Duration;

use anyhow::{Error, Result};

use crate::date::Slot;
use crate::error::Advice;
pub use crate::progress::{count, counted};

/// A duration as people say it: `0.21 s`, `3 min 05 s`, `2 h 04 min`.
pub fn duration(elapsed: Duration) -> String {
    let seconds = elapsed.as_secs();
    match seconds {
        0..60 => format!("{:.2} s", elapsed.as_secs_f64()),
        60..3600 => format!("{} min {:02} s", seconds / 60, seconds % 60),
        _ => format!("{} h {:02} min", seconds / 3600, seconds % 3600 / 60),
    }
}

/// The line of a model that was built: `dws_visitor_day  2026-01-05  41,203 rows  0.21 s`.
pub fn model_line(
    model: &str,
    days: &str,
    (partitions, changed): (usize, usize),
    rows: u64,
    elapsed: Duration,
) -> String {
    let mut line = format!("{model:<28}  {days}");
    line.push_str(&format!("  {}  {}", counted(rows, "row"), duration(elapsed)));
    if changed == 0 {
        line.push_str("  unchanged");
    } else if changed < partitions {
        line.push_str(&format!("  {} changed", count(changed as u64)));
    }
    line
}

/// The partitions that were built, of a model that is made by the day or in one go.
pub fn range(slots: (Slot, Slot), partitions: usize, by_day: bool) -> String {
    match slots {
        (None, None) if by_day => "no day".to_owned(),
        (None, None) => "whole".to_owned(),
        (Some(first), Some(last)) if first == last => first.to_string(),
        (Some(first), Some(last)) => format!("{first}..{last}  {}", counted(partitions as u64, "day")),
        (None, Some(day)) | (Some(day), None) => format!("..{day}  {}", counted(partitions as u64, "partition")),
    }
}

/// Reads a duration as it is written after `--wait`: `90s`, `30m`, `2h`, `1h30m`.
pub fn parse_duration(text: &str) -> Result<Duration> {
    let wrong = || Err(Error::msg(format!("`{text}` is not a duration"))).hint("write it like 90s, 30m or 2h");
    let mut seconds: u64 = 0;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let (number, tail) = rest.split_at(digits);
        let unit = match tail.chars().next() {
            Some('s') => 1,
            Some('m') => 60,
            Some('h') => 3_600,
            Some('d') => 86_400,
            _ => return wrong(),
        };
        let part = number.parse::<u64>().ok().and_then(|n| n.checked_mul(unit));
        match part.and_then(|part| seconds.checked_add(part)) {
            Some(sum) => seconds = sum,
            None => return wrong(),
        }
        rest = &tail[1..];
    }
    if text.is_empty() { wrong() } else { Ok(Duration::from_secs(seconds)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(text: &str) -> Slot {
        Some(text.parse().expect("a date"))
    }

    #[test]
    fn counts_have_their_thousands_set_apart() {
        for (number, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (41_203, "41,203"), (1_234_567, "1,234,567")] {
            assert_eq!(count(number), text);
        }
        assert_eq!(counted(1, "row"), "1 row");
    }

    #[test]
    fn durations_are_said_as_people_say_them() {
        assert_eq!(duration(Duration::from_millis(210)), "0.21 s");
        assert_eq!(duration(Duration::from_secs(185)), "3 min 05 s");
        assert_eq!(duration(Duration::from_secs(7_440)), "2 h 04 min");
    }

    #[test]
    fn a_model_has_a_line_with_its_days_rows_and_time() {
        let line = |slots, counts: (usize, usize)| {
            let days = range(slots, counts.0, false);
            model_line("dws_visitor_day", &days, counts, 41_203, Duration::from_millis(210))
        };
        let (first, last) = (day("2026-01-01"), day("2026-01-16"));
        assert_eq!(line((first, first), (1, 1)), "dws_visitor_day               2026-01-01  41,203 rows  0.21 s");
        assert_eq!(
            line((first, last), (16, 3)),
            "dws_visitor_day               2026-01-01..2026-01-16  16 days  41,203 rows  0.21 s  3 changed"
        );
        assert_eq!(line((None, None), (1, 0)), "dws_visitor_day               whole  41,203 rows  0.21 s  unchanged");
        assert_eq!(
            line((None, last), (17, 17)),
            "dws_visitor_day               ..2026-01-16  17 partitions  41,203 rows  0.21 s"
        );
        assert_eq!(range((None, None), 1, true), "no day");
    }

    #[test]
    fn waits_are_read_in_seconds_minutes_hours_and_days() {
        for (text, seconds) in [("90s", 90), ("30m", 1_800), ("2h", 7_200), ("1h30m", 5_400), ("1d", 86_400)] {
            assert_eq!(parse_duration(text).expect(text), Duration::from_secs(seconds));
        }
        for bad in ["", "30", "m", "1.5h", "30 m", "-1s", "99999999999999999999s", "1é"] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
    }
}
