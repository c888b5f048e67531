//! A step down: from rows of a model to the rows of what it reads, through each SELECT of its query.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result};
use arrow::array::RecordBatch;
use datafusion::sql::sqlparser::ast::Select;

use super::Reached;
use super::desk::{Desk, rows_in};
use super::told::Account;
use crate::date::{Slot, slot_words};
use crate::model::trace::{Around, Block, Given, Traced, Wanted, blocks, trace, with_clause};
use crate::model::{FIRST_LOADED_DAY, Model};
use crate::run::cells::text;

/// Follows rows of a model, kept in a table, down to those of the tables it reads.
pub async fn rows(
    desk: &Desk,
    model: &Model,
    found: &str,
    slots: &BTreeSet<Slot>,
    wanted: &Wanted,
    reached: &mut BTreeMap<String, Reached>,
    account: &mut Account,
) -> Result<()> {
    let query = Query::of(desk, model).await?;
    let slots: Vec<Option<Slot>> = match model.uses_day {
        true => slots.iter().copied().map(Some).collect(),
        false => vec![None],
    };
    for slot in slots {
        let of_day = match slot.filter(|_| model.is_partitioned()) {
            Some(Some(day)) => format!(" where dt = cast('{day}' as date)"),
            Some(None) => " where dt is null".to_owned(),
            None => String::new(),
        };
        let rows = desk.ask(&format!("select * from {found}{of_day}"), None).await?;
        let way = Way { desk, query: &query, slot, model };
        way.down(rows, wanted, reached, account).await.with_context(|| {
            format!("follow rows of {} {}", model.name, slot.map(slot_words).unwrap_or_default()).trim_end().to_owned()
        })?;
    }
    Ok(())
}

/// Notes the partitions of its inputs that partitions of a model were made from, where rows are not followed.
pub fn partitions(
    desk: &Desk,
    model: &Model,
    slots: &BTreeSet<Slot>,
    reason: Option<&str>,
    reached: &mut BTreeMap<String, Reached>,
) {
    for read in model.inputs().filter(|read| read.table != FIRST_LOADED_DAY) {
        let read_now = read_of(desk, model, &read.table, slots);
        let input = reached.entry(read.table.clone()).or_default();
        input.read.extend(read_now);
        input.not_by_rows.extend(reason.map(str::to_owned));
    }
}

/// The partitions of an input that partitions of a model read.
fn read_of(desk: &Desk, model: &Model, table: &str, slots: &BTreeSet<Slot>) -> BTreeSet<Slot> {
    let Some(read) = model.reads.iter().find(|read| read.table == table) else { return BTreeSet::new() };
    let Some(state) = desk.states.get(table) else { return BTreeSet::new() };
    let slots: Vec<Slot> = if model.uses_day { slots.iter().copied().collect() } else { vec![None] };
    let spans: Vec<_> = slots.iter().flat_map(|slot| read.spans(*slot, desk.states.days(table))).collect();
    state.slots.keys().copied().filter(|slot| spans.iter().any(|span| span.contains(*slot))).collect()
}

/// A model's query taken apart, with the columns of its blocks.
struct Query {
    blocks: Vec<Block>,
    columns: Vec<Vec<String>>,
}

impl Query {
    async fn of(desk: &Desk, model: &Model) -> Result<Self> {
        let blocks = blocks(&model.ast);
        let mut columns = Vec::new();
        for (at, block) in blocks.iter().enumerate() {
            columns.push(match &block.name {
                Some(name) => {
                    let with = with_clause(&blocks[..=at]);
                    desk.planned_columns(&format!("{with}select * from {name}")).await?
                }
                None => model.columns.iter().map(|column| column.name.clone()).collect(),
            });
        }
        Ok(Self { blocks, columns })
    }

    /// The block that a name means to the one at a place: the last of those before.
    fn block(&self, name: &str, before: usize) -> Option<usize> {
        self.blocks[..before].iter().rposition(|block| block.name.as_deref() == Some(name))
    }

    /// The tables of the lake that a block reads, through all blocks.
    fn tables(&self, at: usize) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        for name in &self.blocks[at].reads {
            match self.block(name, at) {
                Some(inner) => found.extend(self.tables(inner)),
                None => drop(found.insert(name.rsplit('.').next().unwrap_or(name).to_owned())),
            }
        }
        found
    }
}

/// What was found on the way: rows of blocks that are still to be followed, those of other tables, and what is told.
struct Found<'a> {
    open: BTreeMap<usize, (Vec<RecordBatch>, Wanted)>,
    reached: &'a mut BTreeMap<String, Reached>,
    account: &'a mut Account,
}

/// The rows of a block: in a table, and as they are.
struct Held<'a> {
    table: &'a str,
    rows: &'a [RecordBatch],
    wanted: &'a Wanted,
}

/// The way down through the query of one partition.
struct Way<'a> {
    desk: &'a Desk,
    query: &'a Query,
    slot: Option<Slot>,
    model: &'a Model,
}

impl Way<'_> {
    async fn down(
        &self,
        rows: Vec<RecordBatch>,
        wanted: &Wanted,
        reached: &mut BTreeMap<String, Reached>,
        account: &mut Account,
    ) -> Result<()> {
        let last = self.query.blocks.len() - 1;
        let mut found = Found { open: BTreeMap::from([(last, (rows, wanted.clone()))]), reached, account };
        // From the last block to the first: each comes after all that read it.
        while let Some((at, (rows, wanted))) = found.open.pop_last() {
            let table = self.desk.distinct(&rows).await?;
            let rows = self.desk.ask(&format!("select * from {table}"), None).await?;
            let held = Held { table: &table, rows: &rows, wanted: &wanted };
            match &self.query.blocks[at].selects {
                Ok(selects) => {
                    for select in selects {
                        self.through(at, select, &held, &mut found).await?;
                    }
                }
                Err(reason) => self.stop(at, reason, &mut found),
            }
            self.desk.forget(&table)?;
        }
        Ok(())
    }

    /// Through one SELECT of a block.
    async fn through(&self, at: usize, select: &Select, held: &Held<'_>, found: &mut Found<'_>) -> Result<()> {
        let names: Vec<String> = held
            .rows
            .first()
            .map(|batch| batch.schema().fields().iter().map(|field| field.name().clone()).collect())
            .unwrap_or_default();
        let given = Given { table: held.table, columns: &names };
        let traced = match self.turned(at, select, held.wanted, given) {
            Ok(traced) => traced,
            Err(reason) => {
                self.stop(at, &reason, found);
                return Ok(());
            }
        };
        let of = self.query.blocks[at].name.as_deref();
        let model = &self.model.name;
        for (column, formula) in &traced.formulas {
            found.account.formula(model, of, column, formula, value_of(held.rows, &names, column));
        }
        if let Some(block) = of.filter(|_| traced.is_grouped && !held.rows.is_empty()) {
            found.account.step(model, self.slot.unwrap_or_default(), block, rows_in(held.rows) as u64);
        }
        for words in &traced.windows {
            found.account.note(model, words);
        }
        let with = with_clause(&self.query.blocks[..at]);
        for request in traced.requests {
            let rows = self.desk.ask(&format!("{with}{}", request.sql), self.slot).await?;
            self.take(at, request.table, request.wanted, rows, found);
        }
        for (words, sql) in &traced.excluded {
            let rows = self.desk.number(&format!("{with}{sql}"), self.slot).await?;
            found.account.excluded(model, self.slot.unwrap_or_default(), of, words, rows);
        }
        for table in traced.tested {
            let tables = match self.query.block(&table, at) {
                Some(block) => self.query.tables(block),
                None => [table].into(),
            };
            found.account.tested(model, tables);
        }
        Ok(())
    }

    fn turned(&self, at: usize, select: &Select, wanted: &Wanted, given: Given<'_>) -> Result<Traced, String> {
        let (desk, query) = (self.desk, self.query);
        let columns = |table: &str| match query.block(table, at) {
            Some(block) => Some(query.columns[block].clone()),
            None => desk.columns(table),
        };
        let kept = |table: &str| match query.block(table, at) {
            Some(block) => query.columns[block].clone(),
            None => desk.identity(table),
        };
        let is_aggregate = |function: &str| desk.is_aggregate(function);
        let around = Around { columns: &columns, kept: &kept, is_aggregate: &is_aggregate };
        trace(select, &query.columns[at], wanted, given, &around)
    }

    /// Takes up rows of a block or a table that a block reads.
    fn take(&self, at: usize, table: String, wanted: Wanted, rows: Vec<RecordBatch>, found: &mut Found<'_>) {
        match self.query.block(&table, at) {
            // No row of its tables took part either, unless another way leads there.
            Some(block) if rows_in(&rows) == 0 => {
                for table in self.query.tables(block).into_iter().filter(|table| *table != self.model.name) {
                    let read = self.read(&table);
                    found.reached.entry(table).or_default().read.extend(read);
                }
            }
            Some(block) => {
                let (held, asked) = found.open.entry(block).or_default();
                held.extend(rows);
                asked.add(wanted);
            }
            None if table == self.model.name => {
                found.account.note(&table, &format!("{table} reads its own past"));
            }
            None => {
                let read = self.read(&table);
                let input = found.reached.entry(table).or_default();
                input.read.extend(read);
                input.wanted.add(wanted);
                input.rows.extend(rows.into_iter().filter(|batch| batch.num_rows() > 0));
            }
        }
    }

    /// Goes on by partitions where rows cannot be followed.
    fn stop(&self, at: usize, reason: &str, found: &mut Found<'_>) {
        let name = self.query.blocks[at].name.as_deref();
        let place = name.map_or_else(|| self.model.name.clone(), |name| format!("{} ({name})", self.model.name));
        for table in self.query.tables(at).into_iter().filter(|table| *table != self.model.name) {
            let read = self.read(&table);
            let input = found.reached.entry(table).or_default();
            input.read.extend(read);
            input.not_by_rows.insert(format!("{place}: {reason}"));
        }
    }

    fn read(&self, table: &str) -> BTreeSet<Slot> {
        read_of(self.desk, self.model, table, &[self.slot.unwrap_or_default()].into())
    }
}

/// The value that all of some rows have in a column, when there is one row.
fn value_of(rows: &[RecordBatch], names: &[String], column: &str) -> Option<String> {
    let at = names.iter().position(|name| name == column)?;
    let batch = rows.iter().find(|batch| batch.num_rows() > 0).filter(|_| rows_in(rows) == 1)?;
    Some(text(batch.column(at), 0).unwrap_or_else(|| "NULL".to_owned()))
}
