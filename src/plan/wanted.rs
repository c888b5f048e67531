//! The partitions that a selection and a range of days ask for, with all that these need upstream.

use std::collections::{BTreeMap, BTreeSet};

use super::{Begins, States};
use crate::date::{BizDate, Slot};
use crate::model::{DayRange, Model, Models, Partitions, Read, Span, merge};

/// The partitions wanted of each model, in order; `[None]` of a model that is made in one go. A model that is concerned
/// but has no day in the window, as when nothing is loaded of its sources, has an empty list. Of one that is made by the
/// day and covers no day, that is first: whether there is anything in it is known once its inputs are built.
pub type Wanted = BTreeMap<String, Vec<Slot>>;

/// The days that were asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// The first day; `None` is from the beginning of each model.
    pub from: Option<BizDate>,
    /// The last day. Nothing is built beyond it, except what is there already and is read.
    pub to: BizDate,
}

impl Window {
    /// Whether a partition was asked for, and is not only read by one that was; rows without a day always are.
    pub fn contains(&self, slot: Slot) -> bool {
        slot.is_none_or(|day| self.from.is_none_or(|from| from <= day) && day <= self.to)
    }
}

/// The partitions to be up to date so that the selected models are right in the window.
///
/// What the checks of a wanted model read is wanted too, for a check against old rows would fail without a fault; and so
/// are the tables that say where its sources begin. `begins` holds what is known now: the tables that decide it come
/// first ([`Begins::deciding`]), then it is asked for again.
pub fn wanted(
    models: &Models,
    selected: &BTreeSet<String>,
    window: Window,
    begins: &Begins,
    states: &States,
) -> Wanted {
    let mut needs: BTreeMap<&str, Vec<Span>> = BTreeMap::new();
    let mut wanted = Wanted::new();
    // Tables of which some model reads the latest partition on or before a day.
    let mut snapshots: BTreeSet<&str> = BTreeSet::new();
    for model in models.iter().rev() {
        if selected.contains(&model.name) {
            let asked = Span { from: window.from, to: Some(window.to), no_day: true };
            needs.entry(&model.name).or_default().push(asked);
        }
        let Some(spans) = needs.remove(model.name.as_str()) else { continue };
        let mut slots: Vec<Slot> = Vec::new();
        if !model.uses_day || (model.covers_no_day() && spans.iter().any(|span| span.no_day)) {
            slots.push(None);
        }
        if let Some(begin) = begins.get(&model.name).filter(|_| model.uses_day) {
            // Where all snapshots lie after the window, the earliest there is stands in.
            let last = if snapshots.contains(model.name.as_str()) { begin.max(window.to) } else { window.to };
            slots.extend(days(model, spans, begin, last, states).into_iter().map(Some));
        }
        for first in begins.first_tables(models, model) {
            needs.entry(&first.name).or_default().push(Span::ALL);
        }
        for read in model.prerequisites() {
            let Some(input) = models.get(&read.table) else { continue };
            if read.ranges.iter().any(|range| matches!(range, DayRange::Latest(_))) {
                snapshots.insert(&input.name);
            }
            // Even when no day of the model is wanted: where it begins may follow from this input.
            let needed = needs.entry(&input.name).or_default();
            for slot in &slots {
                needed.extend(needed_of(read, *slot, states));
            }
            // Most days need almost the same; without this a year of histories would pile up.
            *needed = merge(std::mem::take(needed));
        }
        wanted.insert(model.name.clone(), slots);
    }
    wanted
}

/// The days in some spans from the model's first day on, with the own past that they are made from.
fn days(model: &Model, spans: Vec<Span>, begin: BizDate, last: BizDate, states: &States) -> Vec<BizDate> {
    let existing = states.get(&model.name).and_then(|table| table.slots.keys().next_back().copied()).flatten();
    let last = existing.map_or(last, |day| day.max(last));
    let own: Vec<&Read> = model.reads.iter().filter(|read| read.table == model.name).collect();
    let mut spans = merge(spans);
    let mut days = Vec::new();
    let mut day = last;
    while day >= begin {
        if spans.iter().any(|span| span.contains(Some(day))) {
            days.push(day);
            let past = own.iter().flat_map(|read| needed_of(read, Some(day), states));
            spans.extend(past);
            if !own.is_empty() {
                spans = merge(spans);
            }
        }
        day = day.plus_days(-1);
    }
    days.reverse();
    days
}

/// The spans of an input's partitions that must be right for one partition.
fn needed_of(read: &Read, slot: Slot, states: &States) -> Vec<Span> {
    let days = states.days(&read.table);
    let span = |range: &DayRange| match range {
        // Which partition is the latest is known once all up to the date are right; and if none of them
        // has rows it is the earliest, which may be any.
        DayRange::Latest(date) => date.eval(slot).map(|_| Span::ALL),
        range => range.span(slot, days),
    };
    read.ranges.iter().filter_map(span).collect()
}

/// Where changed partitions of an input can change what a model reads of it.
pub(super) fn sensitive(read: &Read, slot: Slot, states: &States) -> Vec<Span> {
    let days = states.days(&read.table);
    let span = |range: &DayRange| match range {
        DayRange::Latest(date) => {
            let date = date.eval(slot)?;
            Some(match days.latest_until(date) {
                Some(latest) => Span::days(Some(latest), Some(date)),
                None => Span::days(None, days.earliest()),
            })
        }
        range => range.span(slot, days),
    };
    read.ranges.iter().filter_map(span).collect()
}
