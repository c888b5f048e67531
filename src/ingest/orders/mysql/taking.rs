//! What one reader has of the table that it reads from, until it hands it in.

use anyhow::Result;
use tokio::runtime::Handle;

use super::known::KnownRejects;
use super::read::{Reading, Work};
use crate::ingest::orders::intake::{Findings, Part};
use crate::ingest::orders::landing::Landing;
use crate::ingest::orders::tally::Tally;
use crate::ingest::orders::versions::Digest;
use crate::lake::StagedFile;

/// What came of a table.
#[derive(Default)]
pub struct Taken {
    pub tally: Tally,
    pub findings: Findings,
    pub rows: Vec<StagedFile>,
    pub rejects: Vec<StagedFile>,
    /// What the rows say, whatever their order.
    pub content: u128,
    /// The greatest change time, microseconds on the business zone's clock.
    pub greatest: Option<i64>,
}

impl Taken {
    /// Adds what another reader has of the same table.
    pub fn add(&mut self, other: Self) {
        self.tally.merge(&other.tally);
        merge(&mut self.findings, other.findings);
        self.rows.extend(other.rows);
        self.rejects.extend(other.rejects);
        self.content = self.content.wrapping_add(other.content);
        self.greatest = self.greatest.max(other.greatest);
    }
}

/// What one reader has of the table that it reads from.
pub struct Open<'a> {
    /// Which table.
    pub table: usize,
    work: &'a Work<'a>,
    reading: &'a Reading<'a>,
    runtime: Handle,
    rows: Landing<'a>,
    rejects: Landing<'a>,
    digest: Option<Digest>,
    known: KnownRejects,
    tally: Tally,
    findings: Findings,
    greatest: Option<i64>,
}

impl<'a> Open<'a> {
    /// Nothing of a table yet.
    ///
    /// # Errors
    /// When its layout is none, which would be a mistake of this crate.
    pub fn new(work: &'a Work<'a>, table: usize, runtime: &Handle) -> Result<Self> {
        let reading = &work.readings[table];
        let landing = |table| Landing::new(table, work.run, runtime).in_background(work.writes_in_background);
        let rows = landing(reading.table);
        let (rows, digest) = match &reading.versions {
            Some(versions) => (rows.without_known(versions.clone()), None),
            // Only snapshots are compared as a whole.
            None => (rows, reading.question.changed.is_none().then(|| Digest::new(reading.layout)).transpose()?),
        };
        Ok(Self {
            table,
            work,
            reading,
            runtime: runtime.clone(),
            rows,
            rejects: landing(work.rejects),
            digest,
            known: KnownRejects::default(),
            tally: Tally::default(),
            findings: Findings::default(),
            greatest: None,
        })
    }

    /// Takes rows or rejects of a part.
    ///
    /// # Errors
    /// When they cannot be staged.
    pub fn take(&mut self, part: Part) -> Result<()> {
        match part {
            Part::Rows { parts, bytes } => {
                if let Some(digest) = &mut self.digest {
                    parts.iter().try_for_each(|(_, batch)| digest.add(batch))?;
                }
                self.rows.add(parts, bytes)
            }
            Part::Rejects(batch) => {
                let (rejects, table) = (self.work.rejects, &self.reading.layout.table);
                // A row of an overlap is rejected each time it is read; what says the same lands once.
                let batch = match self.reading.question.changed {
                    Some(_) => self.known.filtered(&batch, rejects, &self.runtime, table)?,
                    None => batch,
                };
                if batch.num_rows() == 0 {
                    return Ok(());
                }
                let bytes = batch.get_array_memory_size();
                self.rejects.add(vec![(Some(self.reading.arrival), batch)], bytes)
            }
        }
    }

    /// Counts a part that was taken and found right.
    pub fn count(&mut self, tally: &Tally, findings: Findings, greatest: Option<i64>) {
        self.tally.merge(tally);
        for (reason, rows) in self.known.take_repeated() {
            self.tally.unchanged += rows;
            *self.tally.rejected.entry(reason).or_default() -= rows;
        }
        self.tally.rejected.retain(|_, rows| *rows > 0);
        merge(&mut self.findings, findings);
        self.greatest = self.greatest.max(greatest);
    }

    /// Takes away what was staged.
    pub fn discard(self) {
        self.rows.discard();
        self.rejects.discard();
    }

    /// All that came of it.
    ///
    /// # Errors
    /// When what is left cannot be staged.
    pub fn finish(mut self) -> Result<Taken> {
        let known = match self.rows.settle() {
            Ok(known) => known,
            Err(error) => {
                self.discard();
                return Err(error);
            }
        };
        self.tally.landed -= known;
        self.tally.unchanged += known;
        Ok(Taken {
            tally: self.tally,
            findings: self.findings,
            rows: self.rows.finish()?,
            rejects: self.rejects.finish()?,
            content: self.digest.map_or(0, |digest| digest.sum()),
            greatest: self.greatest,
        })
    }
}

fn merge(all: &mut Findings, more: Findings) {
    for (column, count) in more.zero_dates {
        *all.zero_dates.entry(column).or_default() += count;
    }
    all.first_reject = all.first_reject.take().or(more.first_reject);
}
