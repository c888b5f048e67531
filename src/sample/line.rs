//! The lines of the action log: what a client knows about itself, rendered once a session, and the flat shape.

use super::device::{Device, VERSIONS};
use super::draw::{Topic, key};
use super::plan::Session;
use super::session::{Event, act};
use super::world::World;

/// A key of a line. Those up to `EventId` belong to the header.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub enum Key {
    Uid,
    Ver,
    Display,
    Osver,
    Platform,
    Model,
    Net,
    Xaid,
    Brand,
    Vercode,
    EventId,
    Act,
    Acttime,
    GoodsId,
    AdStatus,
    LoadingTime,
    Location,
    StayTime,
    LoadingType,
    GoodsNum,
}

use Key::{
    Act, Acttime, AdStatus, Brand, Display, EventId, GoodsId, GoodsNum, LoadingTime, LoadingType, Location, Model, Net,
    Osver, Platform, StayTime, Uid, Ver, Vercode, Xaid,
};

/// The header keys.
pub const HEADER: [Key; 10] = [Uid, Ver, Display, Osver, Platform, Model, Net, Xaid, Brand, Vercode];

/// The keys of each act, in the order they are sent by Android and the web (as in real logs) and by iOS.
#[rustfmt::skip]
const KEYS: [[&[Key]; 5]; 2] = [
    [
        &[Ver, Display, Osver, Platform, AdStatus, Uid, Act, LoadingTime, Model, Acttime, Net, Xaid, Brand, Vercode],
        &[Ver, Display, GoodsId, Osver, Platform, Uid, Act, Model, Acttime, Location, Net, Xaid, Brand, Vercode],
        &[Ver, Display, GoodsId, Osver, Platform, Uid, Act, LoadingTime, Model, Acttime, Net, Xaid, Brand, Vercode,
          StayTime],
        &[Ver, Display, Osver, Platform, Uid, Act, LoadingTime, GoodsNum, Model, Acttime, LoadingType, Net, Xaid,
          Brand, Vercode],
        &[Uid, Ver, Act, Display, Model, Acttime, Net, Xaid, Brand, Osver, Vercode, Platform],
    ],
    [
        &[Act, Acttime, Uid, Xaid, Platform, Ver, Vercode, Net, Brand, Model, Display, Osver, AdStatus, LoadingTime],
        &[Act, Acttime, Uid, Xaid, Platform, Ver, Vercode, Net, Brand, Model, Display, Osver, GoodsId, Location],
        &[Act, Acttime, Uid, Xaid, Platform, Ver, Vercode, Net, Brand, Model, Display, Osver, GoodsId, StayTime,
          LoadingTime],
        &[Act, Acttime, Uid, Xaid, Platform, Ver, Vercode, Net, Brand, Model, Display, Osver, LoadingTime,
          LoadingType, GoodsNum],
        &[Act, Acttime, Uid, Xaid, Platform, Ver, Vercode, Net, Brand, Model, Display, Osver],
    ],
];

/// The own keys of each act.
const OWN: [&[Key]; 5] = [
    &[AdStatus, LoadingTime],
    &[GoodsId, Location],
    &[GoodsId, StayTime, LoadingTime],
    &[LoadingTime, LoadingType, GoodsNum],
    &[],
];

impl Key {
    /// Its spelling with quotes and colon.
    pub const fn label(self) -> &'static str {
        match self {
            Uid => "\"uid\":",
            Ver => "\"ver\":",
            Display => "\"display\":",
            Osver => "\"osver\":",
            Platform => "\"platform\":",
            Model => "\"model\":",
            Net => "\"net\":",
            Xaid => "\"xaid\":",
            Brand => "\"brand\":",
            Vercode => "\"vercode\":",
            EventId => "\"event_id\":",
            Act => "\"act\":",
            Acttime => "\"acttime\":",
            GoodsId => "\"goods_id\":",
            AdStatus => "\"ad_status\":",
            LoadingTime => "\"loading_time\":",
            Location => "\"location\":",
            StayTime => "\"stay_time\":",
            LoadingType => "\"loading_type\":",
            GoodsNum => "\"goods_num\":",
        }
    }

    /// Its spelling.
    pub fn name(self) -> &'static str {
        self.label().trim_matches(['"', ':'])
    }

    fn own_value(self, event: &Event) -> i64 {
        match self {
            Act => i64::from(event.act),
            Acttime => event.acttime,
            GoodsId => event.goods_id,
            AdStatus => event.ad_status,
            LoadingTime => event.loading_time,
            Location => event.location,
            StayTime => event.stay_time,
            LoadingType => event.loading_type,
            _ => event.goods_num,
        }
    }
}

/// The header values of a session as JSON text.
#[derive(Default)]
pub struct Head {
    text: Vec<u8>,
    /// Where each header key's value is in the text.
    spans: [(u32, u32); HEADER.len()],
    is_ios: bool,
    /// What event ids begin with, where the client sends them.
    identity: Option<u64>,
}

impl Head {
    /// Renders the header of a session.
    pub fn fill(&mut self, world: &World, session: &Session, device: &Device, net: usize) {
        let number = device.version(session.day);
        let version = &VERSIONS[number];
        self.text.clear();
        for (slot, key) in HEADER.iter().enumerate() {
            let from = self.text.len() as u32;
            let out = &mut self.text;
            match key {
                Uid => put_int(out, session.uid as i64),
                Platform => put_int(out, i64::from(device.platform)),
                Net => put_int(out, net as i64),
                Ver => put_text(out, version.ver),
                Vercode => put_text(out, version.vercode),
                Display => put_text(out, device.display),
                Osver => put_text(out, device.osver),
                Brand => put_text(out, device.brand),
                Model => {
                    out.push(b'"');
                    out.extend_from_slice(device.brand.as_bytes());
                    if device.platform != 3 {
                        put_int(out, device.model as i64 * 10 + 1);
                    }
                    out.push(b'"');
                }
                _ => {
                    out.push(b'"');
                    device.put_xaid(world.seed, out);
                    out.push(b'"');
                }
            }
            self.spans[slot] = (from, self.text.len() as u32);
        }
        self.is_ios = device.platform == 2;
        let sends_ids = world.dirt > 0 && number == VERSIONS.len() - 1;
        let about = (u64::from(session.day) << 32) | u64::from(session.number);
        self.identity = sends_ids.then(|| key(world.seed, Topic::Identity, device.id, about) as u64);
    }

    /// Appends the value of a key as JSON text.
    pub fn put_value(&self, out: &mut Vec<u8>, event: &Event, key: Key) {
        match key {
            EventId => {
                out.push(b'"');
                put_hex(out, self.identity.unwrap_or_default());
                out.push(b'-');
                put_int(out, i64::from(event.number));
                out.push(b'"');
            }
            Uid if !event.logged_in => out.push(b'0'),
            header if (header as usize) < HEADER.len() => {
                let (from, to) = self.spans[header as usize];
                out.extend_from_slice(&self.text[from as usize..to as usize]);
            }
            own => put_int(out, own.own_value(event)),
        }
    }

    /// Whether the client sends event ids.
    pub fn has_ids(&self) -> bool {
        self.identity.is_some()
    }

    /// The keys of an event in the order this client sends them, the event id apart.
    pub fn keys(&self, event: &Event) -> &'static [Key] {
        KEYS[usize::from(self.is_ios)][position(event)]
    }
}

/// The keys that an event's act adds to the header's.
pub fn own_keys(event: &Event) -> &'static [Key] {
    OWN[position(event)]
}

/// Appends an event as a flat line, without its end.
pub fn put_flat(out: &mut Vec<u8>, head: &Head, event: &Event) {
    out.push(b'{');
    if head.has_ids() {
        put_field(out, head, event, EventId);
    }
    for key in head.keys(event) {
        put_field(out, head, event, *key);
    }
    close(out, b'}');
}

/// Appends one field and a comma.
pub fn put_field(out: &mut Vec<u8>, head: &Head, event: &Event, key: Key) {
    out.extend_from_slice(key.label().as_bytes());
    head.put_value(out, event, key);
    out.push(b',');
}

/// Puts the closing bracket where the last comma is.
pub fn close(out: &mut Vec<u8>, bracket: u8) {
    match out.last_mut() {
        Some(last) if *last == b',' => *last = bracket,
        _ => out.push(bracket),
    }
}

/// Appends a number in decimal digits.
pub fn put_int(out: &mut Vec<u8>, value: i64) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    let mut rest = value.unsigned_abs();
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    if value < 0 {
        out.push(b'-');
    }
    out.extend_from_slice(&digits[at..]);
}

fn position(event: &Event) -> usize {
    usize::from(event.act.clamp(act::OPEN, act::CRASH) - act::OPEN)
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    out.extend_from_slice(text.as_bytes());
    out.push(b'"');
}

fn put_hex(out: &mut Vec<u8>, bits: u64) {
    for nibble in (0..16).rev() {
        out.push(b"0123456789abcdef"[(bits >> (nibble * 4) & 15) as usize]);
    }
}
