//! A step down: from rows of a model to the rows of what it reads, through each SELECT of its query.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result};
use arrow::array::RecordBatch;

use super::Reached;
use super::desk::{Desk, rows_in};
use super::told::Account;
use crate::date::{Slot, slot_words};
use crate::model::trace::{Around, Block, Given, Wanted, blocks, trace, with_clause};
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
        let mut open: BTreeMap<usize, (Vec<RecordBatch>, Wanted)> = BTreeMap::from([(last, (rows, wanted.clone()))]);
        // From the last block to the first: each comes after all that read it.
        while let Some((at, (rows, wanted))) = open.pop_last() {
            let held = self.desk.distinct(&rows).await?;
            let given = self.desk.ask(&format!("select * from {held}"), None).await?;
            match self.query.blocks[at].selects.clone() {
                Ok(selects) => {
                    for select in selects {
                        self.through(at, &select, &held, &given, &wanted, (&mut open, &mut *reached), account).await?;
                    }
                }
                Err(reason) => self.stop(at, &reason, reached),
            }
            self.desk.forget(&held)?;
        }
        Ok(())
    }

    /// Through one SELECT of a block.
    #[expect(clippy::too_many_arguments, reason = "what was found, what is asked, and where it goes")]
    async fn through(
        &self,
        at: usize,
        select: &datafusion::sql::sqlparser::ast::Select,
        held: &str,
        given: &[RecordBatch],
        wanted: &Wanted,
        (open, reached): (&mut BTreeMap<usize, (Vec<RecordBatch>, Wanted)>, &mut BTreeMap<String, Reached>),
        account: &mut Account,
    ) -> Result<()> {
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
        let names: Vec<String> = given
            .first()
            .map(|batch| batch.schema().fields().iter().map(|field| field.name().clone()).collect())
            .unwrap_or_default();
        let output = &query.columns[at];
        let traced = match trace(select, output, wanted, Given { table: held, columns: &names }, &around) {
            Ok(traced) => traced,
            Err(reason) => {
                self.stop(at, &reason, reached);
                return Ok(());
            }
        };
        let of = query.blocks[at].name.as_deref();
        for (column, formula) in &traced.formulas {
            account.formula(&self.model.name, of, column, formula, value_of(given, &names, column));
        }
        let with = with_clause(&query.blocks[..at]);
        for request in traced.requests {
            let found = desk.ask(&format!("{with}{}", request.sql), self.slot).await?;
            match query.block(&request.table, at) {
                Some(_) if rows_in(&found) == 0 => {}
                Some(block) => {
                    let (rows, wanted) = open.entry(block).or_default();
                    rows.extend(found);
                    wanted.add(request.wanted);
                }
                None if request.table == self.model.name => {
                    let reason = format!("{} reads its own past", self.model.name);
                    account.note(&self.model.name, &reason);
                }
                None => {
                    let read = self.read(&request.table);
                    let input = reached.entry(request.table).or_default();
                    input.read.extend(read);
                    input.wanted.add(request.wanted);
                    input.rows.extend(found.into_iter().filter(|batch| batch.num_rows() > 0));
                }
            }
        }
        for (words, sql) in &traced.excluded {
            let rows = desk.number(&format!("{with}{sql}"), self.slot).await?;
            account.excluded(&self.model.name, self.slot.unwrap_or_default(), of, words, rows);
        }
        for table in traced.tested {
            let tables = match query.block(&table, at) {
                Some(block) => query.tables(block),
                None => [table].into(),
            };
            account.tested(&self.model.name, tables);
        }
        Ok(())
    }

    /// Goes on by partitions where rows cannot be followed.
    fn stop(&self, at: usize, reason: &str, reached: &mut BTreeMap<String, Reached>) {
        let name = self.query.blocks[at].name.as_deref();
        let place = name.map_or_else(|| self.model.name.clone(), |name| format!("{} ({name})", self.model.name));
        for table in self.query.tables(at).into_iter().filter(|table| *table != self.model.name) {
            let read = self.read(&table);
            let input = reached.entry(table).or_default();
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
