//! Devices and the accounts that log in on them: each is a pure function of the seed and its number.

use super::draw::{Draw, Topic, key};
use super::world::World;

/// A telephone or a computer that the shop's client runs on.
pub struct Device {
    pub id: u64,
    pub platform: u32,
    pub brand: &'static str,
    pub model: u64,
    pub display: &'static str,
    pub osver: &'static str,
    /// The network it is mostly on.
    pub net: usize,
    /// The day it was first used, counted from the first simulated day.
    pub install: i64,
    /// When it changes to the next version, counted likewise.
    upgrade: i64,
    version: usize,
    habit: Habit,
}

/// How soon the owner loses interest.
#[derive(Clone, Copy)]
enum Habit {
    Loyal,
    Regular,
    Passing,
}

/// A registered user: one device's own account.
#[derive(Clone, Copy)]
pub struct Account {
    pub uid: u64,
    /// Wall-clock seconds since 1970.
    pub registered: i64,
}

/// A version of the client: its name, its build and how many events in a thousand are followed by a crash.
pub struct Version {
    pub ver: &'static str,
    pub vercode: &'static str,
    pub crashes: u64,
}

const fn version(ver: &'static str, vercode: &'static str, crashes: u64) -> Version {
    Version { ver, vercode, crashes }
}

/// The versions in the field, oldest first; 3.3.4 was a bad one, and the last sends event ids in a dirty sample.
pub const VERSIONS: [Version; 7] = [
    version("3.0.7", "35100041", 6),
    version("3.1.5", "35100083", 5),
    version("3.2.8", "35100091", 5),
    version("3.3.2", "35100094", 4),
    version("3.3.4", "35100096", 28),
    version("3.4.5", "35100102", 4),
    version("3.5.0", "35100110", 3),
];

const NET: [u32; 6] = [4, 50, 3, 5, 22, 16];

impl Device {
    /// The device of a number.
    pub fn of(world: &World, id: u64) -> Self {
        let mut draw = Draw::new(world.seed, Topic::Device, id, 0);
        let install = if draw.chance(500) { -draw.between(1, 200) } else { draw.below(world.days.len() as u64) as i64 };
        let habit = [Habit::Loyal, Habit::Regular, Habit::Passing][draw.weighted(&[25, 45, 30])];
        let upgrade = draw.between(0, 24);
        let version = draw.weighted(&[6, 10, 16, 22, 16, 20, 10]);
        let net = draw.weighted(&NET);
        let model = draw.below(9);
        let mut device = Self {
            id,
            platform: 1,
            brand: draw.pick(&["huawei", "xiaomi", "oppo", "vivo", "honor"]),
            model,
            display: draw.pick(&["1920x1080", "1280x800", "2400x1080", "1334x750"]),
            osver: draw.pick(&["7.1.1", "9.0", "10", "12", "13"]),
            net,
            install,
            upgrade,
            version,
            habit,
        };
        match draw.weighted(&[45, 31, 21, 3]) {
            1 => {
                (device.platform, device.brand) = (2, "iPhone");
                device.display = draw.pick(&["1334x750", "2532x1170", "2796x1290"]);
                device.osver = draw.pick(&["ios12", "ios13", "ios16", "ios17"]);
            }
            2 => {
                (device.platform, device.brand, device.net) = (3, "computer", 1);
                device.display = draw.pick(&["1280x768", "1920x1080", "2560x1440"]);
                device.osver = draw.pick(&["win10", "win10", "win11", "macos14"]);
            }
            3 => {
                device.platform = draw.pick(&[0, 4, 9]);
                device.osver = draw.pick(&["harmony4", "tizen8"]);
            }
            _ => {}
        }
        device
    }

    /// Its version on a day; some devices change to the next one while we watch.
    pub fn version(&self, day: u32) -> usize {
        (self.version + usize::from(i64::from(day) >= self.upgrade)).min(VERSIONS.len() - 1)
    }

    /// How many sessions it begins on a day, 0 when it stays silent: interest decays with age, and never quite ends.
    pub fn sessions(&self, world: &World, day: u32) -> u32 {
        let age = i64::from(day) - self.install;
        if age < 0 {
            return 0;
        }
        let per_mille = match self.habit {
            _ if age == 0 => 1000,
            Habit::Loyal => 700,
            Habit::Regular => 100 + 600 / (1 + age / 3),
            Habit::Passing => 12 + 260 / (age + 1),
        };
        let mut draw = Draw::new(world.seed, Topic::Activity, self.id, u64::from(day));
        if !draw.chance(per_mille as u64) {
            return 0;
        }
        match self.habit {
            Habit::Loyal => draw.weighted(&[0, 45, 35, 20]) as u32,
            Habit::Regular => draw.weighted(&[0, 65, 30, 5]) as u32,
            Habit::Passing => 1,
        }
    }

    /// Appends the device id as it is sent (nothing on a PC): `ab25617-c38910-m2`.
    pub fn put_xaid(&self, seed: u64, out: &mut Vec<u8>) {
        if self.platform == 3 {
            return;
        }
        let mut bits = key(seed, Topic::Identity, self.id, u64::MAX);
        for length in [7, 6] {
            for _ in 0..length {
                out.push(b"0123456789abcdef"[(bits & 15) as usize]);
                bits >>= 4;
            }
            out.push(b'-');
        }
        out.push(b'm');
        super::line::put_int(out, self.id as i64);
    }

    /// The account of the person who uses it: its own, or on some computers that of the telephone one number before.
    pub fn account(&self, world: &World) -> Option<Account> {
        self.shared_account(world).or_else(|| self.own_account(world))
    }

    /// The account that was opened on it, if any.
    pub fn own_account(&self, world: &World) -> Option<Account> {
        if self.shared_account(world).is_some() {
            return None;
        }
        let mut draw = Draw::new(world.seed, Topic::Account, self.id, 0);
        if !draw.chance(if self.platform == 3 { 970 } else { 660 }) {
            return None;
        }
        let lag = if draw.chance(700) { 0 } else { draw.between(1, 3) };
        let day = i64::from(world.days[0].date.days()) + self.install + lag;
        Some(Account { uid: 10_000 + self.id, registered: day * 86_400 + draw.between(0, 86_399) })
    }

    fn shared_account(&self, world: &World) -> Option<Account> {
        let shares = self.platform == 3 && self.id > 0 && Draw::new(world.seed, Topic::Account, self.id, 1).chance(400);
        let other = shares.then(|| Self::of(world, self.id - 1)).filter(|other| other.platform != 3);
        other.and_then(|other| other.own_account(world))
    }
}
