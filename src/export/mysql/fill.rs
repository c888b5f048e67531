//! Rows on their way into a table: read from the lake in the order of the key, spelled here while the server takes in what
//! was spelled before.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context, Result, anyhow};
use bytes::Bytes;
use futures::StreamExt;
use mysql_async::prelude::Queryable;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::checksum::Sum;
use super::plan::Work;
use super::target::{Target, cells};
use super::text::{Format, Limit, Rows};
use crate::date::Slot;
use crate::engine::Engine;
use crate::error::{Advice, find};
use crate::export::changes::portions;
use crate::export::{ExportTable, has_key, stream};
use crate::mysql::{ServerFailure, quoted, within};

/// Rows that are asked of the lake at once.
const PORTION_ROWS: u64 = 200_000;

/// Bytes that are sent at once to LOAD DATA, and that an INSERT has at most.
const LOAD_BYTES: usize = 256 << 10;
/// See [`LOAD_BYTES`].
const INSERT_BYTES: usize = 1 << 20;

/// Pieces that wait to be sent.
const PIECES: usize = 8;

/// What a packet holds besides the rows.
const PACKET_MARGIN: usize = 1024;

/// What servers say that do not allow LOAD DATA LOCAL, whatever their settings promise.
const NO_LOCAL: [u16; 4] = [1148, 2068, 3948, 4166];

/// What stands between us and a server may have numbers of its own for it: ProxySQL says 1047, `Unsupported 'LOAD DATA LOCAL
/// INFILE' command`.
const NO_LOCAL_WORDS: [&str; 3] = ["load data", "local infile", "local_infile"];

/// A server's word for a command that it does not know.
const UNKNOWN_COMMAND: u16 = 1047;

/// Rows and checksum of every partition written.
pub type Sums = BTreeMap<Slot, Sum>;

/// Writes partitions of a table, which has none of their rows.
///
/// # Errors
/// When the lake cannot be read, a value does not fit, or the server does not take every row as it is.
pub async fn fill(
    target: &mut Target,
    engine: &Engine,
    work: &Work,
    slots: &[Slot],
    may_load: &mut bool,
) -> Result<Sums> {
    let rows: u64 = slots.iter().filter_map(|slot| work.table.slots.get(slot)).map(|(_, rows)| rows).sum();
    if rows == 0 {
        return Ok(Sums::new());
    }
    if *may_load && target.facts.local_infile && target.session.place().load_data {
        let loaded = load(target, engine, work, slots).await;
        match loaded {
            Err(error) if is_forbidden(&error) => *may_load = false,
            done => return done,
        }
    }
    insert(target, engine, work, slots).await
}

fn is_forbidden(error: &anyhow::Error) -> bool {
    let Some(ServerFailure { message, code: Some(code), .. }) = find::<ServerFailure>(error) else { return false };
    let message = message.to_lowercase();
    let is_named = NO_LOCAL_WORDS.iter().any(|words| message.contains(words));
    NO_LOCAL.contains(code) || (*code == UNKNOWN_COMMAND && is_named)
}

/// One LOAD DATA for all of the partitions, fed from memory.
async fn load(target: &mut Target, engine: &Engine, work: &Work, slots: &[Slot]) -> Result<Sums> {
    let most = packet(target);
    let (producer, pieces) = spelled(engine, (work, slots), Format::Lines, LOAD_BYTES.min(most), most);
    let pieces = futures::stream::unfold(pieces, |mut pieces| async move {
        let piece = pieces.recv().await?;
        // The cause is told by the task that spells the rows; here the load is only broken off.
        Some((piece.map_err(|()| std::io::Error::other("the rows end early")), pieces))
    });
    let columns: Vec<String> = work.wanted.columns.iter().map(|column| quoted(&column.name)).collect();
    let sql = format!(
        "load data local infile 'strata' into table {} character set utf8mb4 fields terminated by '\\t' escaped by '\\\\' \
         lines terminated by '\\n' ({})",
        quoted(&work.into),
        columns.join(", ")
    );
    let (place, limit) = (Arc::clone(target.session.place()), target.session.patience().work);
    let conn = target.session.conn();
    conn.set_infile_handler(async move { Ok(pieces.boxed()) });
    let done = within(&place, limit, conn.query_drop(sql)).await;
    let (taken, warnings) = (conn.affected_rows(), conn.get_warnings());
    if let Err(error) = done {
        return Err(cause(producer).await.unwrap_or(error));
    }
    let sums = producer.await.context("the rows were interrupted")??;
    all_taken(target, &sums, taken, warnings).await?;
    Ok(sums)
}

/// INSERTs of many rows, each within a packet.
async fn insert(target: &mut Target, engine: &Engine, work: &Work, slots: &[Slot]) -> Result<Sums> {
    let columns: Vec<String> = work.wanted.columns.iter().map(|column| quoted(&column.name)).collect();
    let head = format!("insert into {} ({}) values ", quoted(&work.into), columns.join(", "));
    let most = packet(target).saturating_sub(head.len());
    let (producer, mut pieces) = spelled(engine, (work, slots), Format::Literals, INSERT_BYTES.min(most), most);
    let (mut taken, mut warnings) = (0, 0);
    while let Some(Ok(piece)) = pieces.recv().await {
        let sql = [head.as_bytes(), &piece].concat();
        let (place, limit) = (Arc::clone(target.session.place()), target.session.patience().work);
        let conn = target.session.conn();
        if let Err(error) = within(&place, limit, conn.query_drop(sql)).await {
            return Err(cause(producer).await.unwrap_or(error));
        }
        taken += conn.affected_rows();
        warnings += conn.get_warnings();
    }
    let sums = producer.await.context("the rows were interrupted")??;
    all_taken(target, &sums, taken, warnings).await?;
    Ok(sums)
}

/// Why the rows ended early, unless it is because nobody took them.
async fn cause(producer: JoinHandle<Result<Sums>>) -> Option<anyhow::Error> {
    // A task that has ended keeps what it ended with.
    producer.abort();
    match producer.await {
        Ok(Err(error)) if !error.is::<Unwanted>() => Some(error),
        _ => None,
    }
}

/// Nobody takes the rows any more.
#[derive(Debug)]
struct Unwanted;

impl std::fmt::Display for Unwanted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the server takes no more rows")
    }
}

impl std::error::Error for Unwanted {}

/// The bytes that a packet may have.
fn packet(target: &Target) -> usize {
    usize::try_from(target.facts.max_allowed_packet).unwrap_or(usize::MAX).saturating_sub(PACKET_MARGIN).max(1)
}

/// Whether the server took every row as it was: LOAD DATA LOCAL leaves out or bends what it cannot take, and warns.
async fn all_taken(target: &mut Target, sums: &Sums, taken: u64, warnings: u16) -> Result<()> {
    let sent: u64 = sums.values().map(|sum| sum.rows).sum();
    if warnings == 0 && taken == sent {
        return Ok(());
    }
    let said = target.session.texts("show warnings limit 3").await?;
    let said: Vec<String> = said
        .into_iter()
        .map(|row| {
            let [_, _, text] = cells(row);
            text
        })
        .collect();
    let said = if said.is_empty() { String::new() } else { format!(": {}", said.join("; ")) };
    Err(anyhow!("the server took {taken} of {sent} rows with {warnings} warnings{said}"))
        .hint("does the table have columns, keys or triggers that are not by strata?")
}

type Pieces = mpsc::Receiver<std::result::Result<Bytes, ()>>;

/// Spells the rows of partitions, in the order of the key; pieces of so many bytes, a row at the most `row`.
fn spelled(
    engine: &Engine,
    (work, slots): (&Work, &[Slot]),
    format: Format,
    piece: usize,
    row: usize,
) -> (JoinHandle<Result<Sums>>, Pieces) {
    let (sender, receiver) = mpsc::channel(PIECES);
    let limits = work.kinds.iter().map(|kind| Limit { chars: kind.most_chars(), bytes: kind.most_bytes() }).collect();
    let speller = Speller {
        engine: engine.clone(),
        table: Arc::clone(&work.table),
        key: work.wanted.key.clone(),
        slots: slots.to_vec(),
        limits,
        format,
        piece,
        row,
    };
    let producer = tokio::spawn(async move {
        let done = speller.spell(&sender).await;
        if done.is_err() {
            let _ = sender.send(Err(())).await;
        }
        done
    });
    (producer, receiver)
}

struct Speller {
    engine: Engine,
    table: Arc<ExportTable>,
    key: Vec<String>,
    slots: Vec<Slot>,
    limits: Vec<Limit>,
    format: Format,
    piece: usize,
    row: usize,
}

impl Speller {
    async fn spell(&self, sender: &mpsc::Sender<std::result::Result<Bytes, ()>>) -> Result<Sums> {
        let mut sums = Sums::new();
        let mut out: Vec<u8> = Vec::with_capacity(self.piece + (self.piece >> 3));
        let (mut line, mut canonical) = (Vec::with_capacity(256), Vec::with_capacity(256));
        for part in portions(&self.table.slots, &self.slots, PORTION_ROWS) {
            let mut batches = stream(&self.engine, &self.table, part).await?;
            while let Some(batch) = batches.next().await {
                let batch = batch?;
                has_key(&batch, &self.key)?;
                let rows = Rows::of(&batch, &self.limits)?;
                let mut current: Option<(Slot, Sum)> = None;
                for at in 0..rows.len() {
                    line.clear();
                    canonical.clear();
                    rows.write(at, self.format, &mut line, &mut canonical)?;
                    let slot = rows.slot(at);
                    match &mut current {
                        Some((same, sum)) if *same == slot => sum.add(&canonical),
                        _ => {
                            flush(&mut sums, current.take());
                            let mut sum = Sum::default();
                            sum.add(&canonical);
                            current = Some((slot, sum));
                        }
                    }
                    self.take(&mut out, &line, canonical.len(), sender).await?;
                }
                flush(&mut sums, current);
            }
        }
        self.send(&mut out, sender).await?;
        Ok(sums)
    }

    /// Appends a row to the piece, sending it before when it would become too large.
    async fn take(
        &self,
        out: &mut Vec<u8>,
        line: &[u8],
        canonical: usize,
        sender: &mpsc::Sender<std::result::Result<Bytes, ()>>,
    ) -> Result<()> {
        let longest = line.len().max(canonical);
        if longest > self.row {
            return Err(anyhow!(
                "a row of {longest} bytes, and the server takes packets of {} bytes at most",
                self.row
            ))
            .hint("raise max_allowed_packet on the server");
        }
        let comma = usize::from(self.format == Format::Literals && !out.is_empty());
        if out.len() + line.len() + comma > self.piece {
            self.send(out, sender).await?;
        } else if comma == 1 {
            out.push(b',');
        }
        out.extend_from_slice(line);
        Ok(())
    }

    async fn send(&self, out: &mut Vec<u8>, sender: &mpsc::Sender<std::result::Result<Bytes, ()>>) -> Result<()> {
        if out.is_empty() {
            return Ok(());
        }
        let piece = std::mem::replace(out, Vec::with_capacity(self.piece + (self.piece >> 3)));
        if sender.send(Ok(Bytes::from(piece))).await.is_err() {
            return Err(Unwanted.into());
        }
        Ok(())
    }
}

fn flush(sums: &mut Sums, part: Option<(Slot, Sum)>) {
    if let Some((slot, part)) = part {
        let sum = sums.entry(slot).or_default();
        sum.rows += part.rows;
        sum.sum = sum.sum.wrapping_add(part.sum);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn load_data_is_forbidden_by_a_servers_number_or_a_proxys_words() {
        let said = |code, message: &str| {
            let failure = ServerFailure { message: message.to_owned(), code: Some(code), transient: false };
            is_forbidden(&anyhow::Error::new(failure).context("export app_day"))
        };
        assert!(said(3948, "Loading local data is disabled"));
        assert!(said(1047, "Unsupported 'LOAD DATA LOCAL INFILE' command (error 1047)"));
        assert!(!said(1047, "Unknown command") && !said(1054, "Unknown column in LOAD DATA"));
    }
}
