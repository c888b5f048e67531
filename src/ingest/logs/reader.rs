//! Reads the planned files one after another and cuts their decompressed bytes into segments at line ends.
//!
//! A segment holds many small files or a part of a large one. Where it is cut depends on the bytes alone, never on the
//! speed of anything, so that the same files give the same segments. Memory is mostly that of a fixed number of buffers,
//! which go to and fro between the reader and those who decode.

use std::io::{ErrorKind, Read};
use std::sync::mpsc::{Receiver, SyncSender};

use memchr::{memchr, memrchr};
use xxhash_rust::xxh3::{Xxh3, xxh3_128};

use super::decode::is_blank;
use super::known::{HEAD_BYTES, Planned};
use super::record::{End, Print, hex};
use super::tail::TailRule;
use crate::config::source::LogLimits;
use crate::ingest::files::{Compression, open_at};

/// A stretch of a file within a segment.
pub enum Part {
    /// Whole lines of a file.
    Lines {
        /// The file, by its place in the plan.
        file: usize,
        /// Where they begin in the buffer.
        start: usize,
        /// Where they end in the buffer.
        end: usize,
        /// Where they begin in the file's decompressed stream.
        offset: u64,
    },
    /// A line too long to be read whole.
    TooLong {
        /// The file, by its place in the plan.
        file: usize,
        /// Its beginning.
        head: Vec<u8>,
        /// Where it begins in the file's decompressed stream.
        offset: u64,
    },
}

/// How far a file was read by the end of a segment.
pub struct Reached {
    /// The file, by its place in the plan.
    pub file: usize,
    /// What was taken of it.
    pub print: Print,
    /// Whether that is all.
    pub end: End,
}

/// A piece of work.
pub struct Segment {
    /// Its place in the order.
    pub number: usize,
    /// The bytes that the parts refer to, and others.
    pub buffer: Vec<u8>,
    /// What is to be decoded.
    pub parts: Vec<Part>,
    /// How far its files were read.
    pub reached: Vec<Reached>,
    /// What is odd about them.
    pub warnings: Vec<String>,
    /// Decompressed bytes taken.
    pub bytes: u64,
    /// Stored bytes of the files read so far, about.
    pub stored: u64,
}

/// Reads files into segments.
pub struct Reader<'a> {
    files: Vec<Planned>,
    limits: &'a LogLimits,
    out: SyncSender<Segment>,
    used: Receiver<Vec<u8>>,
    /// How many buffers may still be made.
    unmade: usize,
    size: usize,
    segment: Segment,
    filled: usize,
    stored: u64,
}

/// The file being read.
struct Current {
    file: usize,
    rule: TailRule,
    /// The offset of the first byte that is not yet taken.
    at: u64,
    /// Where that byte is in the buffer.
    start: usize,
    hasher: Box<Xxh3>,
    head: Vec<u8>,
}

/// Nobody takes segments any more.
pub struct Stopped;

impl<'a> Reader<'a> {
    /// A reader of files that sends segments of `size` bytes in so many buffers and gets used ones back.
    pub fn new(
        files: Vec<Planned>,
        limits: &'a LogLimits,
        (size, buffers): (usize, usize),
        out: SyncSender<Segment>,
        used: Receiver<Vec<u8>>,
    ) -> Self {
        // A line that fills a segment must be longer than the limit.
        let size = size.max(limits.line_bytes + 2);
        let (segment, unmade) = (empty(0, vec![0; size + 1]), buffers.saturating_sub(1));
        Self { files, limits, out, used, unmade, size, segment, filled: 0, stored: 0 }
    }

    /// Reads all files.
    ///
    /// # Errors
    /// When nobody takes the segments any more.
    pub fn run(mut self) -> Result<(), Stopped> {
        for file in 0..self.files.len() {
            self.file(file)?;
            self.stored += self.files[file].file.size;
        }
        if !self.segment.parts.is_empty() || !self.segment.reached.is_empty() || !self.segment.warnings.is_empty() {
            self.out.send(self.segment).map_err(|_| Stopped)?;
        }
        Ok(())
    }

    fn file(&mut self, file: usize) -> Result<(), Stopped> {
        let planned = &mut self.files[file];
        let rule = TailRule::new(planned.takes_tail, self.limits);
        let hasher = std::mem::take(&mut planned.hasher);
        let mut current = Current { file, rule, at: planned.from, start: self.filled, hasher, head: Vec::new() };
        if planned.at_end {
            self.reach(&current, End::Complete);
            return Ok(());
        }
        let path = planned.file.path.display();
        let mut source = match open_at(&planned.file, planned.from) {
            Ok(source) => source,
            Err(error) => {
                self.segment.warnings.push(format!("`{path}` cannot be read and is left out: {error:#}"));
                return Ok(());
            }
        };
        let end = loop {
            if self.filled >= self.size
                && let Some(end) = self.cut(&mut current, &mut *source)?
            {
                break end;
            }
            match source.read(&mut self.segment.buffer[self.filled..self.size]) {
                Ok(0) => break self.take_rest(&mut current),
                Ok(count) => self.filled += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => break self.give_up(&mut current, &error),
            }
        };
        self.reach(&current, end);
        Ok(())
    }

    /// Sends the full segment on and keeps the line that is not yet whole; tells the end if that was found meanwhile.
    fn cut(&mut self, current: &mut Current, source: &mut dyn Read) -> Result<Option<End>, Stopped> {
        let unread = current.start..self.filled;
        let last = memrchr(b'\n', &self.segment.buffer[unread.clone()]);
        if last.is_none() && current.start == 0 {
            return self.skip_long_line(current, source);
        }
        let rest = unread.start + last.map_or(0, |last| last + 1);
        self.take_lines(current, rest);
        self.reach(current, End::Partial);
        self.send(rest..unread.end)?;
        current.start = 0;
        Ok(None)
    }

    /// Reads on to the end of a line that fills the whole buffer, keeping only its beginning.
    fn skip_long_line(&mut self, current: &mut Current, source: &mut dyn Read) -> Result<Option<End>, Stopped> {
        let offset = current.at;
        let before = current.hasher.clone();
        let line = &self.segment.buffer[..self.filled];
        let line = if offset == 0 { line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line) } else { line };
        let mut blank = is_blank(line);
        let skipped = (self.filled - line.len()) as u64;
        let head = line[..line.len().min(self.limits.reject_bytes)].to_vec();
        let part = Part::TooLong { file: current.file, head, offset: offset + skipped };
        self.pass(current, self.filled);
        loop {
            let size = self.size;
            let count = match source.read(&mut self.segment.buffer[..size]) {
                Ok(0) if current.rule.takes_all() => {
                    self.filled = 0;
                    self.keep_long(part, blank);
                    return Ok(Some(End::Complete));
                }
                Ok(0) => {
                    self.go_back(current, offset, before);
                    return Ok(Some(End::Waiting));
                }
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => {
                    self.go_back(current, offset, before);
                    return Ok(Some(self.give_up(current, &error)));
                }
            };
            let Some(end) = memchr(b'\n', &self.segment.buffer[..count]) else {
                blank &= is_blank(&self.segment.buffer[..count]);
                self.pass(current, count);
                continue;
            };
            blank &= is_blank(&self.segment.buffer[..end]);
            self.pass(current, end + 1);
            self.segment.buffer.copy_within(end + 1..count, 0);
            self.filled = count - end - 1;
            self.keep_long(part, blank);
            return Ok(None);
        }
    }

    /// Forgets what was read of a line that never ended.
    fn go_back(&mut self, current: &mut Current, offset: u64, hasher: Box<Xxh3>) {
        current.head.truncate(usize::try_from(offset).unwrap_or(usize::MAX));
        (current.at, current.hasher, self.filled) = (offset, hasher, 0);
    }

    fn keep_long(&mut self, part: Part, blank: bool) {
        if !blank {
            self.segment.parts.push(part);
        }
    }

    /// Takes the lines up to `end` of the buffer.
    fn take_lines(&mut self, current: &mut Current, end: usize) {
        if end > current.start {
            let (start, offset) = (current.start, current.at);
            self.segment.parts.push(Part::Lines { file: current.file, start, end, offset });
            self.account(current, start..end);
            current.start = end;
        }
    }

    /// Moves over the first bytes of the buffer.
    fn pass(&mut self, current: &mut Current, count: usize) {
        self.account(current, 0..count);
    }

    fn account(&mut self, current: &mut Current, taken: std::ops::Range<usize>) {
        let bytes = &self.segment.buffer[taken];
        if current.at == current.head.len() as u64 && current.head.len() < HEAD_BYTES {
            let missing = HEAD_BYTES - current.head.len();
            current.head.extend_from_slice(&bytes[..bytes.len().min(missing)]);
        }
        current.hasher.update(bytes);
        current.at += bytes.len() as u64;
        self.segment.bytes += bytes.len() as u64;
    }

    /// Takes what is left at the end of a file, but for a last line that waits.
    fn take_rest(&mut self, current: &mut Current) -> End {
        self.take_whole_lines(current);
        let tail = current.start..self.filled;
        if tail.is_empty() {
            return End::Complete;
        }
        let text = &self.segment.buffer[tail.clone()];
        if !current.rule.is_taken(text, current.at == 0) {
            self.filled = tail.start;
            return End::Waiting;
        }
        // The end that the line lacks is for the decoder only: it is no byte of the file.
        let (start, offset) = (tail.start, current.at);
        self.account(current, tail);
        self.segment.buffer[self.filled] = b'\n';
        self.filled += 1;
        self.segment.parts.push(Part::Lines { file: current.file, start, end: self.filled, offset });
        current.start = self.filled;
        End::Complete
    }

    /// Takes the whole lines before the place where a file turned out to be damaged.
    fn give_up(&mut self, current: &mut Current, error: &std::io::Error) -> End {
        self.take_whole_lines(current);
        self.filled = current.start;
        let file = &self.files[current.file].file;
        let (path, at) = (file.path.display(), current.at);
        let what = match error.kind() {
            ErrorKind::UnexpectedEof => "ends in the middle of its compressed stream; what is missing is waited for",
            _ if file.compression == Compression::Plain => "cannot be read to its end",
            _ => "is damaged",
        };
        self.segment.warnings.push(format!("`{path}` {what}: its first {at} bytes were taken ({error})"));
        End::Broken
    }

    fn take_whole_lines(&mut self, current: &mut Current) {
        let unread = &self.segment.buffer[current.start.min(self.filled)..self.filled];
        let end = memrchr(b'\n', unread).map_or(current.start, |last| current.start + last + 1);
        self.take_lines(current, end);
    }

    fn reach(&mut self, current: &Current, end: End) {
        let planned = &self.files[current.file];
        let known = &planned.print;
        let (head_len, head_hash) = if planned.from > 0 {
            (known.head_len, known.head_hash.clone())
        } else {
            (current.head.len() as u64, hex(xxh3_128(&current.head)))
        };
        let hash = hex(current.hasher.digest128());
        let print = Print { consumed: current.at, hash, head_len, head_hash };
        self.segment.stored = self.stored + planned.file.size.min(current.at);
        self.segment.reached.push(Reached { file: current.file, print, end });
    }

    /// Sends the segment on; the next one begins with the bytes of this one that are `kept`.
    fn send(&mut self, kept: std::ops::Range<usize>) -> Result<(), Stopped> {
        let kept = self.segment.buffer[kept].to_vec();
        let next = empty(self.segment.number + 1, Vec::new());
        self.out.send(std::mem::replace(&mut self.segment, next)).map_err(|_| Stopped)?;
        self.segment.buffer = self.buffer()?;
        self.segment.buffer[..kept.len()].copy_from_slice(&kept);
        self.filled = kept.len();
        Ok(())
    }

    /// A used buffer, or a new one as long as some may be made.
    fn buffer(&mut self) -> Result<Vec<u8>, Stopped> {
        match self.used.try_recv() {
            Err(_) if self.unmade > 0 => {
                self.unmade -= 1;
                Ok(vec![0; self.size + 1])
            }
            used => used.or_else(|_| self.used.recv()).map_err(|_| Stopped),
        }
    }
}

fn empty(number: usize, buffer: Vec<u8>) -> Segment {
    Segment { number, buffer, parts: Vec::new(), reached: Vec::new(), warnings: Vec::new(), bytes: 0, stored: 0 }
}
