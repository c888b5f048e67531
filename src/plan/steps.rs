//! The plan: models in the order they are built, with the partitions of each and the reasons.

use std::collections::{BTreeMap, BTreeSet};

use super::wanted::{Wanted, sensitive};
use super::{Begins, Reason, SlotState, States, has_content, obsolete, stale};
use crate::date::Slot;
use crate::model::{Layer, Models, Span};

/// What will be built, as far as it is known beforehand: a partition that comes out as it was spares what is made from it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The wanted models, each after what it reads; also those that are fresh.
    pub steps: Vec<PlanStep>,
}

/// What will be built of one model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanStep {
    /// The model.
    pub model: String,
    /// Its layer.
    pub layer: Layer,
    /// Whether it is made in one go and not by the day.
    pub whole: bool,
    /// How many of its partitions are wanted, the fresh ones included.
    pub wanted: usize,
    /// The partitions to build, in order.
    pub slots: Vec<(Slot, Reason)>,
    /// The partitions to take away, for a warehouse built from nothing would not have them.
    pub obsolete: Vec<Slot>,
    /// The run in which it failed, when that was the last one to try.
    pub failed: Option<String>,
}

/// What is known to come before or besides staleness.
#[derive(Clone, Debug, Default)]
pub struct Expected {
    /// Partitions of sources that ingest is about to change.
    pub arriving: BTreeMap<String, BTreeSet<Slot>>,
    /// Partitions to build even if they are fresh.
    pub forced: BTreeMap<String, BTreeSet<Slot>>,
}

impl Expected {
    /// The states as they will be once what arrives has landed: partitions that are not there yet have some rows then.
    ///
    /// It tells what there will be to build, and not what is stale: versions are as they were.
    pub fn landed(&self, states: &States) -> States {
        let mut landed = states.clone();
        for (table, slots) in &self.arriving {
            for slot in slots {
                let before = states.get(table).and_then(|table| table.slots.get(slot));
                if before.is_none_or(|before| before.rows == 0) {
                    landed.set_slot(table, *slot, SlotState { rows: 1, ..SlotState::default() });
                }
            }
        }
        landed
    }
}

impl Plan {
    /// Whether nothing has to be built or taken away.
    pub fn is_empty(&self) -> bool {
        self.steps.iter().all(|step| step.slots.is_empty() && step.obsolete.is_empty())
    }

    /// How many partitions will be built, those that depend on upstream changes included.
    pub fn partitions(&self) -> usize {
        self.steps.iter().map(|step| step.slots.len()).sum()
    }
}

/// Partitions of a table that will be written.
enum Coming {
    /// Any of them may change.
    Any,
    /// These may change.
    Some(BTreeSet<Slot>),
}

impl Coming {
    fn meets(&self, spans: &[Span]) -> bool {
        let inside = |slots: &BTreeSet<Slot>, span: &Span| {
            let no_day = span.no_day && slots.contains(&None);
            let from = span.from.map_or(std::ops::Bound::Excluded(None), |day| std::ops::Bound::Included(Some(day)));
            let first = slots.range((from, std::ops::Bound::Unbounded)).next();
            no_day || first.is_some_and(|slot| span.contains(*slot))
        };
        match self {
            Self::Any => !spans.is_empty(),
            Self::Some(slots) => spans.iter().any(|span| inside(slots, span)),
        }
    }
}

/// The plan for the wanted partitions; `wanted` and `begins` are those of the states once what arrives has landed.
pub fn plan(models: &Models, wanted: &Wanted, begins: &Begins, states: &States, expected: &Expected) -> Plan {
    let none = BTreeSet::new();
    let mut landed = expected.landed(states);
    let arriving = expected.arriving.iter().map(|(table, slots)| (table.as_str(), Coming::Some(slots.clone())));
    let mut coming: BTreeMap<&str, Coming> = arriving.collect();
    let mut steps = Vec::new();
    for model in models.iter() {
        let Some(slots) = wanted.get(&model.name) else { continue };
        let known: BTreeMap<Slot, Reason> = stale(model, slots, states).into_iter().collect();
        let forced = expected.forced.get(&model.name).unwrap_or(&none);
        let mut step = PlanStep {
            model: model.name.clone(),
            layer: model.layer,
            whole: !model.uses_day,
            wanted: slots.len(),
            slots: Vec::new(),
            obsolete: obsolete(model, begins.get(&model.name), &landed),
            failed: None,
        };
        if !step.obsolete.is_empty() {
            coming.insert(&model.name, Coming::Some(step.obsolete.iter().copied().collect()));
        }
        for slot in slots {
            let upstream = || {
                let planned = model.dependencies.iter().filter(|read| {
                    let coming = coming.get(read.table.as_str());
                    coming.is_some_and(|coming| coming.meets(&sensitive(read, *slot, &landed)))
                });
                let tables: BTreeSet<String> = planned.map(|read| read.table.clone()).collect();
                match tables.iter().all(|table| expected.arriving.contains_key(table)) {
                    _ if tables.is_empty() => None,
                    true => Some(Reason::Arriving(tables)),
                    false => Some(Reason::UpstreamPlanned(tables)),
                }
            };
            let reason = match known.get(slot) {
                Some(reason) => Some(reason.clone()),
                None if forced.contains(slot) && has_content(model, *slot, &landed) => Some(Reason::Forced),
                None => upstream().map(|reason| {
                    let is_new = states.get(&model.name).is_none_or(|table| !table.slots.contains_key(slot));
                    let is_certain = is_new && slot.is_some() && has_content(model, *slot, &landed);
                    if model.uses_day && is_certain { Reason::NeverBuilt } else { reason }
                }),
            };
            let Some(reason) = reason else { continue };
            if model.uses_day && reason == Reason::NeverBuilt {
                // What is made from it will find rows, as far as can be known.
                landed.set_slot(&model.name, *slot, SlotState { rows: 1, ..SlotState::default() });
            }
            if model.uses_day {
                // Noted at once, for a model that reads its own past meets it on the next day.
                let own = coming.entry(&model.name).or_insert(Coming::Some(BTreeSet::new()));
                if let Coming::Some(own) = own {
                    own.insert(*slot);
                }
            } else {
                coming.insert(&model.name, Coming::Any);
            }
            step.slots.push((*slot, reason));
        }
        steps.push(step);
    }
    Plan { steps }
}
