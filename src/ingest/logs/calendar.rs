//! The business day of an instant, for millions of instants of a few days.

use std::collections::BTreeMap;

use crate::date::{BizDate, Zone};

const DAY_MS: i64 = 86_400_000;

#[derive(Clone, Copy)]
struct Known {
    from: i64,
    to: i64,
    day: BizDate,
    number: u32,
}

/// Remembers the bounds of days met before; exactly [`Zone::day_of_ms`], only faster.
pub struct Calendar {
    zone: Zone,
    last: Known,
    by_start: BTreeMap<i64, Known>,
    numbers: BTreeMap<BizDate, u32>,
    numbered: Vec<BizDate>,
}

impl Calendar {
    pub fn new(zone: Zone) -> Self {
        let never = Known { from: 0, to: 0, day: BizDate::from_days(0), number: 0 };
        Self { zone, last: never, by_start: BTreeMap::new(), numbers: BTreeMap::new(), numbered: Vec::new() }
    }

    /// The day of an instant and the day's number, when it lies between two days, both included.
    /// Days are numbered in the order of their first use.
    #[inline(always)]
    pub fn day_between(&mut self, ms: i64, first: BizDate, last: BizDate) -> Result<(BizDate, u32), Option<BizDate>> {
        let known = if self.last.from <= ms && ms < self.last.to { self.last } else { self.look_up(ms, first, last)? };
        if known.day < first || known.day > last {
            return Err(Some(known.day));
        }
        Ok((known.day, known.number))
    }

    /// The days by their number.
    pub fn numbered(&self) -> &[BizDate] {
        &self.numbered
    }

    #[inline(never)]
    fn look_up(&mut self, ms: i64, first: BizDate, last: BizDate) -> Result<Known, Option<BizDate>> {
        if let Some((_, known)) = self.by_start.range(..=ms).next_back()
            && ms < known.to
        {
            self.last = *known;
            return Ok(*known);
        }
        let day = self.zone.day_of_ms(ms).ok_or(None)?;
        // A day that no event can land on is not worth a number: there may be any number of them.
        if day < first || day > last {
            return Err(Some(day));
        }
        let number = *self.numbers.entry(day).or_insert_with(|| {
            self.numbered.push(day);
            self.numbered.len() as u32 - 1
        });
        let (from, to) = (self.zone.start_of_day_ms(day), self.zone.start_of_day_ms(day.plus_days(1)));
        let known = Known { from, to, day, number };
        // On a day of other than 24 hours the clock is changed, perhaps over midnight: every instant is looked up.
        if to - from == DAY_MS && from <= ms && ms < to {
            self.by_start.insert(from, known);
            self.last = known;
        }
        Ok(known)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_those_of_the_zone_through_clock_changes() {
        for (name, around) in [
            ("Asia/Shanghai", "2026-01-01"),
            ("Europe/Berlin", "2026-03-29"),
            ("Europe/Berlin", "2026-10-25"),
            ("America/St_Johns", "2010-11-07"),
            ("America/Sao_Paulo", "2018-11-04"),
            ("Pacific/Apia", "2011-12-30"),
        ] {
            let zone: Zone = name.parse().expect("a zone");
            let day: BizDate = around.parse().expect("a date");
            let (first, last) = (day.plus_days(-9), day.plus_days(9));
            let mut calendar = Calendar::new(zone);
            let noon = zone.start_of_day_ms(day.plus_days(-3));
            for minute in 0..6 * 24 * 60 {
                let ms = noon + minute * 60_000;
                let found = calendar.day_between(ms, first, last).map(|(day, _)| day);
                assert_eq!(found.ok(), zone.day_of_ms(ms), "{name} {ms}");
            }
        }
    }

    #[test]
    fn days_out_of_range_are_told_and_not_numbered() {
        let zone: Zone = "Asia/Shanghai".parse().expect("a zone");
        let day: BizDate = "2026-01-01".parse().expect("a date");
        let mut calendar = Calendar::new(zone);
        let start = zone.start_of_day_ms(day);
        assert_eq!(calendar.day_between(start, day, day), Ok((day, 0)));
        assert_eq!(calendar.day_between(start - 1, day, day), Err(Some(day.plus_days(-1))));
        assert_eq!(calendar.day_between(i64::MAX, day, day), Err(None));
        assert_eq!(calendar.day_between(start, day.plus_days(1), day.plus_days(2)), Err(Some(day)));
        assert_eq!(calendar.numbered(), [day]);
    }
}
