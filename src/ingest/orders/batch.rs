//! The extracts of one table in one run: which are new, which say something else than before, and reading those.
//!
//! A file is what its content is. One of known size and time is not opened; one that was only touched is known again by
//! its content; a copy of another file of the same day stands for it without landing twice, and of several the least
//! path is the one that lands, so that the order of arrival does not matter. A file that says something else than
//! before is its table's statement anew: its earlier rows leave in the commit that brings the new ones.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, bail};
use tokio::runtime::Handle;

use super::deleted::Deleted;
use super::extract::{Extract, Meter, fingerprint, read_extract};
use super::intake::{Findings, Part};
use super::landing::Landing;
use super::layout::Layout;
use super::notices::Notices;
use super::record::{self, FileRecord, RejectRecord};
use super::tally::Tally;
use super::{OrdersIngest, TableOutcome};
use crate::config::source::Delivery;
use crate::date::{BizDate, Slot};
use crate::ingest::books::FileBooks;
use crate::ingest::files::InputFile;
use crate::lake::{StagedFile, Table};

/// A table, the files there are of it, and what is recorded of those taken before.
pub struct Batch<'a> {
    job: &'a OrdersIngest<'a>,
    layout: &'a Layout,
    files: Vec<InputFile>,
    records: BTreeMap<String, String>,
    known: BTreeMap<String, FileRecord>,
    /// Whether the files are read although they are what they were.
    again: bool,
}

/// Everything read and staged, ready to be committed.
pub struct Prepared<'a> {
    pub layout: &'a Layout,
    pub table: Table,
    /// What was recorded before.
    pub records: BTreeMap<String, String>,
    /// The new rows.
    pub rows: Vec<StagedFile>,
    /// The new rejects.
    pub rejects: Vec<StagedFile>,
    /// The files whose rows were read, with what is recorded of their rejects.
    pub loaded: BTreeMap<String, RejectRecord>,
    /// The files whose earlier rows and rejects leave: path, arrival and content.
    pub leaving: BTreeMap<(String, BizDate), String>,
    /// The partitions that new rows are for, and the contents that touch each.
    pub touched: BTreeMap<Slot, Vec<String>>,
    /// Where deleted rows are looked for: the keys that are gone from the source.
    pub deleted: Option<Deleted>,
    /// What else is recorded with the rows.
    pub more_records: Vec<(String, Option<String>)>,
    /// File records to write, or to take away.
    pub file_records: BTreeMap<String, Option<FileRecord>>,
    pub notices: Notices,
    pub failures: Vec<String>,
    pub outcome: TableOutcome,
}

impl<'a> Batch<'a> {
    /// The files of a table, beside what its records say of earlier ones.
    ///
    /// # Errors
    /// When the records are not what this program writes.
    pub fn new(
        job: &'a OrdersIngest<'a>,
        layout: &'a Layout,
        files: Vec<InputFile>,
        records: BTreeMap<String, String>,
    ) -> Result<Self> {
        let known = record::files(&records).with_context(|| layout.table.clone())?;
        Ok(Self { job, layout, files, records, known, again: false })
    }

    /// The batch, in which files are read again although they are what they were: each takes its own place.
    pub fn read_again(self) -> Self {
        Self { again: true, ..self }
    }

    /// The table's layout.
    pub fn layout(&self) -> &'a Layout {
        self.layout
    }

    /// How much is to be read, in bytes as stored.
    pub fn bytes_to_read(&self) -> u64 {
        self.files.iter().filter(|file| !is_unchanged(file, self.known.get(&file.relative))).map(|f| f.size).sum()
    }

    /// Whether there is nothing to read, and nothing else to do.
    pub fn is_idle(&self) -> bool {
        let is_known = |file: &InputFile| is_unchanged(file, self.known.get(&file.relative));
        !self.again && self.files.iter().all(is_known) && orphans(&self.known).is_empty()
    }

    /// What came of a table with nothing to do.
    pub fn untouched(&self) -> TableOutcome {
        let last_arrival = self.known.values().map(|record| record.arrival).max();
        TableOutcome { table: self.layout.table.clone(), last_arrival, ..TableOutcome::default() }
    }

    /// Reads what is new and stages its rows for the table.
    ///
    /// # Errors
    /// When the lake cannot be written. What is wrong with a file is in the result.
    pub fn prepare(self, table: Table, rejects: &Table, meter: &Meter<'_>, runtime: &Handle) -> Result<Prepared<'a>> {
        let Self { job, layout, files, records, known, again } = self;
        let mut taking = Taking {
            job,
            layout,
            files: &files,
            again,
            meter,
            rows: Landing::new(&table, job.run, runtime),
            rejects: Landing::new(rejects, job.run, runtime),
            known,
            changed: BTreeSet::new(),
            empty: Vec::new(),
            loaded: BTreeMap::new(),
            leaving: BTreeMap::new(),
            touched: BTreeMap::new(),
            notices: Notices::default(),
            failures: Vec::new(),
            outcome: TableOutcome { table: layout.table.clone(), ..TableOutcome::default() },
        };
        let taken = taking.take_all();
        let Taking {
            rows, rejects, mut known, changed, loaded, leaving, touched, notices, failures, mut outcome, ..
        } = taking;
        if let Err(error) = taken {
            rows.discard();
            rejects.discard();
            return Err(error);
        }
        outcome.last_arrival = known.values().map(|record| record.arrival).max();
        let (rows, rejects) = (rows.finish()?, rejects.finish()?);
        let file_records = changed.into_iter().map(|path| (path.clone(), known.remove(&path))).collect();
        Ok(Prepared {
            layout,
            table: table.clone(),
            records,
            rows,
            rejects,
            loaded,
            leaving,
            touched,
            deleted: None,
            more_records: Vec::new(),
            file_records,
            notices,
            failures,
            outcome,
        })
    }
}

/// What is wrong with a snapshot of which no row lands; `nothing` says that it has none.
pub fn empty_snapshot(nothing: &str, tally: &Tally, findings: &Findings) -> String {
    let what = match (tally.read, &findings.first_reject) {
        (0, _) | (_, None) => nothing.to_owned(),
        (rows, Some((_, detail))) => format!("none of its {rows} rows can land ({detail})"),
    };
    format!("{what}: an empty snapshot is an error, not an empty world")
}

/// Whether a file has the size and the time that are recorded.
pub fn is_unchanged(file: &InputFile, record: Option<&FileRecord>) -> bool {
    record.is_some_and(|record| record.size == file.size && record.mtime_ms == file.mtime_ms)
}

/// Copies whose original is gone, is a copy itself, or differs by now.
fn orphans(known: &BTreeMap<String, FileRecord>) -> Vec<String> {
    let stands = |copy: &FileRecord, original: &FileRecord| {
        original.same_as.is_none() && original.hash == copy.hash && original.arrival == copy.arrival
    };
    let lost = |copy: &&FileRecord| {
        copy.same_as.as_ref().is_some_and(|path| !known.get(path).is_some_and(|o| stands(copy, o)))
    };
    known.values().filter(lost).map(|record| record.path.clone()).collect()
}

/// What a file is, compared with what is known.
pub enum Standing {
    /// What it was.
    Unchanged,
    /// What it was, by content.
    Touched,
    /// What another file of its day is.
    CopyOf(String),
    /// Something new; of the named file, which comes later by path, it is from now on the original.
    New { copied_by: Option<String> },
}

/// What a file is, by what is known of those taken before, `loaded` of which this run has read.
pub fn standing(
    file: &InputFile,
    known: &BTreeMap<String, FileRecord>,
    loaded: impl Fn(&str) -> bool,
) -> Result<Standing> {
    let own = known.get(&file.relative);
    if is_unchanged(file, own) {
        return Ok(Standing::Unchanged);
    }
    let rivals = || {
        known
            .values()
            .filter(|other| other.path != file.relative && other.arrival == file.arrival && other.same_as.is_none())
    };
    if own.is_none() && rivals().next().is_none() {
        return Ok(Standing::New { copied_by: None });
    }
    let hash = fingerprint(file)?;
    if own.is_some_and(|own| own.hash == hash) {
        return Ok(Standing::Touched);
    }
    Ok(match rivals().find(|other| other.hash == hash) {
        // Rows of this run are not committed yet and cannot leave: such a file stays the original.
        Some(other) if other.path < file.relative || loaded(&other.path) => Standing::CopyOf(other.path.clone()),
        other => Standing::New { copied_by: other.map(|other| other.path.clone()) },
    })
}

struct Taking<'b> {
    job: &'b OrdersIngest<'b>,
    layout: &'b Layout,
    files: &'b [InputFile],
    again: bool,
    meter: &'b Meter<'b>,
    rows: Landing<'b>,
    rejects: Landing<'b>,
    known: BTreeMap<String, FileRecord>,
    changed: BTreeSet<String>,
    /// Extracts of a snapshot of which no row lands, with what was staged of them.
    empty: Vec<(&'b InputFile, Extract, Landing<'b>, Landing<'b>)>,
    loaded: BTreeMap<String, RejectRecord>,
    leaving: BTreeMap<(String, BizDate), String>,
    touched: BTreeMap<Slot, Vec<String>>,
    notices: Notices,
    failures: Vec<String>,
    outcome: TableOutcome,
}

impl<'b> Taking<'b> {
    fn take_all(&mut self) -> Result<()> {
        let files = self.files;
        for file in files {
            self.take(file)?;
        }
        // Copies whose original says something else now speak for themselves.
        for path in orphans(&self.known) {
            self.known.remove(&path);
            self.changed.insert(path.clone());
            if let Some(file) = files.iter().find(|file| file.relative == path) {
                self.take(file)?;
            }
        }
        self.settle_empty()
    }

    /// Takes a file; what is wrong with it is noted, and the others go on.
    fn take(&mut self, file: &'b InputFile) -> Result<()> {
        match self.standing(file) {
            Ok(Standing::Unchanged) => {}
            Ok(Standing::Touched) => {
                if let Some(record) = self.known.get_mut(&file.relative) {
                    (record.size, record.mtime_ms) = (file.size, file.mtime_ms);
                }
                self.changed.insert(file.relative.clone());
                self.meter.add(file.size);
            }
            Ok(Standing::CopyOf(original)) => {
                self.let_go(&file.relative, file.arrival);
                self.know_as_copy(file, &original);
                self.meter.add(file.size);
            }
            Ok(Standing::New { copied_by }) => {
                if let Some(hash) = self.load(file)?
                    && let Some(later) = copied_by
                {
                    self.demote(&later, &file.relative, &hash);
                }
            }
            Err(error) => self.failed(file, &error),
        }
        Ok(())
    }

    fn standing(&self, file: &InputFile) -> Result<Standing> {
        match self.again {
            true => Ok(Standing::New { copied_by: None }),
            false => standing(file, &self.known, |path| self.loaded.contains_key(path)),
        }
    }

    /// Reads a file and stages its rows; its content's hash, unless it failed or waits for [`Self::settle_empty`].
    fn load(&mut self, file: &'b InputFile) -> Result<Option<String>> {
        let (mut rows, mut rejects) = (self.rows.beside(), self.rejects.beside());
        let mut sink = |part: Part| match part {
            Part::Rows { parts, bytes } => rows.add(parts, bytes),
            Part::Rejects(batch) => {
                let bytes = batch.get_array_memory_size();
                rejects.add(vec![(Some(file.arrival), batch)], bytes)
            }
        };
        match read_extract(self.job.name, self.layout, file, self.meter, &mut sink) {
            Ok(extract) if extract.tally.landed == 0 && self.layout.delivery == Delivery::Snapshot => {
                self.empty.push((file, extract, rows, rejects));
                Ok(None)
            }
            Ok(extract) => {
                let hash = extract.hash.clone();
                self.accept(file, extract, rows, rejects)?;
                Ok(Some(hash))
            }
            Err(error) => {
                rows.discard();
                rejects.discard();
                self.failed(file, &error);
                Ok(None)
            }
        }
    }

    fn accept(&mut self, file: &InputFile, extract: Extract, rows: Landing<'b>, rejects: Landing<'b>) -> Result<()> {
        let Extract { tally, findings, hash } = extract;
        let shown = file.path.display().to_string();
        if let Some(before) = self.let_go(&file.relative, file.arrival)
            && !self.again
        {
            self.notices.replaced(&shown, before.tally.landed, tally.landed);
        }
        for slot in rows.slots() {
            self.touched.entry(*slot).or_default().push(hash.clone());
        }
        self.rows.absorb(rows)?;
        self.rejects.absorb(rejects)?;
        self.notices.add(&shown, findings);
        self.outcome.files += 1;
        self.outcome.tally.merge(&tally);
        self.outcome.extracts.push(FileBooks {
            file: file.relative.clone(),
            read: tally.read,
            landed: tally.landed,
            unchanged: tally.unchanged,
            rejected: tally.rows_rejected(),
        });
        let run = self.job.run.to_owned();
        let (arrival, rejected) = (file.arrival, tally.rejected.clone());
        self.loaded.insert(file.relative.clone(), RejectRecord { arrival, hash: hash.clone(), rejected, run });
        self.know(file, hash, tally, None);
        Ok(())
    }

    /// An empty extract is fine beside another of the same snapshot, and an error alone.
    fn settle_empty(&mut self) -> Result<()> {
        for (file, extract, rows, rejects) in std::mem::take(&mut self.empty) {
            let of_snapshot = |other: &&FileRecord| other.arrival == file.arrival && other.path != file.relative;
            if self.known.values().filter(of_snapshot).any(|other| other.tally.landed > 0) {
                self.accept(file, extract, rows, rejects)?;
            } else {
                rows.discard();
                rejects.discard();
                let what = empty_snapshot("has a header and no rows", &extract.tally, &extract.findings);
                self.failed(file, &anyhow::anyhow!(what));
            }
        }
        Ok(())
    }

    /// Lets the rows leave that a file brought before for the same day; what was recorded of them.
    fn let_go(&mut self, path: &str, arrival: BizDate) -> Option<FileRecord> {
        let before = self.known.get(path).filter(|record| record.same_as.is_none() && record.arrival == arrival)?;
        self.leaving.insert((path.to_owned(), arrival), before.hash.clone());
        Some(before.clone())
    }

    /// Makes a file that came first a copy of one whose path is less.
    fn demote(&mut self, later: &str, original: &str, hash: &str) {
        let Some(arrival) = self.known.get(later).map(|record| record.arrival) else { return };
        self.let_go(later, arrival);
        for record in self.known.values_mut().filter(|record| record.hash == hash && record.arrival == arrival) {
            if record.path != original {
                record.same_as = Some(original.to_owned());
                record.tally = Tally::default();
                self.changed.insert(record.path.clone());
            }
        }
    }

    fn know_as_copy(&mut self, file: &InputFile, original: &str) {
        let Some(hash) = self.known.get(original).map(|record| record.hash.clone()) else { return };
        self.know(file, hash, Tally::default(), Some(original.to_owned()));
    }

    fn know(&mut self, file: &InputFile, hash: String, tally: Tally, same_as: Option<String>) {
        let InputFile { relative, arrival, size, mtime_ms, .. } = file.clone();
        let run = self.job.run.to_owned();
        let record = FileRecord { path: relative.clone(), size, mtime_ms, arrival, hash, tally, same_as, run };
        self.known.insert(relative.clone(), record);
        self.changed.insert(relative);
    }

    fn failed(&mut self, file: &InputFile, error: &anyhow::Error) {
        self.failures.push(format!("`{}`: {error:#}", file.path.display()));
    }
}

impl Prepared<'_> {
    /// Checks that every landed row is staged, and no other.
    ///
    /// # Errors
    /// When the ledger does not close, which would be a mistake of this program.
    pub fn check_ledger(&self) -> Result<()> {
        let staged: u64 = self.rows.iter().map(|file| file.rows).sum();
        let rejected: u64 = self.rejects.iter().map(|file| file.rows).sum();
        let tally = &self.outcome.tally;
        if staged != tally.landed || rejected != tally.rows_rejected() || !tally.closes() {
            bail!("{} rows read, {staged} staged and {rejected} rejected: the ledger does not close", tally.read);
        }
        Ok(())
    }
}
