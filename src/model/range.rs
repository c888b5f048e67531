//! Which partitions of an input a day needs: ranges over `dt`, unions of them, and what they come to on one day.
//!
//! A range may be wider than what the query reads, never narrower: too wide costs a needless rebuild, too narrow leaves
//! a wrong number forever.

use std::fmt;

use super::date_expr::DateExpr;
use crate::date::{BizDate, Slot};

/// Unions longer than this are not multiplied out.
const MAX_PRODUCT: usize = 16;

/// Partitions of an input, in terms of the day that is being built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DayRange {
    /// All days between two dates, both included; `None` is without limit. Rows on no day are not read.
    Between {
        /// The first day.
        from: Option<DateExpr>,
        /// The last day.
        to: Option<DateExpr>,
    },
    /// The latest partition with rows on or before a date, else the earliest there is: what `latest_snapshot` binds to.
    Latest(DateExpr),
    /// The partition of the same day, or of no day when that is what is built: `dt is not distinct from $dt`.
    Own,
    /// Every partition, that of no day included.
    All,
}

/// Partitions of a table: a run of days, both ends included, and perhaps the rows on no day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span {
    /// The first day; `None` is without limit.
    pub from: Option<BizDate>,
    /// The last day; `None` is without limit.
    pub to: Option<BizDate>,
    /// Whether the rows on no day belong to it.
    pub no_day: bool,
}

/// What a range has to know of a table to find its latest partition. Partitions without rows count as absent.
pub trait Partitions {
    /// The latest day with rows that is not after `day`.
    fn latest_until(&self, day: BizDate) -> Option<BizDate>;
    /// The earliest day with rows.
    fn earliest(&self) -> Option<BizDate>;
}

impl Span {
    /// Every partition.
    pub const ALL: Self = Self { from: None, to: None, no_day: true };

    /// The rows on no day and nothing else.
    pub const NO_DAY: Self = Self { from: Some(BizDate::from_days(1)), to: Some(BizDate::from_days(0)), no_day: true };

    /// The days between two dates.
    pub const fn days(from: Option<BizDate>, to: Option<BizDate>) -> Self {
        Self { from, to, no_day: false }
    }

    /// Whether a partition belongs to it.
    pub fn contains(&self, slot: Slot) -> bool {
        match slot {
            None => self.no_day,
            Some(day) => self.from.is_none_or(|from| from <= day) && self.to.is_none_or(|to| day <= to),
        }
    }

    fn has_days(&self) -> bool {
        self.from.is_none_or(|from| self.to.is_none_or(|to| from <= to))
    }
}

impl DayRange {
    /// Whether it is some days near the one that is built, and not all there are on one side of it.
    pub fn is_around_the_day(&self) -> bool {
        matches!(self, Self::Own | Self::Between { from: Some(_), to: Some(_) })
    }

    /// The range of exactly one date.
    pub fn only(date: DateExpr) -> Self {
        Self::Between { from: Some(date.clone()), to: Some(date) }
    }

    /// The partitions where `$dt` is a slot: on no day it is NULL, and a comparison with NULL is never true.
    pub fn span(&self, slot: Slot, table: &impl Partitions) -> Option<Span> {
        let bound = |date: &Option<DateExpr>| match date {
            Some(date) => date.eval(slot).map(Some),
            None => Some(None),
        };
        let span = match self {
            Self::All => Span::ALL,
            Self::Own => slot.map_or(Span::NO_DAY, |day| Span::days(Some(day), Some(day))),
            Self::Between { from, to } => Span::days(bound(from)?, bound(to)?),
            Self::Latest(date) => {
                let day = table.latest_until(date.eval(slot)?).or_else(|| table.earliest())?;
                Span::days(Some(day), Some(day))
            }
        };
        (span.has_days() || span.no_day).then_some(span)
    }

    /// Whether every partition of it lies before `$dt`, whatever the day, and there is none where that is no day.
    pub fn is_before_the_day(&self) -> bool {
        match self {
            Self::Between { to: Some(to), .. } => to.is_before_the_day() && to.eval(None).is_none(),
            _ => false,
        }
    }

    /// Whether no day can be in it.
    fn is_never(&self) -> bool {
        let offset = |date: &Option<DateExpr>| date.as_ref().and_then(DateExpr::offset);
        match self {
            Self::Between { from, to } => offset(from).is_some_and(|from| offset(to).is_some_and(|to| to < from)),
            _ => false,
        }
    }

    /// A range that holds all days that are in both.
    fn intersect(&self, other: &Self) -> Self {
        match (self, other) {
            (Self::All, range) | (range, Self::All) => range.clone(),
            // The latest partition is one; what else limits it can only make it none.
            (latest @ Self::Latest(_), _) | (_, latest @ Self::Latest(_)) => latest.clone(),
            (Self::Own, Self::Own) => Self::Own,
            // Whatever else limits the days rejects no day.
            (Self::Own, days) | (days, Self::Own) => Self::only(DateExpr::Day).intersect(days),
            (Self::Between { from: a, to: b }, Self::Between { from: c, to: d }) => {
                Self::Between { from: both(a, c, DateExpr::later), to: both(b, d, DateExpr::earlier) }
            }
        }
    }
}

fn both(
    a: &Option<DateExpr>,
    b: &Option<DateExpr>,
    pick: impl FnOnce(DateExpr, DateExpr) -> DateExpr,
) -> Option<DateExpr> {
    match (a.clone(), b.clone()) {
        (Some(a), Some(b)) => Some(pick(a, b)),
        (a, b) => a.or(b),
    }
}

/// The days in one of the first list and in one of the second; a superset where the product would be long.
pub fn intersect(a: &[DayRange], b: &[DayRange]) -> Vec<DayRange> {
    if a.len() * b.len() > MAX_PRODUCT {
        return if a.len() <= b.len() { a.to_vec() } else { b.to_vec() };
    }
    let mut product = Vec::new();
    for left in a {
        for right in b {
            let range = left.intersect(right);
            if !range.is_never() {
                add(&mut product, range);
            }
        }
    }
    product
}

/// Adds a range to a union, unless it is there already.
pub fn add(union: &mut Vec<DayRange>, range: DayRange) {
    if !union.contains(&range) {
        union.push(range);
    }
}

/// The partitions of a union for one slot, in order and without overlap.
pub fn spans(union: &[DayRange], slot: Slot, table: &impl Partitions) -> Vec<Span> {
    merge(union.iter().filter_map(|range| range.span(slot, table)).collect())
}

/// Joins spans that overlap or touch; the rows on no day go with the last.
pub fn merge(mut spans: Vec<Span>) -> Vec<Span> {
    let no_day = spans.iter().any(|span| span.no_day);
    spans.retain(Span::has_days);
    spans.sort_unstable();
    let mut merged: Vec<Span> = Vec::with_capacity(spans.len());
    for span in spans {
        match merged.last_mut() {
            Some(last) if last.to.is_none_or(|to| span.from.is_none_or(|from| from <= to.plus_days(1))) => {
                last.to = last.to.and_then(|a| span.to.map(|b| a.max(b)));
            }
            _ => merged.push(Span::days(span.from, span.to)),
        }
    }
    match merged.last_mut() {
        Some(last) => last.no_day = no_day,
        None if no_day => merged.push(Span::NO_DAY),
        None => {}
    }
    merged
}

impl fmt::Display for DayRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("everything"),
            Self::Own => f.write_str("the day, or no day"),
            Self::Latest(DateExpr::Day) => f.write_str("the latest snapshot"),
            Self::Latest(date) => write!(f, "the latest snapshot of {date}"),
            Self::Between { from: None, to: None } => f.write_str("all days"),
            Self::Between { from: None, to: Some(to) } => match to.offset() {
                Some(0) => f.write_str("all days up to it"),
                Some(-1) => f.write_str("all days before"),
                _ => write!(f, "all days up to {to}"),
            },
            Self::Between { from: Some(from), to: None } => match from.offset() {
                Some(0) => f.write_str("the day and all days after"),
                _ => write!(f, "all days from {from}"),
            },
            Self::Between { from: Some(from), to: Some(to) } if from == to => write!(f, "{to}"),
            Self::Between { from: Some(from), to: Some(to) } => match (from.offset(), to.offset()) {
                (Some(a), Some(0)) if a < 0 => write!(f, "the {} days up to it", 1 - i64::from(a)),
                (Some(a), Some(-1)) if a < -1 => write!(f, "the {} days before", -i64::from(a)),
                _ => match from {
                    DateExpr::StartOf(period, of) if **of == DateExpr::Day && *to == DateExpr::Day => {
                        write!(f, "its {period} up to it")
                    }
                    _ => write!(f, "{from} to {to}"),
                },
            },
        }
    }
}

/// A union in words: `the day, the day before`.
pub fn words(union: &[DayRange]) -> String {
    if union.is_empty() {
        return "nothing".to_owned();
    }
    union.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Days(Vec<BizDate>);

    impl Partitions for Days {
        fn latest_until(&self, day: BizDate) -> Option<BizDate> {
            self.0.iter().copied().filter(|d| *d <= day).max()
        }

        fn earliest(&self) -> Option<BizDate> {
            self.0.iter().copied().min()
        }
    }

    fn date(text: &str) -> BizDate {
        text.parse().expect("a date")
    }

    fn between(from: i32, to: i32) -> DayRange {
        DayRange::Between { from: Some(DateExpr::Day.shifted(0, from)), to: Some(DateExpr::Day.shifted(0, to)) }
    }

    #[test]
    fn overlapping_and_touching_ranges_become_one_span() {
        let none = Days(vec![]);
        let union = [between(-1, 0), between(-7, -7), between(-3, -2), between(0, 0), between(2, 1)];
        let dt = date("2026-01-10");
        let expected = [
            Span::days(Some(date("2026-01-03")), Some(date("2026-01-03"))),
            Span::days(Some(date("2026-01-07")), Some(dt)),
        ];
        assert_eq!(spans(&union, Some(dt), &none), expected);
        let open = DayRange::Between { from: None, to: Some(DateExpr::Day.shifted(0, -8)) };
        let expected = [Span::days(None, Some(date("2026-01-03")))];
        assert_eq!(spans(&[between(-7, -7), open], Some(dt), &none), expected);
        assert_eq!(spans(&[between(0, 0), DayRange::All], Some(dt), &none), [Span::ALL]);
    }

    #[test]
    fn rows_on_no_day_are_read_only_where_nothing_limits_the_days() {
        let none = Days(vec![]);
        let all_days = DayRange::Between { from: None, to: None };
        assert!(DayRange::All.span(None, &none).is_some_and(|s| s.contains(None)));
        assert!(all_days.span(None, &none).is_some_and(|s| !s.contains(None) && s.contains(Some(date("1900-01-01")))));
    }

    #[test]
    fn on_no_day_only_the_same_partition_and_what_needs_no_day_are_read() {
        let days = Days(vec![date("2026-01-05")]);
        let literal = DateExpr::Literal(date("2026-01-02"));
        let open = |to: DateExpr| DayRange::Between { from: None, to: Some(to) };
        assert_eq!(
            DayRange::Own.span(Some(date("2026-01-05")), &days),
            between(0, 0).span(Some(date("2026-01-05")), &days)
        );
        assert_eq!(DayRange::Own.span(None, &days), Some(Span::NO_DAY));
        assert!(Span::NO_DAY.contains(None) && !Span::NO_DAY.contains(Some(BizDate::from_days(0))));
        for nothing in [between(-6, 0), open(DateExpr::Day), DayRange::Latest(DateExpr::Day)] {
            assert_eq!(nothing.span(None, &days), None, "{nothing}");
        }
        let until = Some(Span::days(None, Some(date("2026-01-02"))));
        assert_eq!(open(literal.clone()).span(None, &days), until);
        let least = open(DateExpr::Least(vec![DateExpr::Day.shifted(0, -1), literal]));
        assert_eq!(least.span(None, &days), until, "the engine leaves NULL out");
        assert!(!least.is_before_the_day() && !DayRange::Own.is_before_the_day());
    }

    #[test]
    fn rows_on_no_day_go_with_the_last_span() {
        let dt = Some(date("2026-01-10"));
        let merged = merge(vec![Span::NO_DAY, Span::days(dt, dt), Span::days(None, Some(date("2026-01-03")))]);
        let expected = [Span::days(None, Some(date("2026-01-03"))), Span { no_day: true, ..Span::days(dt, dt) }];
        assert_eq!(merged, expected);
        assert_eq!(merge(merged.clone()), merged);
        assert_eq!(merge(vec![Span::NO_DAY, Span::days(None, None)]), [Span::ALL]);
        assert_eq!(merge(vec![Span::NO_DAY, Span::NO_DAY]), [Span::NO_DAY]);
    }

    #[test]
    fn the_same_partition_and_another_limit_is_a_day() {
        let none = Days(vec![]);
        let week = [between(-6, 0)];
        for both in [intersect(&[DayRange::Own], &week), intersect(&week, &[DayRange::Own])] {
            assert_eq!(both, [between(0, 0)]);
            assert_eq!(spans(&both, None, &none), []);
        }
        assert_eq!(intersect(&[DayRange::Own], &[DayRange::Own]), [DayRange::Own]);
        assert_eq!(intersect(&[DayRange::Own], &[DayRange::All]), [DayRange::Own]);
        let late = DayRange::Between { from: Some(DateExpr::Literal(date("2026-01-05"))), to: None };
        let both = intersect(&[DayRange::Own], &[late]);
        assert_eq!(spans(&both, None, &none), []);
        for (dt, read) in [("2026-01-04", 0), ("2026-01-05", 1)] {
            assert_eq!(spans(&both, Some(date(dt)), &none).len(), read, "{dt}");
        }
    }

    #[test]
    fn the_latest_snapshot_falls_back_to_the_earliest() {
        let days = Days(vec![date("2026-01-05"), date("2026-01-08")]);
        let latest = DayRange::Latest(DateExpr::Day);
        for (dt, expected) in [("2026-01-04", "2026-01-05"), ("2026-01-07", "2026-01-05"), ("2026-01-08", "2026-01-08")]
        {
            let span = latest.span(Some(date(dt)), &days).expect("a snapshot");
            assert_eq!(span, Span::days(Some(date(expected)), Some(date(expected))), "{dt}");
        }
        assert_eq!(latest.span(Some(date("2026-01-04")), &Days(vec![])), None);
    }

    #[test]
    fn intersections_keep_every_day_that_is_in_both() {
        let none = Days(vec![]);
        let a = [between(-6, 0), between(-30, -28)];
        let b = [between(-2, 3), DayRange::Between { from: Some(DateExpr::Literal(date("2026-01-01"))), to: None }];
        let joined = intersect(&a, &b);
        for dt in (0..60).map(|d| date("2025-12-20").plus_days(d)) {
            let days = |union: &[DayRange], day| spans(union, Some(dt), &none).iter().any(|s| s.contains(Some(day)));
            for day in (-40..10).map(|d| dt.plus_days(d)) {
                assert_eq!(days(&joined, day), days(&a, day) && days(&b, day), "{day} on {dt}");
            }
        }
        let many: Vec<DayRange> = (0..9).map(|d| between(-d, -d)).collect();
        assert_eq!(intersect(&many, &[between(-3, 0), between(0, 0)]).len(), 2, "a superset: the shorter of the two");
    }

    #[test]
    fn ranges_are_told_in_words() {
        let open = |to: i32| DayRange::Between { from: None, to: Some(DateExpr::Day.shifted(0, to)) };
        for (range, expected) in [
            (between(0, 0), "the day"),
            (between(-1, -1), "the day before"),
            (between(-7, -7), "7 days before the day"),
            (between(-6, 0), "the 7 days up to it"),
            (between(-7, -1), "the 7 days before"),
            (between(-7, 1), "7 days before the day to the day after"),
            (open(-1), "all days before"),
            (open(0), "all days up to it"),
            (open(-7), "all days up to 7 days before the day"),
            (DayRange::only(DateExpr::Day.shifted(-12, 0)), "the same day a year before"),
            (DayRange::Latest(DateExpr::Day), "the latest snapshot"),
            (DayRange::All, "everything"),
            (DayRange::Own, "the day, or no day"),
        ] {
            assert_eq!(range.to_string(), expected);
        }
        assert_eq!(words(&[between(0, 0), between(-1, -1)]), "the day, the day before");
    }
}
