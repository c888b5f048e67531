//! What happens in a session: open, list, click, detail, and now and then a crash.

use super::device::{Device, VERSIONS};
use super::draw::{Draw, Topic};
use super::plan::Session;
use super::world::World;

/// One event. Fields that its act does not have are 0.
#[derive(Clone, Copy, Default)]
pub struct Event {
    pub act: u8,
    /// Epoch milliseconds.
    pub acttime: i64,
    /// Its number in the session.
    pub number: u32,
    /// Whether the session's user is logged in by now.
    pub logged_in: bool,
    /// The goods by rank, for orders.
    pub goods: u32,
    pub goods_id: i64,
    pub ad_status: i64,
    pub loading_time: i64,
    pub location: i64,
    pub stay_time: i64,
    pub loading_type: i64,
    pub goods_num: i64,
}

/// Act codes of the client.
pub mod act {
    pub const OPEN: u8 = 1;
    pub const CLICK: u8 = 2;
    pub const DETAIL: u8 = 3;
    pub const LIST: u8 = 4;
    pub const CRASH: u8 = 5;
}

/// The usual loading time by network, milliseconds.
const LOADING_MS: [i64; 6] = [130, 80, 900, 380, 140, 60];

/// The events of a session, in order.
pub struct Events<'w> {
    world: &'w World,
    draw: Draw,
    day: u32,
    left: u32,
    number: u32,
    login_at: u32,
    now: i64,
    /// The first instant after the session's day.
    end: i64,
    next: u8,
    goods: u32,
    net: usize,
    crashes: u64,
}

impl<'w> Events<'w> {
    /// Begins a session's events.
    pub fn new(world: &'w World, session: &Session, device: &Device) -> Self {
        let about = (u64::from(session.day) << 32) | u64::from(session.number);
        let mut draw = Draw::new(world.seed, Topic::Events, device.id, about);
        let day = &world.days[session.day as usize];
        let next = if draw.chance(900) { act::OPEN } else { act::LIST };
        let login_at = if device.platform != 3 && draw.chance(120) { 2 } else { 0 };
        Self {
            world,
            day: session.day,
            left: session.events,
            number: 0,
            login_at,
            now: day.start_ms + i64::from(session.start),
            end: day.start_ms + day.length_ms,
            next,
            goods: 0,
            net: net(&mut draw, device),
            crashes: VERSIONS[device.version(session.day)].crashes,
            draw,
        }
    }

    /// The network of the session.
    pub fn net(&self) -> usize {
        self.net
    }

    fn loading(&mut self) -> i64 {
        self.draw.tail(LOADING_MS[self.net])
    }

    /// Fills in what the act has, and says how long it takes and what comes next.
    fn happen(&mut self, event: &mut Event) -> (i64, u8) {
        let draw = &mut self.draw;
        match event.act {
            act::OPEN => {
                event.ad_status = if draw.chance(900) { 1 } else { 2 };
                event.loading_time = 300 + self.loading();
                (self.draw.between(900, 4_000), act::LIST)
            }
            act::LIST => {
                event.loading_type = if draw.chance(350) { 1 } else { 2 };
                event.goods_num = draw.between(5, 20);
                event.loading_time = self.loading() * event.loading_type / 2;
                let next = if self.draw.chance(800) { act::CLICK } else { act::LIST };
                (self.draw.tail(1_200), next)
            }
            act::CLICK => {
                self.goods = self.world.goods.pick(draw, self.day);
                event.goods = self.goods;
                event.location = draw.tail(2) % 20 - 1;
                event.location = event.location.max(0);
                let next = if draw.chance(870) { act::DETAIL } else { act::LIST };
                (draw.between(250, 1_500), next)
            }
            act::DETAIL => {
                event.goods = self.goods;
                event.stay_time = draw.tail(1_800);
                event.loading_time = self.loading();
                let next = [act::CLICK, act::LIST, act::DETAIL][self.draw.weighted(&[45, 43, 12])];
                if next == act::DETAIL {
                    self.goods = self.world.goods.companion(self.goods, self.day);
                }
                (event.stay_time + self.draw.between(200, 900), next)
            }
            _ => (draw.tail(2_500), act::OPEN),
        }
    }
}

impl Iterator for Events<'_> {
    type Item = Event;

    fn next(&mut self) -> Option<Event> {
        if self.left == 0 {
            return None;
        }
        let mut event = Event {
            act: self.next,
            acttime: self.now,
            number: self.number,
            logged_in: self.number >= self.login_at,
            ..Event::default()
        };
        let (took, next) = self.happen(&mut event);
        if matches!(event.act, act::CLICK | act::DETAIL) {
            event.goods_id = self.world.goods.id(event.goods);
        }
        let crashed = event.act != act::CRASH && self.draw.chance(self.crashes);
        self.next = if crashed { act::CRASH } else { next };
        self.left -= 1;
        self.number += 1;
        // A session ends before midnight, however long it is.
        self.now += took.min((self.end - 1 - self.now) / (i64::from(self.left) + 1));
        Some(event)
    }
}

fn net(draw: &mut Draw, device: &Device) -> usize {
    if device.platform == 3 || draw.chance(650) { device.net } else { draw.weighted(&[3, 55, 2, 4, 22, 14]) }
}
