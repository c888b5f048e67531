//! What the lake says of every table: its partitions with their versions, and what each was made from.

use std::collections::BTreeMap;
use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_64;

use super::Fingerprint;
use crate::date::{BizDate, Slot};
use crate::model::{Form, Partitions, Read, Span};

/// A partition as it is published.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SlotState {
    /// A number that changes exactly when the content does.
    pub version: u64,
    /// The same of each of the table's columns, in their order; none where they are not known.
    pub columns: Vec<u64>,
    /// How many rows it has.
    pub rows: u64,
    /// How many it had in the version before; `None` when that is not known.
    pub rows_before: Option<u64>,
    /// What it was made from; `None` for sources, and for partitions of a model that is made in one go.
    pub fingerprint: Option<Fingerprint>,
    /// The run that gave it this version. Names of later runs sort after those of earlier ones.
    pub run: String,
    /// The run that last made it, where a later one than that came to the same.
    pub confirmed: Option<String>,
}

/// A table as it is published.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TableState {
    /// Its partitions, those without rows included.
    pub slots: BTreeMap<Slot, Arc<SlotState>>,
    /// The names of its columns, in their order; none where they do not matter.
    pub columns: Vec<String>,
    /// What all of it was made from, when its model is made in one go.
    pub whole: Option<Fingerprint>,
    /// The run that last made all of it.
    pub run: String,
    /// What the model's meanings were, of which it has partitions, by their hash.
    pub forms: BTreeMap<u64, Arc<Form>>,
}

/// All tables: sources, seeds and models. Seeds have one partition, on no day, whose version is that of the file.
///
/// Cheap to clone, whatever the history: every model's turn keeps the state that it began with.
#[derive(Clone, Debug, Default)]
pub struct States {
    tables: BTreeMap<String, Arc<Indexed>>,
}

#[derive(Clone, Debug, Default)]
struct Indexed {
    state: TableState,
    days: DayIndex,
}

impl States {
    /// Puts in, or replaces, a table.
    pub fn set(&mut self, table: impl Into<String>, state: TableState) {
        let days = DayIndex::new(&state);
        self.tables.insert(table.into(), Arc::new(Indexed { state, days }));
    }

    /// Replaces one partition, as after it was built.
    pub fn set_slot(&mut self, table: &str, slot: Slot, state: impl Into<Arc<SlotState>>) {
        let indexed = Arc::make_mut(self.tables.entry(table.to_owned()).or_default());
        indexed.state.slots.insert(slot, state.into());
        indexed.days.refresh(&indexed.state, slot);
    }

    /// A table; `None` when there is none of the name yet.
    pub fn get(&self, table: &str) -> Option<&TableState> {
        self.tables.get(table).map(|indexed| &indexed.state)
    }

    /// The name, of the runs that gave a partition its version, that sorts last; empty when there is none.
    pub fn newest_run(&self) -> &str {
        let states = self.tables.values().map(|indexed| &indexed.state);
        let runs = states.flat_map(|state| state.slots.values().map(|slot| &slot.run).chain([&state.run]));
        runs.max().map_or("", String::as_str)
    }

    /// The earliest day of a table that has rows.
    pub fn earliest(&self, table: &str) -> Option<BizDate> {
        self.days(table).earliest()
    }

    /// The days of a table that have rows.
    pub fn days(&self, table: &str) -> &DayIndex {
        const NONE: &DayIndex = &DayIndex { days: Vec::new(), columns: 0, sums: Vec::new(), no_day: Vec::new() };
        self.tables.get(table).map_or(NONE, |indexed| &indexed.days)
    }

    /// The places of the columns that a model can see of a table.
    pub(super) fn seen(&self, read: &Read) -> Vec<usize> {
        let names = self.get(&read.table).map_or(&[][..], |table| &table.columns);
        (0..names.len()).filter(|place| read.columns.has(&names[*place])).collect()
    }
}

/// The days with rows and the hashes of their versions, summed from the first day on, so that the hash of any range is
/// one subtraction a column. Partitions without rows are left out: to a query they do not differ from absent ones.
#[derive(Clone, Debug, Default)]
pub struct DayIndex {
    days: Vec<BizDate>,
    /// How many columns are told apart.
    columns: usize,
    /// Of each day, that it is there, and then of each column: the sum of the hashes up to it.
    sums: Vec<u64>,
    /// The hashes of the partition of no day; none when it has no rows.
    no_day: Vec<u64>,
}

impl DayIndex {
    fn new(state: &TableState) -> Self {
        let mut index = Self { columns: state.columns.len(), ..Self::default() };
        index.extend(state, None);
        index
    }

    /// Takes in a changed partition: sums from that day on are made again.
    fn refresh(&mut self, state: &TableState, slot: Slot) {
        match slot {
            None => {
                let partition = state.slots.get(&None).filter(|partition| partition.rows > 0);
                self.no_day = partition.map_or_else(Vec::new, |partition| self.hashes(None, partition).collect());
            }
            Some(day) => {
                let keep = self.days.partition_point(|d| *d < day);
                self.days.truncate(keep);
                self.sums.truncate(keep * (1 + self.columns));
                self.extend(state, Some(day));
            }
        }
    }

    fn extend(&mut self, state: &TableState, from: Slot) {
        for (slot, partition) in state.slots.range(from..).filter(|(_, partition)| partition.rows > 0) {
            let hashes: Vec<u64> = self.hashes(*slot, partition).collect();
            match slot {
                None => self.no_day = hashes,
                Some(day) => {
                    let before = self.sums.len().checked_sub(hashes.len());
                    let sum = |at: usize| before.map_or(0, |before| self.sums[before + at]);
                    let sums: Vec<u64> = (0..).zip(&hashes).map(|(at, hash)| sum(at).wrapping_add(*hash)).collect();
                    self.days.push(*day);
                    self.sums.extend(sums);
                }
            }
        }
    }

    /// The hashes of a partition and of its columns. Where the columns are not known they are all in the first.
    fn hashes<'a>(&self, slot: Slot, partition: &'a SlotState) -> impl Iterator<Item = u64> + use<'a> {
        let is_known = self.columns > 0 && partition.columns.len() == self.columns;
        let first = if is_known { hash(slot, ROWS, partition.rows) } else { hash(slot, CONTENT, partition.version) };
        let of_column = move |at| if is_known { hash(slot, COLUMN, partition.columns[at]) } else { 0 };
        std::iter::once(first).chain((0..self.columns).map(of_column))
    }

    /// The hash of the partitions of a span: which there are, and the versions of some columns, by their places.
    pub fn hash(&self, span: &Span, columns: &[usize]) -> u64 {
        let (start, end) = self.places(span);
        let each = std::iter::once(0).chain(columns.iter().map(|place| place + 1)).map(|part| {
            let sum = |day: usize| {
                let day = day.checked_sub(1)?;
                self.sums.get(day * (1 + self.columns) + part).copied()
            };
            let days = sum(end.max(start)).unwrap_or(0).wrapping_sub(sum(start).unwrap_or(0));
            let no_day = self.no_day.get(part).filter(|_| span.no_day).copied().unwrap_or(0);
            days.wrapping_add(no_day)
        });
        each.fold(0, u64::wrapping_add)
    }

    /// Whether there are rows on no day.
    pub const fn has_no_day(&self) -> bool {
        !self.no_day.is_empty()
    }

    /// The days with rows in a span.
    pub fn within(&self, span: &Span) -> &[BizDate] {
        let (start, end) = self.places(span);
        self.days.get(start..end).unwrap_or(&[])
    }

    fn places(&self, span: &Span) -> (usize, usize) {
        let start = span.from.map_or(0, |from| self.days.partition_point(|day| *day < from));
        let end = span.to.map_or(self.days.len(), |to| self.days.partition_point(|day| *day <= to));
        (start, end)
    }
}

impl Partitions for DayIndex {
    fn latest_until(&self, day: BizDate) -> Option<BizDate> {
        self.within(&Span::days(None, Some(day))).last().copied()
    }

    fn earliest(&self) -> Option<BizDate> {
        self.days.first().copied()
    }
}

/// What hashes of a partition are of: all its content, how many rows, the content of a column.
const CONTENT: u8 = 0;
const ROWS: u8 = 1;
const COLUMN: u8 = 2;

/// The hash of something that a partition has.
fn hash(slot: Slot, what: u8, value: u64) -> u64 {
    let mut bytes = [0_u8; 13];
    bytes[0] = what << 1;
    if let Some(day) = slot {
        bytes[0] |= 1;
        bytes[1..5].copy_from_slice(&day.days().to_le_bytes());
    }
    bytes[5..].copy_from_slice(&value.to_le_bytes());
    xxh3_64(&bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(n: i32) -> BizDate {
        BizDate::from_days(20_000 + n)
    }

    fn slot(version: u64, rows: u64) -> SlotState {
        SlotState { version, rows, ..SlotState::default() }
    }

    fn index(slots: &[(Slot, SlotState)]) -> DayIndex {
        let slots = slots.iter().map(|(slot, state)| (*slot, Arc::new(state.clone()))).collect();
        DayIndex::new(&TableState { slots, ..TableState::default() })
    }

    #[test]
    fn the_hash_of_a_span_depends_on_what_is_in_it_and_on_nothing_else() {
        let a = index(&[(Some(day(1)), slot(5, 1)), (Some(day(2)), slot(6, 1)), (Some(day(3)), slot(7, 1))]);
        let b = index(&[(Some(day(0)), slot(1, 1)), (Some(day(2)), slot(6, 9)), (Some(day(9)), slot(7, 1))]);
        let only_second = Span::days(Some(day(2)), Some(day(2)));
        assert_eq!(a.hash(&only_second, &[]), b.hash(&only_second, &[]));
        assert_ne!(a.hash(&Span::ALL, &[]), b.hash(&Span::ALL, &[]));
        assert_ne!(a.hash(&only_second, &[]), a.hash(&Span::days(Some(day(2)), Some(day(3))), &[]));
        assert_eq!(a.hash(&Span::days(Some(day(5)), None), &[]), 0);
        assert_eq!(a.hash(&Span::days(Some(day(3)), Some(day(1))), &[]), 0, "an empty span");
        assert_ne!(only_second, Span::days(Some(day(1)), Some(day(1))));
    }

    #[test]
    fn the_same_version_on_another_day_is_something_else() {
        let a = index(&[(Some(day(1)), slot(5, 1))]);
        let b = index(&[(Some(day(2)), slot(5, 1))]);
        let c = index(&[(None, slot(5, 1))]);
        assert_ne!(a.hash(&Span::ALL, &[]), b.hash(&Span::ALL, &[]));
        assert_ne!(a.hash(&Span::ALL, &[]), c.hash(&Span::ALL, &[]));
        assert_eq!(c.hash(&Span::days(None, None), &[]), 0, "rows on no day are on none of all days");
    }

    #[test]
    fn an_empty_partition_counts_as_absent() {
        let with = index(&[(Some(day(1)), slot(5, 1)), (Some(day(2)), slot(9, 0)), (None, slot(4, 0))]);
        let without = index(&[(Some(day(1)), slot(5, 1))]);
        assert_eq!(with.hash(&Span::ALL, &[]), without.hash(&Span::ALL, &[]));
        assert_eq!(with.latest_until(day(7)), Some(day(1)));
    }

    #[test]
    fn a_hash_is_of_the_columns_that_are_looked_at() {
        let table = |parts: &[(i32, u64, &[u64])]| {
            let part = |(n, rows, columns): &(i32, u64, &[u64])| {
                let state = SlotState { columns: columns.to_vec(), ..slot(columns.iter().sum(), *rows) };
                (Some(day(*n)), Arc::new(state))
            };
            let columns = vec!["a".to_owned(), "b".to_owned()];
            DayIndex::new(&TableState { slots: parts.iter().map(part).collect(), columns, ..TableState::default() })
        };
        let base = table(&[(1, 2, &[5, 6]), (2, 2, &[7, 8])]);
        let other_b = table(&[(1, 2, &[5, 6]), (2, 2, &[7, 9])]);
        for (columns, is_same) in [(&[][..], true), (&[0], true), (&[1], false), (&[0, 1], false)] {
            assert_eq!(base.hash(&Span::ALL, columns) == other_b.hash(&Span::ALL, columns), is_same, "{columns:?}");
        }
        let swapped = table(&[(1, 2, &[7, 6]), (2, 2, &[5, 8])]);
        assert_ne!(base.hash(&Span::ALL, &[0]), swapped.hash(&Span::ALL, &[0]));
        let more_rows = table(&[(1, 2, &[5, 6]), (2, 3, &[7, 8])]);
        assert_ne!(base.hash(&Span::ALL, &[]), more_rows.hash(&Span::ALL, &[]), "rows are counted");
        // Where they are not known, as in partitions of before they were, all counts.
        let (unknown, unlike) = (table(&[(1, 2, &[5, 6]), (2, 2, &[3])]), table(&[(1, 2, &[5, 6]), (2, 2, &[4])]));
        assert_ne!(unknown.hash(&Span::ALL, &[]), unlike.hash(&Span::ALL, &[]));
        assert_eq!(
            unknown.hash(&Span::days(None, Some(day(1))), &[1]),
            base.hash(&Span::days(None, Some(day(1))), &[1])
        );
    }

    #[test]
    fn a_changed_partition_leaves_the_same_index_as_a_new_table() {
        let mut states = States::default();
        states.set("t", TableState { columns: vec!["a".to_owned()], ..TableState::default() });
        for (n, version, rows) in [(3, 1, 1), (1, 2, 1), (2, 3, 1), (1, 4, 0), (3, 5, 2), (2, 3, 1)] {
            states.set_slot("t", Some(day(n)), SlotState { columns: vec![version], ..slot(version, rows) });
            states.set_slot("t", None, slot(version, rows));
            let fresh = DayIndex::new(states.get("t").expect("a table"));
            let kept = states.days("t");
            assert_eq!((&kept.days, &kept.sums, &kept.no_day), (&fresh.days, &fresh.sums, &fresh.no_day));
        }
    }
}
