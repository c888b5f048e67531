//! The whole record of one partition: what it is, what it was made from, and how that differs from today.

use std::fmt;

use anyhow::{Result, anyhow};
use serde::Serialize;

use super::project::{Context, Project};
use crate::date::{Slot, slot_words};
use crate::error::{Advice, Exit, nearest};
use crate::model::{Model, Read};
use crate::plan::{Fingerprint, SlotState, States, TableState, fingerprint, has_content, stale};
use crate::progress::counted;

/// More partitions of an input than these are not listed for people.
const LISTED: usize = 31;

/// What is recorded of a partition of a model, and what it would be made from today.
#[derive(Serialize)]
pub struct Explanation {
    /// The model.
    pub model: String,
    /// Its file.
    pub path: String,
    /// The partition: a day, `no day`, or nothing for all of a model that is made in one go.
    pub partition: Option<String>,
    /// What is published of it; nothing when there is none.
    pub published: Option<Published>,
    /// Why it would be built now; nothing when it is fresh.
    pub stale: Option<String>,
    /// Whether there is anything that it could be made from.
    pub has_content: bool,
    /// The hash of what the model meant when it was built.
    pub meaning_recorded: Option<String>,
    /// The hash of what it means today.
    pub meaning_today: String,
    /// The tables that it and its checks read.
    pub inputs: Vec<ExplainedInput>,
}

/// A published partition.
#[derive(Serialize)]
pub struct Published {
    /// Its day, or `no day`.
    pub partition: String,
    /// The version of its content.
    pub version: String,
    /// Its rows.
    pub rows: u64,
    /// Its rows in the version before.
    pub rows_before: Option<u64>,
    /// The run that gave it this version.
    pub run: String,
}

/// A table that a partition is made from, or checked against.
#[derive(Serialize)]
pub struct ExplainedInput {
    /// The table.
    pub table: String,
    /// Which of its partitions are read, in words.
    pub reads: String,
    /// The columns of them that it can see: a change of others is none to it. Nothing where they are not told apart.
    pub columns: Vec<String>,
    /// The hash of those that were read when it was built.
    pub recorded: Option<String>,
    /// The hash of those that would be read today.
    pub today: String,
    /// Those that would be read today.
    pub partitions: Vec<Published>,
}

impl Published {
    fn new(slot: Slot, state: &SlotState) -> Self {
        Self {
            partition: slot_words(slot),
            version: format!("{:016x}", state.version),
            rows: state.rows,
            rows_before: state.rows_before,
            run: state.run.clone(),
        }
    }
}

impl ExplainedInput {
    fn new(read: &Read, slot: Slot, states: &States, recorded: Option<&Fingerprint>, today: &Fingerprint) -> Self {
        let spans = read.spans(slot, states.days(&read.table));
        let is_read = |slot: Slot| spans.iter().any(|span| span.contains(slot));
        let slots = states.get(&read.table).into_iter().flat_map(|table| &table.slots);
        // To a query, partitions without rows do not differ from absent ones.
        let partitions = slots.filter(|(slot, state)| is_read(**slot) && state.rows > 0);
        let columns = states.get(&read.table).into_iter().flat_map(|table| &table.columns);
        let hash = |of: &Fingerprint| of.inputs.get(&read.table).map(|hash| format!("{:016x}", hash.0));
        Self {
            table: read.table.clone(),
            reads: read.to_string().split_once(": ").map_or_else(String::new, |(_, words)| words.to_owned()),
            columns: columns.filter(|column| read.columns.has(column)).cloned().collect(),
            recorded: recorded.and_then(hash),
            today: hash(today).unwrap_or_default(),
            partitions: partitions.map(|(slot, state)| Published::new(*slot, state)).collect(),
        }
    }
}

/// Explains a partition of a model: of a day, of `none`, or, for a model that is made in one go, all of it.
///
/// # Errors
/// When there is no such model, the day is none, or the lake cannot be read.
pub async fn explain(ctx: &Context, name: &str, day: Option<&str>) -> Result<Explanation> {
    let project = Project::open(ctx)?;
    let Some(model) = project.models.get(name) else {
        let hint = nearest(name, project.models.names()).map(|near| format!("did you mean `{near}`?"));
        let hint = hint.unwrap_or_else(|| "`strata ls` lists them".to_owned());
        return Err(anyhow!("there is no model `{name}`")).hint(hint).exit(Exit::Usage);
    };
    let asked: Option<Slot> = match day {
        None if model.uses_day => {
            let error = anyhow!("{name} is built by the day: say which");
            return Err(error).hint(format!("`strata plan --explain {name} 2026-01-05`")).exit(Exit::Usage);
        }
        None => None,
        Some("none") => Some(None),
        Some(day) => Some(Some(day.parse().exit(Exit::Usage)?)),
    };
    let recorded = project.recorded().await?;
    Ok(explained(model, asked, &recorded.states))
}

fn explained(model: &Model, asked: Option<Slot>, states: &States) -> Explanation {
    let table = states.get(&model.name);
    let slot = asked.flatten().filter(|_| model.uses_day);
    let published = asked.and_then(|slot| table?.slots.get(&slot).map(|state| Published::new(slot, state)));
    let made_from = |table: &TableState| match model.uses_day {
        true => table.slots.get(&slot)?.fingerprint.clone(),
        false => table.whole.clone(),
    };
    let recorded = table.and_then(made_from);
    let today = fingerprint(model, slot, states);
    let inputs = model.dependencies.iter();
    Explanation {
        model: model.name.clone(),
        path: model.path.clone(),
        partition: asked.map(slot_words),
        published,
        stale: stale(model, &[slot], states).first().map(|(_, reason)| reason.to_string()),
        has_content: has_content(model, slot, states),
        meaning_recorded: recorded.as_ref().map(|made| format!("{:016x}", made.meaning)),
        meaning_today: format!("{:016x}", today.meaning),
        inputs: inputs.map(|read| ExplainedInput::new(read, slot, states, recorded.as_ref(), &today)).collect(),
    }
}

/// Whether a recorded hash is today's, in words.
fn compared(recorded: Option<&str>, today: &str) -> String {
    match recorded {
        None => format!("{today} today, not recorded"),
        Some(recorded) if recorded == today => format!("{today}, as recorded"),
        Some(recorded) => format!("{recorded} recorded, {today} today: CHANGED"),
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let partition = self.partition.as_deref().unwrap_or("whole table");
        writeln!(f, "{} {partition}  ({})\n", self.model, self.path)?;
        match &self.published {
            Some(Published { version, rows, rows_before, run, .. }) => {
                writeln!(f, "version  {version}, given by run {run}")?;
                let before = match rows_before {
                    None => String::new(),
                    Some(0) => " (none before)".to_owned(),
                    Some(rows) => format!(" ({rows} in the version before)"),
                };
                writeln!(f, "rows     {}{before}", counted(*rows, "row"))?;
            }
            None if self.partition.is_some() => writeln!(f, "version  not published")?,
            None => {}
        }
        writeln!(f, "meaning  {}", compared(self.meaning_recorded.as_deref(), &self.meaning_today))?;
        match &self.stale {
            Some(reason) => writeln!(f, "state    stale: {reason}")?,
            None if self.has_content => writeln!(f, "state    fresh")?,
            None => writeln!(f, "state    nothing to be made from")?,
        }
        for input in &self.inputs {
            writeln!(f, "\n{}: {}", input.table, input.reads)?;
            if !input.columns.is_empty() {
                writeln!(f, "  sees   {}", input.columns.join(", "))?;
            }
            writeln!(f, "  hash   {}", compared(input.recorded.as_deref(), &input.today))?;
            let left = input.partitions.len().saturating_sub(LISTED);
            if left > 0 {
                writeln!(f, "  … {left} earlier ones")?;
            }
            for Published { partition, version, rows, run, .. } in &input.partitions[left..] {
                let run = if run.is_empty() { String::new() } else { format!("  run {run}") };
                writeln!(f, "  {partition:10}  version {version}  {}{run}", counted(*rows, "row"))?;
            }
        }
        Ok(())
    }
}
