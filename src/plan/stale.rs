//! Whether a partition is fresh, and if not, why: the recorded fingerprint against today's.

use std::collections::BTreeSet;
use std::fmt;

use super::state::SlotState;
use super::{Fingerprint, States, fingerprint, has_content};
use crate::date::Slot;
use crate::model::Model;

/// Why a partition is built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// There is none.
    NeverBuilt,
    /// There is one, but nothing says what it was made from.
    Unrecorded,
    /// The SQL, the grain or a check of the model means something else now.
    MeaningChanged,
    /// Partitions that it, or a check of it, reads have come, gone or changed.
    InputsChanged(Vec<ChangedInput>),
    /// Partitions that it reads will be built, and may come out different.
    UpstreamPlanned(BTreeSet<String>),
    /// It was asked for.
    Forced,
}

/// An input that changed since a partition was built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangedInput {
    /// The table.
    pub table: String,
    /// Its partitions that are newer than what was built from it; empty when that cannot be told, as when one is gone.
    pub slots: BTreeSet<Slot>,
}

impl Reason {
    /// Whether it is built for certain; otherwise only if something upstream comes out different.
    pub const fn is_certain(&self) -> bool {
        !matches!(self, Self::UpstreamPlanned(_))
    }

    /// Joins the reasons of two partitions when they are alike: the same kind, about the same tables.
    pub(super) fn joined(&self, other: &Self) -> Option<Self> {
        match (self, other) {
            (Self::InputsChanged(a), Self::InputsChanged(b)) => {
                let alike = a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.table == b.table);
                let both = a.iter().zip(b).map(|(a, b)| ChangedInput {
                    table: a.table.clone(),
                    slots: a.slots.union(&b.slots).copied().collect(),
                });
                alike.then(|| Self::InputsChanged(both.collect()))
            }
            (a, b) => (a == b).then(|| a.clone()),
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NeverBuilt => f.write_str("never built"),
            Self::Unrecorded => f.write_str("no record of what it was made from"),
            Self::MeaningChanged => f.write_str("SQL changed"),
            Self::Forced => f.write_str("forced"),
            Self::UpstreamPlanned(tables) => {
                let tables: Vec<&str> = tables.iter().map(String::as_str).collect();
                write!(f, "upstream will be rebuilt: {}", tables.join(", "))
            }
            Self::InputsChanged(inputs) => {
                f.write_str("input ")?;
                for (at, input) in inputs.iter().enumerate() {
                    let days = super::rows::folded(&input.slots);
                    let gap = if days.is_empty() { "" } else { " " };
                    write!(f, "{}{}{gap}{days}", if at > 0 { ", " } else { "" }, input.table)?;
                }
                f.write_str(" changed")
            }
        }
    }
}

/// Which of some partitions of a model are stale, and why. For a model that is made in one go the only slot is `None`.
///
/// Looks at the states as they are: call it for a model once its inputs are built, and for a model that reads its own
/// past once for each day, in order. That is what makes the early cut-off.
pub fn stale(model: &Model, slots: &[Slot], states: &States) -> Vec<(Slot, Reason)> {
    if !model.uses_day {
        return reason(model, None, states).map(|reason| (None, reason)).into_iter().collect();
    }
    slots.iter().filter_map(|slot| Some((*slot, reason(model, *slot, states)?))).collect()
}

/// Why one partition is stale; `None` when it is fresh, or there is nothing that would be in it.
fn reason(model: &Model, slot: Slot, states: &States) -> Option<Reason> {
    if !has_content(model, slot, states) {
        return None;
    }
    let table = states.get(&model.name);
    let (recorded, run): (Option<&Fingerprint>, &str) = if model.uses_day {
        let Some(SlotState { fingerprint, run, .. }) = table.and_then(|table| table.slots.get(&slot)) else {
            return Some(Reason::NeverBuilt);
        };
        (fingerprint.as_ref(), run)
    } else {
        let Some(table) = table else { return Some(Reason::NeverBuilt) };
        (table.whole.as_ref(), &table.run)
    };
    let Some(recorded) = recorded else {
        let is_new = !model.uses_day && table.is_none_or(|table| table.slots.is_empty());
        return Some(if is_new { Reason::NeverBuilt } else { Reason::Unrecorded });
    };
    let today = fingerprint(model, slot, states);
    if today == *recorded {
        return None;
    }
    if today.meaning != recorded.meaning {
        return Some(Reason::MeaningChanged);
    }
    let changed = |table: &&String| today.inputs.get(*table) != recorded.inputs.get(*table);
    let tables: BTreeSet<&String> = today.inputs.keys().chain(recorded.inputs.keys()).filter(changed).collect();
    let inputs = tables
        .into_iter()
        .map(|table| ChangedInput { table: table.clone(), slots: newer(model, slot, table, run, states) });
    Some(Reason::InputsChanged(inputs.collect()))
}

/// The partitions read of a table that got their version in a run after the given one.
fn newer(model: &Model, slot: Slot, table: &str, run: &str, states: &States) -> BTreeSet<Slot> {
    let Some(read) = model.dependencies.iter().find(|read| read.table == table) else { return BTreeSet::new() };
    let spans = read.spans(slot, states.days(table));
    let Some(input) = states.get(table) else { return BTreeSet::new() };
    let is_read = |slot: &Slot| spans.iter().any(|span| span.contains(*slot));
    let newer = input.slots.iter().filter(|(slot, partition)| partition.run.as_str() > run && is_read(slot));
    newer.map(|(slot, _)| *slot).collect()
}
