//! What is different in the warehouse after one run and after another: partitions, rows, cells.
//!
//! Only partitions whose recorded versions differ are read, and of these only the files that both states do not share.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, anyhow};
use arrow::datatypes::{DataType, Schema};
use datafusion::execution::context::SessionContext;
use futures::{StreamExt, TryStreamExt};

use super::cells::{Change, Differing, compare};
use super::moments::run_meant;
use super::project::{Context, Project};
use super::records::table_state;
use super::undo::changed;
use crate::date::Slot;
use crate::engine::{LakeScan, memory_table, query_stream};
use crate::error::{Advice, Exit, nearest};
use crate::lake::{FileRef, Lake, Table};
use crate::plan::TableState;

/// Tables that are looked at at once.
const CONCURRENT_TABLES: usize = 16;

/// What is to be compared.
#[derive(Clone, Debug)]
pub struct DiffRequest {
    /// The run after which the first state was: a name, the beginning of one, or a time.
    pub before: String,
    /// The run after which the second state was.
    pub after: String,
    /// The tables whose changed cells are wanted; of all tables, only counts, when empty.
    pub tables: Vec<String>,
    /// How many changes to list at most; the counts are of all.
    pub limit: usize,
}

/// How two states differ.
#[derive(Debug, Default)]
pub struct Diff {
    /// The run after which the first state was.
    pub before: String,
    /// The run after which the second state was.
    pub after: String,
    /// The tables that differ.
    pub tables: Vec<TableDiff>,
    /// The changes of the tables that were asked for, each with its table.
    pub changes: Vec<(String, Change)>,
    /// Rows that differ beyond the limit.
    pub unlisted: u64,
}

/// How a table differs.
#[derive(Debug, Default)]
pub struct TableDiff {
    /// The table.
    pub table: String,
    /// The partitions that differ.
    pub slots: Vec<Slot>,
    /// The rows that differ.
    pub rows: Differing,
    /// Columns that came (`+`), went (`-`) or changed their type (`~`); cells of those that came or went are not compared.
    pub columns: Vec<String>,
}

/// A table in one of the states.
#[derive(Clone)]
struct State {
    table: Option<Table>,
    recorded: TableState,
}

/// Compares the warehouse after two runs.
///
/// # Errors
/// When there is no such run or table, what it was is gone, or the lake cannot be read.
pub async fn diff(ctx: &Context, request: &DiffRequest) -> Result<Diff> {
    let project = Project::open(ctx)?;
    let before = run_meant(ctx, &project.lake, &request.before).await?;
    let after = run_meant(ctx, &project.lake, &request.after).await?;
    let names = tables(&project.lake, &request.tables).await?;
    let lakes = [&before, &after].map(|run| project.lake.after(run));
    let states: Vec<(String, State, State)> = futures::stream::iter(names)
        .map(|name| {
            let lakes = &lakes;
            async move {
                let (before, after) = (state(&lakes[0], &name).await?, state(&lakes[1], &name).await?);
                Ok::<_, anyhow::Error>((name, before, after))
            }
        })
        .buffered(CONCURRENT_TABLES)
        .try_collect()
        .await?;
    let mut diff = Diff { before, after, ..Diff::default() };
    for (name, before, after) in states {
        let keys = project.models.get(&name).map(|model| model.grain.clone()).unwrap_or_default();
        let mut listing = Listing { room: request.limit.saturating_sub(diff.changes.len()), ..Listing::default() };
        listing.room = if request.tables.is_empty() { 0 } else { listing.room };
        let found = compared(&project, &name, &keys, [before, after], &mut listing).await?;
        diff.tables.extend(found);
        diff.changes.extend(listing.changes.into_iter().map(|change| (name.clone(), change)));
        diff.unlisted += listing.unlisted;
    }
    Ok(diff)
}

/// The changes of a table, as many as there is room for.
#[derive(Default)]
struct Listing {
    room: usize,
    changes: Vec<Change>,
    unlisted: u64,
}

/// The tables asked for; all when none is.
async fn tables(lake: &Lake, wanted: &[String]) -> Result<Vec<String>> {
    let all = lake.all_tables().await?;
    for name in wanted {
        if !all.contains(name) {
            let near = nearest(name, all.iter().map(String::as_str)).map(|near| format!("did you mean `{near}`?"));
            let hint = near.unwrap_or_else(|| "`strata query \"show tables\"` lists them".to_owned());
            return Err(anyhow!("there is no table `{name}`")).hint(hint).exit(Exit::Usage);
        }
    }
    Ok(if wanted.is_empty() { all } else { wanted.to_vec() })
}

async fn state(lake: &Lake, name: &str) -> Result<State> {
    let table = lake.table(name).await?;
    let recorded = table_state(&lake.records(name).await?, Vec::new())?.unwrap_or_default();
    Ok(State { table, recorded })
}

/// How one table differs, with as many changes as are wanted; `None` when it does not.
async fn compared(
    project: &Project,
    name: &str,
    keys: &[String],
    states: [State; 2],
    listing: &mut Listing,
) -> Result<Option<TableDiff>> {
    let [before, after] = &states;
    let versions = [before, after].map(|state| state.table.as_ref().map(Table::version));
    if versions[0] == versions[1] {
        return Ok(None);
    }
    let files = [files_apart(before, after), files_apart(after, before)];
    let is_recorded = !before.recorded.slots.is_empty() || !after.recorded.slots.is_empty();
    let slots = match is_recorded {
        true => changed(&before.recorded, &after.recorded),
        // The rejects have no recorded partitions: what their files say has to do.
        false => files.iter().flatten().map(|file| file.slot).collect::<BTreeSet<_>>().into_iter().collect(),
    };
    let (shared, columns) = columns(before, after);
    if slots.is_empty() && columns.is_empty() {
        return Ok(None);
    }
    let mut diff = TableDiff { table: name.to_owned(), slots, columns, ..TableDiff::default() };
    if diff.slots.is_empty() || shared.is_empty() {
        return Ok(Some(diff));
    }
    let is_key = |column: &&Shared| keys.contains(&column.name);
    // Where the key is not a key of both states, rows are told by all they say.
    let has_keys = !keys.is_empty() && shared.iter().filter(is_key).count() == keys.len();
    let (key, rest): (Vec<&Shared>, Vec<&Shared>) = shared.iter().partition(|column| !has_keys || is_key(column));
    let rows = files.iter().flatten().map(|file| file.rows).sum();
    let session = project.engine.session_for(rows);
    let mut streams = Vec::new();
    for (side, (state, files)) in ["before", "after"].into_iter().zip(states.iter().zip(&files)) {
        register(&session, side, state, &states, files)?;
        let order: Vec<String> = key.iter().map(|column| format!("{} asc nulls first", column.sql())).collect();
        let list: Vec<String> =
            key.iter().chain(&rest).map(|column| format!("{} as {}", column.sql(), quoted(&column.name))).collect();
        let filter = filter(&shared, &diff.slots);
        let sql = format!("select {} from {side} as x {filter} order by {}", list.join(", "), order.join(", "));
        streams.push(query_stream(&session, &sql).await?);
    }
    let (Some(second), Some(first)) = (streams.pop(), streams.pop()) else { return Ok(None) };
    diff.rows = compare(first, second, key.len(), |told| match listing.changes.len() < listing.room {
        true => listing.changes.extend(told()),
        false => listing.unlisted += 1,
    })
    .await?;
    Ok(Some(diff))
}

/// The files of a state that the other has not.
fn files_apart(one: &State, other: &State) -> Vec<FileRef> {
    let files = |state: &State| state.table.as_ref().map(|table| table.files().to_vec()).unwrap_or_default();
    let shared: BTreeSet<String> = files(other).into_iter().map(|file| file.path).collect();
    files(one).into_iter().filter(|file| !shared.contains(&file.path)).collect()
}

/// A column that both states have.
struct Shared {
    name: String,
    /// Whether it has another type in each: it is compared as text then.
    retyped: bool,
}

impl Shared {
    fn sql(&self) -> String {
        let column = format!("x.{}", quoted(&self.name));
        if self.retyped { format!("arrow_cast({column}, 'Utf8View')") } else { column }
    }
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// The columns that both states have, and in words how the others differ. A state without the table has the other's.
fn columns(before: &State, after: &State) -> (Vec<Shared>, Vec<String>) {
    let schema = |state: &State| state.table.as_ref().map(|table| table.schema().clone());
    let (Some(old), Some(new)) = (schema(before).or_else(|| schema(after)), schema(after).or_else(|| schema(before)))
    else {
        return (Vec::new(), Vec::new());
    };
    let kinds = |schema: &Schema| -> BTreeMap<String, DataType> {
        schema.fields().iter().map(|field| (field.name().clone(), field.data_type().clone())).collect()
    };
    let (old_kinds, new_kinds) = (kinds(&old), kinds(&new));
    let (mut shared, mut words) = (Vec::new(), Vec::new());
    for field in new.fields() {
        let name = field.name().clone();
        match old_kinds.get(&name) {
            None => words.push(format!("+{name}")),
            Some(kind) => {
                let retyped = kind != field.data_type();
                if retyped {
                    words.push(format!("~{name}"));
                }
                shared.push(Shared { name, retyped });
            }
        }
    }
    words.extend(old_kinds.keys().filter(|name| !new_kinds.contains_key(*name)).map(|name| format!("-{name}")));
    (shared, words)
}

/// Makes a state's own files known to a session.
fn register(session: &SessionContext, side: &str, state: &State, both: &[State; 2], files: &[FileRef]) -> Result<()> {
    let other = both.iter().find_map(|state| state.table.as_ref());
    match (&state.table, other) {
        (Some(table), _) => {
            session.register_table(side, std::sync::Arc::new(LakeScan::new(table, files, Vec::new())?))?;
        }
        (None, Some(other)) => drop(session.register_table(side, memory_table(other.schema(), &[])?)?),
        (None, None) => {}
    }
    Ok(())
}

/// The rows of the partitions that differ.
fn filter(shared: &[Shared], slots: &[Slot]) -> String {
    if !shared.iter().any(|column| column.name == "dt") {
        return String::new();
    }
    let days: Vec<String> = slots.iter().flatten().map(|day| format!("date '{day}'")).collect();
    let of_days = (!days.is_empty()).then(|| format!("x.dt in ({})", days.join(", ")));
    let of_none = slots.contains(&None).then(|| "x.dt is null".to_owned());
    let parts: Vec<String> = of_days.into_iter().chain(of_none).collect();
    if parts.is_empty() { String::new() } else { format!("where {}", parts.join(" or ")) }
}
