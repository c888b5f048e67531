//! Business dates and the warehouse's time zone. Pure: no clock, no I/O.
//!
//! A business day is a calendar day of the warehouse zone, half-open `[00:00, next 00:00)`; it may have 23 or 25 hours.

use std::fmt;
use std::str::FromStr;

use anyhow::{Context, Result, bail};
use chrono::{DateTime, Datelike, Days, Months, NaiveDate, NaiveTime, Offset, TimeZone};
use chrono_tz::Tz;
use serde::{Deserialize, Serialize};

/// A calendar day of the warehouse zone: the value of every `dt`, stored as days since 1970-01-01.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct BizDate(i32);

/// The key of a partition: a business day, or `None` for rows that belong to no day.
pub type Slot = Option<BizDate>;

/// A partition in words: its day, or `no day`.
pub fn slot_words(slot: Slot) -> String {
    slot.map_or_else(|| "no day".to_owned(), |day| day.to_string())
}

impl BizDate {
    /// Makes a date from days since 1970-01-01, as Arrow's `Date32` counts them.
    pub const fn from_days(days: i32) -> Self {
        Self(days)
    }

    /// Makes a date from year, month and day, or `None` when there is no such day.
    pub fn from_ymd(year: i32, month: u32, day: u32) -> Option<Self> {
        NaiveDate::from_ymd_opt(year, month, day).map(Self::from)
    }

    /// Days since 1970-01-01, as Arrow's `Date32` counts them.
    pub const fn days(self) -> i32 {
        self.0
    }

    /// The date `days` later (earlier when negative).
    pub const fn plus_days(self, days: i32) -> Self {
        Self(self.0.saturating_add(days))
    }

    /// The same day of the month `months` later or earlier; a day that month lacks becomes its last (29 Feb → 28 Feb).
    pub fn plus_months(self, months: i32) -> Self {
        let date = self.naive();
        let step = Months::new(months.unsigned_abs());
        let moved = if months < 0 { date.checked_sub_months(step) } else { date.checked_add_months(step) };
        moved.map_or(self, Self::from)
    }

    /// The first day of its month.
    pub fn first_of_month(self) -> Self {
        Self(self.0 - self.naive().day0() as i32)
    }

    /// The calendar date as chrono has it; days out of chrono's range are clamped.
    pub fn naive(self) -> NaiveDate {
        let epoch = NaiveDate::default();
        let step = Days::new(u64::from(self.0.unsigned_abs()));
        if self.0 < 0 {
            epoch.checked_sub_days(step).unwrap_or(NaiveDate::MIN)
        } else {
            epoch.checked_add_days(step).unwrap_or(NaiveDate::MAX)
        }
    }

    /// Parses a path component: `YYYY-MM-DD`, `YYYYMMDD` or `dt=YYYY-MM-DD`; `None` when it is not a real date.
    pub fn from_path_component(part: &str) -> Option<Self> {
        let text = part.strip_prefix("dt=").unwrap_or(part);
        if let Ok(date) = text.parse() {
            return Some(date);
        }
        let compact = text.len() == 8 && text.bytes().all(|b| b.is_ascii_digit()) && text.len() == part.len();
        if !compact {
            return None;
        }
        Self::from_ymd(text[..4].parse().ok()?, text[4..6].parse().ok()?, text[6..].parse().ok()?)
    }
}

impl From<NaiveDate> for BizDate {
    fn from(date: NaiveDate) -> Self {
        // 1970-01-01, counted from 0001-01-01.
        const EPOCH: i32 = 719_163;
        Self(date.num_days_from_ce() - EPOCH)
    }
}

impl fmt::Display for BizDate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.naive().format("%Y-%m-%d"))
    }
}

impl fmt::Debug for BizDate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for BizDate {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let shape = text.len() == 10
            && text.bytes().enumerate().all(|(i, b)| if i == 4 || i == 7 { b == b'-' } else { b.is_ascii_digit() });
        if !shape {
            bail!("`{text}` is not a date of the form YYYY-MM-DD");
        }
        let date =
            NaiveDate::parse_from_str(text, "%Y-%m-%d").with_context(|| format!("`{text}` is not a real date"))?;
        Ok(Self::from(date))
    }
}

impl TryFrom<String> for BizDate {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse().map_err(|e: anyhow::Error| e.to_string())
    }
}

impl From<BizDate> for String {
    fn from(date: BizDate) -> Self {
        date.to_string()
    }
}

/// A range of business days, both ends included; empty when `from > to`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct DateRange {
    /// The first day.
    pub from: BizDate,
    /// The last day.
    pub to: BizDate,
}

impl DateRange {
    /// Every day of the range, in order.
    pub fn iter(self) -> impl DoubleEndedIterator<Item = BizDate> {
        (self.from.0..=self.to.0).map(BizDate)
    }

    /// Whether the day lies in the range.
    pub fn contains(self, day: BizDate) -> bool {
        self.from <= day && day <= self.to
    }
}

/// The warehouse's one time zone: it decides every day boundary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Zone(Tz);

impl FromStr for Zone {
    type Err = anyhow::Error;

    fn from_str(name: &str) -> Result<Self> {
        match name.parse::<Tz>() {
            Ok(tz) => Ok(Self(tz)),
            Err(_) => bail!("`{name}` is not a time zone of the IANA database"),
        }
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.name())
    }
}

impl Zone {
    /// The underlying zone.
    pub const fn tz(self) -> Tz {
        self.0
    }

    /// Whether the zone has had one offset from UTC since 1970 and will keep it, as far as is known.
    pub fn has_one_offset(self) -> bool {
        self.has_one_offset_from(0)
    }

    /// Whether the zone has one offset from UTC from 2000 on: what shops and their databases of today have times of.
    pub fn has_one_offset_these_days(self) -> bool {
        self.has_one_offset_from(10_957)
    }

    fn has_one_offset_from(self, first: i32) -> bool {
        let offset = |day: i32| {
            let noon = BizDate(day).naive().and_time(NaiveTime::MIN);
            self.0.offset_from_utc_datetime(&noon).fix().local_minus_utc()
        };
        // No change lasts less than a week; TIMESTAMPs end in 2038.
        (first..25_000).step_by(7).all(|day| offset(day) == offset(first))
    }

    /// The business day of an instant in epoch milliseconds; `None` when it is beyond the calendar.
    pub fn day_of_ms(self, epoch_ms: i64) -> Option<BizDate> {
        let utc = DateTime::from_timestamp_millis(epoch_ms)?;
        Some(utc.with_timezone(&self.0).date_naive().into())
    }

    /// Wall-clock milliseconds since 1970-01-01T00:00 local of an instant in epoch milliseconds.
    pub fn local_ms(self, epoch_ms: i64) -> Option<i64> {
        let utc = DateTime::from_timestamp_millis(epoch_ms)?;
        Some(utc.with_timezone(&self.0).naive_local().and_utc().timestamp_millis())
    }

    /// The first instant of a day, in epoch milliseconds; where the clock jumps over midnight, the first instant after it.
    pub fn start_of_day_ms(self, day: BizDate) -> i64 {
        let midnight = day.naive().and_time(NaiveTime::MIN);
        for quarter in 0..96 {
            let wall = midnight + chrono::Duration::minutes(15 * quarter);
            if let Some(instant) = self.0.from_local_datetime(&wall).earliest() {
                return instant.timestamp_millis();
            }
        }
        midnight.and_utc().timestamp_millis()
    }
}

/// Exactly [`Zone::local_ms`], faster for instants that are near one another.
pub struct LocalClock {
    zone: Zone,
    /// The quarter of an hour met last, since 1970.
    quarter: Option<i64>,
    /// How far local time is ahead all through it.
    ahead_ms: Option<i64>,
}

const QUARTER_MS: i64 = 900_000;

impl LocalClock {
    /// The clock of a zone.
    pub const fn new(zone: Zone) -> Self {
        Self { zone, quarter: None, ahead_ms: None }
    }

    /// Wall-clock milliseconds since 1970-01-01T00:00 local of an instant in epoch milliseconds.
    pub fn local_ms(&mut self, epoch_ms: i64) -> Option<i64> {
        let quarter = epoch_ms.div_euclid(QUARTER_MS);
        if self.quarter.replace(quarter) != Some(quarter) {
            let ahead_at = |ms: Option<i64>| ms.and_then(|ms| Some(self.zone.local_ms(ms)? - ms));
            let start = quarter.checked_mul(QUARTER_MS);
            // No zone changes its clock twice within a quarter of an hour.
            let last = start.and_then(|start| start.checked_add(QUARTER_MS - 1));
            self.ahead_ms = ahead_at(start).filter(|ahead| ahead_at(last) == Some(*ahead));
        }
        match self.ahead_ms {
            Some(ahead) => Some(epoch_ms + ahead),
            None => self.zone.local_ms(epoch_ms),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn date(text: &str) -> BizDate {
        text.parse().expect("a date")
    }

    #[test]
    fn only_real_dates_of_the_exact_shape_parse() {
        for bad in ["2026-02-30", "2026-1-01", "20260101", "2026-01-01 ", "2026/01/01", ""] {
            assert!(bad.parse::<BizDate>().is_err(), "{bad}");
        }
        assert_eq!(date("2024-02-29").to_string(), "2024-02-29");
    }

    #[test]
    fn path_components_name_dates_in_three_spellings() {
        for good in ["2026-01-02", "20260102", "dt=2026-01-02"] {
            assert_eq!(BizDate::from_path_component(good), Some(date("2026-01-02")), "{good}");
        }
        for bad in ["20261301", "dt=20260102", "x2026-01-02", "2026010"] {
            assert_eq!(BizDate::from_path_component(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_day_begins_at_local_midnight_even_when_the_clock_jumps() {
        let shanghai: Zone = "Asia/Shanghai".parse().expect("a zone");
        let start = shanghai.start_of_day_ms(date("2026-01-01"));
        assert_eq!(shanghai.day_of_ms(start), Some(date("2026-01-01")));
        assert_eq!(shanghai.day_of_ms(start - 1), Some(date("2025-12-31")));
        // Brazil's clocks went from 23:59:59 to 01:00 on this day.
        let sao_paulo: Zone = "America/Sao_Paulo".parse().expect("a zone");
        let start = sao_paulo.start_of_day_ms(date("2018-11-04"));
        assert_eq!(sao_paulo.day_of_ms(start), Some(date("2018-11-04")));
        assert_eq!(sao_paulo.day_of_ms(start - 1), Some(date("2018-11-03")));
    }

    #[test]
    fn a_year_before_the_29th_of_february_is_the_28th() {
        assert_eq!(date("2024-02-29").plus_months(-12), date("2023-02-28"));
        assert_eq!(date("2024-02-29").first_of_month(), date("2024-02-01"));
        assert_eq!(date("1969-12-31").first_of_month(), date("1969-12-01"));
    }

    #[test]
    fn the_clock_tells_the_same_time_as_the_zone_also_where_the_zone_changes() {
        for name in ["Asia/Shanghai", "America/Sao_Paulo", "Australia/Lord_Howe", "Asia/Kathmandu", "UTC"] {
            let zone: Zone = name.parse().expect("a zone");
            let mut clock = LocalClock::new(zone);
            // Years with and without summer time, before 1970 with odd offsets, and the ends of the calendar.
            for start in [1_541_300_000_000, -2_177_500_000_000, -1_325_491_600_000, 0, i64::MAX - 5_000_000] {
                for step in 0..2_000 {
                    let ms = i64::saturating_add(start, step * 77_777);
                    assert_eq!(clock.local_ms(ms), zone.local_ms(ms), "{name} {ms}");
                }
            }
        }
    }
}
