//! Undo: the lake as it was before a run, and the exports with it; a run of its own, that can be undone as well.
//!
//! Each table that changed since is brought back in one commit, with its records, in the order in which a run that dies
//! leaves things behind: what a run commits last goes first. So whatever a broken-off undo leaves is what a broken-off
//! run might have left, and the next run, or the same undo again, finishes it. Fingerprints and content versions are
//! restored as they were, so nothing of it depends on the names of runs being in order.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use anyhow::{Context as _, Result, anyhow};
use futures::{StreamExt, TryStreamExt};
use serde::Serialize;

use super::exports::{Exports, Forced};
use super::moments::run_of_lake;
use super::project::{Context, Project, table_state};
use super::report::RunReport;
use super::{RunRequest, locked, new_report};
use crate::date::Slot;
use crate::error::{Advice, Exit};
use crate::ingest::orders::DELETED_TABLE;
use crate::ingest::rejects::REJECT_TABLE;
use crate::lake::{Lake, Moment, Restoration, Table};
use crate::model::Layer;
use crate::plan::{TableState, folded};
use crate::progress::{Event, count, counted};

/// Tables that are looked at at once.
const CONCURRENT_TABLES: usize = 16;

/// What an undo brings back.
#[derive(Clone, Debug, Default, Serialize)]
pub struct UndoReport {
    /// The run before which everything is as it was.
    pub run: String,
    /// All runs whose work is undone.
    pub runs: Vec<String>,
    /// The tables that change.
    pub tables: Vec<UndoneTable>,
}

/// A table that is brought back.
#[derive(Clone, Debug, Serialize)]
pub struct UndoneTable {
    /// The table.
    pub table: String,
    /// The partitions that change.
    pub slots: Vec<Slot>,
    /// The rows that are in them.
    pub rows: u64,
    /// The rows that were, and will be, in them.
    pub rows_before: u64,
    /// Whether its columns change as well.
    pub reshaped: bool,
    /// Whether it did not exist: it stays, without rows, and counts as never built.
    pub emptied: bool,
}

/// What an undo does.
#[derive(Default)]
struct Plan {
    tables: Vec<Work>,
    runs: BTreeSet<String>,
}

/// What it does to one table.
struct Work {
    table: Table,
    restoration: Restoration,
    runs: BTreeSet<String>,
    told: UndoneTable,
}

/// What undoing a run would do; changes nothing.
///
/// # Errors
/// When there is no such run, the lake cannot be read, or what was there before is gone.
pub async fn undo_plan(ctx: &Context, run: &str) -> Result<UndoReport> {
    let project = Project::open(&ctx.config)?;
    let run = run_of_lake(ctx, &project.lake, run).await?;
    Ok(planned(&project.lake, &run).await?.told(&run))
}

/// Brings the lake and the exports to the state before a run.
///
/// # Errors
/// When another run holds the lock, there is no such run, or what was there before is gone; nothing has changed then. Also
/// when the lake cannot be written: to be repeated.
pub async fn undo(ctx: &Context, run: &str, request: &RunRequest) -> Result<RunReport> {
    let since = Instant::now();
    let project = Project::open(&ctx.config)?;
    let run = run_of_lake(ctx, &project.lake, run).await?;
    let _lock = locked(ctx, request).await?;
    // Only now nobody else changes it.
    let plan = planned(&project.lake, &run).await?;
    let told = plan.told(&run);
    for line in told.lines() {
        ctx.reporter.report(Event::Note(line));
    }
    let mut report = new_report(ctx);
    report.undone = Some(told);
    for work in plan.tables {
        let Work { mut table, restoration, .. } = work;
        let restored = table.restore(restoration, &ctx.run, ctx.now_ms).await;
        restored.with_context(|| format!("bring back {}", table.name())).hint(again(&run))?;
    }
    let recorded = project.recorded().await?;
    let selected = project.models.iter().map(|model| model.name.clone()).collect();
    let exports = Exports { ctx, project: &project, recorded: &recorded, selected: &selected };
    exports.export(&Forced::new(), &mut report).await;
    report.seconds = since.elapsed().as_secs_f64();
    report.outcome = if report.failures.is_empty() { "done" } else { "failed" };
    report.save(&ctx.config.runs_dir())?;
    Ok(report)
}

fn again(run: &str) -> String {
    format!("`strata undo {run}` again finishes it")
}

impl UndoReport {
    /// What is undone, in words: a line for each table, one for the runs, one for what comes again.
    pub fn lines(&self) -> Vec<String> {
        let Self { run, runs, tables } = self;
        if tables.is_empty() {
            return vec![format!("nothing to undo: the lake is as it was before run {run}")];
        }
        let partitions = tables.iter().map(|table| table.slots.len() as u64).sum();
        let (all, parts) = (counted(tables.len() as u64, "table"), counted(partitions, "partition"));
        let mut lines = vec![format!("undo of run {run}: {all}, {parts}")];
        let others: Vec<&str> = runs.iter().filter(|other| *other != run).map(String::as_str).collect();
        if !others.is_empty() {
            lines.push(format!("undone with it: {}", others.join(", ")));
        }
        let width = tables.iter().map(|table| table.table.len()).max().unwrap_or_default();
        lines.extend(tables.iter().map(|table| format!("  {:width$}  {}", table.table, table.words())));
        if tables.iter().any(|table| Layer::of_table(&table.table) == Some(Layer::Ods)) {
            lines.push("what these runs had ingested, the next `strata run` takes in again".to_owned());
        }
        lines
    }
}

impl UndoneTable {
    fn words(&self) -> String {
        let days = folded(&self.slots.iter().copied().collect());
        let what = match self.slots.len() {
            // A table without days is one partition.
            0 => String::new(),
            1 if self.slots == [None] => String::new(),
            parts => format!("{} {days}, ", counted(parts as u64, "partition")),
        };
        if self.slots.is_empty() && self.rows + self.rows_before == 0 {
            return "only what it was made from".to_owned();
        }
        let rows = format!("{} → {}", counted(self.rows, "row"), count(self.rows_before));
        let columns = if self.reshaped { ", columns as they were" } else { "" };
        let emptied = if self.emptied { ", it did not exist" } else { "" };
        format!("{what}{rows}{columns}{emptied}")
    }
}

impl Plan {
    fn told(&self, run: &str) -> UndoReport {
        UndoReport {
            run: run.to_owned(),
            runs: self.runs.iter().cloned().collect(),
            tables: self.tables.iter().map(|work| work.told.clone()).collect(),
        }
    }
}

/// Finds what differs from the state before a run, and that all of it can be had back.
async fn planned(lake: &Lake, run: &str) -> Result<Plan> {
    let moment = Moment::Before(run.to_owned());
    let tables = futures::stream::iter(lake.all_tables().await?);
    let works: Vec<Option<Work>> = tables
        .map(|name| {
            let moment = &moment;
            async move { work(lake, &name, moment).await }
        })
        .buffered(CONCURRENT_TABLES)
        .try_collect()
        .await?;
    let mut plan = Plan::default();
    for work in works.into_iter().flatten() {
        plan.runs.extend(work.runs.iter().cloned());
        plan.tables.push(work);
    }
    plan.tables.sort_by_key(|work| std::cmp::Reverse(place(work.table.name())));
    Ok(plan)
}

/// In which order a run commits to tables, as far as it matters: rejects and tombstones before the rows they go with.
fn place(table: &str) -> (Option<Layer>, bool) {
    (Layer::of_table(table), ![REJECT_TABLE, DELETED_TABLE].contains(&table))
}

async fn work(lake: &Lake, name: &str, moment: &Moment) -> Result<Option<Work>> {
    let back = lake.back(name, moment).await?;
    let (false, Some(table)) = (back.since.is_empty(), lake.table(name).await?) else { return Ok(None) };
    let records = lake.records(name).await?;
    let past = match back.version {
        Some(version) => {
            let records = lake.records_at(name, version).await?;
            Some((lake.table_at(name, version).await?, records))
        }
        None => None,
    };
    let then = past.as_ref().map(|(table, records)| (table, records));
    let restoration = Restoration::of((&table, &records), then)?;
    if restoration.is_empty() {
        return Ok(None);
    }
    let missing = table.missing(&restoration.adds).await?;
    if let Some(first) = missing.first() {
        let gone = counted(missing.len() as u64, "file");
        let error = anyhow!("{name}: {gone} of what was there before is gone from the lake, for instance {first}");
        return Err(error)
            .hint("they were vacuumed; nothing was changed. A later run may still be undone")
            .exit(Exit::Failed);
    }
    let state = |records| table_state(records).with_context(|| format!("records of {name}"));
    let before = match &past {
        Some((_, records)) => state(records)?.unwrap_or_default(),
        None => TableState::default(),
    };
    let told = told(&table, &restoration, &state(&records)?.unwrap_or_default(), &before, past.is_none());
    let runs = back.since.into_iter().map(|version| version.run).filter(|run| !run.is_empty()).collect();
    Ok(Some(Work { table, restoration, runs, told }))
}

fn told(
    table: &Table,
    restoration: &Restoration,
    now: &TableState,
    before: &TableState,
    is_emptied: bool,
) -> UndoneTable {
    let slots = changed(now, before);
    let rows = |state: &TableState| slots.iter().filter_map(|slot| Some(state.slots.get(slot)?.rows)).sum();
    let files = |rows: &mut dyn Iterator<Item = u64>| rows.sum::<u64>();
    let counts = match slots.is_empty() {
        false => (rows(now), rows(before)),
        // Tables without recorded partitions, as that of rejects.
        true => (
            files(&mut restoration.removes.iter().map(|file| file.rows)),
            files(&mut restoration.adds.iter().map(|file| file.rows)),
        ),
    };
    UndoneTable {
        table: table.name().to_owned(),
        slots,
        rows: counts.0,
        rows_before: counts.1,
        reshaped: restoration.shape.is_some(),
        emptied: is_emptied,
    }
}

/// The partitions that two states of a table have in different versions.
pub fn changed(one: &TableState, other: &TableState) -> Vec<Slot> {
    let version = |state: &TableState, slot| state.slots.get(slot).map(|partition| (partition.version, partition.rows));
    let slots: BTreeMap<&Slot, ()> = one.slots.keys().chain(other.slots.keys()).map(|slot| (slot, ())).collect();
    slots.into_keys().filter(|slot| version(one, slot) != version(other, slot)).copied().collect()
}
