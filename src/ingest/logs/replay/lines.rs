//! The bytes of a rejected line: as they were kept, or, where only their beginning was, from the line's file.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::{ErrorKind, Read};
use std::sync::Arc;

use anyhow::Result;
use memchr::memchr;
use xxhash_rust::xxh3::Xxh3;

use super::super::LogsIngest;
use super::super::json::is_object;
use super::super::record::{FileRecord, hex};
use super::LinePlace;
use crate::config::source::LogLimits;
use crate::ingest::files::{InputFile, list_files, open};

/// How much of a file is read at once.
const READ_BYTES: usize = 256 * 1024;

/// Finds the bytes of lines, and remembers which could not be found.
pub struct Lines<'a> {
    job: &'a LogsIngest<'a>,
    /// The files of the source's folder, once they were needed.
    listed: Option<HashMap<String, InputFile>>,
    untried: BTreeMap<(Arc<str>, &'static str), u64>,
}

impl<'a> Lines<'a> {
    /// The lines of a source.
    pub fn new(job: &'a LogsIngest<'a>) -> Self {
        Self { job, listed: None, untried: BTreeMap::new() }
    }

    /// Notes a line that could not be tried.
    pub fn give_up(&mut self, (file, _): &LinePlace, why: &'static str) {
        *self.untried.entry((Arc::clone(file), why)).or_default() += 1;
    }

    /// What could not be tried, a sentence for each file.
    pub fn untried(&self) -> Vec<String> {
        let lines = |count: u64| if count == 1 { "1 line stays".to_owned() } else { format!("{count} lines stay") };
        self.untried.iter().map(|((file, why), count)| format!("`{file}`: {} rejected: {why}", lines(*count))).collect()
    }

    /// The lines of a file that begin at some offsets, without their ends; of one beyond the limit a byte more than that.
    /// None where the file is no longer what it was when they were rejected, and why.
    ///
    /// # Errors
    /// When the source's folder cannot be read.
    pub fn of_file(
        &mut self,
        record: &FileRecord,
        offsets: &BTreeSet<u64>,
    ) -> Result<Result<HashMap<u64, Vec<u8>>, &'static str>> {
        if self.listed.is_none() {
            let files = if self.job.root.is_dir() { list_files(self.job.root, self.job.zone)? } else { Vec::new() };
            self.listed = Some(files.into_iter().map(|file| (file.relative.clone(), file)).collect());
        }
        let listed = self.listed.as_ref().and_then(|files| files.get(&record.path));
        let Some(file) = listed else { return Ok(Err("only its beginning was kept, and its file is gone")) };
        let found = read_lines(file, record, offsets, self.job.source.limits.line_bytes);
        Ok(found.ok_or("only its beginning was kept, and its file says something else now"))
    }
}

/// Whether what was kept of a line is all of it.
///
/// Where the limit was another when the line was kept, its JSON gives it away: the beginning of an object is none.
pub fn is_whole(raw: &[u8], reason: &str, limits: &LogLimits) -> bool {
    match reason {
        "too_long" => false,
        "malformed_json" | "not_utf8" | "not_an_object" => raw.len() < limits.reject_bytes,
        _ => raw.len() < limits.reject_bytes && is_object(raw, usize::MAX),
    }
}

/// Lines of a file, if its first bytes are those that were taken.
fn read_lines(
    file: &InputFile,
    record: &FileRecord,
    offsets: &BTreeSet<u64>,
    line_bytes: usize,
) -> Option<HashMap<u64, Vec<u8>>> {
    let mut source = open(file).ok()?;
    let mut buffer = vec![0; READ_BYTES];
    let (mut hasher, mut at) = (Box::<Xxh3>::default(), 0_u64);
    let mut wanted = offsets.iter().copied().peekable();
    let mut line: Option<(u64, Vec<u8>)> = None;
    let mut lines = HashMap::new();
    while at < record.print.consumed {
        let room = usize::try_from(record.print.consumed - at).unwrap_or(usize::MAX).min(buffer.len());
        let count = match source.read(&mut buffer[..room]) {
            Ok(0) => return None,
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(_) => return None,
        };
        let read = &buffer[..count];
        hasher.update(read);
        let mut from = 0;
        loop {
            match line.take() {
                Some((offset, mut bytes)) => {
                    let end = memchr(b'\n', &read[from..]).map(|end| from + end);
                    let rest = &read[from..end.unwrap_or(count)];
                    bytes.extend_from_slice(&rest[..rest.len().min((line_bytes + 1).saturating_sub(bytes.len()))]);
                    let Some(end) = end else {
                        line = Some((offset, bytes));
                        break;
                    };
                    lines.insert(offset, bytes);
                    from = end + 1;
                }
                None => match wanted.next_if(|offset| *offset < at + count as u64) {
                    // Offsets ascend, and lines end before the next begins.
                    Some(offset) => {
                        from = usize::try_from(offset.saturating_sub(at)).unwrap_or(count);
                        line = Some((offset, Vec::new()));
                    }
                    None => break,
                },
            }
        }
        at += count as u64;
    }
    // The last line of a file may lack its end.
    lines.extend(line);
    (hex(hasher.digest128()) == record.print.hash).then_some(lines)
}
