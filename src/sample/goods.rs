//! The goods and their categories: numbers, prices that change, popularity by Zipf's law.

use super::draw::{Draw, Topic};

/// The shop's goods; a goods is known by its rank in popularity, from 0.
pub struct Goods {
    seed: u64,
    days: u32,
    /// Cumulative popularity, for drawing by binary search.
    upto: Vec<u64>,
}

/// A first category with its second categories, each with its third ones.
pub struct Category {
    pub name: &'static str,
    pub seconds: &'static [(&'static str, &'static [&'static str])],
}

const fn category(name: &'static str, seconds: &'static [(&'static str, &'static [&'static str])]) -> Category {
    Category { name, seconds }
}

/// The categories; their codes are positions, `10203` is the third of the second of the first.
pub const CATEGORIES: &[Category] = &[
    category(
        "Electronics",
        &[
            ("Phones", &["Smartphones", "Chargers"]),
            ("Computers", &["Laptops", "Tablets"]),
            ("Audio", &["Headphones", "Speakers"]),
        ],
    ),
    category("Home", &[("Kitchen", &["Pans", "Kettles"]), ("Furniture", &["Desks", "Chairs"])]),
    category("Clothing", &[("Women", &["Dresses", "Coats"]), ("Men", &["Shirts", "Trousers"]), ("Shoes", &["Boots"])]),
    category("Food", &[("Snacks", &["Nuts", "Biscuits"]), ("Drinks", &["Tea", "Coffee"])]),
    category("Beauty", &[("Skin care", &["Creams", "Masks"]), ("Make-up", &["Lipsticks"])]),
    category("Sports", &[("Running", &["Running shoes", "Watches"]), ("Cycling", &["Helmets"])]),
    category("Books, music", &[("Fiction", &["Novels"]), ("Children", &["Picture books"])]),
    category("母婴", &[("奶粉", &["婴儿奶粉"]), ("玩具", &["积木"])]),
];

impl Goods {
    /// Lays out `count` goods.
    pub fn new(seed: u64, count: u32, days: u32) -> Self {
        let mut sum = 0;
        let upto = (0..u64::from(count))
            .map(|rank| {
                sum += (1 << 40) / (rank + 4);
                sum
            })
            .collect();
        Self { seed, days, upto }
    }

    /// How many goods there are.
    pub fn count(&self) -> u32 {
        self.upto.len() as u32
    }

    /// Draws a goods on sale on a day.
    pub fn pick(&self, draw: &mut Draw, day: u32) -> u32 {
        let all = self.upto.last().copied().unwrap_or(1);
        let at = draw.below(all);
        let mut goods = self.upto.partition_point(|upto| *upto <= at) as u32;
        while self.launched(goods) > day {
            goods /= 2;
        }
        goods
    }

    /// The goods that is often bought together with this one.
    pub fn companion(&self, goods: u32, day: u32) -> u32 {
        let other = goods ^ 1;
        if other < self.count() && self.launched(other) <= day { other } else { goods }
    }

    /// Its number: 7, 11 or 12 digits, as shops that grew have them.
    pub fn id(&self, goods: u32) -> i64 {
        let goods = i64::from(goods);
        match goods % 5 {
            0 => 412_522 + goods * 9,
            1 | 2 => 11_244_282_628 + goods * 48_611,
            _ => 100_000_000_000 + goods * 13_001,
        }
    }

    /// The day it came on sale, 0 for most.
    pub fn launched(&self, goods: u32) -> u32 {
        if goods > 20 && goods % 19 == 7 { goods * 7 % self.days } else { 0 }
    }

    /// Whether the shop's database knows it; a few that are sold were taken off the list.
    pub fn is_listed(&self, goods: u32) -> bool {
        goods < 12 || goods % 101 != 12
    }

    /// The price of one, in cents, on a day; about a quarter changes in a week.
    pub fn price(&self, goods: u32, day: u32) -> i64 {
        let mut draw = Draw::new(self.seed, Topic::Goods, u64::from(goods), 0);
        let base = draw.tail(draw_scale(goods)) + draw.between(0, 99);
        let week = (day + goods * 3) / 7;
        let mut change = Draw::new(self.seed, Topic::Goods, u64::from(goods), 1 + u64::from(week));
        if change.chance(250) { base * change.between(80, 115) / 100 } else { base }
    }

    /// Its name on a day; some are renamed on the eighth day.
    pub fn name(&self, goods: u32, day: u32) -> String {
        let (_, kind) = self.third(goods);
        let renamed = if goods % 23 == 5 && day >= 8 { " (new edition)" } else { "" };
        format!("{kind} {}{:02}{renamed}", ["Basic ", "Plus ", "Pro ", "Ultra "][goods as usize % 4], goods / 4 + 1)
    }

    /// Its third category: code and name.
    pub fn third(&self, goods: u32) -> (i64, &'static str) {
        let mut draw = Draw::new(self.seed, Topic::Goods, u64::from(goods), u64::MAX);
        let first = draw.weighted(&[26, 18, 18, 12, 10, 8, 5, 3]);
        let category = &CATEGORIES[first];
        let second = draw.below(category.seconds.len() as u64) as usize;
        let (_, thirds) = category.seconds[second];
        let third = draw.below(thirds.len() as u64) as usize;
        (code(first, second, third), thirds[third])
    }
}

/// The code of a third category by its positions.
pub fn code(first: usize, second: usize, third: usize) -> i64 {
    ((first as i64 + 1) * 100 + second as i64 + 1) * 100 + third as i64 + 1
}

/// The usual price of a goods in cents: most are cheap.
fn draw_scale(goods: u32) -> i64 {
    [1_900, 4_900, 2_900, 19_900, 7_900, 990, 69_900][goods as usize % 7]
}
