//! A SELECT turned round: for rows of its output, what to ask for the rows of each source that made them.
//!
//! Every request computes, for each row of the FROM that passes the WHERE, the columns of the output that it would get or
//! fall into (for a SELECT that groups: the group's key), and keeps the rows of the source for which these are those of
//! a given row. Of a group, only the rows that the wanted columns are computed from are kept.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use datafusion::sql::sqlparser::ast::{
    Distinct, Expr, GroupByExpr, Ident, Select, SelectItem, SelectItemQualifiedWildcardKind, Value,
};

use super::Wanted;
use super::expr::{
    Aggregate, Name, aggregates, bare_aggregate, conjuncts, has_query, has_window, is_the_day, name, names, passed_on,
};
use super::factors::{Factor, Part, factors};
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
    for (column, expr) in items.iter().filter(|(column, _)| wanted.has(column)) {
        if has_window(expr) {
            return Err(format!("{column} is computed over other rows: {expr}"));
        }
    }
    let grouping = grouping(select, &items, around)?;
    let mut turned = Turned { select, given, factors, keys: Vec::new(), conditions: Vec::new() };
    let per_factor = match &grouping {
        Some(groups) => turned.grouped(&items, groups, wanted, around),
        None => turned.plain(&items, wanted),
    };
    let mut traced = Traced { formulas: formulas(&items, wanted), ..Traced::default() };
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

fn column(factor: &Factor, column: &str) -> Expr {
    Expr::CompoundIdentifier(vec![Ident::with_quote('"', &factor.alias), Ident::with_quote('"', column)])
}

/// The group's key, as the places of the output columns that are it; nothing where the SELECT does not group.
fn grouping(select: &Select, items: &[(String, Expr)], around: &Around<'_>) -> Result<Option<BTreeSet<usize>>, String> {
    let GroupByExpr::Expressions(keys, modifiers) = &select.group_by else {
        return Err("it groups by ALL".to_owned());
    };
    if !modifiers.is_empty() {
        return Err("it groups in several ways at once".to_owned());
    }
    let has_aggregates = items.iter().any(|(_, expr)| !aggregates(expr, around.is_aggregate).is_empty());
    if keys.is_empty() && !has_aggregates {
        return Ok(None);
    }
    let mut places = BTreeSet::new();
    for key in keys {
        let place = match key {
            Expr::Value(number) => match &number.value {
                Value::Number(n, _) => n.to_string().parse::<usize>().ok().and_then(|n| n.checked_sub(1)),
                _ => None,
            },
            _ => items.iter().position(|(column, expr)| {
                expr == key
                    || same_column(expr, key)
                    || name(key).is_some_and(|n| n.table.is_none() && n.column == *column)
            }),
        };
        match place.filter(|place| *place < items.len()) {
            Some(place) => {
                places.insert(place);
            }
            None => return Err(format!("it groups by {key}, which its rows do not show")),
        }
    }
    Ok(Some(places))
}

/// Whether two expressions are one column, be it with its table's name or without.
fn same_column(one: &Expr, other: &Expr) -> bool {
    match (name(one), name(other)) {
        (Some(one), Some(other)) => {
            one.column == other.column && (one.table == other.table || one.table.is_none() || other.table.is_none())
        }
        _ => false,
    }
}

fn formulas(items: &[(String, Expr)], wanted: &Wanted) -> Vec<(String, String)> {
    let computed = |expr: &Expr| name(passed_on(expr)).is_none() && !is_the_day(expr);
    let wanted = items.iter().filter(|(column, expr)| wanted.value.contains(column) && computed(expr));
    wanted.map(|(column, expr)| (column.clone(), expr.to_string())).collect()
}

/// The parts of the requests that are the same for every source.
struct Turned<'a> {
    select: &'a Select,
    given: Given<'a>,
    factors: Vec<Factor>,
    /// What a row of the FROM computes, and the given column that it must equal.
    keys: Vec<(Expr, String)>,
    /// Of a group's rows, which count: one of these; all when there are none.
    conditions: Vec<Condition>,
}

/// Which rows of a group an aggregate is computed from.
struct Condition {
    filter: Option<Expr>,
    arguments: Vec<Expr>,
    /// The given column that the argument must equal: the least or the greatest.
    attains: Option<String>,
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

    /// A SELECT that keeps its rows: each has the columns that it computes.
    fn plain(&mut self, items: &[(String, Expr)], wanted: &Wanted) -> Vec<Option<Wanted>> {
        let mut asked = vec![Wanted::default(); self.factors.len()];
        for (column, expr) in items {
            if wanted.value.contains(column) {
                let (is_sum, is_distinct) = (wanted.sums.contains(column), wanted.distinct.contains(column));
                self.note_value(&mut asked, passed_on(expr), is_sum, is_distinct);
                self.note_deciding(&mut asked, expr);
            } else if wanted.deciding.contains(column) {
                self.note_deciding(&mut asked, expr);
            }
            if self.given.columns.contains(column) && !is_the_day(expr) {
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
        let any = (0..asked.len()).any(mentioned);
        let is_followed = |place: usize| if any { mentioned(place) } else { self.factors[place].part == Part::Kept };
        let followed: Vec<bool> = (0..asked.len()).map(is_followed).collect();
        asked.into_iter().zip(followed).map(|(wanted, followed)| followed.then_some(wanted)).collect()
    }

    /// `FROM … WHERE …` of the SELECT, the WHERE without one of its conditions where so asked.
    fn from(&self, without: Option<usize>, and: &str) -> String {
        let from: Vec<String> = self.select.from.iter().map(ToString::to_string).collect();
        let conditions = self.select.selection.as_ref().map(conjuncts).unwrap_or_default();
        let mut parts: Vec<String> = conditions
            .iter()
            .enumerate()
            .filter(|(at, _)| Some(*at) != without)
            .map(|(_, condition)| format!("({condition})"))
            .collect();
        parts.extend((!and.is_empty()).then(|| and.to_owned()));
        let mut text = format!(" from {}", from.join(", "));
        if !parts.is_empty() {
            let _ = write!(text, " where {}", parts.join(" and "));
        }
        if !self.select.named_window.is_empty() {
            let windows: Vec<String> = self.select.named_window.iter().map(ToString::to_string).collect();
            let _ = write!(text, " window {}", windows.join(", "));
        }
        text
    }

    fn keys(&self) -> Vec<String> {
        self.keys.iter().enumerate().map(|(at, (expr, _))| format!("{expr} as key_{at}")).collect()
    }

    fn joined(&self) -> String {
        let on: Vec<String> = self
            .keys
            .iter()
            .enumerate()
            .map(|(at, (_, column))| format!("(made.key_{at} is not distinct from given.{})", quoted(column)))
            .collect();
        match on.is_empty() {
            true => format!(" cross join {} as given", self.given.table),
            false => format!(" inner join {} as given on {}", self.given.table, on.join(" and ")),
        }
    }

    /// The query for the rows of one source.
    fn request(&self, factor: &Factor, kept: &[String]) -> String {
        let kept: Vec<&String> = kept.iter().filter(|column| factor.columns.contains(column)).collect();
        let mut list: Vec<String> =
            kept.iter().enumerate().map(|(at, name)| format!("{} as kept_{at}", column(factor, name))).collect();
        list.extend(self.keys());
        let mut counted = Vec::new();
        for (at, Condition { filter, arguments, attains }) in self.conditions.iter().enumerate() {
            let mut parts: Vec<String> = filter.iter().map(|filter| format!("({filter})")).collect();
            parts.extend(arguments.iter().map(|argument| format!("({argument}) is not null")));
            let all = if parts.is_empty() { "true".to_owned() } else { parts.join(" and ") };
            list.push(format!("coalesce({all}, false) as counts_{at}"));
            match (attains, arguments.first()) {
                (Some(column), Some(argument)) => {
                    list.push(format!("{argument} as attained_{at}"));
                    let column = quoted(column);
                    counted.push(format!(
                        "(made.counts_{at} and (made.attained_{at} is not distinct from given.{column}))"
                    ));
                }
                _ => counted.push(format!("made.counts_{at}")),
            }
        }
        let shown: Vec<String> =
            kept.iter().enumerate().map(|(at, name)| format!("made.kept_{at} as {}", quoted(name))).collect();
        let mut conditions = Vec::new();
        if !counted.is_empty() {
            conditions.push(format!("({})", counted.join(" or ")));
        }
        if factor.part == Part::Optional {
            // Where the outer join found no row.
            let nulls: Vec<String> = (0..kept.len()).map(|at| format!("made.kept_{at} is not null")).collect();
            conditions.push(format!("({})", nulls.join(" or ")));
        }
        let filter = if conditions.is_empty() { String::new() } else { format!(" where {}", conditions.join(" and ")) };
        let (shown, list, from, joined) = (shown.join(", "), list.join(", "), self.from(None, ""), self.joined());
        format!("select distinct {shown} from (select {list}{from}) as made{joined}{filter}")
    }

    /// What left rows out: the conditions of the WHERE but for those on the day, and those of the aggregates.
    fn excluded(&self, is_grouped: bool) -> Vec<(String, String)> {
        let mut found = Vec::new();
        let keyed = is_grouped && !self.keys.is_empty();
        let count = |from: String| match keyed {
            true => format!(
                "select count(*) as rows from (select {}{from}) as made{}",
                self.keys().join(", "),
                self.joined()
            ),
            false => format!("select count(*) as rows{from}"),
        };
        let conditions = self.select.selection.as_ref().map(conjuncts).unwrap_or_default();
        for (at, condition) in conditions.iter().enumerate() {
            if has_query(condition) || names(condition).iter().any(|name| name.column == "dt") {
                continue;
            }
            let from = self.from(Some(at), &format!("({condition}) is not true"));
            found.push((format!("not ({condition})"), count(from)));
        }
        // With several aggregates a row may count for one and not for another.
        if let [Condition { filter, arguments, .. }] = self.conditions.as_slice() {
            let passes = filter.as_ref().map(|filter| format!("({filter})"));
            if let Some(passes) = &passes {
                let from = self.from(None, &format!("{passes} is not true"));
                found.push((format!("not {passes}"), count(from)));
            }
            for argument in arguments {
                let mut none = format!("({argument}) is null");
                if let Some(passes) = &passes {
                    let _ = write!(none, " and {passes}");
                }
                found.push((format!("no {argument}"), count(self.from(None, &none))));
            }
        }
        found
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

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
