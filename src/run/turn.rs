//! One model's turn: its stale partitions staged, checked and published, a batch of days at a time.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, Result};
use datafusion::common::runtime::SpawnedTask;
use tokio::sync::Semaphore;
use xxhash_rust::xxh3::xxh3_64;

use super::meter::Meter;
use super::project::Project;
use super::recipe::recipe;
use super::records::{SlotRecord, WHOLE, WholeRecord, model_domain, slot_domain};
use super::report::{ModelReport, ModelResult};
use crate::check::Severity;
use crate::date::Slot;
use crate::engine::{Calendar, Engine, Sees, Template};
use crate::lake::{FileRef, Table};
use crate::model::{Model, Read, Span};
use crate::plan::{Fingerprint, Reason, SlotState, States, TableState, fingerprint, stale};
use crate::transform::{Input, Publisher, Recipe, Staged, Workshop, publish};

/// Days of one model that are published together: a backfill is a few commits, and a killed one loses little.
const BATCH_DAYS: usize = 31;

/// Rows after which a batch of days is published before it is full: what is staged waits in memory.
const BATCH_ROWS: u64 = 500_000;

/// Days that are staged and not yet published, and what was published before them.
struct Batch {
    before: TableState,
    staged: Vec<Staged>,
    rows: u64,
}

/// A partition that is to be built.
struct Due {
    slot: Slot,
    reason: Reason,
    made_from: Fingerprint,
    inputs: Vec<Input>,
    /// The rows of the files that it reads.
    rows: u64,
}

/// A partition that is being computed.
struct UnderWay {
    slot: Slot,
    made_from: Fingerprint,
    rows: SpawnedTask<Result<Staged>>,
    /// The rows of the files that it reads.
    reads: u64,
}

/// What one commit changes: partitions that come or are replaced, partitions that go, records.
struct Change {
    staged: Vec<Staged>,
    gone: Vec<Slot>,
    records: Vec<(String, Option<String>)>,
}

/// What one model's turn needs, moved into its task.
pub struct Turn {
    /// The project.
    pub project: Arc<Project>,
    /// Where it is computed.
    pub workshop: Workshop,
    /// The model.
    pub model: Arc<Model>,
    /// The partitions that are wanted, stale or not.
    pub slots: Vec<Slot>,
    /// Partitions that a warehouse built from nothing would not have.
    pub obsolete: Vec<Slot>,
    /// Partitions to build even when fresh.
    pub forced: BTreeSet<Slot>,
    /// What is published, moved on as the turn goes.
    pub states: States,
    /// Snapshots of the tables it may read.
    pub tables: BTreeMap<String, Table>,
    /// Counts what is done.
    pub meter: Arc<Meter>,
    /// How many partitions may be computed side by side.
    pub threads: usize,
    /// What each of them needs while it is computed: so many there are for all models together.
    pub seats: Arc<Semaphore>,
}

/// A model after its turn.
pub struct Built {
    /// The snapshot after the last commit.
    pub table: Option<Table>,
    /// What is published of it now.
    pub state: TableState,
    /// What was done.
    pub report: ModelReport,
}

/// One model's turn: its stale partitions staged, checked and published, a batch of days at a time.
pub async fn take(mut turn: Turn) -> Result<Built> {
    let since = Instant::now();
    let recipe = Arc::new(recipe(&turn.model));
    let calendar = turn.project.calendar(&turn.states);
    let inputs = turn.shapes();
    let (mut table, query) = turn.workshop.table_of(&recipe, &inputs, &calendar).await?;
    let query = Arc::new(query);
    turn.tables.insert(recipe.name.clone(), table.clone());
    turn.tell_columns_apart(&table);
    let mut report = ModelReport::new(&recipe.name);
    if turn.model.uses_day {
        turn.build_days(&recipe, (&mut table, &query), &calendar, &mut report).await?;
    } else if !turn.slots.is_empty() {
        turn.build_whole(&recipe, (&mut table, &query), &calendar, &mut report).await?;
    }
    if !matches!(report.result, ModelResult::ChecksFailed) {
        turn.note_empty(&mut table).await?;
    }
    report.elapsed = since.elapsed();
    let state = match report.result {
        // What is published is as it was, and not as it would have become.
        ModelResult::ChecksFailed => turn.project.recorded_of(&recipe.name).await.ok(),
        _ => None,
    };
    let state = state.or_else(|| turn.states.get(&recipe.name).cloned()).unwrap_or_default();
    Ok(Built { table: Some(table), state, report })
}

impl Turn {
    /// The tables that are read and the files of the partitions that one slot needs; all files when `everything`.
    fn inputs(&self, slot: Slot, everything: bool) -> Vec<Input> {
        let mut inputs = Vec::new();
        for read in if everything { &self.model.dependencies } else { &self.model.reads } {
            let Some(table) = self.tables.get(&read.table) else { continue };
            let spans = read.spans(slot, self.states.days(&read.table));
            let files = table.files().iter().filter(|f| everything || is_read(table, f, &spans)).cloned().collect();
            let columns = read.columns.clone();
            let sees: Option<Sees> = Some(Arc::new(move |column| columns.has(column)));
            inputs.push(Input { name: read.table.clone(), table: table.clone(), files, sees });
        }
        inputs
    }

    /// The tables that are read, without rows.
    fn shapes(&self) -> Vec<Input> {
        let table = |read: &Read| Some((read.table.clone(), self.tables.get(&read.table)?.clone()));
        let tables = self.model.dependencies.iter().filter_map(table);
        tables.map(|(name, table)| Input { name, table, files: Vec::new(), sees: None }).collect()
    }

    /// Has the versions of columns told apart where some model may read a few of them.
    fn tell_columns_apart(&mut self, table: &Table) {
        let is_read = |model: &Model| model.dependencies.iter().any(|read| read.table == table.name());
        let columns = match self.project.models.iter().any(is_read) {
            true => table.column_names(),
            false => Vec::new(),
        };
        if self.states.get(table.name()).is_none_or(|state| state.columns != columns) {
            let state = self.states.get(table.name()).cloned().unwrap_or_default();
            self.states.set(table.name(), TableState { columns, ..state });
        }
    }

    async fn build_days(
        &mut self,
        recipe: &Arc<Recipe>,
        (table, query): (&mut Table, &Arc<Template>),
        calendar: &Arc<dyn Calendar>,
        report: &mut ModelReport,
    ) -> Result<()> {
        if table.is_reshaped() || self.states.get(&recipe.name).is_some_and(|state| state.whole.is_some()) {
            // Rows with other columns, or from when the model was made in one go, say nothing about these.
            self.forced.extend(self.slots.iter().copied());
        }
        self.take_away_obsolete(recipe, table, report).await?;
        let before = self.states.get(&recipe.name).cloned().unwrap_or_default();
        let mut batch = Batch { before, staged: Vec::new(), rows: 0 };
        let mut slots = self.perhaps_due().into_iter();
        let mut under_way: VecDeque<UnderWay> = VecDeque::new();
        let mut next = self.next_due(&mut slots);
        loop {
            while let Some(due) = next.take_if(|due| self.may_begin(due, &under_way)) {
                report.note_reason(&due.reason);
                under_way.push_back(self.begin(recipe, (table, query), due, calendar, &batch.staged));
                if !self.model.reads_itself() {
                    next = self.next_due(&mut slots);
                }
            }
            let Some(UnderWay { slot, made_from, rows, .. }) = under_way.pop_front() else { break };
            let rows = rows.join_unwind().await.context("a partition was given up")??;
            // The next day of a model that reads its own past is compared with what this day came out as.
            let state = built_state(&batch.before, &rows, Some(made_from), &self.workshop.run);
            self.states.set_slot(&recipe.name, slot, state);
            batch.rows += rows.rows;
            batch.staged.push(rows);
            self.meter.staged(&recipe.name);
            let is_full = batch.staged.len() >= BATCH_DAYS || batch.rows >= BATCH_ROWS;
            if is_full {
                if !self.settle(recipe, table, calendar, report, &mut batch).await? {
                    return Ok(());
                }
                self.meter.published(&recipe.name, report.built);
            }
            if next.is_none() {
                next = self.next_due(&mut slots);
            }
        }
        self.settle(recipe, table, calendar, report, &mut batch).await?;
        Ok(())
    }

    /// The wanted partitions without those that are fresh; of a model that reads its own past all: whether a day is fresh
    /// is known once the one before is built.
    fn perhaps_due(&mut self) -> Vec<Slot> {
        let mut slots = std::mem::take(&mut self.slots);
        if !self.model.reads_itself() {
            let due: BTreeSet<Slot> =
                stale(&self.model, &slots, &self.states).into_iter().map(|(slot, _)| slot).collect();
            slots.retain(|slot| due.contains(slot) || self.forced.contains(slot));
        }
        slots
    }

    /// The next of some partitions that is to be built, with what it is made from.
    fn next_due(&self, slots: &mut impl Iterator<Item = Slot>) -> Option<Due> {
        slots.find_map(|slot| {
            let due = stale(&self.model, &[slot], &self.states).into_iter().next().map(|(_, reason)| reason);
            let reason = due.or_else(|| self.forced.contains(&slot).then_some(Reason::Forced))?;
            let inputs = self.inputs(slot, false);
            let rows = inputs.iter().flat_map(|input| &input.files).map(|file| file.rows).sum();
            Some(Due { slot, reason, made_from: fingerprint(&self.model, slot, &self.states), inputs, rows })
        })
    }

    /// Whether a partition may be begun beside others: small ones are computed side by side, a large one by all threads.
    fn may_begin(&self, due: &Due, under_way: &VecDeque<UnderWay>) -> bool {
        let is_alone = |rows: u64| self.model.reads_itself() || !Engine::is_small(rows);
        match under_way.back() {
            None => true,
            Some(last) => under_way.len() < self.threads && !is_alone(due.rows) && !is_alone(last.reads),
        }
    }

    /// Begins to compute a partition.
    fn begin(
        &self,
        recipe: &Arc<Recipe>,
        (table, query): (&Table, &Arc<Template>),
        Due { slot, made_from, inputs, rows: reads, .. }: Due,
        calendar: &Arc<dyn Calendar>,
        staged: &[Staged],
    ) -> UnderWay {
        let (workshop, recipe, table) = (self.workshop.clone(), Arc::clone(recipe), table.clone());
        let (query, calendar, seats) = (Arc::clone(query), Arc::clone(calendar), Arc::clone(&self.seats));
        let staged = if recipe.own_past { staged.to_vec() } else { Vec::new() };
        let rows = SpawnedTask::spawn(async move {
            let _seat = seats.acquire_owned().await?;
            workshop.stage_slot(&recipe, (&table, &query), (slot, inputs), &calendar, &staged).await
        });
        UnderWay { slot, made_from, rows, reads }
    }

    /// Checks and publishes a batch of days, with what they replace; `false` when a check forbids it.
    async fn settle(
        &mut self,
        recipe: &Recipe,
        table: &mut Table,
        calendar: &Arc<dyn Calendar>,
        report: &mut ModelReport,
        batch: &mut Batch,
    ) -> Result<bool> {
        if batch.staged.is_empty() {
            return Ok(true);
        }
        let staged = std::mem::take(&mut batch.staged);
        let no_longer_whole = batch.before.whole.is_some().then(|| (WHOLE.to_owned(), None));
        let change = Change { staged, gone: Vec::new(), records: no_longer_whole.into_iter().collect() };
        let published = self.publish_checked(recipe, table, calendar, report, change, &batch.before).await?;
        if published {
            let mut now = self.states.get(&recipe.name).cloned().unwrap_or_default();
            now.whole = None;
            self.states.set(recipe.name.clone(), now.clone());
            (batch.before, batch.rows) = (now, 0);
        } else {
            self.states.set(recipe.name.clone(), batch.before.clone());
        }
        Ok(published)
    }

    /// Takes away partitions that a warehouse built from nothing would not have.
    async fn take_away_obsolete(&mut self, recipe: &Recipe, table: &mut Table, report: &mut ModelReport) -> Result<()> {
        if self.obsolete.is_empty() {
            return Ok(());
        }
        let mut records: Vec<_> = self.obsolete.iter().map(|slot| (slot_domain(*slot), None)).collect();
        records.extend(self.forget_contents(table, &[], &self.obsolete.clone())?);
        publish(table, Vec::new(), &self.obsolete, records, self.publisher()).await?;
        let mut state = self.states.get(&recipe.name).cloned().unwrap_or_default();
        state.slots.retain(|slot, _| !self.obsolete.contains(slot));
        self.states.set(recipe.name.clone(), state);
        self.tables.insert(recipe.name.clone(), table.clone());
        report.changed += self.obsolete.len();
        Ok(())
    }

    async fn build_whole(
        &mut self,
        recipe: &Recipe,
        (table, query): (&mut Table, &Template),
        calendar: &Arc<dyn Calendar>,
        report: &mut ModelReport,
    ) -> Result<()> {
        let due = stale(&self.model, &[None], &self.states).into_iter().next().map(|(_, reason)| reason);
        let Some(reason) = due.or_else(|| (!self.forced.is_empty()).then_some(Reason::Forced)) else { return Ok(()) };
        report.note_reason(&reason);
        let before = self.states.get(&recipe.name).cloned().unwrap_or_default();
        let made_from = fingerprint(&self.model, None, &self.states);
        let inputs = self.inputs(None, false);
        let seat = Arc::clone(&self.seats).acquire_owned().await?;
        let staged = self.workshop.stage_whole(recipe, (table, query), &inputs, calendar).await?;
        drop(seat);
        let is_gone = |slot: &&Slot| !staged.iter().any(|s| s.slot == **slot);
        let gone: Vec<Slot> = before.slots.keys().filter(is_gone).copied().collect();
        let mut after =
            TableState { whole: Some(made_from.clone()), run: self.workshop.run.clone(), ..TableState::default() };
        (after.forms, after.columns) = (before.forms.clone(), before.columns.clone());
        for rows in &staged {
            after.slots.insert(rows.slot, built_state(&before, rows, None, &self.workshop.run).into());
        }
        self.states.set(recipe.name.clone(), after);
        let whole = WholeRecord { run: self.workshop.run.clone(), fingerprint: made_from };
        let mut records = vec![(WHOLE.to_owned(), Some(serde_json::to_string(&whole)?))];
        records.extend(gone.iter().map(|slot| (slot_domain(*slot), None)));
        let change = Change { staged, gone, records };
        if !self.publish_checked(recipe, table, calendar, report, change, &before).await? {
            self.states.set(recipe.name.clone(), before);
        }
        Ok(())
    }

    /// Checks staged partitions and publishes the ones that changed; `false` when a check forbids it.
    async fn publish_checked(
        &mut self,
        recipe: &Recipe,
        table: &mut Table,
        calendar: &Arc<dyn Calendar>,
        report: &mut ModelReport,
        Change { staged, gone, mut records }: Change,
        before: &TableState,
    ) -> Result<bool> {
        let inputs = self.inputs(None, true);
        let violations = self.workshop.check(recipe, table, &staged, &inputs, calendar).await?;
        let failed = violations.iter().any(|v| v.severity == Severity::Fail);
        report.checks = recipe.checks.len();
        report.violations.extend(violations);
        if failed {
            for rows in &staged {
                table.discard(&rows.files).await;
            }
            report.result = ModelResult::ChecksFailed;
            return Ok(false);
        }
        records.extend(self.forget_contents(table, &staged, &gone)?);
        records.extend(self.note_forms(&recipe.name)?);
        let now = self.states.get(&recipe.name).cloned().unwrap_or_default();
        let mut changed = Vec::new();
        for rows in staged {
            let state = now.slots.get(&rows.slot);
            report.note_built(rows.slot, rows.rows);
            let old = before.slots.get(&rows.slot);
            let unchanged = old.is_some_and(|old| old.version == rows.version);
            let is_recorded = unchanged && old.map(|old| &old.columns) == state.map(|state| &state.columns);
            let was_fresh_whole = is_recorded && before.whole.is_some() && !self.model.uses_day;
            if let Some(state) = state.filter(|_| !was_fresh_whole) {
                records.push((slot_domain(rows.slot), Some(serde_json::to_string(&SlotRecord::from(state.as_ref()))?)));
            }
            if unchanged {
                table.discard(&rows.files).await;
            } else {
                report.changed += 1;
                changed.push(rows);
            }
        }
        report.changed += gone.len();
        publish(table, changed, &gone, records, self.publisher()).await?;
        self.tables.insert(recipe.name.clone(), table.clone());
        Ok(true)
    }

    /// Notes of the partitions that stay that they are no longer what was made, where a commit gives the table other columns
    /// and they share files with those that come or go: they are written anew with these. The records of that.
    fn forget_contents(
        &mut self,
        table: &Table,
        staged: &[Staged],
        gone: &[Slot],
    ) -> Result<Vec<(String, Option<String>)>> {
        let (name, run) = (&self.model.name, &self.workshop.run);
        let mut records = Vec::new();
        if !table.is_reshaped() || table.partitioned() {
            return Ok(records);
        }
        let columns: Vec<_> = table.schema().fields().iter().map(|field| (field.name(), field.data_type())).collect();
        for (slot, partition) in self.states.get(name).cloned().unwrap_or_default().slots {
            if !gone.contains(&slot) && !staged.iter().any(|rows| rows.slot == slot) {
                let unlike = SlotState {
                    version: xxh3_64(format!("{:016x} {columns:?}", partition.version).as_bytes()),
                    rows: partition.rows,
                    rows_before: Some(partition.rows),
                    run: run.clone(),
                    ..SlotState::default()
                };
                records.push((slot_domain(slot), Some(serde_json::to_string(&SlotRecord::from(&unlike))?)));
                self.states.set_slot(name, slot, unlike);
            }
        }
        Ok(records)
    }

    /// Notes what the model means of which there is no partition, in the commit that gives its table the columns of that.
    async fn note_empty(&mut self, table: &mut Table) -> Result<()> {
        let name = self.model.name.clone();
        if self.states.get(&name).is_some_and(|state| !state.slots.is_empty() || state.whole.is_some()) {
            return Ok(());
        }
        let records = self.note_forms(&name)?;
        if !records.is_empty() || table.is_reshaped() {
            publish(table, Vec::new(), &[], records, self.publisher()).await?;
        }
        Ok(())
    }

    /// Notes what the model means, and forgets the meanings that no partition has any more; the records of that.
    fn note_forms(&mut self, name: &str) -> Result<Vec<(String, Option<String>)>> {
        let mut state = self.states.get(name).cloned().unwrap_or_default();
        let made_from = state.slots.values().filter_map(|slot| slot.fingerprint.as_ref()).chain(&state.whole);
        let mut used: BTreeSet<u64> = made_from.map(|fingerprint| fingerprint.meaning).collect();
        if state.slots.is_empty() {
            used.insert(self.model.meaning);
        }
        let mut records = Vec::new();
        for meaning in state.forms.keys().filter(|meaning| !used.contains(meaning)) {
            records.push((model_domain(*meaning), None));
        }
        state.forms.retain(|meaning, _| used.contains(meaning));
        let meaning = self.model.meaning;
        if used.contains(&meaning) && !state.forms.contains_key(&meaning) {
            let form = self.model.form();
            records.push((model_domain(meaning), Some(serde_json::to_string(&form)?)));
            state.forms.insert(meaning, Arc::new(form));
        }
        self.states.set(name, state);
        Ok(records)
    }

    fn publisher(&self) -> Publisher<'_> {
        Publisher { run: &self.workshop.run, now_ms: self.workshop.now_ms }
    }
}

/// Whether a file may hold rows of the partitions in some spans.
pub fn is_read(table: &Table, file: &FileRef, spans: &[Span]) -> bool {
    if table.partitioned() {
        return spans.iter().any(|span| span.contains(file.slot));
    }
    let Some((first, last)) = file.days else { return !spans.is_empty() };
    // Rows on no day may lie in any file.
    let overlaps = |span: &Span| {
        span.no_day || (span.to.is_none_or(|to| first <= to) && span.from.is_none_or(|from| from <= last))
    };
    spans.iter().any(overlaps)
}

/// The state of a partition as it was just staged: a version that did not change keeps the run that gave it.
fn built_state(before: &TableState, rows: &Staged, made_from: Option<Fingerprint>, run: &str) -> SlotState {
    let old = before.slots.get(&rows.slot);
    let (run, rows_before, confirmed) = match old.filter(|old| old.version == rows.version) {
        Some(same) => (same.run.clone(), same.rows_before, Some(run.to_owned())),
        None => (run.to_owned(), Some(old.map_or(0, |old| old.rows)), None),
    };
    let columns = if before.columns.is_empty() { Vec::new() } else { rows.columns.clone() };
    SlotState { version: rows.version, columns, rows: rows.rows, rows_before, fingerprint: made_from, run, confirmed }
}
