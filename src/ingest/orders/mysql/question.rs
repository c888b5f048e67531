//! What a table is asked: which rows, which columns, in which order, in which ranges; and what they must add up to.

use std::sync::Arc;

use anyhow::{Context, Result, anyhow};
use mysql_async::prelude::Queryable;
use mysql_async::{Column, consts::ColumnFlags};

use super::columns::{Bound, Kind, bind, kind_of};
use super::values::units;
use super::{Since, clock};
use crate::config::source::{ColumnType, Delivery, SourceTable};
use crate::error::{find, with_hint};
use crate::ingest::orders::layout::Layout;
use crate::mysql::{ServerFailure, Session, is_transient, quoted, relation, within};

/// About how many rows of a large table are read at once; a part is also what one connection takes.
const PART_ROWS: u64 = 100_000;
/// Up to how many rows are read by one statement, which a server may limit in time.
const WHOLE_ROWS: u64 = 10_000_000;
/// No table is split into more parts.
const MOST_PARTS: u64 = 4096;
/// What a server says of a column that is not there.
const UNKNOWN_COLUMN: u16 = 1054;

/// The question to a table.
pub struct Question {
    /// The columns of the answer.
    pub bound: Bound,
    /// Of changes: the kind of the change time; see [`Self::change_time_at`].
    pub changed: Option<Kind>,
    /// Declared money columns that are there: name, name at the source.
    money: Vec<(String, String)>,
    /// What is asked: the table, or the SELECT in its place.
    pub from: String,
    expression: Option<String>,
    order: String,
    condition: Option<String>,
    split: Option<Split>,
    /// Whether the rows are those of a table, whose statistics the server has.
    table: Option<String>,
}

#[derive(Clone)]
struct Split {
    column: String,
    kind: Kind,
    may_be_null: bool,
}

/// A range of a split column, half-open; open where there is no bound. NULLs are in the first one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Part {
    low: Option<i64>,
    high: Option<i64>,
}

/// How many rows there are and what their money columns add up to, by the server's own count.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// The rows.
    pub rows: u64,
    /// The money columns by declared name, in hundredths.
    pub sums: Vec<(String, i128)>,
}

impl Question {
    /// Asks the source which columns the table has, and makes the question.
    ///
    /// # Errors
    /// When the table cannot be read, lacks a declared column, or has one of another type.
    pub async fn of(
        session: &mut Session,
        table: &SourceTable,
        layout: &Layout,
        taken_up: &[(String, arrow::datatypes::DataType)],
        since: Option<&Since>,
    ) -> Result<Self> {
        let from = relation(table);
        let mut columns = described(session, &format!("select * from {from}")).await?;
        columns.extend(invisible(session, layout, &from, &columns).await?);
        let bound = bind(table, layout, &columns, taken_up)?;
        let (changed, expression) = match table.delivery {
            Delivery::Snapshot => (None, None),
            Delivery::Changes => {
                let Some(expression) = &table.changed else {
                    let error =
                        anyhow!("the table comes as changes, and `changed` does not say when a row last changed");
                    let hint = format!("for instance changed = \"{}\"", table.day.as_deref().unwrap_or("update_time"));
                    return Err(with_hint(error, format!("{hint} in [[table]] {} of conf/sources", table.name)));
                };
                (Some(change_kind(session, &from, expression).await?), Some(format!("({expression})")))
            }
        };
        let at_source = |at: usize| bound.declared[at].as_ref().map(|(_, name)| quoted(name));
        let order: Vec<String> = layout.key.iter().filter_map(|at| at_source(*at)).collect();
        let money = layout.columns.iter().zip(&bound.declared).filter(|(column, _)| column.kind == ColumnType::Money);
        let money =
            money.filter_map(|(column, there)| Some((column.name.clone(), there.as_ref()?.1.clone()))).collect();
        let condition = expression.as_ref().zip(since).map(|(changed, since)| since.condition(changed));
        let split = split(table, layout, &bound, &columns);
        Ok(Self {
            changed,
            money,
            expression,
            order: order.join(", "),
            condition,
            split,
            table: table.select.is_none().then(|| table.name.clone()),
            from,
            bound,
        })
    }

    /// The question for the rows of a part, in the order of the key: declared columns, undeclared ones, the change time.
    pub fn rows(&self, part: &Part) -> String {
        let names: Vec<String> = self.names().map(quoted).collect();
        let expression = self.expression.clone().filter(|_| self.change_time_at() == names.len());
        let columns: Vec<String> = names.into_iter().chain(expression).collect();
        format!("select {} from {}{} order by {}", columns.join(", "), self.from, self.whose(part), self.order)
    }

    /// Where the change time is in the answer: behind the columns, unless it is one of them.
    pub fn change_time_at(&self) -> usize {
        let is_changed = |name: &str| {
            self.expression.as_ref().is_some_and(|e| e.trim_matches(['(', ')', '`', ' ']).eq_ignore_ascii_case(name))
        };
        self.names().position(is_changed).unwrap_or_else(|| self.names().count())
    }

    /// The columns of the answer.
    fn names(&self) -> impl Iterator<Item = &str> {
        let declared = self.bound.declared.iter().flatten().map(|(_, name)| name);
        declared.chain(self.bound.extras.iter().map(|(name, ..)| name)).map(String::as_str)
    }

    /// Divides the rows into parts, unless they may be read whole and are not too many for that; counts them where that
    /// costs nothing more.
    ///
    /// # Errors
    /// What the server says.
    pub async fn parts(&self, session: &mut Session, may_be_whole: bool) -> Result<(Vec<Part>, Option<Totals>)> {
        let everything = Part::default();
        let Some(split) = &self.split else { return Ok((vec![everything], None)) };
        let column = quoted(&split.column);
        let bounds = format!("min({column}), max({column})");
        let about = match (&self.table, &self.condition) {
            // An index knows the ends, and the server about how many rows there are; not so of a view.
            (Some(table), None) => {
                let statistics = format!(
                    "select table_rows from information_schema.tables where table_schema = database() and table_name = {}",
                    crate::mysql::literal(table)
                );
                let rows = session.texts(statistics).await?.into_iter().flatten().flatten().next();
                rows.and_then(|text| text.parse::<u64>().ok())
            }
            _ => None,
        };
        let (rows, low, high, totals) = match about {
            Some(rows) => {
                let ends = session.first(format!("select {bounds} from {}", self.from)).await?;
                (rows, ends[0].clone(), ends[1].clone(), None)
            }
            None => {
                let asked = format!("select {}, {bounds} from {}{}", self.sums(), self.from, self.whose(&everything));
                let row = session.first(asked).await?;
                let totals = self.totals_of(&row)?;
                let ends = &row[1 + self.money.len()..];
                (totals.rows, ends[0].clone(), ends[1].clone(), Some(totals))
            }
        };
        // What one reads alone is read and counted faster in one go; unless the server had to sort all of it for that.
        let fits = about.is_some_and(|rows| (PART_ROWS..WHOLE_ROWS).contains(&rows));
        if may_be_whole && fits && self.comes_sorted(session).await? {
            return Ok((vec![everything], totals));
        }
        let place = |text: Option<String>| text.and_then(|text| split.place(&text));
        let parts = (rows.min(PART_ROWS * MOST_PARTS)).div_ceil(PART_ROWS).max(1);
        let Some((low, high)) = place(low).zip(place(high)).filter(|_| parts > 1) else {
            return Ok((vec![everything], totals));
        };
        let width = (i128::from(high) - i128::from(low)) / i128::from(parts) + 1;
        let cut = |n: u64| i64::try_from(i128::from(low) + width * i128::from(n)).ok().filter(|cut| *cut <= high);
        let cuts: Vec<i64> = (1..parts).filter_map(cut).collect();
        if cuts.is_empty() {
            return Ok((vec![everything], totals));
        }
        let lows = std::iter::once(None).chain(cuts.iter().copied().map(Some));
        let highs = cuts.iter().copied().map(Some).chain(std::iter::once(None));
        Ok((lows.zip(highs).map(|(low, high)| Part { low, high }).collect(), totals))
    }

    /// Whether the server has all rows in the order of the key without sorting them.
    async fn comes_sorted(&self, session: &mut Session) -> Result<bool> {
        let plan = session.texts(format!("explain format=traditional {}", self.rows(&Part::default()))).await;
        let steps: Vec<Option<String>> = match plan {
            Ok(steps) => steps.into_iter().flatten().collect(),
            Err(error) if is_transient(&error) => return Err(error),
            // It does not say.
            Err(_) => return Ok(false),
        };
        Ok(!steps.is_empty() && !steps.iter().flatten().any(|step| step.contains("filesort")))
    }

    /// Counts and adds up the rows of a part.
    ///
    /// # Errors
    /// What the server says.
    pub async fn totals(&self, session: &mut Session, part: &Part) -> Result<Totals> {
        let row = session.first(format!("select {} from {}{}", self.sums(), self.from, self.whose(part))).await?;
        self.totals_of(&row)
    }

    fn sums(&self) -> String {
        let sums = self.money.iter().map(|(_, at_source)| format!(", sum({})", quoted(at_source)));
        format!("count(*){}", sums.collect::<String>())
    }

    fn totals_of(&self, row: &[Option<String>]) -> Result<Totals> {
        let rows = count_of(row)?;
        let sum = |(at, (name, _)): (usize, &(String, String))| {
            let text = row[at + 1].as_deref().unwrap_or("0");
            let sum = units(text.as_bytes(), 2).with_context(|| format!("the sum of `{name}` is no amount: {text}"))?;
            Ok((name.clone(), sum))
        };
        Ok(Totals { rows, sums: self.money.iter().enumerate().map(sum).collect::<Result<_>>()? })
    }

    fn whose(&self, part: &Part) -> String {
        let mut conditions: Vec<String> = self.condition.iter().map(|c| format!("({c})")).collect();
        if let Some(split) = &self.split {
            let column = quoted(&split.column);
            match (part.low, part.high) {
                (None, None) => {}
                (None, Some(high)) if split.may_be_null => {
                    conditions.push(format!("({column} < {} or {column} is null)", split.bound(high)));
                }
                // Costs the server less than two comparisons.
                (Some(low), Some(high)) if matches!(split.kind, Kind::Integer) => {
                    conditions.push(format!("{column} between {low} and {}", high - 1));
                }
                (low, high) => {
                    conditions.extend(low.map(|low| format!("{column} >= {}", split.bound(low))));
                    conditions.extend(high.map(|high| format!("{column} < {}", split.bound(high))));
                }
            }
        }
        if conditions.is_empty() { String::new() } else { format!(" where {}", conditions.join(" and ")) }
    }
}

impl Split {
    /// A value of the column as a number, which ranges are made of.
    fn place(&self, text: &str) -> Option<i64> {
        match self.kind {
            Kind::Integer => text.parse().ok(),
            _ => super::micros_of(text).map(|micros| micros.div_euclid(1_000_000)),
        }
    }

    /// Such a number as SQL has the value.
    fn bound(&self, place: i64) -> String {
        match self.kind {
            Kind::Integer => place.to_string(),
            _ => format!("cast('{}' as datetime(6))", clock(place * 1_000_000)),
        }
    }
}

fn count_of(row: &[Option<String>]) -> Result<u64> {
    let count = row.first().and_then(|cell| cell.as_deref()?.parse().ok());
    count.context("the server's count is no number")
}

/// The column to split by: the declared one, else the first of the key that is an integer or a time.
fn split(table: &SourceTable, layout: &Layout, bound: &Bound, columns: &[Column]) -> Option<Split> {
    let usable = |at: usize| {
        let (kind, name) = bound.declared[at].as_ref()?;
        let column = columns.iter().find(|column| column.name_str() == *name)?;
        // Beyond 63 bits there are no ranges; such keys are rejected anyway.
        let splits = matches!(kind, Kind::Integer | Kind::Date | Kind::Datetime);
        let may_be_null = !column.flags().contains(ColumnFlags::NOT_NULL_FLAG);
        splits.then(|| Split { column: name.clone(), kind: *kind, may_be_null })
    };
    match &table.split {
        Some(wanted) => layout.columns.iter().position(|column| column.name == *wanted).and_then(usable),
        None => layout.key.iter().find_map(|at| usable(*at)),
    }
}

async fn change_kind(session: &mut Session, from: &str, expression: &str) -> Result<Kind> {
    let columns = described(session, &format!("select ({expression}) from {from}"))
        .await
        .with_context(|| format!("`changed = \"{expression}\"`"))?;
    match columns.first().map(kind_of) {
        Some(kind @ (Kind::Date | Kind::Datetime | Kind::Timestamp)) => Ok(kind),
        _ => {
            let error = anyhow!("`changed = \"{expression}\"` is no date and no time");
            Err(with_hint(error, "cast(… as datetime(6)) makes it one"))
        }
    }
}

/// The declared columns that `*` leaves out but that are there.
async fn invisible(session: &mut Session, layout: &Layout, from: &str, columns: &[Column]) -> Result<Vec<Column>> {
    let mut found = Vec::new();
    for column in &layout.columns {
        let wanted = column.from.as_deref().unwrap_or(&column.name);
        if columns.iter().any(|column| column.name_str().eq_ignore_ascii_case(wanted)) {
            continue;
        }
        match described(session, &format!("select {} from {from}", quoted(wanted))).await {
            Ok(columns) => found.extend(columns),
            Err(error) if find::<ServerFailure>(&error).is_some_and(|e| e.code == Some(UNKNOWN_COLUMN)) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

/// The columns that a question's answer would have.
async fn described(session: &mut Session, sql: &str) -> Result<Vec<Column>> {
    let (place, limit) = (Arc::clone(session.place()), session.patience().work);
    let statement = within(&place, limit, session.conn().prep(sql)).await?;
    let columns = statement.columns().to_vec();
    // A statement that is not closed is only memory of the server's, until the session ends.
    let _ = within(&place, limit, session.conn().close(statement)).await;
    Ok(columns)
}
