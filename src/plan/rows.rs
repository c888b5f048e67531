//! The plan as people read it: runs of consecutive days with one reason are one row.

use std::collections::BTreeSet;
use std::fmt;

use serde::Serialize;

use super::{Plan, PlanStep, Reason};
use crate::date::Slot;
use crate::model::Layer;

/// More runs of days than these are counted and not listed.
const LISTED_RUNS: usize = 3;

/// Partitions of a model that are built for one reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PlanRow {
    /// The model.
    pub model: String,
    /// Its layer.
    pub layer: Layer,
    /// Whether the model is made in one go.
    pub whole: bool,
    /// The first partition; `None` for a model that is made in one go, and for rows on no day.
    pub from: Slot,
    /// The last partition.
    pub to: Slot,
    /// How many there are.
    pub partitions: usize,
    /// Why, in words.
    pub reason: String,
    /// Whether they are built for certain, and not only if something upstream comes out different.
    pub certain: bool,
}

impl PlanRow {
    /// The days in words.
    pub fn days(&self) -> String {
        match (self.from, self.to) {
            (Some(from), Some(to)) if from == to => from.to_string(),
            (Some(from), Some(to)) => format!("{from}..{to}"),
            _ if self.whole => "whole table".to_owned(),
            _ => "no day".to_owned(),
        }
    }
}

impl Plan {
    /// The rows of the plan.
    pub fn rows(&self) -> Vec<PlanRow> {
        self.steps.iter().flat_map(rows).collect()
    }
}

fn rows(step: &PlanStep) -> Vec<PlanRow> {
    let mut runs: Vec<(Slot, Slot, usize, Reason)> = Vec::new();
    for (slot, reason) in &step.slots {
        if let Some((_, to, count, so_far)) = runs.last_mut() {
            let follows = to.zip(*slot).is_some_and(|(to, day)| to.plus_days(1) == day);
            if let (true, Some(joined)) = (follows, so_far.joined(reason)) {
                (*to, *count, *so_far) = (*slot, *count + 1, joined);
                continue;
            }
        }
        runs.push((*slot, *slot, 1, reason.clone()));
    }
    let row = |(from, to, partitions, reason): (Slot, Slot, usize, Reason)| PlanRow {
        model: step.model.clone(),
        layer: step.layer,
        whole: step.whole,
        from,
        to,
        partitions,
        reason: reason.to_string(),
        certain: reason.is_certain(),
    };
    runs.into_iter().map(row).collect()
}

impl fmt::Display for Plan {
    /// A line a row, in columns: model, days, number of partitions, reason. Nothing when all is fresh.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows = self.rows();
        let widest = |width: fn(&PlanRow) -> usize| rows.iter().map(width).max().unwrap_or(0);
        let (model, days) = (widest(|row| row.model.len()), widest(|row| row.days().len()));
        let digits = widest(|row| row.partitions.to_string().len());
        for row in &rows {
            let PlanRow { model: name, partitions: n, reason, .. } = row;
            let unit = if *n == 1 { "partition" } else { "partitions" };
            let count = if row.whole { " ".repeat(digits + 11) } else { format!("{n:digits$} {unit:10}") };
            writeln!(f, "{name:model$}  {:days$}  {count}  {reason}", row.days())?;
        }
        Ok(())
    }
}

/// Days in words: `2026-01-03`, `2026-01-01..2026-01-16`, and the number of days when they are scattered.
pub fn folded(slots: &BTreeSet<Slot>) -> String {
    let mut runs: Vec<(Slot, Slot)> = Vec::new();
    for slot in slots {
        match runs.last_mut() {
            Some((_, to)) if to.zip(*slot).is_some_and(|(to, day)| to.plus_days(1) == day) => *to = *slot,
            _ => runs.push((*slot, *slot)),
        }
    }
    if runs.len() > LISTED_RUNS {
        return format!("on {} days", slots.len());
    }
    let word = |(from, to): &(Slot, Slot)| match (from, to) {
        (Some(from), Some(to)) if from == to => from.to_string(),
        (Some(from), Some(to)) => format!("{from}..{to}"),
        _ => "on no day".to_owned(),
    };
    runs.iter().map(word).collect::<Vec<_>>().join(", ")
}
