//! The extracts of the tables that come whole each day: users, goods and categories, as they are at the end of the day.

use std::path::PathBuf;

use anyhow::Result;

use super::SampleSummary;
use super::csv::Csv;
use super::device::Device;
use super::goods::{CATEGORIES, code};
use super::smudge::{CATEGORY_CODE, GOODS_INFO, Smudge, USER, USER_ADDR, USER_EXTEND};
use super::users::User;
use super::world::{Day, World};

/// A third category that no goods table should point to.
const NO_CATEGORY: i64 = 99_999;

/// Writes the snapshots, day by day.
pub struct SnapshotWriter<'w> {
    world: &'w World,
    root: PathBuf,
    smudges: [Smudge; 5],
}

impl<'w> SnapshotWriter<'w> {
    /// Writes to folders beneath `root`.
    pub fn new(world: &'w World, root: PathBuf) -> Self {
        let tables = [&USER, &USER_EXTEND, &USER_ADDR, &GOODS_INFO, &CATEGORY_CODE];
        Self { world, root, smudges: tables.map(|table| Smudge::new(world, table)) }
    }

    /// Writes the snapshots of a day.
    pub fn write_day(&mut self, day: &Day, summary: &mut SampleSummary) -> Result<()> {
        let world = self.world;
        let [users, extends, addresses, goods, categories] = &mut self.smudges;
        let mut users = Csv::create(&self.root, world, day, users)?;
        let mut addresses = Csv::create(&self.root, world, day, addresses)?;
        // A dirty shop forgets a table now and then.
        let is_forgotten = world.dirt > 0 && day.index % 9 == 6;
        let mut extends = if is_forgotten { None } else { Some(Csv::create(&self.root, world, day, extends)?) };
        for id in 0..world.devices {
            let account = Device::of(world, id).own_account(world);
            let Some(account) = account.filter(|a| a.registered < day.midnight() + 86_400) else { continue };
            let user = User::of(world, account.uid, day.index);
            let uid = account.uid as i64;
            if user.is_orphan {
                continue;
            }
            put_user(&mut users, uid, &user, account.registered)?;
            put_addresses(&mut addresses, uid, &user)?;
            if let Some(extends) = &mut extends {
                put_extend(extends, uid, &user)?;
            }
        }
        users.finish(summary)?;
        addresses.finish(summary)?;
        if let Some(extends) = extends {
            extends.finish(summary)?;
        }
        let mut csv = Csv::create(&self.root, world, day, goods)?;
        put_goods(&mut csv, world, day)?;
        csv.finish(summary)?;
        let mut csv = Csv::create(&self.root, world, day, categories)?;
        put_categories(&mut csv)?;
        csv.finish(summary)
    }
}

fn put_user(csv: &mut Csv, uid: i64, user: &User, registered: i64) -> Result<()> {
    csv.int(uid).text(&user.name).int(user.gender).date(user.birthday);
    match &user.e_mail {
        Some(e_mail) => csv.text(e_mail),
        None => csv.null(),
    };
    csv.int(user.mobile).datetime(registered).int(i64::from(user.is_blacklisted));
    csv.end_row()
}

fn put_extend(csv: &mut Csv, uid: i64, user: &User) -> Result<()> {
    csv.int(uid);
    for flag in [user.is_pregnant, user.has_children, user.has_car] {
        csv.int(i64::from(flag));
    }
    match user.phone_brand {
        Some(brand) => csv.text(brand),
        None => csv.null(),
    };
    csv.int(user.phones).int(user.phone_changes).int(user.weight).int(user.height);
    csv.end_row()
}

fn put_addresses(csv: &mut Csv, uid: i64, user: &User) -> Result<()> {
    for (number, address) in user.addresses.iter().enumerate() {
        csv.int(uid * 10 + number as i64 + 1).int(uid).text(address).int(i64::from(number == 0));
        csv.text(&user.name).int(user.mobile).end_row()?;
    }
    Ok(())
}

fn put_goods(csv: &mut Csv, world: &World, day: &Day) -> Result<()> {
    let goods = &world.goods;
    let created = world.days[0].midnight() - 86_400 * 30;
    for rank in 0..goods.count() {
        let launched = goods.launched(rank);
        if launched > day.index || !goods.is_listed(rank) {
            continue;
        }
        let (category, kind) = goods.third(rank);
        csv.int(goods.id(rank)).text(&format!("G{:06}", rank + 1)).text(&goods.name(rank, day.index));
        csv.money(goods.price(rank, day.index));
        match rank % 97 {
            40 => csv.null(),
            71 => csv.int(NO_CATEGORY),
            _ => csv.int(category),
        };
        if rank % 5 == 4 {
            csv.text(&format!("{kind}, \"best\" of {}", rank + 1));
        } else {
            csv.null();
        }
        csv.datetime(if launched == 0 { created - i64::from(rank) } else { world.days[launched as usize].midnight() });
        csv.end_row()?;
    }
    Ok(())
}

fn put_categories(csv: &mut Csv) -> Result<()> {
    for (first, category) in CATEGORIES.iter().enumerate() {
        for (second, (second_name, thirds)) in category.seconds.iter().enumerate() {
            for (third, third_name) in thirds.iter().enumerate() {
                let code = code(first, second, third);
                csv.int(code / 10_000).text(category.name).int(code / 100).text(second_name);
                csv.int(code).text(third_name).end_row()?;
            }
        }
    }
    Ok(())
}
