//! The plan as people read it: runs of consecutive days with one reason are one row, with what building them costs.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use serde::Serialize;

use super::{Plan, PlanStep, Reason};
use crate::date::Slot;
use crate::model::Layer;
use crate::progress::count;

/// More runs of days than these are counted and not listed.
const LISTED_RUNS: usize = 3;

/// Where a plan has more rows than these, alike ones may be put together.
const SCREEN_ROWS: usize = 24;

/// Lines are not longer than this where that can be helped: a reason that does not fit has a line of its own.
const WIDTH: usize = 120;

/// Partitions of a model that are built for one reason.
#[derive(Clone, Debug, PartialEq, Serialize)]
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
    /// What is to be read for them.
    pub cost: Cost,
    /// Why, in words.
    pub reason: String,
    /// Whether they are built for certain, and not only if something upstream comes out different.
    pub certain: bool,
}

/// What building partitions takes, as far as it is known beforehand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Cost {
    /// Rows of the partitions that are read, as they are now.
    pub rows: u64,
    /// Bytes of the files that hold them; a query that needs few columns reads less.
    pub bytes: u64,
    /// Whether something that will be read is not there yet, so that rows and bytes are a part.
    pub partial: bool,
    /// How long it will take by what past runs took; `None` when none built the model.
    pub seconds: Option<f64>,
}

impl Cost {
    /// Both together; the time is that of those whose time is known.
    pub fn and(self, other: Self) -> Self {
        let seconds = match (self.seconds, other.seconds) {
            (None, None) => None,
            (a, b) => Some(a.unwrap_or_default() + b.unwrap_or_default()),
        };
        let (rows, bytes) = (self.rows + other.rows, self.bytes + other.bytes);
        Self { rows, bytes, partial: self.partial || other.partial, seconds }
    }

    /// Rows, bytes and time in words; `+` says that there is more, `?` that nothing is known.
    fn words(&self) -> [String; 3] {
        let amount = |number: u64, text: String| match self.partial {
            true if number == 0 => "?".to_owned(),
            true => format!("{text}+"),
            false => text,
        };
        let time = self.seconds.map_or_else(|| "?".to_owned(), |seconds| format!("{seconds:.1} s"));
        let bytes = crate::config::ByteSize(self.bytes).to_string();
        [amount(self.rows, count(self.rows)), amount(self.bytes, bytes), time]
    }
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
    /// The rows of the plan; `cost` is asked for each partition of a step, by its place in the plan.
    pub fn rows(&self, cost: impl Fn(&PlanStep, Slot) -> Cost) -> Vec<PlanRow> {
        self.steps.iter().flat_map(|step| rows(step, &cost)).collect()
    }
}

fn rows(step: &PlanStep, cost: &impl Fn(&PlanStep, Slot) -> Cost) -> Vec<PlanRow> {
    let mut runs: Vec<(Slot, Slot, usize, Reason, Cost)> = Vec::new();
    for (slot, reason) in &step.slots {
        let cost = cost(step, *slot);
        if let Some((_, to, partitions, so_far, sum)) = runs.last_mut() {
            let follows = to.zip(*slot).is_some_and(|(to, day)| to.plus_days(1) == day);
            if let (true, Some(joined)) = (follows, so_far.joined(reason)) {
                (*to, *partitions, *so_far, *sum) = (*slot, *partitions + 1, joined, sum.and(cost));
                continue;
            }
        }
        runs.push((*slot, *slot, 1, reason.clone(), cost));
    }
    let row = |(from, to, partitions, reason, cost): (Slot, Slot, usize, Reason, Cost)| PlanRow {
        model: step.model.clone(),
        layer: step.layer,
        whole: step.whole,
        from,
        to,
        partitions,
        cost,
        reason: match &step.failed {
            Some(run) if reason.is_certain() => format!("{reason}; failed in run {run}"),
            _ => reason.to_string(),
        },
        certain: reason.is_certain(),
    };
    runs.into_iter().map(row).collect()
}

/// The rows as a table with a head and a sum.
pub fn listing(rows: &[PlanRow]) -> String {
    let head = ["model", "days", "parts", "rows", "bytes", "time", "why"].map(str::to_owned);
    let cells = |name: &str, days: String, parts: usize, cost: &Cost, why: &str| {
        let [amount, bytes, time] = cost.words();
        [name.to_owned(), days, count(parts as u64), amount, bytes, time, why.to_owned()].into()
    };
    let mut lines: Vec<Vec<String>> = vec![head.into()];
    lines.extend(rows.iter().map(|row| cells(&row.model, row.days(), row.partitions, &row.cost, &row.reason)));
    if rows.len() > 1 {
        let partitions = |of: fn(&PlanRow) -> bool| rows.iter().filter(|row| of(row)).map(|row| row.partitions).sum();
        let (all, certain): (usize, usize) = (partitions(|_| true), partitions(|row| row.certain));
        let why = if certain < all { format!("{} for certain", count(certain as u64)) } else { String::new() };
        let sum = rows.iter().fold(Cost::default(), |sum, row| sum.and(row.cost));
        let mut total: Vec<String> = cells("total", String::new(), all, &sum, &why);
        if sum.seconds.is_some() && rows.iter().any(|row| row.cost.seconds.is_none()) {
            total[5].push('+');
        }
        lines.push(total);
    }
    aligned(&lines)
}

/// The rows as they are if they fit a screen. Else the models of a layer that are built on the same days for the same
/// reason are one row, and so are those that are only built if what they read changes.
pub fn merged(rows: &[PlanRow]) -> Vec<PlanRow> {
    if rows.len() <= SCREEN_ROWS {
        return rows.to_vec();
    }
    let mut merged: Vec<(BTreeSet<&str>, PlanRow)> = Vec::new();
    let alike = |a: &PlanRow, b: &PlanRow| {
        let same = (a.whole, a.from, a.to, &a.reason) == (b.whole, b.from, b.to, &b.reason);
        a.layer == b.layer && a.certain == b.certain && (same || !a.certain)
    };
    for row in rows {
        let Some((models, all)) = merged.iter_mut().find(|(_, all)| alike(all, row)) else {
            merged.push((BTreeSet::from([row.model.as_str()]), row.clone()));
            continue;
        };
        models.insert(&row.model);
        if models.len() > 1 {
            all.model = format!("{} {} models", models.len(), row.layer.name());
        }
        if all.reason != row.reason {
            all.reason = "if what they read changes".to_owned();
        }
        all.whole &= row.whole;
        all.from = all.from.into_iter().chain(row.from).min();
        all.to = all.to.max(row.to);
        all.partitions += row.partitions;
        all.cost = all.cost.and(row.cost);
    }
    merged.into_iter().map(|(_, row)| row).collect()
}

/// Lines of cells as a table: the first two columns and the last begin at the left, the others are numbers. What does not
/// fit into the last one stands beneath.
pub fn aligned(lines: &[Vec<String>]) -> String {
    let columns = lines.first().map_or(0, |line| line.len().saturating_sub(1));
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for line in lines {
        let mut start = String::new();
        for (column, cell) in line[..columns].iter().enumerate() {
            let room = " ".repeat(widths[column] - cell.chars().count());
            let padded = if column < 2 { format!("{cell}{room}  ") } else { format!("{room}{cell}  ") };
            start.push_str(&padded);
        }
        let last = &line[columns];
        let fits = start.chars().count() + last.chars().count() <= WIDTH;
        let line = if fits { format!("{start}{last}") } else { format!("{}\n    {last}", start.trim_end()) };
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text
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
