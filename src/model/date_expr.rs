//! Dates that follow from `$dt`: what a predicate on a partition column compares it with. Read from SQL by
//! `date_parse`; here they are evaluated, compared and put into words.

use std::fmt;

use chrono::Datelike;

use crate::date::{BizDate, Slot};

/// A date computed from the business day that is being built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DateExpr {
    /// `$dt`: the day itself.
    Day,
    /// A date written in the SQL.
    Literal(BizDate),
    /// A date some months, then some days later; earlier when negative.
    Shift {
        /// What is shifted.
        of: Box<DateExpr>,
        /// Calendar months; a day that a month lacks becomes its last.
        months: i32,
        /// Days, added after the months.
        days: i32,
    },
    /// `date_trunc`: the first day of the period that contains the date.
    StartOf(Period, Box<DateExpr>),
    /// `least`: the earliest of several dates.
    Least(Vec<DateExpr>),
    /// `greatest`: the latest of several dates.
    Greatest(Vec<DateExpr>),
}

/// The periods that a date can be truncated to. Weeks begin on Monday.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Period {
    /// Monday to Sunday.
    Week,
    /// A calendar month.
    Month,
    /// Three calendar months, from January, April, July or October.
    Quarter,
    /// A calendar year.
    Year,
}

impl Period {
    fn start(self, date: BizDate) -> BizDate {
        let naive = date.naive();
        let first_of = |month: u32| BizDate::from_ymd(naive.year(), month, 1).unwrap_or(date);
        match self {
            Self::Week => date.plus_days(-(naive.weekday().num_days_from_monday().cast_signed())),
            Self::Month => first_of(naive.month()),
            Self::Quarter => first_of((naive.month() - 1) / 3 * 3 + 1),
            Self::Year => first_of(1),
        }
    }

    /// How many days a date can lie after the start of its period.
    const fn longest_days(self) -> i64 {
        match self {
            Self::Week => 6,
            Self::Month => 30,
            Self::Quarter => 91,
            Self::Year => 365,
        }
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Week => "week",
            Self::Month => "month",
            Self::Quarter => "quarter",
            Self::Year => "year",
        })
    }
}

impl DateExpr {
    /// This date moved by months, then by days; negative numbers move it back.
    #[must_use]
    pub fn shifted(self, months: i32, days: i32) -> Self {
        match self {
            expr if months == 0 && days == 0 => expr,
            Self::Literal(date) => Self::Literal(date.plus_months(months).plus_days(days)),
            // Days after anything add up; months do not, for the end of a month clamps.
            Self::Shift { of, months: inner, days: before } if months == 0 => {
                of.shifted(inner, 0).with_days(before.saturating_add(days))
            }
            of => Self::Shift { of: Box::new(of), months, days },
        }
    }

    fn with_days(self, days: i32) -> Self {
        match self {
            expr if days == 0 => expr,
            Self::Shift { of, months, days: 0 } => Self::Shift { of, months, days },
            of => Self::Shift { of: Box::new(of), months: 0, days },
        }
    }

    /// The date for one value of `$dt`; what follows from no day is no date.
    pub fn eval(&self, dt: Slot) -> Option<BizDate> {
        match self {
            Self::Day => dt,
            Self::Literal(date) => Some(*date),
            Self::Shift { of, months, days } => Some(of.eval(dt)?.plus_months(*months).plus_days(*days)),
            Self::StartOf(period, of) => of.eval(dt).map(|date| period.start(date)),
            // As the engine has it: the least and the greatest of those that are not NULL.
            Self::Least(all) => all.iter().filter_map(|e| e.eval(dt)).min(),
            Self::Greatest(all) => all.iter().filter_map(|e| e.eval(dt)).max(),
        }
    }

    /// The distance from `$dt` in days when it is the same for every day: 0 for `$dt`, −6 for six days before it.
    pub fn offset(&self) -> Option<i32> {
        match self {
            Self::Day => Some(0),
            Self::Shift { of, months: 0, days } => of.offset()?.checked_add(*days),
            _ => None,
        }
    }

    /// Whether this date lies before `$dt`, whatever the day.
    pub fn is_before_the_day(&self) -> bool {
        self.distance().1.is_some_and(|most| most < 0)
    }

    /// The least and the greatest distance from `$dt` in days over all days; `None` where there is no limit.
    fn distance(&self) -> (Option<i64>, Option<i64>) {
        match self {
            Self::Day => (Some(0), Some(0)),
            Self::Literal(_) => (None, None),
            Self::Shift { of, months, days } => {
                let (low, high) = of.distance();
                let (months, days) = (i64::from(*months), i64::from(*days));
                // A month is 28 to 31 days, clamped ends included.
                let (short, long) = if months < 0 { (31 * months, 28 * months) } else { (28 * months, 31 * months) };
                (low.map(|d| d + short + days), high.map(|d| d + long + days))
            }
            Self::StartOf(period, of) => {
                let (low, high) = of.distance();
                (low.map(|d| d - period.longest_days()), high)
            }
            Self::Least(all) => {
                let low = all.iter().map(|e| e.distance().0).min().flatten();
                (low, all.iter().filter_map(|e| e.distance().1).min())
            }
            Self::Greatest(all) => {
                let highs: Option<Vec<i64>> = all.iter().map(|e| e.distance().1).collect();
                (all.iter().filter_map(|e| e.distance().0).max(), highs.and_then(|h| h.into_iter().max()))
            }
        }
    }

    /// The later of two dates, without `greatest` where it is known which one that is.
    pub(super) fn later(self, other: Self) -> Self {
        match self.known_order(&other) {
            Some(true) => other,
            Some(false) => self,
            None => Self::Greatest(vec![self, other]),
        }
    }

    /// The earlier of two dates, without `least` where it is known which one that is.
    pub(super) fn earlier(self, other: Self) -> Self {
        match self.known_order(&other) {
            Some(true) => self,
            Some(false) => other,
            None => Self::Least(vec![self, other]),
        }
    }

    /// Whether `self <= other` on every day, when that is the same for all days.
    fn known_order(&self, other: &Self) -> Option<bool> {
        if let (Self::Literal(a), Self::Literal(b)) = (self, other) {
            return Some(a <= b);
        }
        if self == other {
            return Some(true);
        }
        let ((low, high), (other_low, other_high)) = (self.distance(), other.distance());
        if high? <= other_low? {
            return Some(true);
        }
        (low? >= other_high?).then_some(false)
    }
}

impl fmt::Display for DateExpr {
    /// In words that follow "from" or "up to".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |f: &mut fmt::Formatter<'_>, name: &str, all: &[Self]| {
            let words: Vec<String> = all.iter().map(ToString::to_string).collect();
            write!(f, "the {name} of ({})", words.join(", "))
        };
        match self {
            Self::Day => f.write_str("the day"),
            Self::Literal(date) => write!(f, "{date}"),
            Self::StartOf(period, of) if **of == Self::Day => write!(f, "the first day of its {period}"),
            Self::StartOf(period, of) => write!(f, "the first day of the {period} of {of}"),
            Self::Least(all) => list(f, "earliest", all),
            Self::Greatest(all) => list(f, "latest", all),
            Self::Shift { of, months: 0, days: -1 } if **of == Self::Day => f.write_str("the day before"),
            Self::Shift { of, months: 0, days: 1 } if **of == Self::Day => f.write_str("the day after"),
            Self::Shift { of, months: -12, days: 0 } if **of == Self::Day => f.write_str("the same day a year before"),
            Self::Shift { of, months, days } if months.signum() * days.signum() >= 0 => {
                let (side, total) = if *months < 0 || *days < 0 { ("before", -1) } else { ("after", 1) };
                let amount = |n: i32, unit: &str| (n != 0).then(|| count(n.saturating_mul(total), unit));
                let amounts: Vec<String> =
                    [amount(*months, "month"), amount(*days, "day")].into_iter().flatten().collect();
                write!(f, "{} {side} {of}", amounts.join(" and "))
            }
            Self::Shift { of, months, days } => {
                write!(f, "{of} {} {}", signed(*months, "month"), signed(*days, "day"))
            }
        }
    }
}

fn count(n: i32, unit: &str) -> String {
    format!("{n} {unit}{}", if n == 1 { "" } else { "s" })
}

fn signed(n: i32, unit: &str) -> String {
    format!("{n:+} {unit}{}", if n.abs() == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn date(text: &str) -> BizDate {
        text.parse().expect("a date")
    }

    fn days(n: i32) -> DateExpr {
        DateExpr::Day.shifted(0, n)
    }

    fn on(expr: &DateExpr, dt: BizDate) -> BizDate {
        expr.eval(Some(dt)).expect("a date on a day")
    }

    fn start(period: Period) -> DateExpr {
        DateExpr::StartOf(period, Box::new(DateExpr::Day))
    }

    #[test]
    fn periods_begin_on_monday_and_on_the_first() {
        let dt = date("2026-08-16");
        assert_eq!(on(&start(Period::Week), dt), date("2026-08-10"));
        assert_eq!(on(&start(Period::Month), dt), date("2026-08-01"));
        assert_eq!(on(&start(Period::Quarter), dt), date("2026-07-01"));
        assert_eq!(on(&start(Period::Year), dt), date("2026-01-01"));
        assert_eq!(on(&start(Period::Week), date("1969-12-31")), date("1969-12-29"));
    }

    #[test]
    fn months_clamp_and_are_never_added_up() {
        let twice = DateExpr::Day.shifted(-1, 0).shifted(-1, 0);
        assert_eq!(on(&twice, date("2026-03-31")), date("2026-01-28"));
        assert_eq!(on(&DateExpr::Day.shifted(-2, 0), date("2026-03-31")), date("2026-01-31"));
        assert_eq!(on(&DateExpr::Day.shifted(-1, 0).shifted(0, 1), date("2026-03-31")), date("2026-03-01"));
        assert_eq!(on(&DateExpr::Day.shifted(0, 1).shifted(-1, 0), date("2026-03-30")), date("2026-02-28"));
        assert_eq!(DateExpr::Day.shifted(0, 3).shifted(0, -3), DateExpr::Day);
    }

    #[test]
    fn only_dates_that_are_earlier_on_every_day_count_as_before() {
        for before in [days(-1), DateExpr::Day.shifted(-1, 27), start(Period::Month).shifted(0, -1)] {
            assert!(before.is_before_the_day(), "{before}");
        }
        let least = DateExpr::Least(vec![DateExpr::Literal(date("2026-01-01")), days(-1)]);
        assert!(least.is_before_the_day());
        let greatest = DateExpr::Greatest(vec![days(-2), DateExpr::Literal(date("2026-01-01"))]);
        for not in [days(0), DateExpr::Day.shifted(-1, 28), start(Period::Month), greatest, days(1)] {
            assert!(!not.is_before_the_day(), "{not}");
        }
    }

    #[test]
    fn the_later_of_two_dates_is_found_without_a_day_when_it_always_is_the_same() {
        assert_eq!(days(-6).later(days(-1)), days(-1));
        assert_eq!(days(-6).earlier(DateExpr::Day.shifted(-1, 0)), DateExpr::Day.shifted(-1, 0));
        let month = start(Period::Month).later(days(-6));
        assert_eq!(on(&month, date("2026-01-03")), date("2026-01-01"));
        assert_eq!(on(&month, date("2026-01-31")), date("2026-01-25"));
    }

    #[test]
    fn on_no_day_only_what_does_not_need_one_is_a_date() {
        let literal = DateExpr::Literal(date("2026-01-01"));
        assert_eq!(days(-6).eval(None), None);
        assert_eq!(start(Period::Month).shifted(-1, 0).eval(None), None);
        assert_eq!(DateExpr::Least(vec![days(-1), literal.clone()]).eval(None), Some(date("2026-01-01")));
        assert_eq!(DateExpr::Greatest(vec![days(-1), days(0)]).eval(None), None);
        assert_eq!(literal.eval(None), Some(date("2026-01-01")));
    }

    #[test]
    fn distances_hold_on_every_day_of_four_years() {
        let mut exprs = vec![start(Period::Week), start(Period::Quarter), start(Period::Year), start(Period::Month)];
        for months in [-13, -12, -2, -1, 1, 2, 12] {
            exprs.push(DateExpr::Day.shifted(months, 3));
            exprs.push(start(Period::Month).shifted(months, -3));
        }
        for expr in exprs {
            let (low, high) = expr.distance();
            for day in 0..1500 {
                let dt = date("2023-01-01").plus_days(day);
                let distance = i64::from(on(&expr, dt).days() - dt.days());
                assert!(low.is_some_and(|l| l <= distance) && high.is_some_and(|h| distance <= h), "{expr} on {dt}");
            }
        }
    }
}
