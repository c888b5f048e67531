//! The files of the action log: a folder an arrival date, a file a part of the day.

use std::path::PathBuf;

use anyhow::Result;

use super::SampleSummary;
use super::device::Device;
use super::dirt::Dirt;
use super::envelope;
use super::line::{Head, put_flat};
use super::outfile::{OutFile, Pack, Quirks};
use super::plan::Session;
use super::session::{Event, Events};
use super::world::{Day, World};

/// A line one byte longer than the default limit.
const TOO_LONG_BYTES: usize = 1_048_577;

/// The most events of one envelope; longer sessions are sent in several.
const ENVELOPE_EVENTS: usize = 200;

/// Writes the log, day by day.
pub struct LogWriter<'w> {
    world: &'w World,
    root: PathBuf,
    dirt: Dirt,
    head: Head,
    /// Sessions of devices that were off-line, with the index of the day they arrive.
    late: Vec<(u32, Session)>,
    envelopes: u64,
}

impl<'w> LogWriter<'w> {
    /// Writes to folders beneath `root`.
    pub fn new(world: &'w World, root: PathBuf) -> Self {
        Self { world, root, dirt: Dirt::new(world), head: Head::default(), late: Vec::new(), envelopes: 0 }
    }

    /// Writes all that arrives on a day: its sessions, less those that come later, and what came late.
    pub fn write_day(&mut self, day: &Day, mut sessions: Vec<Session>, summary: &mut SampleSummary) -> Result<()> {
        if self.world.dirt > 0 {
            sessions.retain(|session| self.arrives_today(day, session));
            sessions.extend(self.late.extract_if(.., |(arrival, _)| *arrival == day.index).map(|(_, session)| session));
            sessions.sort_unstable();
            self.dirt.begin_day();
        }
        let parts = part_starts(day.busy(self.world.events));
        let mut sessions = sessions.into_iter().peekable();
        for (part, start) in parts.iter().enumerate() {
            let end = parts.get(part + 1).copied().unwrap_or(u32::MAX);
            if sessions.peek().is_none_or(|session| session.start >= end) {
                continue;
            }
            let mut out = self.create(day, part, *start)?;
            while let Some(session) = sessions.next_if(|session| session.start < end) {
                self.write_session(&mut out, day, &session, summary)?;
            }
            self.dirt.send_again(&mut out)?;
            out.finish(summary)?;
        }
        Ok(())
    }

    /// Whether the session is sent on its own day; if not, it waits in `late`.
    fn arrives_today(&mut self, day: &Day, session: &Session) -> bool {
        let left = self.world.last() - day.index;
        if left == 0 || !self.world.is_dirty(&mut self.dirt.draw) {
            return true;
        }
        let delay = match self.dirt.draw.weighted(&[60, 25, 15]) {
            0 => 1,
            1 => 2,
            _ => self.dirt.draw.between(3, 12) as u32,
        };
        self.late.push((day.index + delay.min(left), *session));
        false
    }

    fn create(&mut self, day: &Day, part: usize, start: u32) -> Result<OutFile> {
        let folder = self.root.join(day.date.to_string());
        let name = format!("user_action-{:02}{:02}.log", start / 3_600_000, start / 60_000 % 60);
        if self.world.dirt == 0 {
            return OutFile::create(&folder, &name, Pack::Plain, Quirks::default());
        }
        let turn = day.index as usize + part;
        let pack = match part {
            0 => Pack::Plain,
            _ if part % 8 == 7 => Pack::Plain,
            _ if turn.is_multiple_of(2) => Pack::Gz,
            _ => Pack::Zst,
        };
        let quirks = Quirks {
            bom: turn % 7 == 3,
            crlf: turn % 11 == 5,
            unterminated: turn % 5 == 2,
            two_streams: turn % 6 == 4,
        };
        let mut out = OutFile::create(&folder, &name, pack, quirks)?;
        if part == 1 && day.index % 4 == 2 {
            let (head, tail) = ("{\"act\":1,\"note\":\"", "\"}");
            let filler = "x".repeat(TOO_LONG_BYTES - head.len() - tail.len());
            for part in [head, &filler, tail] {
                out.buffer.extend_from_slice(part.as_bytes());
            }
            out.end_line()?;
        }
        Ok(out)
    }

    fn write_session(
        &mut self,
        out: &mut OutFile,
        arrival: &Day,
        session: &Session,
        summary: &mut SampleSummary,
    ) -> Result<()> {
        let device = Device::of(self.world, u64::from(session.device));
        let events = Events::new(self.world, session, &device);
        self.head.fill(self.world, session, &device, events.net());
        summary.events += u64::from(session.events);
        if self.world.is_dirty(&mut self.dirt.draw) {
            summary.dirty += u64::from(session.events);
            let events: Vec<Event> = events.collect();
            for chunk in events.chunks(ENVELOPE_EVENTS) {
                envelope::put(&mut out.buffer, &self.head, chunk, self.envelopes);
                self.envelopes += 1;
                out.end_line()?;
            }
            return Ok(());
        }
        for event in events {
            if self.world.is_dirty(&mut self.dirt.draw) {
                summary.dirty += 1;
                self.dirt.send(out, self.world, arrival, &self.head, &event)?;
            } else {
                put_flat(&mut out.buffer, &self.head, &event);
                out.end_line()?;
            }
        }
        Ok(())
    }
}

/// Where the files of a day begin, milliseconds: three of a small shop, else one an hour or one a quarter.
fn part_starts(events: u64) -> Vec<u32> {
    const MINUTE_MS: u32 = 60_000;
    match events {
        0..200_000 => vec![0, 7 * 60 * MINUTE_MS, 15 * 60 * MINUTE_MS],
        200_000..10_000_000 => (0..24).map(|hour| hour * 60 * MINUTE_MS).collect(),
        _ => (0..96).map(|quarter| quarter * 15 * MINUTE_MS).collect(),
    }
}
