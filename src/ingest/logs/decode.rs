//! The decoder: lines of a log in, Arrow columns of events and rejects out (`sources.md` §2 and §4).
//!
//! There is one path for good lines and bad: `json` checks the grammar, `scan` types the fields as they pass by, and
//! this module unfolds envelopes, judges events and keeps count. It reads no files and knows no clock.

mod envelope;
#[cfg(test)]
pub mod tests;

use std::sync::Arc;

use anyhow::{Result, bail};
use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::SchemaRef;
use xxhash_rust::xxh3::xxh3_64;

use self::envelope::Header;
use super::calendar::Calendar;
use super::columns::{DayRows, names};
use super::dictionary::Dictionary;
use super::extra::Unknown;
use super::fields::{Fields, Held};
use super::json::{Cursor, Fault, Span};
use super::rejects::{Place, REASONS, Reason, Rejects, reason_names};
use super::scan::{Scan, State, text_at};
use super::stage::{Origin, STAGE_ROWS, Stage};
use crate::config::source::{LogLimits, LogSource};
use crate::date::{BizDate, Zone};

const BOM: &[u8] = b"\xef\xbb\xbf";
/// Lines are checked for UTF-8 this many bytes at a time: few enough to stay in the cache for the scan that follows.
const CHECK_BYTES: usize = 64 * 1024;
/// The arena of texts is emptied before a line when it has grown to this.
const ARENA_BYTES: usize = 1 << 20;

/// A file as the decoder needs to know it.
#[derive(Clone, Debug)]
pub struct FileContext {
    /// Its name in the lake.
    pub name: Arc<str>,
    /// The day it arrived.
    pub arrival: BizDate,
    /// Rejects of lines before this byte are counted and not kept: they are in the lake already.
    pub rejects_from: u64,
}

/// What became of a file's events.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Events read.
    pub read: u64,
    /// Events landed.
    pub landed: u64,
    /// Events rejected, by [`Reason`].
    pub rejected: [u64; REASONS],
}

/// Events of one day.
pub struct DayBatch {
    /// The day.
    pub day: BizDate,
    /// The events in the order of their lines, without `dt`.
    pub batch: RecordBatch,
    /// The files they are from, by their place among those begun.
    pub files: Vec<usize>,
}

/// What came of the lines pushed.
pub struct Decoded {
    /// The events, sorted by day; a day with very much text has several batches.
    pub days: Vec<DayBatch>,
    /// The rejects of each arrival date, without `dt`; sorted by date.
    pub rejects: Vec<(BizDate, RecordBatch)>,
    /// The counts of each file in the order they were begun.
    pub files: Vec<(FileContext, Counts)>,
    /// How many rejects were counted and not kept.
    pub rejects_dropped: u64,
}

/// The line being decoded.
#[derive(Clone, Copy)]
struct Line<'a> {
    /// The text it lies in, in which a byte below 0x20 follows it.
    bytes: &'a [u8],
    span: Span,
    offset: u64,
}

impl<'a> Line<'a> {
    fn text(&self) -> &'a [u8] {
        &self.bytes[self.span.start..self.span.end]
    }
}

/// Decodes the lines of one segment.
pub struct Decoder {
    source: String,
    table: String,
    envelope: String,
    limits: LogLimits,
    fields: Fields,
    reasons: [String; REASONS],
    schema: SchemaRef,
    calendar: Calendar,
    dictionaries: Vec<Dictionary>,
    stage: Stage,
    arena: Vec<u8>,
    scratch: Vec<u8>,
    identity: Vec<u8>,
    header: Header,
    unknown: Vec<Unknown>,
    doubtful: bool,
    /// The number of the current line among the raw lines kept, once an event of it was rejected.
    raw: Option<i32>,
    line_extra_bytes: usize,
    days: Vec<DayRows>,
    full: Vec<DayBatch>,
    rejects: Rejects,
    rejects_dropped: u64,
    files: Vec<(FileContext, Counts)>,
    /// The first and the last day on which an event of the current file may land.
    range: (BizDate, BizDate),
}

impl Decoder {
    /// Makes a decoder for a source, named as its `conf/sources` file is.
    ///
    /// # Errors
    /// When the source's declaration contradicts itself.
    pub fn new(source: &str, declared: &LogSource, zone: Zone) -> Result<Self> {
        let fields = Fields::new(declared)?;
        let columns = fields.columns.len();
        let none = BizDate::from_days(0);
        Ok(Self {
            source: source.to_owned(),
            table: declared.table.clone(),
            envelope: declared.event.envelope.clone(),
            limits: declared.limits.clone(),
            reasons: reason_names(&declared.event.kind, &declared.event.time),
            schema: fields.batch_schema(),
            calendar: Calendar::new(zone),
            dictionaries: (0..fields.dictionaries).map(|_| Dictionary::new()).collect(),
            stage: Stage::new(&fields),
            arena: Vec::new(),
            scratch: Vec::new(),
            identity: Vec::new(),
            header: Header::new(columns),
            unknown: Vec::new(),
            doubtful: false,
            raw: None,
            line_extra_bytes: 0,
            days: Vec::new(),
            full: Vec::new(),
            rejects: Rejects::default(),
            rejects_dropped: 0,
            files: Vec::new(),
            range: (none, none),
            fields,
        })
    }

    /// Goes on with another file: what is pushed from now on are its lines.
    pub fn begin_file(&mut self, file: FileContext) {
        let (late, early) = (self.limits.days_late, self.limits.days_early);
        self.range = (file.arrival.plus_days(-late), file.arrival.plus_days(early));
        self.files.push((file, Counts::default()));
    }

    /// Decodes whole lines of the current file, each with its `\n`, which begin at `base_offset` of the file.
    ///
    /// # Errors
    /// When a day's batch cannot be made, which would be a mistake of this module.
    pub fn push(&mut self, bytes: &[u8], base_offset: u64) -> Result<()> {
        if self.files.is_empty() || bytes.last().is_some_and(|byte| *byte != b'\n') {
            bail!("lines were pushed without a file or without their end");
        }
        let mut start = if base_offset == 0 && bytes.starts_with(BOM) { BOM.len() } else { 0 };
        while start < bytes.len() {
            let end = block_end(bytes, start);
            let utf8 = simdutf8::basic::from_utf8(&bytes[start..end]).is_ok();
            while start < end {
                let len = memchr::memchr(b'\n', &bytes[start..end]).unwrap_or(end - start);
                let span = Span { start, end: start + len };
                self.line(Line { bytes, span, offset: base_offset + start as u64 }, utf8)?;
                start += len + 1;
            }
        }
        Ok(())
    }

    /// Takes the beginning of a line that is longer than the limit and not blank.
    pub fn push_too_long(&mut self, head: &[u8], offset: u64) {
        self.raw = None;
        let span = Span { start: 0, end: head.len() };
        let detail = format!("longer than {} bytes", self.limits.line_bytes);
        self.reject(Line { bytes: head, span, offset }, 0, Reason::TooLong, detail);
    }

    /// Hands over all that was decoded.
    ///
    /// # Errors
    /// When a batch cannot be made, which would be a mistake of this module.
    pub fn finish(mut self) -> Result<Decoded> {
        self.flush()?;
        let (dictionaries, files) = self.texts();
        let mut days = std::mem::take(&mut self.full);
        for rows in self.days.into_iter().filter(|rows| rows.rows() > 0) {
            days.push(day_batch(rows, &self.schema, &dictionaries, &files)?);
        }
        // Stable: the batches of one day stay in the order of their lines.
        days.sort_by_key(|day| day.day);
        let rejects = self.rejects.finish(&self.source, &self.table, &self.reasons)?;
        Ok(Decoded { days, rejects, files: self.files, rejects_dropped: self.rejects_dropped })
    }

    fn texts(&self) -> (Vec<ArrayRef>, ArrayRef) {
        let dictionaries = self.dictionaries.iter().map(Dictionary::values).collect();
        (dictionaries, names(self.files.iter().map(|(file, _)| Arc::clone(&file.name))))
    }

    #[inline(always)]
    fn line(&mut self, line: Line<'_>, utf8: bool) -> Result<()> {
        self.raw = None;
        let Span { start, end } = line.span;
        if end - start > self.limits.line_bytes {
            if !is_blank(line.text()) {
                let detail = format!("{} bytes", end - start);
                self.reject(line, 0, Reason::TooLong, detail);
            }
            return Ok(());
        }
        if !utf8 && let Err(error) = simdutf8::compat::from_utf8(line.text()) {
            self.reject(line, 0, Reason::NotUtf8, format!("at byte {}", error.valid_up_to()));
            return Ok(());
        }
        if self.stage.rows() == STAGE_ROWS || self.arena.len() > ARENA_BYTES {
            self.flush()?;
            self.arena.clear();
        }
        let mut cursor = Cursor::new(line.bytes, line.span, self.limits.json_depth);
        if cursor.next_token() != b'{' {
            self.no_object(line, cursor);
            return Ok(());
        }
        let scanned = self.scan(&mut cursor, false);
        match scanned.and_then(|data| cursor.finish().map(|()| data)) {
            Ok(None) => self.event(line, line.bytes, 0, false),
            Ok(Some(data)) => self.unfold(line, data)?,
            Err(fault) => self.malformed(line, fault, cursor.pos),
        }
        Ok(())
    }

    /// Scans the object under the cursor into the next row of the stage.
    #[inline(always)]
    fn scan(&mut self, cursor: &mut Cursor<'_>, element: bool) -> Result<Option<Span>, Fault> {
        self.unknown.clear();
        let mut scan = Scan {
            fields: &self.fields,
            dictionaries: &mut self.dictionaries,
            arena: &mut self.arena,
            unknown: &mut self.unknown,
            scratch: &mut self.scratch,
            string_chars: self.limits.string_chars,
            doubtful: false,
            row: self.stage.next_row(),
        };
        let scanned = scan.object(cursor, element);
        self.doubtful = scan.doubtful;
        scanned
    }

    #[cold]
    fn no_object(&mut self, line: Line<'_>, mut cursor: Cursor<'_>) {
        if is_blank(line.text()) {
            return;
        }
        match cursor.value().and_then(|_| cursor.finish()) {
            Ok(()) => self.reject(line, 0, Reason::NotAnObject, String::new()),
            Err(fault) => self.malformed(line, fault, cursor.pos),
        }
    }

    #[cold]
    fn malformed(&mut self, line: Line<'_>, fault: Fault, pos: usize) {
        let at = pos.min(line.span.end) - line.span.start;
        self.reject(line, 0, Reason::MalformedJson, format!("{fault} at byte {at}"));
    }

    /// Judges the row just scanned, whose text lies in `bytes`: an event of the stage, or a reject.
    #[inline(always)]
    fn event(&mut self, line: Line<'_>, bytes: &[u8], element: i32, inherits: bool) {
        let day = match self.judge() {
            Ok(day) => day,
            Err(reason) => return self.reject_event(line, element, reason),
        };
        let extra = if self.unknown.is_empty() && (!inherits || self.header.unknown.is_empty()) {
            None
        } else {
            match self.extra(line, bytes, inherits) {
                Ok(place) => Some(place),
                Err(detail) => return self.reject(line, element, Reason::TooLong, detail),
            }
        };
        let event_hash = self.event_hash(extra);
        let file = self.files.len() - 1;
        let (context, counts) = &mut self.files[file];
        counts.read += 1;
        counts.landed += 1;
        self.stage.push(Origin {
            day,
            file: file as i32,
            arrival: context.arrival.days(),
            element,
            byte_offset: line.offset as i64,
            event_hash,
            extra,
        });
    }

    /// The number of the event's day, or the first reason to reject it.
    #[inline(always)]
    fn judge(&mut self) -> Result<u32, Reason> {
        let states = self.stage.next_states();
        let fields = &self.fields;
        match states[fields.kind] {
            State::Present if !fields.kinds.contains(&self.stage.next_value(fields.kind)) => {
                return Err(Reason::UnknownKind);
            }
            State::Absent | State::Void => return Err(Reason::MissingKind),
            State::Present | State::Bad => {}
        }
        let day = match states[fields.time] {
            State::Present => {
                let time = self.stage.next_value(fields.time);
                match self.calendar.day_between(time, self.range.0, self.range.1) {
                    Ok((_, number)) => number,
                    Err(_) => return Err(Reason::TimeOutOfRange),
                }
            }
            State::Absent | State::Void => return Err(Reason::MissingTime),
            State::Bad => 0,
        };
        if fields.visitor.iter().all(|field| matches!(states[*field], State::Absent | State::Void)) {
            return Err(Reason::NoVisitor);
        }
        if self.doubtful && states.contains(&State::Bad) {
            return Err(Reason::BadType);
        }
        Ok(day)
    }

    #[cold]
    fn reject_event(&mut self, line: Line<'_>, element: i32, reason: Reason) {
        let (kind, time) = (self.fields.kind, self.fields.time);
        let detail = match reason {
            Reason::UnknownKind => self.stage.next_value(kind).to_string(),
            Reason::TimeOutOfRange => {
                let value = self.stage.next_value(time);
                match self.calendar.day_between(value, self.range.0, self.range.1) {
                    Err(Some(day)) => format!("{day} is not within {} and {}", self.range.0, self.range.1),
                    _ => format!("{value} is beyond the calendar"),
                }
            }
            Reason::BadType => {
                let states = self.stage.next_states();
                let bad = self.fields.columns.iter().zip(states).filter(|(_, state)| **state == State::Bad);
                let bad: Vec<String> = bad.map(|(c, _)| format!("`{}` is no {}", c.name, c.type_name())).collect();
                bad.join(", ")
            }
            _ => String::new(),
        };
        self.reject(line, element, reason, detail);
    }

    #[cold]
    fn reject(&mut self, line: Line<'_>, element: i32, reason: Reason, detail: String) {
        // `push` refuses lines without a file.
        let Some((file, counts)) = self.files.last_mut() else { return };
        counts.read += 1;
        counts.rejected[reason as usize] += 1;
        if line.offset < file.rejects_from {
            self.rejects_dropped += 1;
            return;
        }
        let limit = self.limits.reject_bytes;
        let raw = *self.raw.get_or_insert_with(|| self.rejects.keep_raw(line.text(), limit));
        let place = Place { arrival: file.arrival, file: Arc::clone(&file.name), byte_offset: line.offset, element };
        self.rejects.push(place, reason, &detail, raw);
    }

    /// The hash of what makes the row just scanned the event it is: its id, or else all its values.
    #[inline(always)]
    fn event_hash(&mut self, extra: Option<i64>) -> i64 {
        let states = self.stage.next_states();
        let id = self.fields.id;
        self.identity.clear();
        let only_id = states[id] == State::Present;
        let columns = if only_id { id..id + 1 } else { 0..self.fields.columns.len() };
        for index in columns {
            if states[index] != State::Present {
                continue;
            }
            let column = &self.fields.columns[index];
            let value = self.stage.next_value(index);
            let word = match column.held {
                Held::Int { .. } => value as u64,
                Held::Coded(dictionary) => self.dictionaries[dictionary].hash(value as u32),
                Held::Text => xxh3_64(text_at(&self.arena, value)),
            };
            self.identity.extend_from_slice(&column.tag.to_le_bytes());
            self.identity.extend_from_slice(&word.to_le_bytes());
        }
        if let Some(extra) = extra.filter(|_| !only_id) {
            self.identity.extend_from_slice(&xxh3_64(text_at(&self.arena, extra)).to_le_bytes());
        }
        xxh3_64(&self.identity) as i64
    }

    /// Moves the events of the stage to the columns of their days.
    #[inline(never)]
    fn flush(&mut self) -> Result<()> {
        let origins = self.stage.origins();
        let days = self.calendar.numbered();
        for day in &days[self.days.len()..] {
            self.days.push(DayRows::new(*day, &self.fields));
        }
        let Some(first) = origins.first().map(|origin| origin.day) else { return Ok(()) };
        let mut touched = vec![first];
        if origins.iter().all(|origin| origin.day == first) {
            self.days[first as usize].append(&self.stage, &self.arena, 0..origins.len());
        } else {
            touched = origins.iter().map(|origin| origin.day).collect();
            touched.sort_unstable();
            touched.dedup();
            for day in &touched {
                let rows: Vec<usize> = (0..origins.len()).filter(|row| origins[*row].day == *day).collect();
                self.days[*day as usize].append(&self.stage, &self.arena, rows.iter().copied());
            }
        }
        for day in touched.into_iter().map(|day| day as usize) {
            if self.days[day].is_full() {
                let (dictionaries, files) = self.texts();
                let day_rows = DayRows::new(self.days[day].day, &self.fields);
                let rows = std::mem::replace(&mut self.days[day], day_rows);
                self.full.push(day_batch(rows, &self.schema, &dictionaries, &files)?);
            }
        }
        self.stage.clear();
        Ok(())
    }
}

fn day_batch(rows: DayRows, schema: &SchemaRef, dictionaries: &[ArrayRef], names: &ArrayRef) -> Result<DayBatch> {
    let (day, files) = (rows.day, rows.files());
    Ok(DayBatch { day, batch: rows.finish(schema, dictionaries, names)?, files })
}

/// The end of the last line that ends within the next stretch, or of the first line if that is longer.
fn block_end(bytes: &[u8], start: usize) -> usize {
    let near = bytes.len().min(start + CHECK_BYTES);
    if let Some(last) = memchr::memrchr(b'\n', &bytes[start..near]) {
        return start + last + 1;
    }
    memchr::memchr(b'\n', &bytes[near..]).map_or(bytes.len(), |next| near + next + 1)
}

/// Whether a line is no event at all: of space, tab and CR only.
pub fn is_blank(line: &[u8]) -> bool {
    line.iter().all(|byte| matches!(byte, b' ' | b'\t' | b'\r'))
}
