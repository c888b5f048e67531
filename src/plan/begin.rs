//! Which partitions a table can have: where it begins, and whether it has rows on no day, is decided by what is loaded,
//! not by what was asked for first.

use std::collections::{BTreeMap, BTreeSet};

use super::States;
use crate::date::{BizDate, Slot};
use crate::model::{DayRange, Layer, Model, Models, Partitions, Read, upstream};

/// Where the data of one source begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceStart {
    /// The source's tables in ODS.
    pub tables: BTreeSet<String>,
    /// The table whose earliest day is the source's first loaded day.
    pub first_day_of: String,
}

/// The first day of every model that has one; of those without, nothing is loaded yet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Begins {
    days: BTreeMap<String, BizDate>,
    sources: Vec<SourceStart>,
}

impl Begins {
    /// The first day of a model.
    pub fn get(&self, model: &str) -> Option<BizDate> {
        self.days.get(model).copied()
    }

    /// The models that say where these begin: to be right before anything is built from that day on.
    pub fn deciding<'a>(&self, models: &Models, wanted: impl Iterator<Item = &'a String>) -> BTreeSet<String> {
        let wanted = wanted.filter_map(|name| models.get(name));
        wanted.flat_map(|model| self.first_tables(models, model)).map(|model| model.name.clone()).collect()
    }

    /// The models that say where the sources of an app model begin.
    pub(super) fn first_tables<'a>(&self, models: &'a Models, model: &Model) -> Vec<&'a Model> {
        match model.layer {
            Layer::App => {
                sources_of(models, model, &self.sources).filter_map(|s| models.get(&s.first_day_of)).collect()
            }
            _ => Vec::new(),
        }
    }
}

/// Finds where each model begins.
///
/// A model of the app layer begins on the first loaded day of the sources it is made from, the earliest of them, but not
/// before `start`. Any other begins with the earliest of its inputs, whatever rows it has. The first loaded day of a
/// source is that of a table with rows on it, of its inputs as long as there are none; so ask again once
/// that table is built.
pub fn begins(models: &Models, states: &States, sources: &[SourceStart], start: Option<BizDate>) -> Begins {
    let mut first: BTreeMap<String, BizDate> = BTreeMap::new();
    for table in models.sources() {
        first.extend(states.days(table).earliest().map(|day| (table.to_owned(), day)));
    }
    for model in models.iter().filter(|model| model.is_partitioned()) {
        let of_inputs = || model.inputs().filter_map(|read| first.get(&read.table)).min().copied();
        let first_loaded = |source: &SourceStart| {
            let table = &source.first_day_of;
            states.earliest(table).or_else(|| first.get(table).copied())
        };
        let day = if model.uses_day && model.layer == Layer::App {
            let mut known = sources_of(models, model, sources).peekable();
            let loaded = match known.peek() {
                Some(_) => known.filter_map(first_loaded).min(),
                None => of_inputs(),
            };
            loaded.map(|day| start.map_or(day, |start| day.max(start)))
        } else {
            of_inputs()
        };
        first.extend(day.map(|day| (model.name.clone(), day)));
    }
    first.retain(|table, _| models.get(table).is_some());
    Begins { days: first, sources: sources.to_vec() }
}

/// The sources that a model is made from, directly or through others.
fn sources_of<'a>(
    models: &Models,
    model: &Model,
    sources: &'a [SourceStart],
) -> impl Iterator<Item = &'a SourceStart> + use<'a> {
    let above = upstream(models, &model.name, None);
    sources.iter().filter(move |source| !source.tables.is_disjoint(&above))
}

/// Whether a partition can hold anything, in a model that is made by the day.
///
/// That of no day only when an input of which it reads the same partition has rows there; that of a day, beneath the app
/// layer, only when something lies on the days around it that it reads: a source with one row of long ago does not make
/// thousands of empty partitions. Metrics have every day from the first on.
pub fn has_content(model: &Model, slot: Slot, states: &States) -> bool {
    if !model.uses_day {
        return true;
    }
    if slot.is_none() {
        return model.own_reads().any(|read| states.days(&read.table).has_no_day());
    }
    let lies_around = |read: &Read| {
        let days = states.days(&read.table);
        read.spans(slot, days).iter().any(|span| !days.within(span).is_empty())
    };
    let mut around = model.inputs().filter(|read| read.ranges.iter().all(DayRange::is_around_the_day)).peekable();
    model.layer == Layer::App || around.peek().is_none() || around.any(lies_around)
}

/// Partitions of a model that lie before its first day, as after a wrong early day was taken out of a source; all, when
/// nothing is left to make the model from; those that nothing is left for. A warehouse built from nothing would not have
/// them.
pub fn obsolete(model: &Model, begin: Option<BizDate>, states: &States) -> Vec<Slot> {
    let Some(table) = states.get(&model.name).filter(|_| model.uses_day) else { return Vec::new() };
    let is_due = |slot: &Slot| {
        slot.is_none_or(|day| begin.is_some_and(|begin| begin <= day)) && has_content(model, *slot, states)
    };
    table.slots.keys().filter(|slot| !is_due(slot)).copied().collect()
}
