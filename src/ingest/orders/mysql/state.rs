//! What is remembered of a table between extractions, and what an extraction comes to: what is recorded with its rows,
//! what it replaces, and when there is nothing new.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Result, bail};
use chrono::{DateTime, Offset, TimeZone};
use serde::{Deserialize, Serialize};

use super::read::Reading;
use super::snapshot::{Database, Moment};
use super::taking::Taken;
use super::{Since, Subject, clock, micros_of};
use crate::config::source::{Delivery, SourceTable};
use crate::date::{BizDate, Zone};
use crate::ingest::orders::batch::{Prepared, empty_snapshot};
use crate::ingest::orders::deleted::Deleted;
use crate::ingest::orders::layout::Layout;
use crate::ingest::orders::notices::Notices;
use crate::ingest::orders::record::{self, FileRecord, RejectRecord, SOURCE, SourceRecord, entry, find, rejects_of};
use crate::ingest::orders::tally::Tally;
use crate::ingest::orders::value::MICROS_A_DAY;
use crate::ingest::orders::{Extraction, OrdersIngest, TableOutcome};
use crate::ingest::rejects::REJECT_TABLE;
use crate::ingest::replay::finish as finish_replay;
use crate::lake::Table;
use crate::mysql::SessionZone;
use crate::progress::{Event, counted};

/// How much more is asked for where wall clocks do not tell times exactly.
const CLOCK_SLACK_S: i64 = 2 * 3600;

/// The domain of a [`State`].
const STATE: &str = "strata.mysql";

/// What is remembered of the last extraction that landed something.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct State {
    /// Of changes: the time from which on, less the overlap, the next extraction asks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    watermark: Option<String>,
    /// What the watermark is of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    asked: Option<Asked>,
    /// The moment it saw.
    moment: Moment,
}

/// What was asked for changes: a watermark says nothing of another database, nor of another question.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    database: Database,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    select: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    changed: Option<String>,
}

impl Asked {
    /// What a table of a database is asked.
    pub fn of(database: &Database, table: &SourceTable) -> Self {
        Self { database: database.clone(), select: table.select.clone(), changed: table.changed.clone() }
    }

    /// What another question was about that this one is not.
    fn differs(&self, before: &Self) -> Option<&'static str> {
        match before {
            _ if before.database != self.database => Some("the database"),
            _ if before.select != self.select => Some("`select`"),
            _ if before.changed != self.changed => Some("`changed`"),
            _ => None,
        }
    }
}

/// What the lake remembers of a table.
pub struct Past {
    records: BTreeMap<String, String>,
    files: BTreeMap<String, FileRecord>,
    state: State,
    /// The watermark is of something else; what it is of is recorded even when nothing lands.
    is_forgotten: bool,
    last_arrival: Option<BizDate>,
}

impl Past {
    /// Reads it.
    ///
    /// # Errors
    /// When the lake cannot be read.
    pub async fn read(job: &OrdersIngest<'_>, layout: &Layout) -> Result<Self> {
        let records = job.lake.records(&layout.table).await?;
        finish_replay(job.lake, &layout.table, &records, job.now_ms).await?;
        let files = record::files(&records)?;
        let state = find::<State>(&records, STATE)?.unwrap_or_default();
        let last_arrival = find::<SourceRecord>(&records, SOURCE)?.map(|source| source.last_arrival);
        Ok(Self { records, files, state, is_forgotten: false, last_arrival })
    }

    /// Forgets a watermark that is of something else; why, if it is.
    pub fn forget_other(&mut self, asked: &Asked) -> Option<String> {
        let what = self.state.asked.as_ref().filter(|_| self.state.watermark.is_some())?;
        let what = asked.differs(what)?;
        (self.state.watermark, self.is_forgotten) = (None, true);
        Some(format!("{what} is another than at the last extraction: everything is read, and what landed before stays"))
    }

    /// Why a table is not read this time.
    pub fn stands_in_the_way(&self, table: &SourceTable, extraction: &Extraction<'_>) -> Option<String> {
        if table.delivery == Delivery::Changes {
            return None;
        }
        if extraction.range.is_some() {
            return Some("is taken whole and has no range of changes; not read this time".to_owned());
        }
        let last = self.last_arrival.filter(|last| *last > extraction.to)?;
        Some(format!("the snapshot of {last} is the last; one of today is none of {}", extraction.to))
    }

    /// The day that rows of this extraction arrive on; changes never arrive before what arrived already, so that the
    /// latest version is the one read last.
    pub fn arrival(&self, table: &SourceTable, extraction: &Extraction<'_>) -> BizDate {
        match table.delivery {
            Delivery::Snapshot => extraction.to,
            Delivery::Changes => self.last_arrival.map_or(extraction.to, |last| last.max(extraction.to)),
        }
    }

    /// From when on changes are asked for; `None` is all of them.
    pub fn since(&self, job: &OrdersIngest<'_>, extraction: &Extraction<'_>, zone: SessionZone) -> Option<Since> {
        if let Some(range) = extraction.range {
            let midnight = |day: BizDate| i64::from(day.days()) * MICROS_A_DAY;
            // The server compares on a clock that may be off by an hour on some days; what is known does not land again.
            let slack = if zone.is_exact() { 0 } else { CLOCK_SLACK_S * 1_000_000 };
            return Some(Since::Between(midnight(range.from) - slack, midnight(range.to.plus_days(1)) + slack));
        }
        let watermark = self.state.watermark.as_deref().and_then(micros_of)?;
        let mut overlap = extraction.reading.overlap;
        // A wall clock that goes back by an hour gives later rows earlier times, and so may a server that knows the
        // business zone's distance of today only. Reading more is harmless: what is known does not land again.
        let from_ms = watermark / 1000 - i64::try_from(overlap.as_millis()).unwrap_or(0);
        if turns(job.zone, from_ms, job.now_ms) {
            overlap += Duration::from_secs(CLOCK_SLACK_S.unsigned_abs());
        }
        Some(Since::Watermark(watermark - i64::try_from(overlap.as_micros()).unwrap_or(0)))
    }
}

/// Whether a zone's clocks are put forward or back between two moments, or within a day of them.
fn turns(zone: Zone, from_ms: i64, to_ms: i64) -> bool {
    const DAY_MS: i64 = 86_400_000;
    let offset = |ms: i64| {
        let at = DateTime::from_timestamp_millis(ms).unwrap_or_default().naive_utc();
        zone.tz().offset_from_utc_datetime(&at).fix().local_minus_utc()
    };
    let days = (to_ms - from_ms).max(0) / DAY_MS + 3;
    (0..=days).any(|day| offset(from_ms + (day - 1) * DAY_MS) != offset(to_ms))
}

/// What an extraction of a table comes to, ready to be committed; without file records when there is nothing new.
///
/// # Errors
/// When a snapshot is empty, or what was staged for nothing cannot be taken away.
#[allow(clippy::too_many_arguments, reason = "the parts of an extraction meet here once")]
pub async fn conclude<'a>(
    job: &OrdersIngest<'_>,
    extraction: &Extraction<'_>,
    subject: &'a Subject<'_>,
    reading: &Reading<'a>,
    taken: Taken,
    moment: &Moment,
    now_micros: i64,
    rejects: &Table,
    database: &Database,
) -> Result<Prepared<'a>> {
    let Past { records, files, state, is_forgotten, last_arrival } = &subject.past;
    let (layout, arrival, path) = (&subject.layout, reading.arrival, reading.file.clone());
    let deleted = match &reading.gone {
        Some(gone) => Some(Deleted::bury(job, layout, reading.table, gone, now_micros).await?),
        None => None,
    };
    let Taken { mut tally, findings, rows, rejects: staged_rejects, content, greatest } = taken;
    tally.deleted = deleted.as_ref().map_or(0, Deleted::keys);
    let hash = format!("{content:016x}{:016x}", tally.read);
    let earlier: Vec<&FileRecord> = files
        .values()
        .filter(|file| layout.delivery == Delivery::Snapshot && file.arrival == arrival && is_ours(&file.path))
        .collect();
    if layout.delivery == Delivery::Snapshot && tally.landed == 0 {
        reading.table.discard(&rows).await;
        rejects.discard(&staged_rejects).await;
        bail!("table `{}`: {}; nothing of it landed", layout.name, empty_snapshot("has no rows", &tally, &findings));
    }
    // Rejects are committed before rows: those of a run that ended between the two stand here without their file.
    let rejected = match layout.delivery {
        Delivery::Snapshot => rejects_of(&job.lake.records(REJECT_TABLE).await?, &layout.table)?,
        Delivery::Changes => BTreeMap::new(),
    };
    let rejected: Vec<(String, RejectRecord)> =
        rejected.into_iter().filter(|(path, record)| record.arrival == arrival && is_ours(path)).collect();
    let stands = |file: &FileRecord| match file.tally.rejected.is_empty() {
        true => rejected.is_empty(),
        false => rejected.len() == 1 && rejected[0].0 == file.path,
    };
    let is_new = match layout.delivery {
        Delivery::Snapshot => !earlier.iter().any(|file| file.hash == hash && stands(file)),
        Delivery::Changes => {
            let arrives = last_arrival.is_none_or(|last| last < arrival);
            tally.landed > 0 || tally.deleted > 0 || arrives || !staged_rejects.is_empty() || *is_forgotten
        }
    };
    let mut outcome = TableOutcome { table: layout.table.clone(), ..TableOutcome::default() };
    outcome.last_arrival = (*last_arrival).max(Some(arrival));
    let mut prepared = Prepared {
        layout,
        table: reading.table.clone(),
        records: records.clone(),
        rows: Vec::new(),
        rejects: Vec::new(),
        loaded: BTreeMap::new(),
        leaving: BTreeMap::new(),
        touched: BTreeMap::new(),
        deleted,
        more_records: Vec::new(),
        file_records: BTreeMap::new(),
        notices: Notices::default(),
        failures: Vec::new(),
        outcome,
    };
    if !is_new {
        reading.table.discard(&rows).await;
        rejects.discard(&staged_rejects).await;
        tally = Tally { read: tally.read, unchanged: tally.read, ..Tally::default() };
        prepared.outcome.last_arrival = *last_arrival;
        prepared.outcome.tally = tally;
        return Ok(prepared);
    }
    for (path, record) in rejected {
        prepared.leaving.insert((path, arrival), record.hash);
    }
    for file in earlier {
        prepared.leaving.insert((file.path.clone(), arrival), file.hash.clone());
        prepared.file_records.insert(file.path.clone(), None);
        let (rows, before) = (counted(tally.landed, "row"), file.tally.landed);
        let text =
            format!("{}: the snapshot of {arrival} was read again: {rows} in the place of {before}", layout.table);
        job.reporter.report(Event::Note(text));
    }
    for file in &rows {
        let contents = prepared.touched.entry(file.slot).or_default();
        if contents.is_empty() {
            contents.push(format!("{path} {hash}"));
        }
    }
    let run = job.run.to_owned();
    let rejected = if staged_rejects.is_empty() { BTreeMap::new() } else { tally.rejected.clone() };
    prepared.loaded.insert(path.clone(), RejectRecord { arrival, hash: hash.clone(), rejected, run: run.clone() });
    let watermark = match (layout.delivery, extraction.range) {
        (Delivery::Snapshot, _) => None,
        (Delivery::Changes, Some(_)) => state.watermark.clone(),
        // A time of the future is somebody's mistake, and not one to wait for.
        (Delivery::Changes, None) => {
            let seen = greatest.map(|greatest| greatest.min(now_micros));
            seen.max(state.watermark.as_deref().and_then(micros_of)).map(clock)
        }
    };
    // A range leaves the watermark as it is, and so what it is of.
    let asked = match extraction.range {
        Some(_) => state.asked.clone(),
        None => Some(Asked::of(database, subject.declared)),
    };
    let state = State { watermark, asked, moment: moment.clone() };
    prepared.more_records.push(entry(STATE.to_owned(), &state)?);
    prepared.notices.add(&path, findings);
    prepared.outcome.files = 1;
    prepared.outcome.tally = tally.clone();
    let record =
        FileRecord { path: path.clone(), size: 0, mtime_ms: job.now_ms, arrival, hash, tally, same_as: None, run };
    prepared.file_records.insert(path, Some(record));
    (prepared.rows, prepared.rejects) = (rows, staged_rejects);
    Ok(prepared)
}

/// Whether a path is that of an extraction, and not of a file.
fn is_ours(path: &str) -> bool {
    path.starts_with("mysql/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_that_turn_are_noticed_only_around_the_present() {
        let ms = |text: &str| micros_of(text).expect("a time") / 1000;
        let turns = |zone: &str, from, to| turns(zone.parse().expect("a zone"), ms(from), ms(to));
        assert!(turns("Europe/Berlin", "2026-03-28", "2026-03-29"));
        assert!(turns("Europe/Berlin", "2026-10-25", "2026-11-20"));
        assert!(!turns("Europe/Berlin", "2026-06-01", "2026-06-02"));
        assert!(!turns("Asia/Shanghai", "2026-01-01", "2026-12-31"), "its clocks turned until 1991");
    }
}
