//! Which runs changed a number: the versions of its table in which its partition changed, and what it was in each.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use anyhow::{Result, anyhow, bail};
use arrow::array::RecordBatch;
use datafusion::catalog::TableProvider;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::Expr;
use datafusion::prelude::{ident, lit};

use super::cells::text;
use super::moments::began_ms;
use super::project::{Context, Project};
use super::records::{SlotRecord, WHOLE, WholeRecord, slot_of, table_state};
use crate::date::{BizDate, Slot};
use crate::engine::LakeScan;
use crate::error::{Advice, Exit, nearest};
use crate::lake::{RecordChange, Table, Version};
use crate::plan::{Fingerprint, States, folded};

/// A run that changed a number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Turning {
    /// The run; empty for what was there before all that the log still tells of.
    pub run: String,
    /// When it began, epoch milliseconds.
    pub at_ms: i64,
    /// The version of the table that it made.
    pub version: u64,
    /// What it was.
    pub before: Value,
    /// What it became.
    pub after: Value,
    /// Why the partition was built, in words.
    pub why: String,
}

/// A cell that may not be there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// There is no row of the key.
    NoRow,
    /// NULL.
    Null,
    /// Something.
    Text(String),
}

/// What a partition was made from, by its record and that of the table.
#[derive(Clone, Default)]
struct Made {
    version: String,
    fingerprint: Option<Fingerprint>,
}

/// Finds the runs that changed a cell, oldest first.
///
/// # Errors
/// When there is no such table or column, the key is of several rows, or the lake cannot be read.
pub async fn bisect(ctx: &Context, name: &str, key: &str, column: &str) -> Result<Vec<Turning>> {
    let project = Project::open(ctx)?;
    let Some(newest) = project.lake.table(name).await? else {
        let all = project.lake.all_tables().await?;
        let near = nearest(name, all.iter().map(String::as_str)).map(|near| format!("did you mean `{near}`?"));
        let hint = near.unwrap_or_else(|| "`strata query \"show tables\"` lists them".to_owned());
        return Err(anyhow!("there is no table `{name}`")).hint(hint).exit(Exit::Usage);
    };
    let cell = Cell::of(&newest, key, column).exit(Exit::Usage)?;
    let Some(oldest) = project.lake.oldest_version(name).await? else { bail!("{name} has no log") };
    let mut made = Making::of(project.lake.records_at(name, oldest).await?)?;
    let mut value = cell.read(&project, &project.lake.table_at(name, oldest).await?).await?;
    let mut turnings = Vec::new();
    if oldest > 0 && value != Value::NoRow {
        let why = format!("its log begins with version {oldest}; what was before is gone");
        let (before, after) = (Value::NoRow, value.clone());
        turnings.push(Turning { run: String::new(), at_ms: 0, version: oldest, before, after, why });
    }
    for (version, records) in project.lake.recordings(name).await? {
        if version.version <= oldest {
            continue;
        }
        let before = made.clone();
        made.take(records)?;
        let slots = made.changed(&before, cell.day.map(Some));
        if slots.is_empty() {
            continue;
        }
        let after = cell.read(&project, &project.lake.table_at(name, version.version).await?).await?;
        if after == value {
            continue;
        }
        let why = why(&project, name, &version, &before, &made, &slots).await?;
        let at_ms = began_ms(&version.run).unwrap_or(version.at_ms);
        let before = std::mem::replace(&mut value, after.clone());
        turnings.push(Turning { run: version.run, at_ms, version: version.version, before, after, why });
    }
    Ok(turnings)
}

/// The cell that is followed.
struct Cell {
    column: String,
    key: Vec<(String, String)>,
    day: Option<BizDate>,
}

impl Cell {
    /// A column of the row with a key like `dt=2026-01-05,goods_id=7`.
    fn of(table: &Table, key: &str, column: &str) -> Result<Self> {
        let names = || table.schema().fields().iter().map(|field| field.name().as_str());
        let known = |name: &str| {
            if names().any(|known| known == name) {
                return Ok(());
            }
            let near = nearest(name, names()).map(|near| format!("did you mean `{near}`?"));
            let hint = near.unwrap_or_else(|| format!("`strata query \"describe {}\"` lists them", table.name()));
            Err(anyhow!("{} has no column `{name}`", table.name())).hint(hint)
        };
        known(column)?;
        let mut pairs: Vec<(String, String)> = Vec::new();
        for part in key.split(',') {
            match (part.split_once('='), pairs.last_mut()) {
                (Some((name, value)), _) => pairs.push((name.trim().to_owned(), value.to_owned())),
                // A comma within a value.
                (None, Some((_, value))) => *value = format!("{value},{part}"),
                (None, None) => {
                    return Err(anyhow!("`{key}` is not a key")).hint("write it like dt=2026-01-05,goods_id=7");
                }
            }
        }
        pairs.iter().try_for_each(|(name, _)| known(name))?;
        let day = pairs.iter().find(|(name, _)| name == "dt").map(|(_, day)| day.parse()).transpose()?;
        Ok(Self { column: column.to_owned(), key: pairs, day })
    }

    /// What it was in a version of its table.
    async fn read(&self, project: &Project, table: &Table) -> Result<Value> {
        let scan = LakeScan::of(table)?;
        let schema = scan.schema();
        let has = |name: &str| schema.field_with_name(name).is_ok();
        if !has(&self.column) || !self.key.iter().all(|(name, _)| has(name)) {
            return Ok(Value::NoRow);
        }
        let session = project.engine.session_for(table.files().iter().map(|file| file.rows).sum());
        session.register_table("x", Arc::new(scan))?;
        let mut rows = session.table("x").await?;
        for (name, value) in &self.key {
            let wanted: Expr = if value == "NULL" {
                ident(name).is_null()
            } else {
                let kind = schema.field_with_name(name)?.data_type();
                let value = ScalarValue::try_from_string(value.clone(), kind);
                let value = value.map_err(|_| anyhow!("`{name}` is never `{}`: it is of type {kind}", self.word(name)));
                ident(name).eq(lit(value.exit(Exit::Usage)?))
            };
            rows = rows.filter(wanted)?;
        }
        let found = rows.select(vec![ident(&self.column)])?.limit(0, Some(2))?.collect().await?;
        let count: usize = found.iter().map(RecordBatch::num_rows).sum();
        if count > 1 {
            let grain = project.models.get(table.name()).map(|model| model.grain.join(", "));
            let hint =
                grain.map_or_else(|| "name more columns".to_owned(), |grain| format!("its rows are told by {grain}"));
            return Err(anyhow!("several rows of {} have that key", table.name())).hint(hint).exit(Exit::Usage);
        }
        let Some(row) = found.iter().find(|batch| batch.num_rows() > 0) else { return Ok(Value::NoRow) };
        Ok(text(row.column(0), 0).map_or(Value::Null, Value::Text))
    }

    fn word(&self, name: &str) -> &str {
        self.key.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value)
    }
}

/// What is recorded of a table's partitions, moved on from version to version.
#[derive(Clone, Default)]
struct Making {
    slots: BTreeMap<Slot, Made>,
    whole: Option<Fingerprint>,
}

impl Making {
    fn of(records: BTreeMap<String, String>) -> Result<Self> {
        let mut making = Self::default();
        making.take(records.into_iter().map(|(domain, text)| (domain, Some(text))).collect())?;
        Ok(making)
    }

    fn take(&mut self, records: Vec<RecordChange>) -> Result<()> {
        for (domain, text) in records {
            if domain == WHOLE {
                let whole = text.map(|text| serde_json::from_str::<WholeRecord>(&text)).transpose()?;
                self.whole = whole.map(|whole| whole.fingerprint);
            } else if let Some(slot) = slot_of(&domain)? {
                match text.map(|text| serde_json::from_str::<SlotRecord>(&text)).transpose()? {
                    Some(SlotRecord { version, fingerprint, .. }) => {
                        self.slots.insert(slot, Made { version, fingerprint });
                    }
                    None => drop(self.slots.remove(&slot)),
                }
            }
        }
        Ok(())
    }

    /// The partitions, of the wanted ones, that have another version than before.
    fn changed(&self, before: &Self, wanted: Option<Slot>) -> Vec<Slot> {
        let version = |making: &Self, slot: Slot| making.slots.get(&slot).map(|made| made.version.clone());
        let slots: BTreeSet<Slot> = self.slots.keys().chain(before.slots.keys()).copied().collect();
        let is_wanted = |slot: Slot| wanted.is_none_or(|wanted| wanted == slot);
        slots.into_iter().filter(|slot| is_wanted(*slot) && version(self, *slot) != version(before, *slot)).collect()
    }
}

/// Why a run changed a partition: what it was made from differs from what it had been made from. By the lake alone.
async fn why(
    project: &Project,
    name: &str,
    version: &Version,
    before: &Making,
    after: &Making,
    slots: &[Slot],
) -> Result<String> {
    if version.operation != "build" {
        return Ok(version.operation.clone());
    }
    let Some(slot) = slots.first() else { return Ok(String::new()) };
    let made_from = |making: &Making| match &making.whole {
        Some(whole) => Some(whole.clone()),
        None => making.slots.get(slot).and_then(|made| made.fingerprint.clone()),
    };
    let (Some(old), Some(new)) = (made_from(before), made_from(after)) else {
        return Ok(
            if after.slots.contains_key(slot) { "first built" } else { "nothing is left to make it from" }.to_owned()
        );
    };
    if old.meaning != new.meaning {
        return Ok("SQL changed".to_owned());
    }
    let past = project.lake.after(&version.run);
    let mut words = Vec::new();
    for table in old.inputs.keys().chain(new.inputs.keys().filter(|table| !old.inputs.contains_key(*table))) {
        if old.inputs.get(table) == new.inputs.get(table) {
            continue;
        }
        let state = table_state(&past.records(table).await.unwrap_or_default(), Vec::new())?.unwrap_or_default();
        let mut of_run: BTreeSet<Slot> =
            state.slots.iter().filter(|(_, made)| made.run == version.run).map(|(slot, _)| *slot).collect();
        if let Some(read) = project.models.get(name).and_then(|m| m.dependencies.iter().find(|r| r.table == *table)) {
            let mut states = States::default();
            states.set(table.clone(), state);
            let spans = read.spans(*slot, states.days(table));
            of_run.retain(|slot| spans.iter().any(|span| span.contains(*slot)));
        }
        let days = if of_run == [None].into() { String::new() } else { folded(&of_run) };
        words.push(format!("{table}{}{days}", if days.is_empty() { "" } else { " " }));
    }
    Ok(if words.is_empty() { "forced".to_owned() } else { format!("input {} changed", words.join(", ")) })
}
