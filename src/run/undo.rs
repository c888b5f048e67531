//! Undo: the lake as it was before a run, and the exports with it; a run of its own, that can be undone as well.
//!
//! Each table that changed since is brought back in one commit, with its records, in the order in which a run that dies
//! leaves things behind: what a run commits last goes first. So whatever a broken-off undo leaves is what a broken-off
//! run might have left, and the next run, or the same undo again, finishes it. Fingerprints and content versions are
//! restored as they were, so nothing of it depends on the names of runs being in order.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use anyhow::{Context as _, Result, anyhow};
use futures::{StreamExt, TryStreamExt};
use serde::Serialize;

use super::exports::{Exports, Forced};
use super::moments::run_of_lake;
use super::project::{Context, Project};
use super::records::table_state;
use super::report::RunReport;
use super::{RunRequest, new_report, under_lock};
use crate::date::Slot;
use crate::error::{Advice, Exit};
use crate::ingest::orders::DELETED_TABLE;
use crate::ingest::rejects::REJECT_TABLE;
use crate::lake::{Lake, Restoration, Table, Version};
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
    let lake = Project::without_models(ctx)?.lake;
    let histories = lake.histories().await?;
    let run = run_of_lake(ctx, &histories, run)?;
    Ok(planned(&lake, &histories, &run).await?.told(&run))
}

/// Brings the lake and the exports to the state before a run.
///
/// # Errors
/// When another run holds the lock, there is no such run, or what was there before is gone; nothing has changed then. Also
/// when the lake cannot be written: to be repeated.
pub async fn undo(ctx: &Context, run: &str, request: &RunRequest) -> Result<RunReport> {
    let since = Instant::now();
    let project = Project::open(ctx)?;
    let lock = Some((request.command.as_str(), request.wait));
    under_lock(ctx, &project, lock, locked_undo(ctx, &project, run, (request, since))).await
}

async fn locked_undo(
    ctx: &Context,
    project: &Project,
    run: &str,
    (request, since): (&RunRequest, Instant),
) -> Result<RunReport> {
    let histories = project.lake.histories().await?;
    let newest = histories.values().flatten().map(|version| version.run.as_str()).max().unwrap_or_default();
    let ctx = &ctx.after(newest);
    let run = run_of_lake(ctx, &histories, run)?;
    let plan = planned(&project.lake, &histories, &run).await?;
    let told = plan.told(&run);
    for line in told.lines() {
        ctx.reporter.report(Event::Note(line));
    }
    let mut report = new_report(ctx, &request.command);
    report.undone = Some(told);
    for work in plan.tables {
        let Work { mut table, restoration, .. } = work;
        let restored = table.restore(restoration, &ctx.run, ctx.now_ms).await;
        restored.with_context(|| format!("bring back {}", table.name())).hint(again(&run))?;
    }
    let recorded = project.recorded().await?;
    let selected = project.models.iter().map(|model| model.name.clone()).collect();
    let exports = Exports { ctx, project, recorded: &recorded, selected: &selected };
    exports.export(&Forced::new(), &mut report).await;
    report.close_books(&*ctx.reporter);
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
        let (alike, other): (Vec<&UndoneTable>, Vec<&UndoneTable>) = tables.iter().partition(|table| table.is_alike());
        let width = other.iter().map(|table| table.table.len()).max().unwrap_or_default();
        lines.extend(other.iter().map(|table| format!("  {:width$}  {}", table.table, table.words())));
        let alike: Vec<&str> = alike.iter().map(|table| table.table.as_str()).collect();
        if !alike.is_empty() {
            lines.push(format!("  the same rows, as they were recorded before: {}", alike.join(", ")));
        }
        if tables.iter().any(|table| Layer::of_table(&table.table) == Some(Layer::Ods)) {
            lines.push("what these runs had ingested, the next `strata run` takes in again".to_owned());
        }
        lines
    }
}

impl UndoneTable {
    /// Whether its rows stay, and only the records beside them change.
    fn is_alike(&self) -> bool {
        self.slots.is_empty() && self.rows + self.rows_before == 0 && !self.reshaped
    }

    fn words(&self) -> String {
        let days = folded(&self.slots.iter().copied().collect());
        let what = match self.slots.len() {
            // A table without days is one partition.
            0 => String::new(),
            1 if self.slots == [None] => String::new(),
            parts => format!("{} {days}, ", counted(parts as u64, "partition")),
        };
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
async fn planned(lake: &Lake, histories: &BTreeMap<String, Vec<Version>>, run: &str) -> Result<Plan> {
    let undone = undone(histories, run);
    let cuts = histories.iter().filter_map(|(table, versions)| Some((table, cut(versions, &undone)?)));
    let works: Vec<Option<Work>> = futures::stream::iter(cuts.collect::<Vec<_>>())
        .map(|(table, cut)| async move { work(lake, table, cut, run).await })
        .buffered(CONCURRENT_TABLES)
        .try_collect()
        .await?;
    let mut plan = Plan::default();
    for work in works.into_iter().flatten() {
        plan.runs.extend(work.runs.iter().cloned());
        plan.tables.push(work);
    }
    plan.tables.sort_by_key(|work| Reverse(place(work.table.name())));
    Ok(plan)
}

/// The runs to be undone with a run: those named after it, and all that committed to a table after one of them. Names
/// follow the clock and the order in which runs began; one that waited for the lock may have come after a later one.
fn undone(histories: &BTreeMap<String, Vec<Version>>, run: &str) -> BTreeSet<String> {
    let runs = histories.values().flatten().map(|version| &version.run);
    let mut undone: BTreeSet<String> = runs.filter(|other| other.as_str() >= run).cloned().collect();
    loop {
        let since = histories.values().flat_map(|versions| {
            versions.iter().skip_while(|version| !undone.contains(&version.run)).map(|version| &version.run)
        });
        let more: Vec<String> = since.filter(|run| !run.is_empty() && !undone.contains(*run)).cloned().collect();
        if more.is_empty() {
            return undone;
        }
        undone.extend(more);
    }
}

/// Where a table's history is cut.
#[derive(Debug, PartialEq, Eq)]
struct Cut {
    /// The version it had before; `None` when it did not exist.
    before: Option<u64>,
    /// The runs that made versions since.
    runs: BTreeSet<String>,
}

/// Cuts a table's history before the first version of the runs to be undone; `None` when they made none. A version that
/// names no run, as one that only created the table, belongs to the one after it.
fn cut(versions: &[Version], undone: &BTreeSet<String>) -> Option<Cut> {
    let first = versions.iter().position(|version| undone.contains(&version.run))?;
    let named = versions[..first].iter().rposition(|version| !version.run.is_empty());
    let oldest = named.map_or(0, |named| named + 1);
    let before = versions[oldest].version.checked_sub(1);
    let runs = versions[first..].iter().map(|version| version.run.clone()).filter(|run| !run.is_empty()).collect();
    Some(Cut { before, runs })
}

/// In which order a run commits to tables, as far as it matters: rejects and tombstones before the rows they go with.
fn place(table: &str) -> (Option<Layer>, bool) {
    (Layer::of_table(table), ![REJECT_TABLE, DELETED_TABLE].contains(&table))
}

async fn work(lake: &Lake, name: &str, Cut { before, runs }: Cut, run: &str) -> Result<Option<Work>> {
    let Some(table) = lake.table(name).await? else { return Ok(None) };
    let records = lake.records(name).await?;
    let past = match before {
        Some(version) => {
            let gone = || format!("what {name} was before run {run} cannot be had back");
            let hint = "its log was cleaned up; nothing was changed, and a later run may still be undone";
            let records = lake.records_at(name, version).await.with_context(gone).hint(hint)?;
            Some((lake.table_at(name, version).await.with_context(gone).hint(hint)?, records))
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
    let state = |records| table_state(records, Vec::new()).with_context(|| format!("records of {name}"));
    let before = match &past {
        Some((_, records)) => state(records)?.unwrap_or_default(),
        None => TableState::default(),
    };
    let told = told(&table, &restoration, &state(&records)?.unwrap_or_default(), &before, past.is_none());
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

#[cfg(test)]
mod tests {
    use super::*;

    fn history(runs: &[&str]) -> Vec<Version> {
        let version = |(number, run): (usize, &&str)| Version {
            version: number as u64,
            run: (*run).to_owned(),
            ..Version::default()
        };
        runs.iter().enumerate().map(version).collect()
    }

    fn names(runs: &[&str]) -> BTreeSet<String> {
        runs.iter().map(|run| (*run).to_owned()).collect()
    }

    #[test]
    fn a_history_is_cut_before_the_first_version_of_the_runs_to_be_undone() {
        let table = history(&["", "r1", "r2", "r2", "", "r3"]);
        let at = |undone: &[&str]| cut(&table, &names(undone)).map(|cut| cut.before);
        assert_eq!(at(&["r3"]), Some(Some(3)), "what it created belongs to it");
        assert_eq!(at(&["r2", "r3"]), Some(Some(1)));
        assert_eq!(at(&["r1", "r2", "r3"]), Some(None), "it did not exist");
        assert_eq!(at(&["r4"]), None, "they made no version of it");
        assert_eq!(cut(&table, &names(&["r2"])).expect("cut").runs, names(&["r2", "r3"]));
    }

    #[test]
    fn a_run_that_waited_for_a_later_one_is_undone_with_it() {
        // r2 began before r3, waited, and came after it.
        let histories = [("a", &["", "r1", "r3", "r2"][..]), ("b", &["", "r2"]), ("c", &["", "r1"])];
        let histories = histories.map(|(table, runs)| (table.to_owned(), history(runs))).into();
        assert_eq!(undone(&histories, "r3"), names(&["r2", "r3"]));
        assert_eq!(undone(&histories, "r1"), names(&["r1", "r2", "r3"]));
        assert_eq!(cut(&histories["b"], &undone(&histories, "r3")).expect("cut").before, None);
    }
}
