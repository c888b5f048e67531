//! What an export has to do: what a target records of its partitions against what the lake has. Pure, and the same for
//! every kind of target.

use std::collections::{BTreeMap, BTreeSet};

use crate::date::Slot;

/// How a partition is named in the metadata table when it is no day.
pub const NO_DAY: &str = "";

/// The partitions of one table that an export touches.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Those to write, in order.
    pub write: Vec<Slot>,
    /// Those that the target has and the lake has not, as the target names them.
    pub gone: Vec<String>,
}

impl Changes {
    /// Whether the target is as the lake.
    pub fn is_empty(&self) -> bool {
        self.write.is_empty() && self.gone.is_empty()
    }

    /// All partitions that it touches, as the target names them.
    pub fn texts(&self) -> impl Iterator<Item = String> + '_ {
        self.write.iter().map(|slot| slot_text(*slot)).chain(self.gone.iter().cloned())
    }

    /// How many partitions it touches.
    pub fn len(&self) -> usize {
        self.write.len() + self.gone.len()
    }
}

/// The partitions that the lake has, with version and rows.
pub type Slots = BTreeMap<Slot, (u64, u64)>;

/// What must be written to a target that records these versions: what differs and what is forced, or everything when it is
/// to be made `anew`. What is forced and not in the lake is taken away.
pub fn changes(slots: &Slots, forced: &BTreeSet<Slot>, recorded: &BTreeMap<String, String>, anew: bool) -> Changes {
    let is_due = |slot: &Slot, version: u64| {
        anew || forced.contains(slot) || recorded.get(&slot_text(*slot)) != Some(&version_text(version))
    };
    let write = slots.iter().filter(|(slot, (version, _))| is_due(slot, *version)).map(|(slot, _)| *slot);
    let kept: BTreeSet<String> = slots.keys().map(|slot| slot_text(*slot)).collect();
    let forced = forced.iter().map(|slot| slot_text(*slot));
    let gone: BTreeSet<String> = recorded.keys().cloned().chain(forced).filter(|text| !kept.contains(text)).collect();
    Changes { write: write.collect(), gone: gone.into_iter().collect() }
}

/// Partitions in portions of about so many rows.
pub fn portions<'a>(slots: &Slots, wanted: &'a [Slot], most_rows: u64) -> Vec<&'a [Slot]> {
    let (mut portions, mut start, mut rows) = (Vec::new(), 0, 0);
    for (at, slot) in wanted.iter().enumerate() {
        rows += slots.get(slot).map_or(0, |(_, rows)| *rows);
        if rows >= most_rows || at + 1 == wanted.len() {
            portions.push(&wanted[start..=at]);
            (start, rows) = (at + 1, 0);
        }
    }
    portions
}

/// How a target names a partition: its day, or the empty text.
pub fn slot_text(slot: Slot) -> String {
    slot.map_or_else(|| NO_DAY.to_owned(), |day| day.to_string())
}

/// How a target records the version of a partition.
pub fn version_text(version: u64) -> String {
    format!("{version:016x}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::date::BizDate;

    fn day(of_january: i32) -> Slot {
        BizDate::from_ymd(2026, 1, 1).map(|first| first.plus_days(of_january - 1))
    }

    #[test]
    fn what_differs_is_written_and_what_the_lake_lacks_is_taken_away() {
        let slots: Slots = [(day(1), (1, 10)), (day(2), (2, 10)), (day(3), (3, 10))].into();
        let recorded: BTreeMap<String, String> = [("2025-12-31", 9), ("2026-01-01", 1), ("2026-01-02", 7)]
            .map(|(d, v)| (d.to_owned(), version_text(v)))
            .into();
        let none = BTreeSet::new();
        let due = changes(&slots, &none, &recorded, false);
        assert_eq!(due, Changes { write: vec![day(2), day(3)], gone: vec!["2025-12-31".to_owned()] });
        assert_eq!((due.len(), due.is_empty()), (3, false));
        assert_eq!(changes(&slots, &[day(1)].into(), &recorded, false).write, [day(1), day(2), day(3)]);
        assert_eq!(changes(&slots, &none, &recorded, true).write.len(), 3);
        let all = slots.iter().map(|(slot, (version, _))| (slot_text(*slot), version_text(*version))).collect();
        assert!(changes(&slots, &none, &all, false).is_empty());
    }

    #[test]
    fn portions_hold_whole_partitions_until_they_are_large_enough() {
        let slots: Slots = [(day(1), (0, 4)), (day(2), (0, 4)), (day(3), (0, 100)), (day(4), (0, 1))].into();
        let all: Vec<Slot> = slots.keys().copied().collect();
        let sizes: Vec<usize> = portions(&slots, &all, 8).iter().map(|p| p.len()).collect();
        assert_eq!(sizes, [2, 1, 1]);
        assert!(portions(&slots, &[], 8).is_empty());
    }
}
