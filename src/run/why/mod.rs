//! Why a number of a published table is what it is: the rows it was made from, level by level down to the raw lines, with
//! the partitions and runs that gave them, and what was left out.
//!
//! Rows are followed through the SQL of the models ([`crate::model::trace`]), one SELECT at a time, in the snapshots
//! taken at the beginning. Where rows cannot be followed the partitions that are read are told instead, with the reason.

mod bottom;
mod desk;
mod follow;
mod told;

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, anyhow};
use arrow::array::RecordBatch;

pub use told::{Part, Told};

use super::cells::text;
use super::project::{Context, Project};
use crate::date::{BizDate, Slot, slot_words};
use crate::error::{Advice, Exit, nearest};
use crate::model::Model;
use crate::model::trace::Wanted;
use crate::plan::{folded, stale};
use desk::{Desk, alike, quoted, rows_in};
use told::Account;

/// Keys that are shown when several rows are meant.
const SHOWN_KEYS: usize = 5;

/// Partitions of a table whose rows are followed at most: each is a handful of queries.
const FOLLOWED_SLOTS: usize = 62;

/// The number that is asked about.
#[derive(Clone, Debug)]
pub struct WhyRequest {
    /// The table.
    pub table: String,
    /// The column.
    pub column: String,
    /// The partition.
    pub day: Option<BizDate>,
    /// A condition in SQL that its row meets and no other.
    pub condition: Option<String>,
    /// How many raw lines and rows to show.
    pub limit: usize,
}

/// What is asked of a table on the way down.
#[derive(Default)]
pub(super) struct Reached {
    /// The rows that took part, in the columns that tell rows apart; may hold one several times.
    rows: Vec<RecordBatch>,
    wanted: Wanted,
    /// The partitions that were read.
    read: BTreeSet<Slot>,
    /// Why its rows could not be followed, where something could not.
    not_by_rows: BTreeSet<String>,
    /// Whether it lies beneath a table whose rows were not followed.
    is_beneath: bool,
}

/// Explains a number; changes nothing and takes no lock.
///
/// # Errors
/// When there is no such number, or several, or the lake cannot be read.
pub async fn why(ctx: &Context, request: &WhyRequest) -> Result<Vec<Told>> {
    let project = Project::open(ctx)?;
    let model = asked(&project, request).exit(Exit::Usage)?.clone();
    let desk = Desk::open(ctx, project, &model).await?;
    let mut account = Account::default();
    let rows = cell(&desk, &model, request, &mut account).await?;
    let top = Reached { rows, wanted: Wanted::column(&request.column), ..Reached::default() };
    let mut reached = BTreeMap::from([(model.name.clone(), top)]);

    // Whether the number was made from rows of any table.
    let mut is_followed = false;
    let models: Vec<Model> = desk.project.models.iter().rev().cloned().collect();
    for model in &models {
        let Some(asked) = reached.remove(&model.name) else { continue };
        let found = if asked.rows.is_empty() { None } else { Some(desk.distinct(&asked.rows).await?) };
        if model.name != request.table {
            account.table(&desk, &model.name, &asked, found.as_deref()).await?;
        }
        let slots = match &found {
            Some(found) => desk.slots_of(found).await?,
            None => asked.read.clone(),
        };
        note_stale(&desk, model, &slots, &mut account);
        is_followed |= found.is_some() && model.name != request.table;
        match found {
            Some(found) if slots.len() <= FOLLOWED_SLOTS => {
                follow::rows(&desk, model, &found, &slots, &asked.wanted, &mut reached, &mut account).await?;
            }
            Some(_) => {
                let reason = format!("{} partitions: ask about one of them", slots.len());
                follow::partitions(&desk, model, &slots, Some(&reason), &mut reached);
            }
            None => {
                // What lies beneath a table whose rows were not followed was not followed either. Beneath one of which no
                // row took part something is to be told only if there is nothing else that the number was made from.
                let is_beneath = asked.is_beneath || !asked.not_by_rows.is_empty();
                is_followed |= reached.values().any(|input| !input.rows.is_empty());
                if is_beneath || !is_followed {
                    follow::partitions(&desk, model, &slots, None, &mut reached);
                    for read in model.inputs().filter(|_| is_beneath) {
                        if let Some(input) = reached.get_mut(&read.table) {
                            input.is_beneath = true;
                        }
                    }
                }
            }
        }
    }
    for (table, asked) in reached {
        bottom::source(ctx, &desk, &table, &asked, request.limit, &mut account).await?;
    }
    Ok(account.in_order())
}

/// The model of the number that is asked about, which must be there.
fn asked<'a>(project: &'a Project, request: &WhyRequest) -> Result<&'a Model> {
    let Some(model) = project.models.get(&request.table) else {
        if project.models.sources().any(|source| source == request.table) {
            let error = anyhow!("`{}` is a source table: its rows are as they came", request.table);
            return Err(error).hint(format!("`strata query \"select * from {} limit 10\"`", request.table));
        }
        let near = nearest(&request.table, project.models.names()).map(|near| format!("did you mean `{near}`?"));
        let hint = near.unwrap_or_else(|| "`strata ls` lists them".to_owned());
        return Err(anyhow!("there is no model `{}`", request.table)).hint(hint);
    };
    let names = || model.columns.iter().map(|column| column.name.as_str());
    if !names().any(|name| name == request.column) {
        let near = nearest(&request.column, names()).map(|near| format!("did you mean `{near}`?"));
        let hint = near.unwrap_or_else(|| format!("`strata show {}` lists them", model.name));
        return Err(anyhow!("{} has no column `{}`", model.name, request.column)).hint(hint);
    }
    if model.uses_day && request.day.is_none() {
        return Err(anyhow!("{} is made day by day: of which day?", model.name)).hint("add --dt YYYY-MM-DD");
    }
    if !model.is_partitioned() && request.day.is_some() {
        return Err(anyhow!("{} has no days", model.name)).hint("leave --dt out");
    }
    Ok(model)
}

/// Tells the number, and returns its row in the columns that tell rows apart.
async fn cell(desk: &Desk, model: &Model, request: &WhyRequest, account: &mut Account) -> Result<Vec<RecordBatch>> {
    let keys = desk.identity(&model.name);
    let mut conditions = Vec::new();
    conditions.extend(request.day.map(|day| format!("dt = cast('{day}' as date)")));
    conditions.extend(request.condition.as_ref().map(|condition| format!("({condition})")));
    let filter = if conditions.is_empty() { String::new() } else { format!(" where {}", conditions.join(" and ")) };
    let list: Vec<String> = keys.iter().map(|key| quoted(key)).collect();
    let (list, column) = (list.join(", "), quoted(&request.column));
    let shown = format!("select {list}, {column} as asked from {}{filter} limit {}", model.name, SHOWN_KEYS + 1);
    let found = desk.ask(&shown, None).await.exit(Exit::Usage)?;
    let count = rows_in(&found);
    let words = |batch: &RecordBatch, row: usize| {
        let cell = |(at, key): (usize, &String)| {
            format!("{key}={}", text(batch.column(at), row).unwrap_or_else(|| "NULL".to_owned()))
        };
        keys.iter().enumerate().map(cell).collect::<Vec<_>>().join(", ")
    };
    let batches = found.iter().flat_map(|batch| (0..batch.num_rows()).map(move |row| (batch, row)));
    let lines: Vec<String> = batches.clone().take(SHOWN_KEYS).map(|(batch, row)| words(batch, row)).collect();
    if count > 1 {
        let more = if count > SHOWN_KEYS { ", and more" } else { "" };
        let error = anyhow!("several rows of {} are meant:\n  {}{more}", model.name, lines.join("\n  "));
        let key = keys.iter().find(|key| *key != "dt").map_or("column", String::as_str);
        return Err(error).hint(format!("name one of them: --where \"{key} = …\"")).exit(Exit::Usage);
    }
    let Some((batch, row)) = batches.into_iter().next() else {
        let recorded = desk.states.get(&model.name).is_some_and(|state| state.slots.contains_key(&request.day));
        let hint = match (recorded, &request.condition, request.day) {
            (true, Some(_), _) => "its partition is there: the condition holds for none of its rows",
            (true, None, _) => "its partition is there, and has no rows",
            (false, _, Some(_)) => "its partition was not built: `strata plan` tells what would be",
            (false, _, None) => "`strata show` tells which partitions there are",
        };
        return Err(anyhow!("{} has no such row", model.name)).hint(hint).exit(Exit::Usage);
    };
    let value = text(batch.column(keys.len()), row).unwrap_or_else(|| "NULL".to_owned());
    let comment = model.columns.iter().find(|c| c.name == request.column).and_then(|c| c.comment.clone());
    let comment = comment.map(|comment| format!(" ({comment})")).unwrap_or_default();
    let day = keys.iter().position(|key| key == "dt").and_then(|at| text(batch.column(at), row));
    let slot: Slot = day.map(|day| day.parse()).transpose()?;
    let key = lines.first().cloned().unwrap_or_default();
    let state = desk.states.get(&model.name).and_then(|state| state.slots.get(&slot));
    let days = if model.is_partitioned() { slot_words(slot) } else { String::new() };
    let told =
        Told { rows: Some(1), says: format!("{} = {value}{comment}; row {key}", request.column), ..Told::default() };
    account
        .told
        .push(Told { part: Part::Number, table: model.name.clone(), days, ..told }.made(state.map(AsRef::as_ref)));
    alike(&desk.ask(&format!("select {list} from {}{filter}", model.name), None).await?)
}

/// Says so when what a partition was made from is not what its SQL would read today.
fn note_stale(desk: &Desk, model: &Model, slots: &BTreeSet<Slot>, account: &mut Account) {
    let slots: Vec<Slot> = slots.iter().copied().collect();
    let found = stale(model, &slots, &desk.states);
    let Some((_, reason)) = found.first() else { return };
    let of = found.iter().map(|(slot, _)| *slot).collect();
    let days = if model.uses_day { folded(&of) } else { String::new() };
    let says = format!("stale ({reason}): the rows beneath are today's and need not add up; `strata run` rebuilds it");
    account.told.push(Told { part: Part::Note, table: model.name.clone(), days, says, ..Told::default() });
}
