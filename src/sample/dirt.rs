//! Dirty lines: events sent the way real clients and shippers sometimes do. The kinds take turns, so that a small sample
//! has them all; every reject reason is among them (`too_long` is written by [`super::logs`], once in some days).

use anyhow::Result;

use super::draw::{Draw, Topic};
use super::line::{Head, Key, put_flat};
use super::outfile::OutFile;
use super::session::{Event, act};
use super::world::{Day, World};

/// A way for an event to be dirty. The first group is rejected, the second lands.
#[derive(Clone, Copy)]
enum Kind {
    NotUtf8,
    Malformed,
    NotAnObject,
    MissingAct,
    UnknownAct,
    MissingActtime,
    OutOfRange,
    NoVisitor,
    BadType,
    BadEnvelope,

    /// Sent again, byte by byte.
    Again,
    /// Sent again with keys in another order and quoted numbers.
    AgainOtherwise,
    /// Sent again on the next day.
    AgainTomorrow,
    Quoted,
    Seconds,
    Extra,
    Nested,
    Absent,
    Unicode,
    Crlf,
    Blank,
    OddNumber,
    CrashLoop,
    FastClock,
    RepeatedKey,
    NumberAsText,
    LongText,
}

#[rustfmt::skip]
const TURNS: [Kind; 41] = {
    use Kind::*;
    [
        Again, Quoted, BadType, Extra, Absent, Malformed, AgainTomorrow, Seconds, CrashLoop, UnknownAct, Unicode,
        MissingActtime, Nested, Again, OutOfRange, Quoted, Blank, NotUtf8, AgainOtherwise, OddNumber, NoVisitor,
        Extra, FastClock, MissingAct, Crlf, RepeatedKey, BadType, Again, NotAnObject, Seconds, NumberAsText,
        AgainTomorrow, BadEnvelope, Absent, AgainOtherwise, Malformed, CrashLoop, Quoted, LongText, Nested, Unicode,
    ]
};

/// The state of the dirt: whose turn it is, and what waits to be sent again.
pub struct Dirt {
    pub draw: Draw,
    turn: u64,
    /// Lines to send again in this file, each with its `\n`.
    again: Vec<u8>,
    /// Lines to send again tomorrow.
    tomorrow: Vec<u8>,
}

impl Dirt {
    /// Begins with the first turn.
    pub fn new(world: &World) -> Self {
        Self { draw: Draw::new(world.seed, Topic::LogDirt, 0, 0), turn: 0, again: Vec::new(), tomorrow: Vec::new() }
    }

    /// Sends what waits to be sent again in this file.
    pub fn send_again(&mut self, out: &mut OutFile) -> Result<()> {
        for line in self.again.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            out.buffer.extend_from_slice(line);
            out.end_line()?;
        }
        self.again.clear();
        Ok(())
    }

    /// Makes yesterday's retransmissions due.
    pub fn begin_day(&mut self) {
        self.again.append(&mut self.tomorrow);
    }

    /// Sends an event in the way whose turn it is. `arrival` is the day of the file.
    pub fn send(&mut self, out: &mut OutFile, world: &World, arrival: &Day, head: &Head, event: &Event) -> Result<()> {
        let kind = TURNS[(self.turn % TURNS.len() as u64) as usize];
        // Kinds with several forms take them in turn, too.
        let form = (self.turn / TURNS.len() as u64) as usize;
        self.turn += 1;
        let mut event = *event;
        if let Kind::CrashLoop = kind {
            event.act = act::CRASH;
        }
        if let Kind::FastClock = kind
            && arrival.index < world.last()
        {
            event.acttime =
                (event.acttime + arrival.length_ms).min(arrival.start_ms + 2 * arrival.length_ms - 3_600_000);
        }
        let mut fields = Fields::of(head, &event);
        match kind {
            Kind::NotUtf8 | Kind::Malformed | Kind::NotAnObject => {
                broken(&mut out.buffer, kind, form, fields);
                return out.end_line();
            }
            Kind::Again | Kind::AgainTomorrow | Kind::AgainOtherwise | Kind::CrashLoop => {
                put_flat(&mut out.buffer, head, &event);
                out.end_line()?;
                return self.repeat(out, kind, form, head, &event, fields);
            }
            Kind::BadEnvelope => fields.add("data", EMPTY_ENVELOPES[form % EMPTY_ENVELOPES.len()]),
            Kind::RepeatedKey => fields.0.insert(0, ("act", "9".into())),
            Kind::MissingAct => fields.lose("act", form),
            Kind::MissingActtime => fields.lose("acttime", form),
            Kind::UnknownAct => fields.set("act", ["0", "6", "-1", "\"99\"", "\"+7\""][form % 5]),
            Kind::OutOfRange => fields.set("acttime", &out_of_range(arrival, event.acttime, form)),
            Kind::NoVisitor => {
                fields.set("xaid", ["\"\"", "\"  \"", "null"][form % 3]);
                fields.set("uid", ["0", "\"0\"", "null", "\"\""][form % 4]);
            }
            Kind::BadType => {
                let (name, value) = BAD_TYPES[form % BAD_TYPES.len()];
                fields.set(name, &value.replace("$LONG", &"x".repeat(256)));
            }
            Kind::Seconds => {
                let seconds = event.acttime.div_euclid(1000).to_string();
                fields.set("acttime", &if form.is_multiple_of(2) { seconds } else { format!("\"{seconds}\"") });
            }
            Kind::Quoted => fields.quote(form),
            Kind::Extra | Kind::Nested | Kind::Absent | Kind::OddNumber | Kind::NumberAsText | Kind::LongText => {
                fields.vary(kind, form);
            }
            Kind::Unicode => unusual_text(&mut fields, form),
            Kind::Crlf | Kind::Blank | Kind::FastClock => {}
        }
        fields.put(&mut out.buffer);
        match kind {
            Kind::Crlf => out.buffer.push(b'\r'),
            Kind::Blank => {
                out.end_line()?;
                out.buffer.extend_from_slice([&b""[..], b" \t", b"\r"][form % 3]);
            }
            _ => {}
        }
        out.end_line()
    }

    /// Keeps a copy of an event that was just sent for later.
    fn repeat(
        &mut self,
        out: &mut OutFile,
        kind: Kind,
        form: usize,
        head: &Head,
        event: &Event,
        mut fields: Fields,
    ) -> Result<()> {
        let later = if let Kind::AgainTomorrow = kind { &mut self.tomorrow } else { &mut self.again };
        match kind {
            Kind::AgainOtherwise => {
                if head.has_ids() && form % 2 == 1 {
                    // The network changed between the attempts; the event id says that it is the same event.
                    fields.set("net", "4");
                } else {
                    fields.quote(form);
                }
                fields.0.reverse();
                fields.put(later);
            }
            Kind::CrashLoop => {
                for _ in 0..form % 3 {
                    put_flat(&mut out.buffer, head, event);
                    out.end_line()?;
                }
                return Ok(());
            }
            _ => put_flat(later, head, event),
        }
        later.push(b'\n');
        Ok(())
    }
}

/// The fields of a line as names and JSON texts, for changing them.
pub struct Fields(Vec<(&'static str, String)>);

impl Fields {
    /// The fields of a clean line.
    pub fn of(head: &Head, event: &Event) -> Self {
        let ids: &[Key] = if head.has_ids() { &[Key::EventId] } else { &[] };
        let mut text = Vec::new();
        let keys = ids.iter().chain(head.keys(event));
        Self(
            keys.map(|key| {
                text.clear();
                head.put_value(&mut text, event, *key);
                (key.name(), String::from_utf8_lossy(&text).into_owned())
            })
            .collect(),
        )
    }

    /// Appends them as a line, without its end.
    pub fn put(&self, out: &mut Vec<u8>) {
        out.push(b'{');
        for (index, (name, value)) in self.0.iter().enumerate() {
            let comma = if index > 0 { "," } else { "" };
            out.extend_from_slice(format!("{comma}\"{name}\":{value}").as_bytes());
        }
        out.push(b'}');
    }

    /// Gives a field another value, or adds it.
    pub fn set(&mut self, name: &'static str, value: &str) {
        match self.0.iter_mut().find(|field| field.0 == name) {
            Some(field) => field.1 = value.into(),
            None => self.add(name, value),
        }
    }

    fn add(&mut self, name: &'static str, value: &str) {
        self.0.push((name, value.into()));
    }

    fn lose(&mut self, name: &'static str, form: usize) {
        match form % 4 {
            0 => self.0.retain(|field| field.0 != name),
            1 => self.set(name, "null"),
            2 => self.set(name, "\"\""),
            _ => self.set(name, "\" \""),
        }
    }

    fn quote(&mut self, form: usize) {
        for (name, value) in &mut self.0 {
            if value.bytes().all(|byte| byte.is_ascii_digit()) {
                *value = match form % 3 {
                    1 if *name == "act" => format!("\" {value} \""),
                    2 if *name != "acttime" => format!("\"+{value}\""),
                    _ => format!("\"{value}\""),
                };
            }
        }
    }

    fn vary(&mut self, kind: Kind, form: usize) {
        let forms: &[(&'static str, &str)] = match kind {
            Kind::Extra => &[
                ("channel", "\"appstore\""),
                ("ab_group", "5"),
                ("score", "1.50"),
                ("ab_group", "\"5\""),
                ("push", "null"),
                ("note", "\"a \\\"quoted\\\" word \\u4e2d\""),
            ],
            Kind::Nested => &[
                ("exp", "{ \"id\": 5, \"arms\": [ \"b\", {\"z\": 1, \"a\": 2.0e1} ], \"id\": 6 }"),
                ("screen", "{\"w\":1080,\"h\":1920}"),
                ("data", "null"),
                ("path", "[\"home\",[\"list\",3],{}]"),
            ],
            Kind::Absent => &[
                ("brand", "\"\""),
                ("ver", "null"),
                ("net", "null"),
                ("platform", "\"\""),
                ("osver", "null"),
                ("vercode", "\"\""),
                ("model", "null"),
                ("loading_time", "null"),
                ("display", "null"),
                ("ad_status", "\" \""),
                ("goods_id", "null"),
            ],
            Kind::OddNumber => &[
                ("loading_time", "-5"),
                ("net", "9"),
                ("platform", "7"),
                ("stay_time", "-12"),
                ("location", "\"+3\""),
                ("ad_status", "3"),
                ("loading_time", "\"00250\""),
                ("net", "\"01\""),
            ],
            Kind::NumberAsText => &[("ver", "4"), ("model", "81"), ("osver", "13.10"), ("vercode", "35100110")],
            _ => &[("display", "\"$LONG\"")],
        };
        let (name, value) = forms[form % forms.len()];
        match kind {
            Kind::Absent if form % 2 == 1 => self.0.retain(|field| field.0 != name),
            _ => self.set(name, &value.replace("$LONG", &"é".repeat(255))),
        }
    }
}

/// Fields that cannot be read as their types.
const BAD_TYPES: [(&str, &str); 14] = [
    ("loading_time", "12.5"),
    ("platform", "true"),
    ("uid", "\"guest\""),
    ("net", "{}"),
    ("brand", "\"$LONG\""),
    ("goods_id", "1e3"),
    ("acttime", "\"2026-01-01 10:00:00\""),
    ("platform", "3000000000"),
    ("act", "\"open\""),
    ("model", "[\"huawei\"]"),
    ("goods_id", "9223372036854775808"),
    ("osver", "false"),
    ("stay_time", "\"1 s\""),
    ("event_id", "{\"n\":1}"),
];

/// Values of `data` that hold no event.
const EMPTY_ENVELOPES: [&str; 5] = ["{}", "[]", "\"oops\"", "5", "\"[{\\\"act\\\":NaN}]\""];

/// A device time no event of this arrival date may have.
fn out_of_range(arrival: &Day, acttime: i64, form: usize) -> String {
    let day = 86_400_000;
    match form % 5 {
        0 => (arrival.start_ms - 32 * day + day / 2).to_string(),
        1 => (arrival.start_ms + 3 * day + day / 2).to_string(),
        // A device whose clock was reset.
        2 => "946684800123".to_owned(),
        // Microseconds.
        3 => (acttime * 1000).to_string(),
        _ => "0".to_owned(),
    }
}

/// Appends a line that is not a JSON object.
fn broken(out: &mut Vec<u8>, kind: Kind, form: usize, mut fields: Fields) {
    match (kind, form) {
        (Kind::NotAnObject, 0..5) => {
            let texts = ["[1,2]", "\"heartbeat\"", "42", "null", "true"];
            out.extend_from_slice(texts[form].as_bytes());
        }
        (Kind::NotAnObject, _) => {
            out.push(b'[');
            fields.put(out);
            out.push(b']');
        }
        (Kind::NotUtf8, _) => {
            // A brand in GBK, or a character cut in two.
            let bytes: &[u8] = if form.is_multiple_of(2) { b"\xbb\xaa\xce\xaa" } else { b"\xe5\x8d" };
            fields.set("brand", "\"@\"");
            let from = out.len();
            fields.put(out);
            if let Some(at) = out[from..].iter().position(|byte| *byte == b'@') {
                out.splice(from + at..=from + at, bytes.iter().copied());
            }
        }
        (_, form) => {
            let from = out.len();
            match form % 8 {
                1 => fields.set("net", "NaN"),
                2 => fields.set("brand", "\"\\ud800\""),
                4 => fields.set("deep", &format!("{}{}", "[".repeat(130), "]".repeat(130))),
                6 => fields.set("ver", "'3.4.5'"),
                7 => fields.set("model", "\"bell\u{7}\""),
                _ => {}
            }
            fields.put(out);
            match form % 8 {
                0 => out.truncate(from + (out.len() - from) * 2 / 3),
                3 => out.extend_from_slice(b" -- retry"),
                5 => out.extend_from_within(from..),
                _ => {}
            }
        }
    }
}

/// Gives a line texts beyond ASCII, escapes, and white space around the device id.
fn unusual_text(fields: &mut Fields, form: usize) {
    match form % 4 {
        0 => fields.set("brand", "\"华为\""),
        1 => fields.set("brand", "\"\\u534e\\u4e3a\""),
        2 => fields.set("model", "\"Mate 60\\tPro \\ud83d\\ude80\""),
        _ => {
            if let Some((_, xaid)) = fields.0.iter_mut().find(|field| field.0 == "xaid") {
                *xaid = format!("\"\\u3000 {} \"", xaid.trim_matches('"'));
            }
        }
    }
}
