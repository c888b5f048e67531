//! What a run is about to do, and why: what waits at the sources, the partitions to build, what that costs.
//!
//! One function makes it for `plan`, which prints it, and for `run` and `build`, which print it and go on. Only logs of
//! Delta tables and records of past runs are read; those of costs, only of what there is to build.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use anyhow::{Context as _, Result};
use datafusion::common::runtime::SpawnedTask;
use futures::{StreamExt, TryStreamExt};

use super::RunRequest;
use super::arrivals::Arrivals;
use super::past::{Past, past};
use super::project::{CONCURRENT_TABLES, Context, Project, Recorded};
use super::turn::is_read;
use crate::config::ByteSize;
use crate::date::{BizDate, Slot};
use crate::ingest::Waiting;
use crate::lake::{FileRef, Table};
use crate::model::{FIRST_LOADED_DAY, Span};
use crate::plan::{
    Cost, Expected, Plan, PlanRow, PlanStep, States, Window, aligned, begins, folded, listing, merged,
    plan as plan_steps, wanted,
};
use crate::progress::count;

/// What a run is about to do.
#[derive(Default)]
pub struct Outlook {
    /// What waits at the sources.
    pub arrivals: Vec<Arrivals>,
    /// What will be built.
    pub plan: Plan,
    /// The same in rows, with costs.
    pub rows: Vec<PlanRow>,
    /// The last business day it is about; `None` when nothing is loaded and nothing waits.
    pub to: Option<BizDate>,
}

impl Outlook {
    /// Whether there is nothing to ingest, build or take away, as far as can be known.
    pub fn is_empty(&self) -> bool {
        self.arrivals.iter().all(|source| source.waiting.is_empty()) && self.plan.is_empty()
    }

    /// The same as [`Display`](fmt::Display), with alike models in one row where it would fill more than a screen.
    pub fn brief(&self) -> String {
        self.text(&merged(&self.rows))
    }

    fn text(&self, rows: &[PlanRow]) -> String {
        let mut parts = Vec::new();
        let notes = self.arrivals.iter().filter_map(|source| Some((&source.source, source.note.as_ref()?)));
        let notes = notes.map(|(source, note)| format!("{source}: {note}\n"));
        let gone = self.plan.steps.iter().filter(|step| !step.obsolete.is_empty()).map(|step| {
            let days = folded(&step.obsolete.iter().copied().collect());
            format!("{}: {days} will be taken away, for nothing is left to make it from\n", step.model)
        });
        parts.push(notes.collect::<String>());
        parts.push(self.waiting());
        parts.push(gone.collect());
        parts.push(if rows.is_empty() { String::new() } else { listing(rows) });
        parts.retain(|part| !part.is_empty());
        parts.join("\n")
    }

    /// What waits at the sources, as a table.
    fn waiting(&self) -> String {
        let all =
            self.arrivals.iter().flat_map(|source| source.waiting.iter().map(|waiting| (&source.source, waiting)));
        let line = |(source, waiting): (&String, &Waiting)| {
            let days = match folded(&waiting.slots) {
                days if days.is_empty() => "no rows".to_owned(),
                days if waiting.at_least => format!("at least {days}"),
                days => days,
            };
            let (files, bytes) = (count(waiting.files as u64), ByteSize(waiting.bytes).to_string());
            vec![waiting.table.clone(), days, files, bytes, source.clone()]
        };
        let mut lines: Vec<Vec<String>> = all.map(line).collect();
        if lines.is_empty() {
            return String::new();
        }
        lines.insert(0, ["waiting for", "days", "files", "bytes", "source"].map(str::to_owned).into());
        aligned(&lines)
    }
}

impl fmt::Display for Outlook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text(&self.rows))
    }
}

/// What will be built of the selected models, by what is recorded and what is known to arrive.
///
/// # Errors
/// When the lake cannot be read.
pub async fn outlook(
    ctx: &Context,
    project: &Project,
    selected: &BTreeSet<String>,
    request: &RunRequest,
    recorded: &Recorded,
    arrivals: Vec<Arrivals>,
) -> Result<Outlook> {
    let waiting = || arrivals.iter().flat_map(|source| &source.waiting);
    let last_arrival = waiting().filter_map(|waiting| waiting.last_arrival).max().max(recorded.last_arrival);
    let Some(to) = super::last_day(ctx, request, last_arrival) else {
        return Ok(Outlook { arrivals, ..Outlook::default() });
    };
    let mut expected = Expected::default();
    for waiting in waiting().filter(|waiting| !waiting.slots.is_empty()) {
        expected.arriving.insert(waiting.table.clone(), waiting.slots.clone());
    }
    let states = &recorded.states;
    let mut landed = expected.landed(states);
    project.note_first_days(&mut landed);
    if landed.get(FIRST_LOADED_DAY) != states.get(FIRST_LOADED_DAY) {
        expected.arriving.insert(FIRST_LOADED_DAY.to_owned(), [None].into());
    }
    let models = &project.models;
    let first_days = begins(models, &landed, &project.starts, project.start());
    let window = Window { from: request.from, to };
    let wanted = wanted(models, selected, window, &first_days, &landed);
    if request.force {
        let forced = wanted.iter().filter(|(name, _)| selected.contains(*name));
        let asked = |slots: &Vec<Slot>| slots.iter().copied().filter(|slot| window.contains(*slot)).collect();
        expected.forced = forced.map(|(name, slots)| (name.clone(), asked(slots))).collect();
    }
    let mut plan = plan_steps(models, &wanted, &first_days, states, &expected);
    if plan.is_empty() {
        return Ok(Outlook { arrivals, plan, rows: Vec::new(), to: Some(to) });
    }
    let past = past(&ctx.config.runs_dir());
    for step in &mut plan.steps {
        step.failed = past.failed(&step.model).map(str::to_owned);
    }
    let costs = Costs::of(project, &landed, &plan, &expected, past).await?;
    let rows = plan.rows(|step, slot| costs.of_slot(step, slot));
    Ok(Outlook { arrivals, plan, rows, to: Some(to) })
}

/// Amounts by partition, summed from the first day on, so that any span's is one subtraction.
#[derive(Default)]
struct Amounts {
    days: Vec<BizDate>,
    /// `sums[i]` is of the first `i` days.
    sums: Vec<u64>,
    no_day: u64,
}

impl Amounts {
    fn new(amounts: impl Iterator<Item = (Slot, u64)>) -> Self {
        let mut by_slot: BTreeMap<Slot, u64> = BTreeMap::new();
        amounts.for_each(|(slot, amount)| *by_slot.entry(slot).or_default() += amount);
        let mut all = Self { no_day: by_slot.remove(&None).unwrap_or(0), sums: vec![0], ..Self::default() };
        let mut sum = 0;
        for (day, amount) in by_slot.into_iter().filter_map(|(slot, amount)| Some((slot?, amount))) {
            sum += amount;
            all.days.push(day);
            all.sums.push(sum);
        }
        all
    }

    fn within(&self, spans: &[Span]) -> u64 {
        let sum = |at: usize| self.sums.get(at).copied().unwrap_or(0);
        let of_span = |span: &Span| {
            let start = span.from.map_or(0, |from| self.days.partition_point(|day| *day < from));
            let end = span.to.map_or(self.days.len(), |to| self.days.partition_point(|day| *day <= to));
            sum(end.max(start)) - sum(start) + if span.no_day { self.no_day } else { 0 }
        };
        spans.iter().map(of_span).sum()
    }
}

/// What is known of one input.
struct Weight {
    rows: Amounts,
    bytes: Amounts,
    /// Where a file holds many days it is read for any of them.
    mixed: Option<Table>,
    /// Partitions that will have rows that are not there yet.
    coming: Amounts,
}

/// What building costs, by what is read.
struct Costs<'a> {
    project: &'a Project,
    states: &'a States,
    weights: BTreeMap<String, Weight>,
    past: Past,
}

impl<'a> Costs<'a> {
    async fn of(
        project: &'a Project,
        states: &'a States,
        plan: &Plan,
        expected: &Expected,
        past: Past,
    ) -> Result<Self> {
        let built: BTreeMap<&str, &PlanStep> =
            plan.steps.iter().filter(|step| !step.slots.is_empty()).map(|step| (step.model.as_str(), step)).collect();
        let models = built.keys().filter_map(|name| project.models.get(name));
        let inputs: BTreeSet<&str> = models.flat_map(|model| &model.reads).map(|read| read.table.as_str()).collect();
        let opening = inputs.into_iter().map(|name| {
            let (lake, name) = (project.lake.clone(), name.to_owned());
            // On all threads: to make sense of a log takes longer than to read it.
            SpawnedTask::spawn(async move { lake.table(&name).await.map(|table| (name, table)) })
        });
        let tables: Vec<(String, Option<Table>)> = futures::stream::iter(opening)
            .map(|opened| async { opened.join_unwind().await.context("opening a table was given up")? })
            .buffer_unordered(CONCURRENT_TABLES)
            .try_collect()
            .await?;
        let is_new = |name: &str, slot: Slot| {
            states.get(name).and_then(|table| table.slots.get(&slot)).is_none_or(|slot| slot.run.is_empty())
        };
        let weight = |(name, table): (String, Option<Table>)| {
            let recorded = states.get(&name).into_iter().flat_map(|table| &table.slots);
            let known = recorded.filter(|(_, slot)| !slot.run.is_empty()).map(|(slot, state)| (*slot, state.rows));
            let arriving = expected.arriving.get(&name).into_iter().flatten().map(|slot| (*slot, 1));
            // Of a table that is made in one go it is not known which partitions will come.
            let planned = built.get(name.as_str()).into_iter().flat_map(|step| &step.slots).map(|(slot, _)| (*slot, 1));
            let coming = planned.filter(|(slot, _)| is_new(&name, *slot)).chain(arriving);
            let files = table.iter().filter(|table| table.partitioned()).flat_map(Table::files);
            let weight = Weight {
                rows: Amounts::new(known),
                bytes: Amounts::new(files.map(|file| (file.slot, file.size))),
                coming: Amounts::new(coming),
                mixed: table.filter(|table| !table.partitioned()),
            };
            (name, weight)
        };
        Ok(Self { project, states, weights: tables.into_iter().map(weight).collect(), past })
    }

    fn of_slot(&self, step: &PlanStep, slot: Slot) -> Cost {
        let seconds = self.past.seconds(&step.model, step.whole);
        let mut cost = Cost { seconds, ..Cost::default() };
        let reads = self.project.models.get(&step.model).into_iter().flat_map(|model| &model.reads);
        for read in reads {
            let Some(weight) = self.weights.get(&read.table) else { continue };
            let spans = read.spans(slot, self.states.days(&read.table));
            let overlaps = |table: &Table, file: &&FileRef| is_read(table, file, &spans);
            let mixed = weight.mixed.iter().flat_map(|table| table.files().iter().filter(|file| overlaps(table, file)));
            cost.rows += weight.rows.within(&spans);
            cost.bytes += weight.bytes.within(&spans) + mixed.map(|file| file.size).sum::<u64>();
            // Where the newest partition is read, it is not known which that will be as long as there is none.
            let asked = if spans.is_empty() { &[Span::ALL][..] } else { &spans };
            cost.partial |= weight.coming.within(asked) > 0;
        }
        cost
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_amount_of_a_span_is_that_of_its_partitions() {
        let day = |n| Some(BizDate::from_days(n));
        let amounts = Amounts::new([(day(3), 5), (None, 100), (day(1), 2), (day(3), 1), (day(9), 40)].into_iter());
        let of = |from, to| amounts.within(&[Span::days(day(from), day(to))]);
        assert_eq!((of(1, 3), of(2, 2), of(3, 8), of(0, 99)), (8, 0, 6, 48));
        assert_eq!(amounts.within(&[Span::ALL]), 148);
        assert_eq!(amounts.within(&[Span::NO_DAY]), 100);
        assert_eq!(amounts.within(&[Span::days(day(1), day(1)), Span::days(day(9), None)]), 42);
        assert_eq!(Amounts::new(std::iter::empty()).within(&[Span::ALL]), 0);
    }
}
