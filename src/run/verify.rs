//! Whether what is published is what its raw inputs make: partitions are built again in a scratch lake and compared.
//!
//! The published lake is only read, without the lock, and compared as it was at the beginning. A partition that the next
//! run would build says nothing against itself: it is counted and not compared.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use anyhow::{Result, anyhow};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::build::{Target, build};
use super::project::{Context, Project};
use super::report::ModelResult;
use super::scratch::{Landed, Scratch};
use super::turn::is_read;
use crate::date::{BizDate, Slot, slot_words};
use crate::error::{Advice, Exit, render};
use crate::lake::Table;
use crate::model::{Span, select};
use crate::plan::{Expected, Plan, SlotState, States, Window, begins, plan, wanted};
use crate::progress::{Event, counted};
use crate::transform::{Input, Workshop};

/// How often the state is read again because it changed meanwhile.
const ATTEMPTS: usize = 5;

/// Rows that are shown of a difference, each way.
const SHOWN_ROWS: usize = 3;

/// What is to be verified.
#[derive(Clone, Debug)]
pub struct VerifyRequest {
    /// The models, in the selection grammar.
    pub select: Vec<String>,
    /// The models left out.
    pub exclude: Vec<String>,
    /// The first day.
    pub from: Option<BizDate>,
    /// The last day.
    pub to: Option<BizDate>,
    /// How many partitions, drawn by the seed; all when absent.
    pub sample: Option<usize>,
    /// Another seed draws others.
    pub seed: u64,
    /// Where the scratch lake is made; beside the lake when absent.
    pub scratch: Option<PathBuf>,
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Verified {
    /// Partitions compared.
    pub partitions: usize,
    /// Models they are of.
    pub models: usize,
    /// Partitions that the next run would build, and that were not compared.
    pub stale: usize,
    /// Source tables that were not read from raw, and why.
    pub copied: BTreeMap<String, String>,
    /// What is published otherwise than its inputs make it.
    pub unlike: Vec<Unlike>,
}

/// A partition that is published otherwise than it is made.
#[derive(Debug)]
pub struct Unlike {
    /// The table.
    pub table: String,
    /// The partition.
    pub slot: Slot,
    /// What is different, in words, a line each.
    pub lines: Vec<String>,
}

/// The lake at one moment.
struct Published {
    states: States,
    tables: BTreeMap<String, Table>,
    landed: BTreeMap<String, Landed>,
}

/// Builds published partitions again from raw, in a scratch lake that goes away afterwards, and compares.
///
/// # Errors
/// When the project is wrong, the lake changes all the time, or the scratch lake cannot be written.
pub async fn verify(ctx: &Context, request: &VerifyRequest) -> Result<Verified> {
    let project = Project::open(ctx)?;
    let selected = select(&project.models, &request.select, &request.exclude).exit(Exit::Usage)?;
    let mut published = published(&project, &selected).await?;
    let mut verified = Verified::default();
    // What looks at all days saw those of every table.
    let last = |name: &str| published.states.get(name).and_then(|state| *state.slots.keys().next_back()?);
    let names = project.models.iter().map(|model| model.name.as_str());
    let Some(last) = names.filter_map(last).max() else { return Ok(verified) };
    let window = Window { from: request.from, to: request.to.unwrap_or(last) };
    let first_days = begins(&project.models, &published.states, &project.starts, project.start());
    let wanted = wanted(&project.models, &selected, window, &first_days, &published.states);
    let plan = plan(&project.models, &wanted, &first_days, &published.states, &Expected::default());
    let mut chosen = comparable(&published.states, &selected, window, &plan, &mut verified);
    if let Some(size) = request.sample {
        let number = |(name, slot): &(String, Slot)| {
            xxh3_64_with_seed(format!("{name} {}", slot_words(*slot)).as_bytes(), request.seed)
        };
        chosen.sort_by_key(number);
        chosen.truncate(size);
        chosen.sort();
    }
    // A table that is made in one go may lack partitions without being due.
    let is_due = |name: &String| plan.steps.iter().any(|step| step.model == *name && !step.slots.is_empty());
    let is_whole = |name: &&String| project.models.get(name).is_some_and(|model| !model.uses_day) && !is_due(name);
    let whole: Vec<&String> = selected.iter().filter(is_whole).filter(|_| request.sample.is_none()).collect();
    let mut names: BTreeSet<String> = chosen.iter().map(|(name, _)| name.clone()).collect();
    names.extend(whole.iter().filter(|name| published.tables.contains_key(**name)).map(|name| (*name).clone()));
    if names.is_empty() {
        return Ok(verified);
    }
    let mut scratch = Scratch::new(ctx, request.scratch.as_deref())?;
    ctx.reporter.report(Event::Note(format!("rebuilding in {}", scratch.folder().display())));
    let needed = wanted.keys().filter_map(|name| project.models.get(name));
    let needed: BTreeSet<&String> = needed.flat_map(|model| model.prerequisites()).map(|read| &read.table).collect();
    published.landed.retain(|name, _| needed.contains(name));
    scratch.ingest(ctx, &published.landed).await?;
    // All days after the earliest as well: what looks at all days is to see those that it saw.
    let from = chosen.iter().filter_map(|(_, slot)| *slot).min();
    let target = Target {
        selected: names.clone(),
        window: Window { from, to: last },
        force: false,
        incomplete: BTreeMap::new(),
    };
    let rebuilt = rebuild(ctx, &scratch, &target, &mut verified).await?;
    verified.copied = scratch.copied.clone();
    verified.models = names.len();
    for name in whole {
        let slots = |states: &States| -> Vec<Slot> {
            states.get(name).into_iter().flat_map(|state| state.slots.keys().copied()).collect()
        };
        let known = slots(&published.states);
        for slot in slots(&rebuilt).into_iter().filter(|slot| !known.contains(slot)) {
            let lines = vec!["made from raw again it is there, and it is not published".to_owned()];
            verified.unlike.push(Unlike { table: name.clone(), slot, lines });
        }
    }
    let workshop = scratch.project.workshop(&scratch.ctx);
    for (name, slot) in chosen {
        let Some(table) = published.tables.get(&name) else { continue };
        let Some(recorded) = published.states.get(&name).and_then(|state| state.slots.get(&slot)) else { continue };
        let other = scratch.project.lake.table(&name).await?;
        let again = rebuilt.get(&name).and_then(|state| state.slots.get(&slot));
        verified.partitions += 1;
        let of = Partition { project: &project, workshop: &workshop, name: &name, slot };
        let lines = of.compare(table, recorded, other.as_ref(), again.map(AsRef::as_ref)).await;
        if !lines.is_empty() {
            verified.unlike.push(Unlike { table: name, slot, lines });
        }
    }
    Ok(verified)
}

/// The selected tables and those of the sources, as they are at one moment.
async fn published(project: &Project, selected: &BTreeSet<String>) -> Result<Published> {
    for _ in 0..ATTEMPTS {
        let states = project.recorded().await?.states;
        let (mut tables, mut landed) = (BTreeMap::new(), BTreeMap::new());
        for name in selected {
            tables.extend(project.lake.table(name).await?.map(|table| (name.clone(), table)));
        }
        for name in project.models.sources() {
            if let Some(table) = project.lake.table(name).await? {
                landed.insert(name.to_owned(), (table, project.lake.records(name).await?));
            }
        }
        let again = project.recorded().await?.states;
        if tables.keys().chain(landed.keys()).all(|name| states.get(name) == again.get(name)) {
            return Ok(Published { states, tables, landed });
        }
    }
    Err(anyhow!("the lake changed each time it was looked at")).hint("a run is at work: verify when it is done")
}

/// The published partitions that are as the models and inputs of now would make them; the others are counted.
fn comparable(
    states: &States,
    selected: &BTreeSet<String>,
    window: Window,
    plan: &Plan,
    verified: &mut Verified,
) -> Vec<(String, Slot)> {
    let mut due: BTreeSet<(&str, Slot)> = BTreeSet::new();
    let mut due_whole: BTreeSet<&str> = BTreeSet::new();
    for step in plan.steps.iter().filter(|step| selected.contains(&step.model)) {
        let slots = step.slots.iter().map(|(slot, _)| slot).chain(&step.obsolete);
        due.extend(slots.map(|slot| (step.model.as_str(), *slot)));
        due_whole.extend((step.whole && !step.slots.is_empty()).then_some(step.model.as_str()));
    }
    verified.stale = due.len();
    let asked = Span { no_day: true, ..Span::days(window.from, Some(window.to)) };
    let mut chosen = Vec::new();
    for name in selected.iter().filter(|name| !due_whole.contains(name.as_str())) {
        let slots = states.get(name).into_iter().flat_map(|state| state.slots.keys());
        let slots = slots.filter(|slot| asked.contains(**slot) && !due.contains(&(name.as_str(), **slot)));
        chosen.extend(slots.map(|slot| (name.clone(), *slot)));
    }
    chosen
}

/// Builds all that the target needs in the scratch lake; what cannot be built is told.
async fn rebuild(ctx: &Context, scratch: &Scratch, target: &Target, verified: &mut Verified) -> Result<States> {
    let mut states = scratch.project.recorded().await?.states;
    ctx.reporter.report(Event::Note(format!("building {} again", counted(target.selected.len() as u64, "model"))));
    let reports = build(&scratch.ctx, &scratch.project, &mut states, target, &Plan::default()).await?;
    for report in reports.iter().filter(|report| report.result != ModelResult::Published) {
        let violations = report.violations.iter().map(ToString::to_string);
        let lines = report.error.iter().cloned().chain(violations).collect();
        verified.unlike.push(Unlike { table: report.model.clone(), slot: None, lines });
    }
    Ok(states)
}

/// A partition that is compared.
struct Partition<'a> {
    project: &'a Project,
    workshop: &'a Workshop,
    name: &'a str,
    slot: Slot,
}

impl Partition<'_> {
    /// What is different, a line each; nothing when all is the same.
    async fn compare(
        &self,
        table: &Table,
        recorded: &SlotState,
        other: Option<&Table>,
        again: Option<&SlotState>,
    ) -> Vec<String> {
        let grain = self.project.models.get(self.name).map(|model| model.grain.clone()).unwrap_or_default();
        let input = self.input(table);
        let mut lines = Vec::new();
        let is_read_back = match self.workshop.content(&input, self.slot, &grain).await {
            Ok((version, rows)) => {
                if version != recorded.version {
                    let read = words(rows, version);
                    lines.push(format!("read back {read}; recorded {}", words(recorded.rows, recorded.version)));
                }
                true
            }
            Err(error) => {
                lines.push(format!("it cannot be read back: {}", render(&error)));
                false
            }
        };
        match again {
            None => lines.push("made from raw again it is not there".to_owned()),
            Some(again) if again.version != recorded.version => {
                let (made, was) = (words(again.rows, again.version), words(recorded.rows, recorded.version));
                lines.push(format!("made from raw again {made}; recorded {was}"));
            }
            Some(_) => {}
        }
        if let Some(other) = other.filter(|_| is_read_back && !lines.is_empty()) {
            let other = self.input(other);
            for (what, one, two) in [("published", &input, &other), ("made again", &other, &input)] {
                // Other columns are told by the versions alone.
                let rows = self.workshop.only_in(one, two, self.slot, SHOWN_ROWS).await.unwrap_or_default();
                lines.extend(rows.into_iter().map(|row| format!("only {what}: {row}")));
            }
        }
        lines
    }

    fn input(&self, table: &Table) -> Input {
        let span = match self.slot {
            None => Span { no_day: true, ..Span::ALL },
            day => Span::days(day, day),
        };
        let files = table.files().iter().filter(|file| is_read(table, file, &[span])).cloned().collect();
        Input { name: self.name.to_owned(), table: table.clone(), files, sees: None }
    }
}

fn words(rows: u64, version: u64) -> String {
    format!("{}, version {version:016x}", counted(rows, "row"))
}
