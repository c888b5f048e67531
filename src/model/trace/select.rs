//! A SELECT turned round: for rows of its output, what to ask for the rows of each source that made them.
//!
//! Every request computes, for each row of the FROM that passes the WHERE, the columns of the output that it would get or
//! fall into (for a SELECT that groups: the group's key), and keeps the rows of the source for which these are those of
//! a given row. Of a group, only the rows that the wanted columns are computed from are kept.

use std::collections::BTreeSet;

use datafusion::sql::sqlparser::ast::{Distinct, Expr, Ident, Select, SelectItem, SelectItemQualifiedWildcardKind};

use super::Wanted;
use super::expr::{Aggregate, Name, aggregates, bare_aggregate, has_window, is_the_day, name, names, passed_on};
use super::factors::{Factor, Part, factors};
use super::grouping::{Grouping, grouping, window_keys};
use crate::model::sql::table_text;

/// The rows whose making is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Given<'a> {
    /// The table that holds them.
    pub table: &'a str,
    /// Its columns, by the names that the SELECT's output has.
    pub columns: &'a [String],
}

/// What is known of the SELECT's surroundings.
pub struct Around<'a> {
    /// The columns of a table or block.
    pub columns: &'a dyn Fn(&str) -> Option<Vec<String>>,
    /// Which columns of a table or block to ask for.
    pub kept: &'a dyn Fn(&str) -> Vec<String>,
    /// Whether a function is an aggregate.
    pub is_aggregate: &'a dyn Fn(&str) -> bool,
}

/// Rows of one source to be asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The table or block.
    pub table: String,
    /// What is asked of its rows in turn.
    pub wanted: Wanted,
    /// The query for them: each once, in the columns kept. It needs the WITH of the blocks before.
    pub sql: String,
}

/// A SELECT turned round.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Traced {
    /// The rows of its sources to be asked for.
    pub requests: Vec<Request>,
    /// Sources that only had to have, or lack, a row.
    pub tested: Vec<String>,
    /// How the wanted columns are computed.
    pub formulas: Vec<(String, String)>,
    /// What left rows out, with a query that counts them.
    pub excluded: Vec<(String, String)>,
    /// Which columns look at other rows than their own, and at which.
    pub windows: Vec<String>,
    /// Whether several rows became one: how many there are is then a step of the count.
    pub is_grouped: bool,
}

/// Turns a SELECT round, whose output has these columns.
///
/// # Errors
/// Why its rows cannot be followed.
pub fn trace(
    select: &Select,
    output: &[String],
    wanted: &Wanted,
    given: Given<'_>,
    around: &Around<'_>,
) -> Result<Traced, String> {
    supported(select)?;
    let factors = factors(select, around.columns)?;
    let items = items(select, &factors)?;
    if items.len() != output.len() {
        return Err("its columns cannot be told apart".to_owned());
    }
    let items: Vec<(String, Expr)> = output.iter().cloned().zip(items).collect();
    let grouping = grouping(select, &items, around)?;
    let mut windows = Vec::new();
    let mut matched: Option<BTreeSet<usize>> = None;
    for (column, expr) in items.iter().filter(|(column, expr)| wanted.has(column) && has_window(expr)) {
        let keys = match &grouping {
            Some(_) => return Err(format!("{column} is computed over other groups: {expr}")),
            None => window_keys(expr, &items).map_err(|why| format!("{column} is computed over other rows: {why}"))?,
        };
        let same: Vec<&str> = keys.iter().filter_map(|key| items.get(*key)).map(|(name, _)| name.as_str()).collect();
        windows.push(match same.as_slice() {
            [] => format!("{column} looks at all rows, which follow"),
            same => format!("{column} looks at all rows of the same {}, which follow", same.join(", ")),
        });
        matched = Some(matched.map_or_else(|| keys.clone(), |before| &before & &keys));
    }
    let hidden = match &grouping {
        Some(Grouping { hidden, .. }) => {
            hidden.iter().enumerate().map(|(at, key)| (key.clone(), format!("hidden_{at}"))).collect()
        }
        None => Vec::new(),
    };
    let mut turned = Turned { select, output, given, factors, hidden, keys: Vec::new(), conditions: Vec::new() };
    let per_factor = match &grouping {
        Some(groups) => turned.grouped(&items, &groups.places, wanted, around),
        None => turned.plain(&items, wanted, matched.as_ref()),
    };
    let mut traced = Traced { formulas: formulas(&items, wanted), windows, ..Traced::default() };
    for (factor, wanted) in turned.factors.iter().zip(per_factor) {
        match (factor.part, wanted) {
            (Part::Tested, _) => traced.tested.push(factor.table.clone()),
            (_, None) => {}
            (_, Some(wanted)) => {
                let sql = turned.request(factor, &(around.kept)(&factor.table));
                traced.requests.push(Request { table: factor.table.clone(), wanted, sql });
            }
        }
    }
    traced.excluded = turned.excluded(grouping.is_some());
    traced.is_grouped = select.distinct.is_some() || grouping.is_some_and(|groups| groups.is_told_apart());
    Ok(traced)
}

fn supported(select: &Select) -> Result<(), String> {
    let is_distinct_on = matches!(select.distinct, Some(Distinct::On(_)));
    if is_distinct_on || select.top.is_some() || select.qualify.is_some() || !select.lateral_views.is_empty() {
        return Err("it picks rows in an unusual way".to_owned());
    }
    Ok(())
}

/// The expressions of a SELECT's list, `*` written out.
fn items(select: &Select, factors: &[Factor]) -> Result<Vec<Expr>, String> {
    let all = |factor: &Factor| factor.columns.iter().map(|c| column(factor, c)).collect::<Vec<_>>();
    let mut found = Vec::new();
    for item in &select.projection {
        match item {
            SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => found.push(expr.clone()),
            SelectItem::Wildcard(_) => {
                found.extend(factors.iter().filter(|f| f.part != Part::Tested).flat_map(all));
            }
            SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(table), _) => {
                let alias = table_text(table);
                found.extend(factors.iter().filter(|factor| factor.alias == alias).flat_map(all));
            }
            other => return Err(format!("it lists {other}")),
        }
    }
    Ok(found)
}

pub(super) fn column(factor: &Factor, column: &str) -> Expr {
    Expr::CompoundIdentifier(vec![Ident::with_quote('"', &factor.alias), Ident::with_quote('"', column)])
}

fn formulas(items: &[(String, Expr)], wanted: &Wanted) -> Vec<(String, String)> {
    let computed = |expr: &Expr| {
        let inner = passed_on(expr);
        name(inner).is_none() && !is_the_day(expr) && !matches!(inner, Expr::Value(_))
    };
    let wanted = items.iter().filter(|(column, expr)| wanted.value.contains(column) && computed(expr));
    wanted.map(|(column, expr)| (column.clone(), expr.to_string())).collect()
}

/// The parts of the requests that are the same for every source.
pub(super) struct Turned<'a> {
    pub select: &'a Select,
    /// The names of its columns.
    pub output: &'a [String],
    pub given: Given<'a>,
    pub factors: Vec<Factor>,
    /// Keys of the group that its rows do not show, with names for them.
    pub hidden: Vec<(Expr, String)>,
    /// What a row of the FROM computes, and the given column that it must equal.
    pub keys: Vec<(Expr, String)>,
    /// Of a group's rows, which count: one of these; all when there are none.
    pub conditions: Vec<Condition>,
}

/// Which rows of a group an aggregate is computed from.
pub(super) struct Condition {
    pub filter: Option<Expr>,
    pub arguments: Vec<Expr>,
    /// The given column that the argument must equal: the least or the greatest.
    pub attains: Option<String>,
}

impl Turned<'_> {
    /// The source of a column.
    fn place(&self, name: &Name) -> Option<usize> {
        self.factors.iter().position(|factor| {
            factor.columns.contains(&name.column)
                && match &name.table {
                    Some(table) => factor.alias == *table,
                    None => factor.part != Part::Tested,
                }
        })
    }

    /// Notes the columns that an expression names with their sources.
    fn note(&self, asked: &mut [Wanted], expr: &Expr, note: impl Fn(&mut Wanted, String)) {
        for name in names(expr) {
            if let Some(place) = self.place(&name) {
                note(&mut asked[place], name.column);
            }
        }
    }

    fn note_value(&self, asked: &mut [Wanted], expr: &Expr, is_sum: bool, is_distinct: bool) {
        self.note(asked, expr, |wanted, column| {
            wanted.value.insert(column);
        });
        if name(passed_on(expr)).is_some() {
            self.note(asked, expr, |wanted, column| {
                if is_sum {
                    wanted.sums.insert(column.clone());
                }
                if is_distinct {
                    wanted.distinct.insert(column);
                }
            });
        }
    }

    fn note_deciding(&self, asked: &mut [Wanted], expr: &Expr) {
        self.note(asked, expr, |wanted, column| {
            wanted.deciding.insert(column);
        });
    }

    /// A SELECT that keeps its rows: each has the columns that it computes, or those of `matched`.
    fn plain(
        &mut self,
        items: &[(String, Expr)],
        wanted: &Wanted,
        matched: Option<&BTreeSet<usize>>,
    ) -> Vec<Option<Wanted>> {
        let mut asked = vec![Wanted::default(); self.factors.len()];
        for (place, (column, expr)) in items.iter().enumerate() {
            let is_matched = matched.is_none_or(|matched| matched.contains(&place)) && !has_window(expr);
            if wanted.value.contains(column) {
                let (is_sum, is_distinct) = (wanted.sums.contains(column), wanted.distinct.contains(column));
                self.note_value(&mut asked, passed_on(expr), is_sum, is_distinct);
                self.note_deciding(&mut asked, expr);
            } else if wanted.deciding.contains(column) {
                self.note_deciding(&mut asked, expr);
            }
            if is_matched && self.given.columns.contains(column) && !is_the_day(expr) {
                self.keys.push((expr.clone(), column.clone()));
            }
        }
        self.followed(asked)
    }

    /// A SELECT that groups: the rows of the group, as far as what is wanted is computed from them.
    fn grouped(
        &mut self,
        items: &[(String, Expr)],
        groups: &BTreeSet<usize>,
        wanted: &Wanted,
        around: &Around<'_>,
    ) -> Vec<Option<Wanted>> {
        let mut asked = vec![Wanted::default(); self.factors.len()];
        let mut all_count = false;
        let mut has_aggregates = false;
        self.keys.extend(self.hidden.iter().cloned());
        for (place, (column, expr)) in items.iter().enumerate() {
            if groups.contains(&place) {
                self.note_deciding(&mut asked, expr);
                if wanted.value.contains(column) {
                    self.note_value(&mut asked, expr, false, wanted.distinct.contains(column));
                }
                if self.given.columns.contains(column) && !is_the_day(expr) {
                    self.keys.push((expr.clone(), column.clone()));
                }
                continue;
            }
            if !wanted.has(column) {
                continue;
            }
            let bare = bare_aggregate(passed_on(expr), around.is_aggregate);
            let is_itself = bare_aggregate(expr, around.is_aggregate).is_some() && self.given.columns.contains(column);
            for aggregate in aggregates(expr, around.is_aggregate) {
                has_aggregates = true;
                let is_sum = bare.is_some() && wanted.sums.contains(column) && aggregate.function == "sum";
                for argument in &aggregate.arguments {
                    if wanted.value.contains(column) {
                        self.note_value(&mut asked, argument, is_sum, aggregate.distinct);
                    } else {
                        self.note_deciding(&mut asked, argument);
                    }
                }
                aggregate.filter.iter().for_each(|filter| self.note_deciding(&mut asked, filter));
                let condition = condition(&aggregate, is_itself.then_some(column));
                all_count |= condition.is_none();
                self.conditions.extend(condition);
            }
        }
        if all_count || !has_aggregates {
            self.conditions.clear();
        }
        self.followed(asked)
    }

    /// The sources to be followed: those that are asked for columns, or all whose rows make rows when none is.
    fn followed(&self, asked: Vec<Wanted>) -> Vec<Option<Wanted>> {
        let mentioned = |place: usize| !asked[place].is_empty() && self.factors[place].part != Part::Tested;
        let is_kept = |place: usize| self.factors[place].part == Part::Kept;
        let mut places = 0..asked.len();
        // What an outer join found, or did not find, belongs to a row that others make: those that it is known by.
        let none_kept = places.clone().filter(|place| mentioned(*place)).all(|place| !is_kept(place));
        let any = places.any(mentioned);
        let known_by: BTreeSet<usize> =
            self.keys.iter().flat_map(|(expr, _)| names(expr)).filter_map(|name| self.place(&name)).collect();
        let makes_rows = |place: usize| is_kept(place) && (!any || known_by.is_empty() || known_by.contains(&place));
        let is_followed = |place: usize| (any && mentioned(place)) || (none_kept && makes_rows(place));
        let followed: Vec<bool> = (0..asked.len()).map(is_followed).collect();
        asked.into_iter().zip(followed).map(|(wanted, followed)| followed.then_some(wanted)).collect()
    }
}

/// Which rows of its group an aggregate is computed from; nothing when it is all of them.
fn condition(aggregate: &Aggregate, is_itself: Option<&String>) -> Option<Condition> {
    let Aggregate { function, arguments, filter, .. } = aggregate;
    let skips_nulls = ["sum", "count", "avg", "min", "max", "mean", "median"].contains(&function.as_str());
    let attains = is_itself.filter(|_| ["min", "max"].contains(&function.as_str())).cloned();
    let arguments = if skips_nulls { arguments.clone() } else { Vec::new() };
    (filter.is_some() || !arguments.is_empty()).then(|| Condition { filter: filter.clone(), arguments, attains })
}
