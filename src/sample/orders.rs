//! What is bought on a day, by whom and when, and what becomes of each order afterwards.

use super::device::Device;
use super::draw::{Draw, Topic};
use super::plan::Session;
use super::session::{Events, act};
use super::world::{Day, World};

/// An order with its whole fate. Times are wall-clock seconds since 1970.
pub struct Order {
    pub id: i64,
    pub user: u64,
    pub placed: i64,
    pub cents: i64,
    pub kind: i64,
    /// Its changes of status, in time order.
    pub steps: Vec<Step>,
    /// Another update gives it another order date.
    pub moves: bool,
}

/// A change of an order's status.
#[derive(Clone, Copy)]
pub struct Step {
    pub at: i64,
    pub status: Status,
}

/// The statuses of an order, with the shop's codes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Status {
    Unpaid = 0,
    Paid,
    Shipped,
    Completed,
    Cancelled,
    Refunded,
}

/// A line of an order.
pub struct Line {
    pub order: i64,
    pub goods_id: i64,
    pub amount: i64,
    /// What the line costs in all.
    pub cents: i64,
    pub at: i64,
}

/// The orders of a day, and their lines.
#[derive(Default)]
pub struct Placed {
    pub orders: Vec<Order>,
    pub lines: Vec<Line>,
}

/// Somebody is about to order.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Basket {
    at: i64,
    user: u64,
    number: u32,
    /// Goods that were looked at, by rank.
    seen: Vec<u32>,
}

const HOUR: i64 = 3_600;
const DAY: i64 = 86_400;

/// All orders of a day: most at the end of a session of a logged-in user, some by telephone.
pub fn placed(world: &World, day: &Day, sessions: &[Session]) -> Placed {
    let mut baskets = Vec::new();
    for session in sessions.iter().filter(|session| session.orders > 0) {
        let device = Device::of(world, u64::from(session.device));
        let mut seen = Vec::new();
        let mut last = day.start_ms;
        for event in Events::new(world, session, &device) {
            last = event.acttime;
            if event.act == act::DETAIL && seen.len() < 8 {
                seen.push(event.goods);
            }
        }
        for number in 0..session.orders {
            let pause = 20_000 + i64::from(number) * 90_000;
            let at = world.local_seconds((last + pause).min(day.start_ms + day.length_ms - 1000));
            baskets.push(Basket { at, user: session.uid, number, seen: seen.clone() });
        }
    }
    let count = day.busy(world.orders);
    let mut draw = Draw::new(world.seed, Topic::Order, u64::from(day.index), 0);
    while (baskets.len() as u64) < count {
        let at = world.local_seconds(day.start_ms + day.moment(&mut draw));
        let number = baskets.len() as u32;
        baskets.push(Basket { at, user: any_user(world, &mut draw, at), number, seen: Vec::new() });
    }
    baskets.sort_unstable();
    let mut placed = Placed::default();
    for (number, basket) in baskets.into_iter().enumerate() {
        place(world, day, number as i64 + 1, basket, &mut placed);
    }
    placed
}

/// Somebody with an account, who need not have been seen on a device that day.
fn any_user(world: &World, draw: &mut Draw, now: i64) -> u64 {
    for _ in 0..32 {
        let device = Device::of(world, draw.below(world.devices));
        if let Some(account) = device.own_account(world).filter(|account| account.registered < now) {
            return account.uid;
        }
    }
    10_000
}

fn place(world: &World, day: &Day, number: i64, basket: Basket, placed: &mut Placed) {
    let id = i64::from(day.date.days()) * 100_000_000 + number;
    let mut draw = Draw::new(world.seed, Topic::Order, u64::from(day.index), number as u64);
    let mut at = basket.at;
    let mut lines_at = at;
    if draw.chance(15) && day.index < world.last() {
        // Ordered in the last seconds of the day; the lines were written in the next.
        at = day.midnight() + DAY - draw.between(1, 20);
        lines_at = day.midnight() + DAY + draw.between(0, 9);
    }
    let from = placed.lines.len();
    for goods in goods_of(world, day, &mut draw, &basket.seen) {
        let amount = [1, 2, 3, 5][draw.weighted(&[70, 18, 9, 3])];
        let cents = world.goods.price(goods, day.index) * amount;
        placed.lines.push(Line { order: id, goods_id: world.goods.id(goods), amount, cents, at: lines_at });
    }
    placed.orders.push(Order {
        id,
        user: basket.user,
        placed: at,
        cents: placed.lines[from..].iter().map(|line| line.cents).sum(),
        kind: draw.weighted(&[80, 12, 8]) as i64,
        steps: fate(&mut draw, at),
        moves: world.is_dirty(&mut draw),
    });
}

/// One to four different goods: mostly those that were looked at, and what goes with them.
fn goods_of(world: &World, day: &Day, draw: &mut Draw, seen: &[u32]) -> Vec<u32> {
    let mut goods: Vec<u32> = Vec::new();
    let wanted = 1 + draw.weighted(&[46, 32, 15, 7]);
    for attempt in 0..wanted * 2 {
        let next = match goods.last() {
            Some(last) if draw.chance(450) => world.goods.companion(*last, day.index),
            _ if attempt < seen.len() && draw.chance(850) => seen[seen.len() - 1 - attempt],
            _ => world.goods.pick(draw, day.index),
        };
        if goods.len() < wanted && !goods.contains(&next) {
            goods.push(next);
        }
    }
    goods
}

/// What becomes of an order.
fn fate(draw: &mut Draw, placed: i64) -> Vec<Step> {
    let mut steps = Vec::with_capacity(4);
    let mut now = placed;
    let mut step = |after: i64, status| {
        now += after;
        steps.push(Step { at: now, status });
    };
    match draw.weighted(&[78, 8, 14]) {
        0 => step(draw.tail(70), Status::Paid),
        1 => step(draw.between(5, 40) * HOUR + draw.between(0, HOUR), Status::Paid),
        _ => {
            if draw.chance(700) {
                step(DAY + draw.between(0, 600), Status::Cancelled);
            }
            return steps;
        }
    }
    if draw.chance(60) {
        step(draw.between(1, 60) * HOUR + draw.between(0, HOUR), Status::Refunded);
        return steps;
    }
    step(draw.between(4, 36) * HOUR + draw.between(0, HOUR), Status::Shipped);
    if draw.chance(880) {
        step(DAY + draw.between(0, 3 * DAY), Status::Completed);
    }
    if draw.chance(50) {
        step(draw.between(6, 80) * HOUR + draw.between(0, HOUR), Status::Refunded);
    }
    steps
}
