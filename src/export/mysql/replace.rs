//! The partitions of one table, written anew, and what the server has of them compared with what the lake has.

use std::collections::BTreeMap;

use anyhow::{Error, Result, anyhow, bail};

use super::checksum::{Sum, of_days, question};
use super::fill::{Sums, fill};
use super::plan::Work;
use super::records::{DAYS_AT_ONCE, record};
use super::target::{Target, cells};
use super::text::TooLong;
use super::{FAREWELL, Hindsight, Job};
use crate::date::Slot;
use crate::error::{Advice, find, with_hint};
use crate::export::changes::{portions, slot_text};
use crate::export::{Exported, Key};
use crate::mysql::{Server, Session, is_transient, quoted};

/// Rows that are written at once, and then verified while the next are written.
const PORTION_ROWS: u64 = 150_000;

/// A text that is too long for its column, which has to become wider.
#[derive(Clone, Debug)]
pub struct LongText {
    /// The table.
    pub table: String,
    /// The text.
    pub text: TooLong,
}

impl std::fmt::Display for LongText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.table, self.text)
    }
}

impl std::error::Error for LongText {}

/// Replaces the changed partitions of one table, and compares what the server has then with what the lake has.
///
/// # Errors
/// When the lake cannot be read, the server refuses, or has other rows than the lake.
pub async fn replace(job: &Job<'_>, hindsight: &mut Hindsight, target: &mut Target, work: &Work) -> Result<Exported> {
    let has_day = has_day(work);
    let days: Vec<String> = work.changes.texts().collect();
    if !work.is_staged() {
        let into = quoted(&work.into);
        if !has_day {
            target.session.execute(format!("delete from {into}")).await?;
        }
        for days in days.chunks(DAYS_AT_ONCE).filter(|_| has_day) {
            target.session.execute(format!("delete from {into} where {}", of_days(days))).await?;
        }
    }
    let filled = fill_and_verify(job, hindsight, target, work).await;
    let (sums, read_back) = filled.map_err(|error| of_an_earlier_key(work, long_text(work, error)))?;
    record(target, work, &sums, job.run).await?;
    let rows = sums.values().map(|sum| sum.rows).sum();
    Ok(Exported { table: work.name().to_owned(), partitions: work.changes.len(), rows, read_back })
}

fn has_day(work: &Work) -> bool {
    work.table.head.schema().column_with_name("dt").is_some()
}

/// Writes the partitions of a table a portion at a time; while one is written, the server counts and sums the one before.
/// What was written, and how many rows the server counted.
async fn fill_and_verify(
    job: &Job<'_>,
    hindsight: &mut Hindsight,
    target: &mut Target,
    work: &Work,
) -> Result<(Sums, u64)> {
    let mut counted = 0;
    let parts = portions(&work.table.slots, &work.changes.write, PORTION_ROWS);
    // Without a second session the first one does it all.
    let mut witness = if parts.len() > 1 { witness(job.server).await.ok() } else { None };
    let mut may_load = !hindsight.no_load;
    let (mut sums, mut before): (Sums, Option<(&[Slot], Sums)>) = (Sums::new(), None);
    for part in parts {
        let filled = match (&mut witness, before.take()) {
            (Some(witness), Some((earlier, sums))) => {
                let fill = fill(target, job.engine, work, part, &mut may_load);
                let (filled, verified) =
                    futures::future::join(fill, verify(witness, work, texts(earlier), &sums)).await;
                counted += verified?;
                filled
            }
            (None, Some((earlier, sums))) => {
                counted += verify(&mut target.session, work, texts(earlier), &sums).await?;
                fill(target, job.engine, work, part, &mut may_load).await
            }
            (_, None) => fill(target, job.engine, work, part, &mut may_load).await,
        };
        hindsight.no_load = !may_load;
        let filled = filled?;
        all_read(work, part, &filled)?;
        sums.extend(filled.iter().map(|(slot, sum)| (*slot, *sum)));
        before = Some((part, filled));
    }
    if let Some((part, sums)) = before {
        counted += verify(&mut target.session, work, texts(part), &sums).await?;
    }
    // What was taken away must be gone; a table without days was taken away whole.
    if has_day(work) {
        verify(&mut target.session, work, work.changes.gone.clone(), &Sums::new()).await?;
    }
    if let Some(witness) = witness {
        let _ = tokio::time::timeout(FAREWELL, witness.close()).await;
    }
    Ok((sums, counted))
}

/// A second session, which sees the rows of the first before they are committed: they are final there, and summing them up
/// costs no time of the session that writes.
async fn witness(server: &Server) -> Result<Session> {
    let mut session = server.connect().await?;
    session.execute("set session transaction isolation level read uncommitted").await?;
    Ok(session)
}

/// Whether as many rows were read as the lake records.
fn all_read(work: &Work, slots: &[Slot], sums: &Sums) -> Result<()> {
    for slot in slots {
        let (read, expected) =
            (sums.get(slot).map_or(0, |sum| sum.rows), work.table.slots.get(slot).map_or(0, |s| s.1));
        if read != expected {
            bail!("dt={}: {read} rows read from the lake, {expected} recorded there", slot_text(*slot));
        }
    }
    Ok(())
}

fn texts(slots: &[Slot]) -> Vec<String> {
    slots.iter().map(|slot| slot_text(*slot)).collect()
}

/// A text that is too long for a column that may become wider; those of the key may not.
fn long_text(work: &Work, error: Error) -> Error {
    match find::<TooLong>(&error).cloned() {
        Some(text) if work.wanted.key.contains(&text.column) => {
            let mut kinds =
                work.wanted.columns.iter().zip(&work.kinds).filter(|(column, _)| column.name == text.column);
            let most = kinds.find_map(|(_, kind)| kind.most_chars()).unwrap_or_default();
            with_hint(
                error,
                format!(
                    "{} is part of the key, whose texts hold {most} characters at most: shorten it in the model, or take it \
                     out of `grain`",
                    text.column
                ),
            )
        }
        Some(text) => Error::new(LongText { table: work.name().to_owned(), text }),
        None => error,
    }
}

/// What failed where the key is not that of the model may have failed because of it.
fn of_an_earlier_key(work: &Work, error: Error) -> Error {
    let Key::Earlier(grain) = &work.table.key else { return error };
    if find::<LongText>(&error).is_some() || is_transient(&error) || *grain == work.wanted.key {
        return error;
    }
    let (name, key) = (work.name(), work.wanted.key.join(", "));
    with_hint(
        error,
        format!(
            "an earlier {name} made some of these rows, and their key in the target is still ({key}): `strata build {name}`"
        ),
    )
}

/// Has the server count and sum some partitions, and compares; how many rows it counted.
async fn verify(session: &mut Session, work: &Work, days: Vec<String>, sums: &Sums) -> Result<u64> {
    let mut found = BTreeMap::new();
    for days in days.chunks(DAYS_AT_ONCE) {
        for row in session.texts(question(&work.into, &work.summed(), Some(days))).await? {
            let [day, rows, sum] = cells(row);
            found.insert(day, Sum { rows: rows.parse()?, sum: sum.parse().unwrap_or_default() });
        }
    }
    found.retain(|_, sum| sum.rows > 0);
    let expected: BTreeMap<String, Sum> = sums.iter().map(|(slot, sum)| (slot_text(*slot), *sum)).collect();
    if found == expected {
        return Ok(found.values().map(|sum| sum.rows).sum());
    }
    let mut days = found.keys().chain(expected.keys());
    let day = days.find(|day| found.get(*day) != expected.get(*day)).cloned().unwrap_or_default();
    let (has, wants) = (found.get(&day).copied().unwrap_or_default(), expected.get(&day).copied().unwrap_or_default());
    Err(anyhow!(
        "dt={day}: the server has {} rows (checksum {}) where the lake has {} ({})",
        has.rows,
        has.hex(),
        wants.rows,
        wants.hex()
    ))
    .hint("nothing was committed; has the table triggers or generated columns that change what is written?")
}
