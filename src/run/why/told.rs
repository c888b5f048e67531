//! What an explanation says, line by line, in the order in which it is read: from the number down.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use serde::Serialize;

use super::Reached;
use super::desk::{Desk, quoted, rows_in, same};
use crate::date::Slot;
use crate::plan::{SlotState, folded};
use crate::run::cells::text;
use crate::run::moments::began_ms;

/// What a line is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Part {
    /// The number itself.
    Number,
    /// How a value was computed.
    Formula,
    /// Rows within a query that several rows became.
    Step,
    /// Rows that took part.
    Rows,
    /// Partitions that were read, with the run that gave them.
    Partition,
    /// A raw line or a row of an extract.
    Line,
    /// Something to know.
    #[default]
    Note,
    /// Rows that did not take part, and why.
    Excluded,
}

impl Part {
    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Number => "number",
            Self::Formula => "formula",
            Self::Step => "step",
            Self::Rows => "rows",
            Self::Partition => "partition",
            Self::Line => "line",
            Self::Excluded => "excluded",
            Self::Note => "note",
        }
    }
}

/// A line of an explanation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// What it is about.
    pub part: Part,
    /// The table.
    pub table: String,
    /// The days of its partitions; empty where it has none.
    pub days: String,
    /// How many rows.
    pub rows: Option<u64>,
    /// The version of the partition, where it is one.
    pub version: Option<String>,
    /// The run that gave it.
    pub run: Option<String>,
    /// When that run began, epoch milliseconds.
    pub at_ms: Option<i64>,
    /// The rest, in words.
    pub says: String,
}

impl Told {
    /// With the version and the run of a partition.
    pub fn made(self, state: Option<&SlotState>) -> Self {
        let Some(state) = state else { return self };
        let (run, at_ms) = (Some(state.run.clone()), began_ms(&state.run));
        Self { version: Some(format!("{:016x}", state.version)), run, at_ms, ..self }
    }
}

/// The lines told so far, and where those stand that gather numbers from several partitions.
#[derive(Default)]
pub struct Account {
    /// The lines, as they were found.
    pub told: Vec<Told>,
    formulas: BTreeMap<String, usize>,
    steps: BTreeMap<(String, String), (usize, BTreeSet<Slot>)>,
    excluded: BTreeMap<(String, String), (usize, BTreeSet<Slot>)>,
}

impl Account {
    /// Tells of a table's rows, in `found` where they were followed, and of the partitions read.
    pub async fn table(&mut self, desk: &Desk, table: &str, asked: &Reached, found: Option<&str>) -> Result<()> {
        let line = |part: Part| Told { part, table: table.to_owned(), ..Told::default() };
        for reason in &asked.not_by_rows {
            self.told.push(Told { says: format!("not by rows: {reason}"), ..line(Part::Note) });
        }
        if let Some(found) = found {
            let (rows, says) = measures(desk, table, asked, found).await?;
            let slots = desk.slots_of(found).await?;
            self.told.push(Told { days: days(&slots), rows: Some(rows), says, ..line(Part::Rows) });
        } else if asked.not_by_rows.is_empty() && !asked.is_beneath && desk.project.seeds.get(table).is_none() {
            let says = "none of its rows took part".to_owned();
            self.told.push(Told { days: days(&asked.read), rows: Some(0), says, ..line(Part::Rows) });
        }
        let Some(state) = desk.states.get(table) else { return Ok(()) };
        let mut by_run: BTreeMap<&str, BTreeSet<Slot>> = BTreeMap::new();
        for slot in &asked.read {
            if let Some(partition) = state.slots.get(slot) {
                by_run.entry(&partition.run).or_default().insert(*slot);
            }
        }
        for slots in by_run.into_values().filter(|_| desk.project.seeds.get(table).is_none()) {
            let partitions = slots.iter().filter_map(|slot| state.slots.get(slot));
            let rows = partitions.clone().map(|partition| partition.rows).sum();
            let told = Told { days: days(&slots), rows: Some(rows), ..line(Part::Partition) };
            let mut told = told.made(partitions.clone().next().map(AsRef::as_ref));
            told.says = "read".to_owned();
            if slots.len() > 1 {
                told.version = None;
                told.says = format!("{} partitions read", slots.len());
            }
            self.told.push(told);
        }
        Ok(())
    }

    /// Tells how a value was computed; said once, with the value when it is always the same.
    pub fn formula(&mut self, table: &str, block: Option<&str>, column: &str, formula: &str, value: Option<String>) {
        let place = block.map_or_else(|| column.to_owned(), |block| format!("{block}.{column}"));
        let value = value.map(|value| format!(" = {value}")).unwrap_or_default();
        let key = format!("{table} {place} {formula}");
        match self.formulas.get(&key) {
            Some(at) => {
                if self.told[*at].says != format!("{place}{value}: {formula}") {
                    self.told[*at].says = format!("{place}: {formula}");
                }
            }
            None => {
                self.formulas.insert(key, self.told.len());
                let says = format!("{place}{value}: {formula}");
                self.told.push(Told { part: Part::Formula, table: table.to_owned(), says, ..Told::default() });
            }
        }
    }

    /// Tells of rows that a condition left out.
    pub fn excluded(&mut self, table: &str, slot: Slot, block: Option<&str>, words: &str, rows: u64) {
        if rows == 0 {
            return;
        }
        let says = block.map_or_else(|| words.to_owned(), |block| format!("{words} ({block})"));
        let told = Told { part: Part::Excluded, table: table.to_owned(), says, ..Told::default() };
        gather(&mut self.told, &mut self.excluded, told, slot, rows);
    }

    /// Tells how many rows of a block within a query took part.
    pub fn step(&mut self, table: &str, slot: Slot, block: &str, rows: u64) {
        let says = format!("of {block}, within its query");
        let told = Told { part: Part::Step, table: table.to_owned(), says, ..Told::default() };
        gather(&mut self.told, &mut self.steps, told, slot, rows);
    }

    /// Tells of tables that rows were only looked up in.
    pub fn tested(&mut self, model: &str, tables: BTreeSet<String>) {
        for table in tables.into_iter().filter(|table| table != model) {
            self.note(&table, &format!("{model} only asks whether it has a row"));
        }
    }

    /// The lines in the order in which they are read: table by table from the number down, and part by part.
    pub fn in_order(mut self) -> Vec<Told> {
        let mut tables: BTreeMap<String, usize> = BTreeMap::new();
        for told in &self.told {
            let next = tables.len();
            tables.entry(told.table.clone()).or_insert(next);
        }
        self.told.sort_by_key(|told| (tables.get(&told.table).copied(), told.part));
        self.told
    }

    /// Tells something about a table, once.
    pub fn note(&mut self, table: &str, says: &str) {
        let told = Told { table: table.to_owned(), says: says.to_owned(), ..Told::default() };
        if !self.told.contains(&told) {
            self.told.push(told);
        }
    }
}

/// Adds rows of a partition to the line that says the same of others, or begins it.
fn gather(
    all: &mut Vec<Told>,
    places: &mut BTreeMap<(String, String), (usize, BTreeSet<Slot>)>,
    told: Told,
    slot: Slot,
    rows: u64,
) {
    let next = all.len();
    let (at, slots) = places.entry((told.table.clone(), told.says.clone())).or_insert((next, BTreeSet::new()));
    slots.insert(slot);
    if *at == next {
        all.push(told);
    }
    let told = &mut all[*at];
    told.rows = Some(told.rows.unwrap_or(0) + rows);
    told.days = days(slots);
}

/// Days in words; nothing for a table without days.
pub fn days(slots: &BTreeSet<Slot>) -> String {
    if *slots == [None].into() { String::new() } else { folded(slots) }
}

/// How many rows took part, and what their wanted columns come to.
async fn measures(desk: &Desk, table: &str, asked: &Reached, found: &str) -> Result<(u64, String)> {
    let columns = desk.columns(table).unwrap_or_default();
    let mut list = vec!["count(*) as rows".to_owned()];
    let mut words = Vec::new();
    for column in &asked.wanted.value {
        if asked.wanted.sums.contains(column) && desk.is_number(table, column) {
            list.push(format!("sum(t.{})", quoted(column)));
            words.push((format!("sum({column}) = "), format!("{column} = ")));
        } else if asked.wanted.distinct.contains(column) {
            list.push(format!("count(distinct t.{})", quoted(column)));
            words.push((format!("different {column}: "), format!("different {column}: ")));
        }
    }
    if columns.iter().any(|column| column == "copies") && desk.is_number(table, "copies") {
        list.push("sum(t.copies) - count(*)".to_owned());
        words.push(("copies dropped: ".to_owned(), "copies dropped: ".to_owned()));
    }
    let on = same("t", "f", &desk.identity(table));
    let list: Vec<String> =
        list.iter().enumerate().map(|(at, item)| format!("{} as m_{at}", item.trim_end_matches(" as rows"))).collect();
    let sql = format!("select {} from {table} as t inner join {found} as f on {on}", list.join(", "));
    let batches = desk.ask(&sql, None).await?;
    let Some(batch) = batches.iter().find(|batch| batch.num_rows() > 0) else { return Ok((0, String::new())) };
    debug_assert_eq!(rows_in(&batches), 1, "an aggregate without groups");
    let rows = text(batch.column(0), 0).and_then(|rows| rows.parse().ok()).unwrap_or(0);
    let value = |at: usize| text(batch.column(at), 0).unwrap_or_else(|| "NULL".to_owned());
    // Of one row there is nothing to add up.
    let word = |(of_many, of_one): &(String, String)| if rows == 1 { of_one.clone() } else { of_many.clone() };
    let says = words.iter().enumerate().map(|(at, words)| format!("{}{}", word(words), value(at + 1)));
    let says = says.filter(|says| says != "copies dropped: 0");
    Ok((rows, says.collect::<Vec<_>>().join("; ")))
}
