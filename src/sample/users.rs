//! The particulars of registered users, all invented: each is a pure function of the seed, the user's number and the day.

use super::draw::{Draw, Topic};
use super::world::World;
use crate::date::BizDate;

const FAMILIES: [&str; 12] = ["Wang", "Li", "Zhang", "Liu", "Chen", "Yang", "Huang", "Zhao", "王", "李", "陈", "欧阳"];
const GIVEN: [&str; 10] = ["Fang", "Wei", "Na", "Min", "Jing", "Qiang", "Lei", "Yan", "Tao", "Ming"];
const GIVEN_CHINESE: [&str; 10] = ["芳", "伟", "娜", "敏", "静", "强", "磊", "艳", "涛", "明"];
const CITIES: [&str; 6] = ["Beijing", "Shanghai", "Guangzhou", "Shenzhen", "Hangzhou", "Chengdu"];
const BRANDS: [&str; 6] = ["huawei", "xiaomi", "oppo", "vivo", "honor", "iPhone"];

/// A user's particulars.
pub struct User {
    pub name: String,
    pub gender: i64,
    pub birthday: BizDate,
    pub e_mail: Option<String>,
    pub mobile: i64,
    pub is_blacklisted: bool,
    pub is_pregnant: bool,
    pub has_children: bool,
    pub has_car: bool,
    pub phone_brand: Option<&'static str>,
    pub phones: i64,
    pub phone_changes: i64,
    pub weight: i64,
    pub height: i64,
    pub addresses: Vec<String>,
    /// The row is missing from the database, though the user is in the logs.
    pub is_orphan: bool,
}

impl User {
    /// A user on a day.
    pub fn of(world: &World, uid: u64, day: u32) -> Self {
        let mut draw = Draw::new(world.seed, Topic::User, uid, 0);
        let family = draw.below(FAMILIES.len() as u64) as usize;
        let given = draw.below(GIVEN.len() as u64) as usize;
        let name = if FAMILIES[family].is_ascii() {
            format!("{} {}", FAMILIES[family], GIVEN[given])
        } else {
            format!("{}{}", FAMILIES[family], GIVEN_CHINESE[given])
        };
        let gender = draw.weighted(&[10, 43, 47]) as i64;
        let birthday = BizDate::from_days(draw.between(-3650, 13_500) as i32);
        let e_mail = draw.chance(830).then(|| format!("u{uid}@example.com"));
        let mobile = [138, 139, 150, 186, 199][draw.below(5) as usize] * 100_000_000 + draw.between(0, 99_999_999);
        let blacklisted_on = draw.between(0, 400);
        let phone_changed_on = draw.between(0, 60);
        let addresses = (0..1 + draw.below(2))
            .map(|_| format!("{}, Road {}, No. {}", draw.pick(&CITIES), draw.between(1, 99), draw.between(1, 999)))
            .collect();
        Self {
            name,
            gender,
            birthday,
            e_mail,
            mobile,
            is_blacklisted: i64::from(day) >= blacklisted_on,
            is_pregnant: gender == 2 && draw.chance(50),
            has_children: draw.chance(400),
            has_car: draw.chance(300),
            phone_brand: draw.chance(900).then(|| draw.pick(&BRANDS)),
            phones: draw.between(1, 3),
            phone_changes: draw.between(0, 4) + i64::from(i64::from(day) >= phone_changed_on),
            weight: draw.between(45, 95),
            height: draw.between(150, 190),
            addresses,
            is_orphan: draw.chance(12),
        }
    }
}
