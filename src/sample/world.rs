//! The fixed points of the simulation: its days, its size and its share of dirt.

use anyhow::{Result, bail};
use chrono::Datelike;

use super::SampleOptions;
use super::draw::Draw;
use super::goods::Goods;
use crate::date::{BizDate, Zone};

/// Everything that is the same for the whole simulation.
pub struct World {
    pub seed: u64,
    pub devices: u64,
    pub events: u64,
    pub orders: u64,
    pub zone: Zone,
    pub days: Vec<Day>,
    pub goods: Goods,
    /// Of 2³² draws, how many make something dirty; 0 means a clean sample.
    pub dirt: u64,
}

/// A simulated business day.
#[derive(Clone, Copy)]
pub struct Day {
    pub index: u32,
    pub date: BizDate,
    /// Its first instant, epoch milliseconds.
    pub start_ms: i64,
    /// Its length, which is not always 24 hours.
    pub length_ms: i64,
}

/// How busy each hour of a day is.
const HOURS: [u32; 24] = [9, 5, 3, 2, 2, 3, 8, 16, 26, 36, 44, 46, 52, 46, 42, 42, 44, 46, 52, 62, 72, 76, 56, 28];

/// How busy the days of a week are, Monday first; they sum to 7,000.
const WEEKDAYS: [u64; 7] = [920, 930, 950, 960, 1020, 1130, 1090];

const SECONDS_A_DAY: i64 = 86_400;

impl World {
    /// Checks the options and lays out the days.
    pub fn new(options: &SampleOptions) -> Result<Self> {
        if options.days == 0 || options.days > 3_660 {
            bail!("--days must be 1 to 3660");
        }
        // Before, milliseconds may have ten digits, and after, seconds eleven: the clients' formats end here.
        let year = options.start.naive().year();
        if !(2002..2200).contains(&year) {
            bail!("--start must be in the years 2002 to 2199");
        }
        if options.devices == 0 || options.devices > 100_000_000 {
            bail!("--devices must be 1 to 100000000");
        }
        if options.goods == 0 || options.goods > 1_000_000 {
            bail!("--goods must be 1 to 1000000");
        }
        if options.events > 1_000_000_000 || options.orders > 10_000_000 {
            bail!("--events must be at most 1000000000 a day and --orders 10000000");
        }
        if !(0.0..=1.0).contains(&options.messy) {
            bail!("--messy is a share, 0 to 1");
        }
        let days = (0..options.days)
            .map(|index| {
                let date = options.start.plus_days(index as i32);
                let start_ms = options.zone.start_of_day_ms(date);
                let length_ms = options.zone.start_of_day_ms(date.plus_days(1)) - start_ms;
                Day { index, date, start_ms, length_ms }
            })
            .collect();
        Ok(Self {
            seed: options.seed,
            devices: options.devices,
            events: options.events,
            orders: options.orders,
            zone: options.zone,
            days,
            goods: Goods::new(options.seed, options.goods as u32, options.days),
            dirt: (options.messy * 4_294_967_296.0) as u64,
        })
    }

    /// Whether something is to be dirty now; never draws in a clean sample.
    pub fn is_dirty(&self, draw: &mut Draw) -> bool {
        self.dirt > 0 && draw.bits() >> 32 < self.dirt
    }

    /// The last simulated day.
    pub fn last(&self) -> u32 {
        self.days.len() as u32 - 1
    }

    /// Wall-clock seconds since 1970 of an instant: what a naive DATETIME of the shop says.
    pub fn local_seconds(&self, epoch_ms: i64) -> i64 {
        self.zone.local_ms(epoch_ms).unwrap_or(epoch_ms).div_euclid(1000)
    }
}

impl Day {
    /// An offset into the day in milliseconds, by the daily curve, and not in its last minute: a session needs room.
    pub fn moment(&self, draw: &mut Draw) -> i64 {
        let hour = draw.weighted(&HOURS) as i64;
        let offset = hour * 3_600_000 + draw.below(3_600_000) as i64;
        // A day of 23 or 25 hours has the same curve, pressed or stretched.
        (offset * self.length_ms / (SECONDS_A_DAY * 1000)).min(self.length_ms - 60_000)
    }

    /// A daily quantity, more at the weekend.
    pub fn busy(&self, average: u64) -> u64 {
        let weekday = (self.date.days() + 3).rem_euclid(7) as usize;
        average * WEEKDAYS[weekday] / 1000
    }

    /// The day's midnight as wall-clock seconds since 1970.
    pub fn midnight(&self) -> i64 {
        i64::from(self.date.days()) * SECONDS_A_DAY
    }

    /// Whether a wall-clock second lies in the day.
    pub fn has(&self, local_seconds: i64) -> bool {
        local_seconds.div_euclid(SECONDS_A_DAY) == i64::from(self.date.days())
    }
}
