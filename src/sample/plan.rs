//! A day's sessions: who comes when, for how many events, and who will order.

use super::device::{Account, Device};
use super::draw::{Draw, Topic, share};
use super::world::{Day, World};

/// One visit of one device. Its events follow from it, see [`super::session`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Session {
    /// When it begins, milliseconds into its day. First, because sessions are sent in this order.
    pub start: u32,
    pub device: u32,
    /// Its number among the device's sessions of the day.
    pub number: u32,
    /// The index of its day.
    pub day: u32,
    pub events: u32,
    /// How many orders are placed at its end.
    pub orders: u32,
    /// The user who is logged in, or 0.
    pub uid: u64,
}

/// How long a session is meant to be, where there are events enough for all devices and to spare.
const LONG_SESSION: u64 = 14;

/// The sessions of a day in the order of their beginnings; their events sum to the day's.
pub fn sessions(world: &World, day: &Day) -> Vec<Session> {
    let events = day.busy(world.events);
    let mut visits: Vec<(u32, u32)> = Vec::new();
    let mut count = 0;
    for id in 0..world.devices {
        let times = Device::of(world, id).sessions(world, day.index);
        if times > 0 {
            visits.push((id as u32, times));
            count += u64::from(times);
        }
    }
    if visits.is_empty() {
        // A shop this small still sees somebody every day.
        visits.push(((u64::from(day.index) % world.devices) as u32, 1));
        count = 1;
    }
    let more = (events / (count * LONG_SESSION)).clamp(1, 1_000_000) as u32;
    let mut sessions = Vec::with_capacity((count * u64::from(more)) as usize);
    let mut weights = 0;
    for (id, times) in visits {
        let device = Device::of(world, u64::from(id));
        let account = device.account(world);
        for number in 0..times * more {
            let session = begin(world, day, &device, account, number);
            weights += u64::from(session.events);
            sessions.push(session);
        }
    }
    let mut before = 0;
    for session in &mut sessions {
        let weight = u64::from(session.events);
        session.events = share(events, before, weight, weights) as u32;
        before += weight;
    }
    sessions.retain(|session| session.events > 0);
    sessions.sort_unstable();
    let buyable = day.busy(world.orders) * 9 / 10;
    assign_orders(world, &mut sessions, buyable);
    sessions
}

/// One session, with a weight in place of its number of events.
fn begin(world: &World, day: &Day, device: &Device, account: Option<Account>, number: u32) -> Session {
    let about = (u64::from(day.index) << 32) | u64::from(number);
    let mut draw = Draw::new(world.seed, Topic::Session, device.id, about);
    let start = day.moment(&mut draw);
    let mut account = account;
    if device.platform != 3 && draw.chance(20) {
        // Somebody else borrows the telephone.
        account = Device::of(world, (device.id + 1) % world.devices).own_account(world);
    }
    let logs_in = draw.chance(if device.platform == 3 { 985 } else { 860 });
    let now = day.midnight() + start / 1000;
    let uid = account.filter(|account| logs_in && account.registered <= now).map_or(0, |account| account.uid);
    let weight = draw.tail(4) as u32;
    Session { start: start as u32, device: device.id as u32, number, day: day.index, events: weight, orders: 0, uid }
}

/// Spreads orders over the sessions of users who buy, each as often as their liking says.
fn assign_orders(world: &World, sessions: &mut [Session], orders: u64) {
    let weight = |session: &Session| {
        if session.uid == 0 || session.events < 3 {
            return 0;
        }
        let liking = Draw::new(world.seed, Topic::Buyer, session.uid, 0).weighted(&[30, 30, 20, 12, 8]) as u64;
        liking * liking
    };
    let all: u64 = sessions.iter().map(weight).sum();
    if all == 0 {
        return;
    }
    let mut before = 0;
    for session in sessions {
        let weight = weight(session);
        session.orders = share(orders, before, weight, all) as u32;
        before += weight;
    }
}
