//! Whether a partition is fresh, and if not, why: the recorded fingerprint against today's.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::fingerprint::Inputs;
use super::state::SlotState;
use super::{Fingerprint, States, has_content};
use crate::date::Slot;
use crate::model::{Edit, Model};
use crate::progress::{count, counted};

/// Why a partition is built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// There is none.
    NeverBuilt,
    /// There is one, but nothing says what it was made from.
    Unrecorded,
    /// The SQL, the grain or a check of the model means something else now; where, if it is known what it meant.
    MeaningChanged(Option<Edit>),
    /// Partitions that it, or a check of it, reads have come, gone or changed.
    InputsChanged(Vec<ChangedInput>),
    /// Something new waits at the sources for partitions that it reads.
    Arriving(BTreeSet<String>),
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
    /// Its partitions that are newer than what was built from it, with what is known of their change; empty when that
    /// cannot be told, as when one is gone.
    pub slots: BTreeMap<Slot, Change>,
}

/// How a partition came to its version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The run that gave it this version.
    pub run: String,
    /// Its rows.
    pub rows: u64,
    /// Its rows in the version before.
    pub rows_before: Option<u64>,
}

impl fmt::Display for ChangedInput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let days = super::rows::folded(&self.slots.keys().copied().collect());
        let gap = if days.is_empty() { "" } else { " " };
        write!(f, "input {}{gap}{days} changed", self.table)?;
        let Some(first) = self.slots.values().next() else { return Ok(()) };
        if first.run.is_empty() {
            return Ok(());
        }
        let last = self.slots.values().map(|change| &change.run).max().unwrap_or(&first.run);
        match self.slots.values().all(|change| change.run == first.run) {
            true => write!(f, " by run {last}")?,
            false => write!(f, " by several runs up to {last}")?,
        }
        let rows: u64 = self.slots.values().map(|change| change.rows).sum();
        let Some(before) = self.slots.values().map(|change| change.rows_before).sum::<Option<u64>>() else {
            return Ok(());
        };
        match before {
            0 => write!(f, ": {}, the first", counted(rows, "row")),
            _ if before == rows => write!(f, ": other content in {}", counted(rows, "row")),
            _ => write!(f, ": {} → {}", count(before), counted(rows, "row")),
        }
    }
}

impl Reason {
    /// Whether it is built for certain; otherwise only if something upstream comes out different.
    pub fn is_certain(&self) -> bool {
        !matches!(self, Self::UpstreamPlanned(_) | Self::Arriving(_))
    }

    /// Joins the reasons of two partitions when they are alike: the same kind, about the same tables.
    pub(super) fn joined(&self, other: &Self) -> Option<Self> {
        match (self, other) {
            (Self::InputsChanged(a), Self::InputsChanged(b)) => {
                let alike = a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.table == b.table);
                let both = a.iter().zip(b).map(|(a, b)| ChangedInput {
                    table: a.table.clone(),
                    slots: a.slots.iter().chain(&b.slots).map(|(slot, change)| (*slot, change.clone())).collect(),
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
            Self::MeaningChanged(None) => f.write_str("SQL changed"),
            Self::MeaningChanged(Some(edit)) => edit.fmt(f),
            Self::Forced => f.write_str("forced"),
            Self::Arriving(tables) => write!(f, "new at the source: {}", listed(tables, "and")),
            Self::UpstreamPlanned(tables) => write!(f, "if {} changes", listed(tables, "or")),
            Self::InputsChanged(inputs) => {
                let inputs: Vec<String> = inputs.iter().map(ToString::to_string).collect();
                f.write_str(&inputs.join("; "))
            }
        }
    }
}

/// Names in a row, the last of them after a word: `a, b or c`.
fn listed(names: &BTreeSet<String>, word: &str) -> String {
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    match names.split_last() {
        Some((last, [])) => (*last).to_owned(),
        Some((last, rest)) => format!("{} {word} {last}", rest.join(", ")),
        None => String::new(),
    }
}

/// Which of some partitions of a model are stale, and why. For a model that is made in one go the only slot is `None`.
///
/// Looks at the states as they are: call it for a model once its inputs are built, and for a model that reads its own
/// past once for each day, in order. That is what makes the early cut-off.
pub fn stale(model: &Model, slots: &[Slot], states: &States) -> Vec<(Slot, Reason)> {
    // What changed in the text is looked up once for each meaning that partitions have.
    let (mut edits, inputs) = (BTreeMap::new(), Inputs::of(model, states));
    let slots = if model.uses_day { slots } else { &[None] };
    slots.iter().filter_map(|slot| Some((*slot, reason(model, *slot, states, &inputs, &mut edits)?))).collect()
}

/// Why one partition is stale; `None` when it is fresh, or there is nothing that would be in it.
fn reason(
    model: &Model,
    slot: Slot,
    states: &States,
    inputs: &Inputs<'_>,
    edits: &mut BTreeMap<u64, Option<Edit>>,
) -> Option<Reason> {
    if !has_content(model, slot, states) {
        return None;
    }
    let table = states.get(&model.name);
    let (recorded, run): (Option<&Fingerprint>, &str) = if model.uses_day {
        let Some(partition) = table.and_then(|table| table.slots.get(&slot)) else {
            return Some(Reason::NeverBuilt);
        };
        (partition.fingerprint.as_ref(), partition.confirmed.as_ref().unwrap_or(&partition.run))
    } else {
        let Some(table) = table else { return Some(Reason::NeverBuilt) };
        (table.whole.as_ref(), &table.run)
    };
    let Some(recorded) = recorded else {
        let is_new = !model.uses_day && table.is_none_or(|table| table.slots.is_empty());
        return Some(if is_new { Reason::NeverBuilt } else { Reason::Unrecorded });
    };
    if inputs.are(recorded, slot) {
        return None;
    }
    let today = inputs.fingerprint(slot);
    if today.meaning != recorded.meaning {
        let before = || table.and_then(|table| table.forms.get(&recorded.meaning));
        let edit = edits.entry(recorded.meaning).or_insert_with(|| before().and_then(|form| model.edit_since(form)));
        return Some(Reason::MeaningChanged(edit.clone()));
    }
    let changed = |table: &&String| today.inputs.get(*table) != recorded.inputs.get(*table);
    let tables: BTreeSet<&String> = today.inputs.keys().chain(recorded.inputs.keys()).filter(changed).collect();
    let inputs = tables
        .into_iter()
        .map(|table| ChangedInput { table: table.clone(), slots: newer(model, slot, table, run, states) });
    Some(Reason::InputsChanged(inputs.collect()))
}

/// The partitions read of a table that got their version in a run after the given one.
fn newer(model: &Model, slot: Slot, table: &str, run: &str, states: &States) -> BTreeMap<Slot, Change> {
    let Some(read) = model.dependencies.iter().find(|read| read.table == table) else { return BTreeMap::new() };
    let spans = read.spans(slot, states.days(table));
    let Some(input) = states.get(table) else { return BTreeMap::new() };
    let is_read = |slot: &Slot| spans.iter().any(|span| span.contains(*slot));
    let newer = input.slots.iter().filter(|(slot, partition)| partition.run.as_str() > run && is_read(slot));
    newer
        .map(|(slot, partition)| {
            let SlotState { run, rows, rows_before, .. } = partition.as_ref();
            (*slot, Change { run: run.clone(), rows: *rows, rows_before: *rows_before })
        })
        .collect()
}
