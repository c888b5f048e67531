//! The last line of a file that has no end yet: whether it is taken now or waits for the rest of it.

use std::io::{ErrorKind, Read};

use anyhow::Result;
use xxhash_rust::xxh3::Xxh3;

use super::json::is_object;
use crate::config::source::LogLimits;
use crate::ingest::files::{InputFile, open};

/// When a last line without its end is taken.
#[derive(Clone, Copy, Debug)]
pub struct TailRule {
    takes: bool,
    line_bytes: usize,
    max_depth: usize,
}

impl TailRule {
    /// A complete object is always taken; whatever else it is only when nobody is `takes` to be writing any more.
    pub fn new(takes: bool, limits: &LogLimits) -> Self {
        Self { takes, line_bytes: limits.line_bytes, max_depth: limits.json_depth }
    }

    /// Whether nobody writes any more.
    pub fn takes_all(&self) -> bool {
        self.takes
    }

    /// Whether a last line is taken; `at_start` when it is the first as well.
    pub fn is_taken(&self, line: &[u8], at_start: bool) -> bool {
        let text = if at_start { line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line) } else { line };
        self.takes || (text.len() <= self.line_bytes && is_object(text, self.max_depth))
    }

    /// How much of a whole file is taken.
    pub fn taken_len(&self, file: &[u8]) -> usize {
        let lines = memchr::memrchr(b'\n', file).map_or(0, |last| last + 1);
        if self.is_taken(&file[lines..], lines == 0) { file.len() } else { lines }
    }
}

/// How many bytes of a file's decompressed stream are taken, and their xxh3-128.
///
/// # Errors
/// When the file cannot be opened; where it is damaged, it ends.
pub fn takeable(file: &InputFile, rule: &TailRule) -> Result<(u64, u128)> {
    let mut source = open(file)?;
    let mut buffer = vec![0; 256 * 1024];
    let (mut all, mut at) = (Xxh3::new(), 0_u64);
    let (mut lines, mut line_end) = (Xxh3::new(), 0_u64);
    let mut tail = Vec::new();
    let whole = loop {
        let count = match source.read(&mut buffer) {
            Ok(0) => break true,
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(_) => break false,
        };
        let read = &buffer[..count];
        let rest = match memchr::memrchr(b'\n', read) {
            Some(last) => {
                all.update(&read[..=last]);
                line_end = at + last as u64 + 1;
                lines = all.clone();
                tail.clear();
                &read[last + 1..]
            }
            None => read,
        };
        all.update(rest);
        // A longer line than the limit is no object, whatever it says.
        tail.extend_from_slice(&rest[..rest.len().min((rule.line_bytes + 4).saturating_sub(tail.len()))]);
        at += count as u64;
    };
    let taken = whole && at > line_end && rule.is_taken(&tail, line_end == 0);
    Ok(if taken { (at, all.digest128()) } else { (line_end, lines.digest128()) })
}
