//! Finds out which files are new and which are old acquaintances: renamed, rotated, compressed, grown or copied.
//!
//! A file is known by its content. Candidates are found by a hash of the first bytes and verified by a hash of all bytes
//! that were taken; a name is only a hint. A file whose path, size and time are as recorded is not opened at all.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::io::{ErrorKind, Read};
use std::sync::Arc;

use anyhow::Result;
use xxhash_rust::xxh3::{Xxh3, xxh3_128};

use super::record::{End, FileRecord, Print, RejectRecord, Tally, hex};
use super::tail::{TailRule, takeable};
use crate::config::source::LogLimits;
use crate::date::{BizDate, Zone};
use crate::ingest::files::{InputFile, open};

/// How much of a file's beginning is hashed to find candidates.
pub const HEAD_BYTES: usize = 4096;

/// A file to be read, and from where.
pub struct Planned {
    /// The file.
    pub file: InputFile,
    /// The name it lands by.
    pub landed: Arc<str>,
    /// The day it arrived, under that name.
    pub arrival: BizDate,
    /// The first byte of the decompressed stream to be taken.
    pub from: u64,
    /// Rejects of lines before this byte are in the lake already.
    pub rejects_from: u64,
    /// The hash of all bytes before `from`.
    pub hasher: Box<Xxh3>,
    /// Nothing follows `from`.
    pub at_end: bool,
    /// A last line without its end is to be taken.
    pub takes_tail: bool,
    /// The fingerprint so far, when there is one.
    pub print: Print,
    /// What came of the events before `from`, under this name.
    pub tally: Tally,
    /// The file whose rows stand for the bytes before `from`.
    pub copy_of: Option<String>,
}

/// What is to be done about the files of a folder.
#[derive(Default)]
pub struct Plan {
    /// The files to be read, in the order of their paths.
    pub files: Vec<Planned>,
    /// Records of files whose content is no longer at their path.
    pub gone: Vec<(String, FileRecord)>,
    /// What is odd.
    pub warnings: Vec<String>,
}

/// What the two tables say of a file together.
struct Known {
    file: Option<FileRecord>,
    /// What is verified: the farther of the two.
    print: Print,
    path: String,
    arrival: BizDate,
    /// How far the events were taken; rejects may be ahead of them after a crash.
    from: u64,
    /// Some file of this run goes on with it.
    claimed: bool,
}

/// A content that a file may begin with.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Candidate {
    Known(String),
    /// A file planned in this run, by index.
    Planned(usize),
}

struct Match {
    candidate: Candidate,
    consumed: u64,
}

/// The hash states of a file's beginning at some lengths, and whether bytes follow the longest.
struct Cuts {
    states: BTreeMap<u64, Box<Xxh3>>,
    more: bool,
}

impl Cuts {
    /// The last cut, when nothing follows it: a match up to there is a match of the whole file.
    fn end(&self) -> Option<u64> {
        if self.more { None } else { self.states.keys().next_back().copied() }
    }
}

/// Plans the reading of a folder's files.
pub struct Planner<'a> {
    zone: Zone,
    now_ms: i64,
    limits: &'a LogLimits,
    known: BTreeMap<String, Known>,
    by_path: HashMap<String, String>,
    heads: BTreeMap<u64, HashMap<String, Vec<Candidate>>>,
    planned: Vec<(usize, Planned)>,
    /// Content of planned files, read again only when another file begins alike.
    contents: HashMap<usize, Print>,
    files: &'a [InputFile],
    warnings: Vec<String>,
}

impl<'a> Planner<'a> {
    /// Makes a planner for files and what is recorded of them.
    pub fn new(
        files: &'a [InputFile],
        events: BTreeMap<String, FileRecord>,
        rejects: BTreeMap<String, RejectRecord>,
        limits: &'a LogLimits,
        (zone, now_ms): (Zone, i64),
    ) -> Self {
        let known = merged(events, rejects);
        let mut heads: BTreeMap<u64, HashMap<String, Vec<Candidate>>> = BTreeMap::new();
        let mut by_path = HashMap::new();
        for (landed, record) in &known {
            if !record.path.is_empty() {
                by_path.insert(record.path.clone(), landed.clone());
            }
            if record.print.consumed > 0 {
                let same_head = heads.entry(record.print.head_len).or_default();
                same_head.entry(record.print.head_hash.clone()).or_default().push(Candidate::Known(landed.clone()));
            }
        }
        let (planned, contents, warnings) = (Vec::new(), HashMap::new(), Vec::new());
        Self { zone, now_ms, limits, known, by_path, heads, planned, contents, files, warnings }
    }

    /// Decides for every file: unchanged, to be gone on with, or new.
    pub fn plan(mut self) -> Plan {
        let all = self.files;
        let changed: Vec<usize> = (0..all.len()).filter(|index| !self.is_unchanged(&all[*index])).collect();
        // Files that are still what they were go first: a copy elsewhere must not pass for the file itself.
        let (mut rest, mut lost) = (Vec::new(), Vec::new());
        for index in changed {
            match self.by_path.get(&all[index].relative).cloned() {
                Some(landed) => match self.go_on_with(index, &landed) {
                    Ok(true) => {}
                    Ok(false) => {
                        lost.push((index, landed));
                        rest.push(index);
                    }
                    Err(error) => self.warnings.push(unreadable(&all[index], &error)),
                },
                None => rest.push(index),
            }
        }
        for index in rest {
            if let Err(error) = self.take(index) {
                self.warnings.push(unreadable(&all[index], &error));
            }
        }
        let mut plan = Plan::default();
        for (index, landed) in lost {
            self.let_go(&all[index], &landed, &mut plan);
        }
        self.planned.sort_by_key(|(index, _)| *index);
        plan.files = self.planned.into_iter().map(|(_, planned)| planned).collect();
        plan.warnings.append(&mut self.warnings);
        plan
    }

    fn is_unchanged(&mut self, file: &InputFile) -> bool {
        let Some(known) = self.by_path.get(&file.relative).and_then(|landed| self.known.get_mut(landed)) else {
            return false;
        };
        let Some(record) = &known.file else { return false };
        let same = record.size == file.size && record.mtime_ms == file.mtime_ms && known.from == known.print.consumed;
        let over = self.now_ms >= self.zone.start_of_day_ms(known.arrival.plus_days(1));
        let done = matches!(record.end, End::Complete | End::Broken) || (record.end == End::Waiting && !over);
        known.claimed |= same && done;
        same && done
    }

    /// Goes on with the file recorded at this path, if it still begins with what was taken.
    fn go_on_with(&mut self, index: usize, landed: &str) -> Result<bool> {
        let file = &self.files[index];
        let (head, whole) = read_head(file)?;
        let candidates = self.candidates(&head);
        let own = Candidate::Known(landed.to_owned());
        if self.known[landed].print.consumed == 0 {
            let cuts = read_to(file, &BTreeSet::new())?;
            self.push(index, landed.to_owned(), None, cuts, &head, whole);
            return Ok(true);
        }
        if !candidates.contains(&own) {
            return Ok(false);
        }
        let (matches, cuts) = self.matches(index, candidates)?;
        if !matches.iter().any(|m| m.candidate == own) {
            return Ok(false);
        }
        let copy = matches.into_iter().find(|m| m.candidate != own && Some(m.consumed) == cuts.end());
        self.push(index, landed.to_owned(), copy, cuts, &head, whole);
        Ok(true)
    }

    /// Takes a file that is not what was recorded at its path, if anything was.
    fn take(&mut self, index: usize) -> Result<()> {
        let file = &self.files[index];
        let (head, whole) = read_head(file)?;
        let candidates = self.candidates(&head);
        let (matches, cuts) = self.matches(index, candidates)?;
        // A file that lies elsewhere still stands only for a whole copy of itself: what merely begins alike is another
        // file, whichever of the two came first.
        let end = cuts.end();
        let goes_on = |found: &Match| match &found.candidate {
            Candidate::Known(landed) => !self.known[landed].claimed,
            Candidate::Planned(_) => false,
        };
        let (own, others): (Vec<Match>, Vec<Match>) = matches.into_iter().partition(goes_on);
        // What was known at this very path goes before what has merely left another.
        let at_home = |found: &Match| match &found.candidate {
            Candidate::Known(landed) => self.known[landed].path == file.relative,
            Candidate::Planned(_) => false,
        };
        let own = own.into_iter().max_by_key(|found| (at_home(found), found.consumed));
        let reached = own.as_ref().map_or(0, |m| m.consumed);
        let copy = others.into_iter().find(|m| Some(m.consumed) == end && m.consumed > reached);
        let (landed, covered) = match (own.filter(|_| copy.is_none()), copy) {
            (Some(Match { candidate: Candidate::Known(landed), .. }), _) => (landed, None),
            (_, covered) => (self.fresh_name(&file.relative), covered),
        };
        self.push(index, landed, covered, cuts, &head, whole);
        Ok(())
    }

    /// Everything known or planned whose first bytes this file has.
    fn candidates(&self, head: &[u8]) -> Vec<Candidate> {
        let mut found = Vec::new();
        for (len, same_len) in self.heads.range(..=head.len() as u64) {
            // A head is at most `HEAD_BYTES` long.
            if let Some(same) = same_len.get(&hex(xxh3_128(&head[..*len as usize]))) {
                found.extend(same.iter().cloned());
            }
        }
        found
    }

    /// The candidates that all of the file's first bytes agree with, and the hash states there.
    fn matches(&mut self, index: usize, candidates: Vec<Candidate>) -> Result<(Vec<Match>, Cuts)> {
        let mut wanted = Vec::new();
        let mut cuts = BTreeSet::new();
        for candidate in candidates {
            let print = match &candidate {
                Candidate::Known(landed) => {
                    cuts.insert(self.known[landed].from);
                    self.known[landed].print.clone()
                }
                Candidate::Planned(other) => self.content(*other)?,
            };
            cuts.insert(print.consumed);
            wanted.push((candidate, print));
        }
        if wanted.is_empty() {
            return Ok((Vec::new(), Cuts { states: BTreeMap::new(), more: true }));
        }
        let cuts = read_to(&self.files[index], &cuts)?;
        let agrees = |print: &Print| {
            print.consumed > 0 && cuts.states.get(&print.consumed).is_some_and(|s| hex(s.digest128()) == print.hash)
        };
        let matches = wanted.into_iter().filter(|(_, print)| agrees(print));
        let matches = matches.map(|(candidate, print)| Match { candidate, consumed: print.consumed }).collect();
        Ok((matches, cuts))
    }

    /// What will be taken of a planned file.
    fn content(&mut self, other: usize) -> Result<Print> {
        if let Some(print) = self.contents.get(&other) {
            return Ok(print.clone());
        }
        let (_, planned) = &self.planned[other];
        let (consumed, hash) = takeable(&planned.file, &TailRule::new(planned.takes_tail, self.limits))?;
        let print = Print { consumed, hash: hex(hash), ..Print::default() };
        self.contents.insert(other, print.clone());
        Ok(print)
    }

    /// Plans a file under a landed name; its bytes up to a match are there under another name.
    fn push(&mut self, index: usize, landed: String, covered: Option<Match>, mut cuts: Cuts, head: &[u8], whole: bool) {
        let file = self.files[index].clone();
        let known = self.known.get_mut(&landed);
        let own_from = known.as_ref().map_or(0, |known| known.from);
        let rejects_from = known.as_ref().map_or(0, |known| known.print.consumed);
        let arrival = known.as_ref().map_or(file.arrival, |known| known.arrival);
        let (mut tally, mut print, mut copy_of) = (Tally::default(), Print::default(), None);
        let mut unchanged = false;
        if let Some(known) = known {
            known.claimed = true;
            if let Some(record) = &known.file {
                tally = record.tally.clone();
                print = record.print.clone();
                copy_of = record.copy_of.clone();
                unchanged = record.size == file.size && record.mtime_ms == file.mtime_ms && record.end == End::Waiting;
            }
        }
        let mut from = own_from;
        if let Some(covered) = covered.filter(|covered| covered.consumed > own_from) {
            from = covered.consumed;
            copy_of = Some(match covered.candidate {
                Candidate::Known(landed) => landed,
                Candidate::Planned(other) => self.planned[other].1.landed.to_string(),
            });
        }
        let day_end = self.zone.start_of_day_ms(arrival.plus_days(1));
        let takes_tail = self.now_ms >= day_end && (file.mtime_ms < day_end || unchanged);
        let at_end = !cuts.more && cuts.states.keys().next_back() == Some(&from) && from > 0;
        let hasher = if from == 0 { Some(Box::default()) } else { cuts.states.remove(&from) };
        // Every offset to go on from was one of the cuts; without its state the file would be read from its start.
        let (from, hasher) = hasher.map_or_else(|| (0, Box::default()), |hasher| (from, hasher));
        let head_len = if whole { TailRule::new(takes_tail, self.limits).taken_len(head) } else { head.len() };
        if head_len > 0 {
            let same_head = self.heads.entry(head_len as u64).or_default();
            let same_head = same_head.entry(hex(xxh3_128(&head[..head_len]))).or_default();
            same_head.push(Candidate::Planned(self.planned.len()));
        }
        if from > 0 && print.head_len == 0 {
            let len = head.len().min(usize::try_from(from).unwrap_or(usize::MAX));
            (print.head_len, print.head_hash) = (len as u64, hex(xxh3_128(&head[..len])));
        }
        let landed = Arc::from(landed);
        let planned = Planned {
            file,
            landed,
            arrival,
            from,
            rejects_from: rejects_from.max(from),
            hasher,
            at_end,
            takes_tail,
            print,
            tally,
            copy_of,
        };
        self.planned.push((index, planned));
    }

    /// The path itself, or with `#2`, `#3`, … when a file landed by that name before.
    fn fresh_name(&self, path: &str) -> String {
        let planned: HashSet<&str> = self.planned.iter().map(|(_, planned)| &*planned.landed).collect();
        let taken = |name: &str| self.known.contains_key(name) || planned.contains(name);
        let numbered = (2..).map(|number: u64| format!("{path}#{number}"));
        let mut names = std::iter::once(path.to_owned()).chain(numbered);
        names.find(|name| !taken(name)).unwrap_or_else(|| path.to_owned())
    }

    /// Deals with a record whose path holds something else now, which was planned as another file.
    fn let_go(&self, file: &InputFile, landed: &str, plan: &mut Plan) {
        let known = &self.known[landed];
        if known.claimed {
            return;
        }
        let Some(record) = &known.file else { return };
        let what = if file.size < record.size { "truncated" } else { "rewritten" };
        let name = self.planned.iter().find(|(_, planned)| planned.file.relative == file.relative);
        let name = name.map_or("another file", |(_, planned)| &*planned.landed);
        plan.warnings.push(format!(
            "`{}` was {what} ({} bytes when it was read, {} now); what is in it now is taken as `{name}`",
            file.path.display(),
            record.size,
            file.size
        ));
        plan.gone.push((landed.to_owned(), FileRecord { path: String::new(), ..record.clone() }));
    }
}

fn merged(events: BTreeMap<String, FileRecord>, rejects: BTreeMap<String, RejectRecord>) -> BTreeMap<String, Known> {
    let mut known: BTreeMap<String, Known> = events
        .into_iter()
        .map(|(landed, record)| {
            let (print, path) = (record.print.clone(), record.path.clone());
            let (arrival, from) = (record.arrival, print.consumed);
            (landed, Known { file: Some(record), print, path, arrival, from, claimed: false })
        })
        .collect();
    for (landed, record) in rejects {
        let RejectRecord { path, arrival, print, .. } = record;
        match known.get_mut(&landed) {
            Some(known) if known.print.consumed >= print.consumed => {}
            Some(known) => known.print = print,
            None => {
                known.insert(landed, Known { file: None, print, path, arrival, from: 0, claimed: false });
            }
        }
    }
    known
}

fn unreadable(file: &InputFile, error: &anyhow::Error) -> String {
    format!("`{}` cannot be read and is left out: {error:#}", file.path.display())
}

/// The first bytes of a file, and whether they are all of it.
fn read_head(file: &InputFile) -> Result<(Vec<u8>, bool)> {
    let mut head = Vec::new();
    // A damaged file is as long as what can be read of it; the reader will tell.
    let _ = open(file)?.take(HEAD_BYTES as u64 + 1).read_to_end(&mut head);
    let whole = head.len() <= HEAD_BYTES;
    head.truncate(HEAD_BYTES);
    Ok((head, whole))
}

/// Hashes a file's beginning up to the farthest of some lengths.
fn read_to(file: &InputFile, lengths: &BTreeSet<u64>) -> Result<Cuts> {
    let mut source = open(file)?;
    let mut buffer = vec![0; 256 * 1024];
    let (mut hasher, mut at) = (Box::<Xxh3>::default(), 0_u64);
    let mut states = BTreeMap::new();
    for length in lengths {
        while at < *length {
            let room = usize::try_from(length - at).unwrap_or(usize::MAX).min(buffer.len());
            match source.read(&mut buffer[..room]) {
                Ok(0) => {
                    let more = states.keys().next_back().copied().unwrap_or(0) < at;
                    return Ok(Cuts { states, more });
                }
                Ok(count) => {
                    hasher.update(&buffer[..count]);
                    at += count as u64;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return Ok(Cuts { states, more: true }),
            }
        }
        states.insert(*length, hasher.clone());
    }
    let more = !matches!(source.read(&mut buffer[..1]), Ok(0));
    Ok(Cuts { states, more })
}
