//! Finds the keys that the lake has and the database lacks, without asking for every key there is.
//!
//! The lake's keys are divided into ranges of one of their columns. Of each range the server says how many keys it has
//! and what their CRC-32s come to; only where that is something else than in the lake are the keys themselves asked for,
//! and these decide. All of it in the run's snapshot, before a row of the run lands: what is new at the source is no
//! matter here. A row that was rejected is at the source and not in the lake, so that its range always differs: that
//! costs the keys of a range and changes nothing.

use std::collections::HashSet;
use std::sync::Arc;

use anyhow::{Context, Result, anyhow};
use mysql_async::Row;
use mysql_async::prelude::Queryable;

use super::clock;
use super::columns::Kind;
use super::question::Question;
use super::values::declared;
use crate::config::source::{ColumnType, SourceTable};
use crate::error::with_hint;
use crate::ingest::orders::deleted::Gone;
use crate::ingest::orders::keys::{Key, Keys};
use crate::ingest::orders::layout::Layout;
use crate::ingest::orders::value::Value;
use crate::lake::{FileRef, Table, read_columns};
use crate::mysql::{Session, quoted, within};

/// About how many of the lake's rows make a range.
const RANGE_ROWS: u64 = 20_000;
/// About how many of the lake's rows are held at once, some dozens of bytes each.
const HELD_ROWS: u64 = 2_000_000;
/// How many rows tell where ranges begin.
const SAMPLES: u64 = 100_000;
/// The share of a table's keys that may be gone at once, unless the table says otherwise.
const AT_MOST: f64 = 0.5;

/// Keys between two places, both of them included.
type Range = (i64, i64);

/// What the keys of a range come to.
#[derive(Debug, Default, PartialEq, Eq)]
struct Sum {
    keys: u64,
    sum: u128,
    xor: u64,
}

/// Finds the keys that are gone.
///
/// # Errors
/// When the server or the lake cannot be read, the key has no column that ranges can be made of, or more is gone than
/// anybody would delete.
pub async fn find(
    session: &mut Session,
    declared: &SourceTable,
    layout: &Layout,
    table: &Table,
    question: &Question,
) -> Result<Gone> {
    let Some(placed) = layout.key.iter().copied().find(|at| is_placed(layout, question, *at)) else {
        let error = anyhow!("deleted rows are found by ranges of an integer or a time, and the key has neither");
        return Err(with_hint(error, format!("remove `deletes` of the table `{}` in conf/sources", layout.name)));
    };
    let detection = Detection { layout, table, question, placed, keys: Keys::new(layout, placed) };
    let (gone, keys) = detection.run(session).await?;
    let at_most = declared.deletes_at_most.unwrap_or(AT_MOST);
    if gone.len() as f64 > keys as f64 * at_most {
        let share = (gone.len() as f64 * 100.0 / keys as f64).ceil();
        let error = anyhow!("{} of {keys} keys of the lake are not at the source any more ({share} %)", gone.len());
        let hint = format!(
            "is it the right database? If they are deleted indeed, allow it once by `deletes_at_most = {}` in [[table]] \
             {} of conf/sources",
            share / 100.0,
            layout.name
        );
        return Err(with_hint(error, hint));
    }
    Ok(Gone { keys: detection.keys, gone })
}

fn is_placed(layout: &Layout, question: &Question, at: usize) -> bool {
    let kind = question.bound.declared[at].as_ref().map(|(kind, _)| *kind);
    match layout.columns[at].kind {
        ColumnType::I32 | ColumnType::I64 => kind == Some(Kind::Integer),
        ColumnType::Datetime => matches!(kind, Some(Kind::Date | Kind::Datetime)),
        ColumnType::String | ColumnType::Money => false,
    }
}

struct Detection<'a> {
    layout: &'a Layout,
    table: &'a Table,
    question: &'a Question,
    placed: usize,
    keys: Keys,
}

impl Detection<'_> {
    /// The keys that are gone, and how many the lake has.
    async fn run(&self, session: &mut Session) -> Result<(HashSet<u128>, u64)> {
        let (files, ranges) = self.ranges().await?;
        let (mut gone, mut all) = (HashSet::new(), 0);
        for ranges in ranges.chunks((HELD_ROWS / RANGE_ROWS) as usize) {
            let (Some(first), Some(last)) = (ranges.first(), ranges.last()) else { break };
            let keys = self.held(&files, (first.0, last.1)).await?;
            all += keys.len() as u64;
            for range in ranges {
                let from = keys.partition_point(|key| key.place < range.0);
                let to = keys.partition_point(|key| key.place <= range.1);
                let keys = &keys[from..to];
                if self.sum_there(session, *range).await? != sum(keys) {
                    let is_there = self.are_there(session, *range, keys).await?;
                    let missing = keys.iter().zip(is_there).filter(|(_, is_there)| !is_there);
                    gone.extend(missing.map(|(key, _)| key.hash()));
                }
            }
        }
        Ok((gone, all))
    }

    /// The table's files with where their keys lie, and ranges of about as many rows each.
    async fn ranges(&self) -> Result<(Vec<(&FileRef, Range)>, Vec<Range>)> {
        let rows: u64 = self.table.files().iter().map(|file| file.rows).sum();
        let stride = (rows / SAMPLES).max(1) as usize;
        let (mut files, mut places, mut seen) = (Vec::new(), Vec::new(), 0);
        for file in self.table.files() {
            let keys = self.keys_of(file).await?;
            let bounds = keys.iter().map(|key| key.place).fold(None, |bounds: Option<Range>, place| {
                Some(bounds.map_or((place, place), |(low, high)| (low.min(place), high.max(place))))
            });
            let Some(bounds) = bounds else { continue };
            files.push((file, bounds));
            places.extend(keys.iter().skip((stride - seen % stride) % stride).step_by(stride).map(|key| key.place));
            seen += keys.len();
        }
        places.extend(files.iter().map(|(_, (low, _))| *low).min());
        places.sort_unstable();
        let mut starts: Vec<i64> = places.iter().copied().step_by((RANGE_ROWS as usize / stride).max(1)).collect();
        starts.dedup();
        let last = files.iter().map(|(_, (_, high))| *high).max();
        let ends = starts.iter().skip(1).map(|start| start - 1).chain(last);
        let ranges = starts.iter().copied().zip(ends).collect();
        Ok((files, ranges))
    }

    async fn keys_of(&self, file: &FileRef) -> Result<Vec<Key>> {
        let path = self.table.object_path(&file.path);
        let mut keys = Vec::new();
        for batch in read_columns(&*self.table.lake().store(), &path, &self.keys.names()).await? {
            keys.extend(self.keys.of_batch(&batch)?);
        }
        Ok(keys)
    }

    /// The lake's keys of a range, each once, in order.
    async fn held(&self, files: &[(&FileRef, Range)], range: Range) -> Result<Vec<Key>> {
        let mut held = Vec::new();
        for (file, _) in files.iter().filter(|(_, (low, high))| *low <= range.1 && range.0 <= *high) {
            let keys = self.keys_of(file).await?;
            held.extend(keys.into_iter().filter(|key| (range.0..=range.1).contains(&key.place)));
        }
        held.sort_unstable();
        held.dedup();
        Ok(held)
    }

    /// What the server's keys of a range come to.
    async fn sum_there(&self, session: &mut Session, range: Range) -> Result<Sum> {
        let crc = format!("crc32(concat_ws(',', {}))", self.spelled().join(", "));
        let asked = format!(
            "select count(*), coalesce(sum({crc}), 0), bit_xor({crc}) from {}{}",
            self.question.from,
            self.within(range)
        );
        let row = session.first(asked).await?;
        let number = |at: usize| row.get(at).and_then(Option::as_deref).and_then(|text| text.parse::<u128>().ok());
        let sum = number(0).zip(number(1)).zip(number(2));
        let ((keys, sum), xor) = sum.context("the server's checksum of keys is no number")?;
        Ok(Sum { keys: u64::try_from(keys)?, sum, xor: u64::try_from(xor)? })
    }

    /// Which of the lake's keys of a range the server has, too.
    async fn are_there(&self, session: &mut Session, range: Range, keys: &[Key]) -> Result<Vec<bool>> {
        let columns: Vec<(ColumnType, Kind, &str)> = self.columns().collect();
        let names: Vec<String> = columns.iter().map(|(.., name)| quoted(name)).collect();
        let asked = format!("select {} from {}{}", names.join(", "), self.question.from, self.within(range));
        let (zone, place, patience) = (session.zone(), Arc::clone(session.place()), session.patience());
        let mut is_there = vec![false; keys.len()];
        let mut answer = within(&place, patience.work, session.conn().exec_iter(asked, ())).await?;
        while let Some(row) = within(&place, patience.rows, answer.next()).await? {
            let row: Row = row;
            let values = columns.iter().enumerate().map(|(at, (wanted, kind, _))| {
                let sent = row.as_ref(at).unwrap_or(&mysql_async::Value::NULL);
                // A key that cannot be read is rejected when its row is; the lake has no such key.
                declared(*wanted, *kind, zone, sent).unwrap_or(Value::Null)
            });
            if let Some(at) = self.keys.of_values(values).and_then(|key| keys.binary_search(&key).ok()) {
                is_there[at] = true;
            }
        }
        within(&place, patience.rows, answer.drop_result()).await?;
        Ok(is_there)
    }

    /// The key columns: type, kind and name at the source.
    fn columns(&self) -> impl Iterator<Item = (ColumnType, Kind, &str)> {
        self.layout.key.iter().filter_map(|at| {
            let (kind, name) = self.question.bound.declared[*at].as_ref()?;
            Some((self.layout.columns[*at].kind, *kind, name.as_str()))
        })
    }

    /// The values of a key as text, the same as the lake's; where they are not, ranges differ and keys decide.
    fn spelled(&self) -> Vec<String> {
        let spell = |(wanted, kind, name): (ColumnType, Kind, &str)| match (wanted, quoted(name)) {
            (ColumnType::I32 | ColumnType::I64, name) if matches!(kind, Kind::Bits(_)) => {
                format!("cast({name} + 0 as char)")
            }
            (ColumnType::Datetime, name) => format!("date_format({name}, '%Y-%m-%d %H:%i:%s.%f')"),
            (ColumnType::Money, name) => format!("cast(cast({name} as decimal(20,2)) as char)"),
            (ColumnType::String, name) => format!("convert({name} using utf8mb4)"),
            (_, name) => format!("cast({name} as char)"),
        };
        self.columns().map(spell).collect()
    }

    fn within(&self, (low, high): Range) -> String {
        let name = self.question.bound.declared[self.placed].as_ref().map(|(_, name)| quoted(name));
        let name = name.unwrap_or_default();
        let bound = |place: i64| match self.layout.columns[self.placed].kind {
            ColumnType::Datetime => format!("cast('{}' as datetime(6))", clock(place)),
            _ => place.to_string(),
        };
        format!(" where {name} >= {} and {name} <= {}", bound(low), bound(high))
    }
}

fn sum(keys: &[Key]) -> Sum {
    keys.iter().fold(Sum::default(), |sum, key| Sum {
        keys: sum.keys + 1,
        sum: sum.sum + u128::from(key.crc),
        xor: sum.xor ^ u64::from(key.crc),
    })
}
