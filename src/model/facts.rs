//! What a condition says about the `dt` of the tables it joins and filters: the logic under the reads of a model.
//!
//! A fact is *null-rejecting*: a row in which the factor's `dt` is NULL, or the factor is absent (the null side of an
//! outer join), does not satisfy it. The descent through joins in `joins` rests on that. The one exception is
//! `dt is not distinct from $dt`, which such rows satisfy where `$dt` is NULL.

use datafusion::sql::sqlparser::ast::{BinaryOperator, Expr};

use super::date_expr::DateExpr;
use super::date_parse::{call_arguments, parse_compared_date, parse_date, string};
use super::range::{DayRange, add, intersect};

/// Longer `in` lists are not looked into.
const MAX_LIST: usize = 64;

/// A table, subquery or function in the FROM of one SELECT, by its position there.
pub type FactorId = usize;

/// Something that holds for every row that passes a condition.
#[derive(Clone, Debug, PartialEq)]
pub enum Fact {
    /// The factor's `dt` is a day of the union.
    Within(FactorId, Vec<DayRange>),
    /// The `dt` of two factors is the same day.
    Same(FactorId, FactorId),
}

impl Fact {
    /// Whether the fact says something about a factor in the range of ids.
    pub fn mentions(&self, factors: &std::ops::Range<FactorId>) -> bool {
        match self {
            Self::Within(id, _) => factors.contains(id),
            Self::Same(a, b) => factors.contains(a) || factors.contains(b),
        }
    }

    /// Whether rows without the factors never satisfy it.
    pub fn rejects_absence(&self, factors: &std::ops::Range<FactorId>) -> bool {
        let on_no_day = matches!(self, Self::Within(_, union) if union.contains(&DayRange::Own));
        self.mentions(factors) && !on_no_day
    }
}

/// Finds the factor whose `dt` an expression is.
pub trait Columns {
    /// The factor, when the expression is certainly the `dt` column of it.
    fn dt_of(&self, expr: &Expr) -> Option<FactorId>;
    /// The name of the factor's table when it is a table and not a subquery.
    fn table(&self, factor: FactorId) -> Option<&str>;
}

/// The facts of a condition; what is not understood says nothing.
pub fn facts(condition: &Expr, columns: &impl Columns) -> Vec<Fact> {
    let mut found = Vec::new();
    for part in operands(condition, &BinaryOperator::And) {
        match part {
            Expr::BinaryOp { op: BinaryOperator::Or, .. } => found.extend(either(part, columns)),
            _ => found.extend(comparison(part, columns)),
        }
    }
    found
}

/// The operands of a chain of one operator, parentheses removed. Not recursive along the chain, which may be long.
fn operands<'a>(expr: &'a Expr, operator: &BinaryOperator) -> Vec<&'a Expr> {
    let (mut open, mut parts) = (vec![expr], Vec::new());
    while let Some(expr) = open.pop() {
        match expr {
            Expr::Nested(inner) => open.push(inner),
            Expr::BinaryOp { left, op, right } if op == operator => open.extend([right.as_ref(), left.as_ref()]),
            other => parts.push(other),
        }
    }
    parts
}

/// The facts of a disjunction: what every branch limits is limited to the union of the branches.
fn either(expr: &Expr, columns: &impl Columns) -> Vec<Fact> {
    let mut limits: Option<Vec<(FactorId, Vec<DayRange>)>> = None;
    for branch in operands(expr, &BinaryOperator::Or) {
        let branch = within(&facts(branch, columns));
        limits = Some(match limits {
            None => branch,
            Some(so_far) => so_far
                .into_iter()
                .filter_map(|(id, mut union)| {
                    let (_, ranges) = branch.iter().find(|(other, _)| *other == id)?;
                    ranges.iter().for_each(|range| add(&mut union, range.clone()));
                    Some((id, union))
                })
                .collect(),
        });
    }
    limits.unwrap_or_default().into_iter().map(|(id, union)| Fact::Within(id, union)).collect()
}

/// The limits among the facts, those on one factor intersected.
fn within(facts: &[Fact]) -> Vec<(FactorId, Vec<DayRange>)> {
    let mut limits: Vec<(FactorId, Vec<DayRange>)> = Vec::new();
    for fact in facts {
        let Fact::Within(id, ranges) = fact else { continue };
        match limits.iter_mut().find(|(other, _)| other == id) {
            Some((_, union)) => *union = intersect(union, ranges),
            None => limits.push((*id, ranges.clone())),
        }
    }
    limits
}

fn comparison(expr: &Expr, columns: &impl Columns) -> Option<Fact> {
    match expr {
        Expr::BinaryOp { left, op, right } => {
            if let (BinaryOperator::Eq, Some(a), Some(b)) = (op, columns.dt_of(left), columns.dt_of(right)) {
                return Some(Fact::Same(a, b));
            }
            if let Some(id) = columns.dt_of(left) {
                return compared(id, op, right, columns);
            }
            let turned = match op {
                BinaryOperator::Eq => BinaryOperator::Eq,
                BinaryOperator::Lt => BinaryOperator::Gt,
                BinaryOperator::LtEq => BinaryOperator::GtEq,
                BinaryOperator::Gt => BinaryOperator::Lt,
                BinaryOperator::GtEq => BinaryOperator::LtEq,
                _ => return None,
            };
            compared(columns.dt_of(right)?, &turned, left, columns)
        }
        Expr::Between { expr, negated: false, low, high } => {
            let id = columns.dt_of(expr)?;
            let (from, to) = (parse_compared_date(low), parse_compared_date(high));
            Some(Fact::Within(id, vec![DayRange::Between { from, to }]))
        }
        Expr::InList { expr, list, negated: false } if (1..=MAX_LIST).contains(&list.len()) => {
            let id = columns.dt_of(expr)?;
            let mut union = Vec::new();
            for item in list {
                add(&mut union, DayRange::only(parse_compared_date(item)?));
            }
            Some(Fact::Within(id, union))
        }
        Expr::IsNotDistinctFrom(left, right) => {
            let own = |column: &Expr, day: &Expr| {
                let id = columns.dt_of(column)?;
                (parse_date(day)? == DateExpr::Day).then(|| Fact::Within(id, vec![DayRange::Own]))
            };
            own(left, right).or_else(|| own(right, left))
        }
        Expr::IsNotNull(expr) => Some(Fact::Within(columns.dt_of(expr)?, vec![any_day()])),
        _ => None,
    }
}

fn any_day() -> DayRange {
    DayRange::Between { from: None, to: None }
}

/// The fact of `dt <op> other`. Even where the other side is not understood, a comparison excludes rows on no day.
fn compared(id: FactorId, op: &BinaryOperator, other: &Expr, columns: &impl Columns) -> Option<Fact> {
    let date = parse_compared_date(other);
    let range = match (op, date) {
        (BinaryOperator::Eq, None) => match snapshot(other) {
            Some((table, date)) if columns.table(id) == Some(table) => DayRange::Latest(date),
            _ => any_day(),
        },
        (BinaryOperator::Eq, Some(date)) => DayRange::only(date),
        (BinaryOperator::LtEq, to) => DayRange::Between { from: None, to },
        (BinaryOperator::GtEq, from) => DayRange::Between { from, to: None },
        (BinaryOperator::Lt, to) => DayRange::Between { from: None, to: to.map(|date| date.shifted(0, -1)) },
        (BinaryOperator::Gt, from) => DayRange::Between { from: from.map(|date| date.shifted(0, 1)), to: None },
        _ => return None,
    };
    Some(Fact::Within(id, vec![range]))
}

/// Table and date of `latest_snapshot('<table>', <date>)`.
pub fn snapshot(expr: &Expr) -> Option<(&str, DateExpr)> {
    match expr {
        Expr::Nested(inner) => snapshot(inner),
        Expr::Function(function) => {
            let arguments = call_arguments(function, super::LATEST_SNAPSHOT)?;
            let [table, date] = arguments.as_slice() else { return None };
            Some((string(table)?, parse_date(date)?))
        }
        _ => None,
    }
}

/// The days of a factor that matter to rows which satisfy all the facts; `None` when nothing limits them.
///
/// `values` are the days that a factor can have at all: known of subqueries. They count only where a fact speaks of
/// the factor, for only then is it certain that the factor is there.
pub fn limit(
    facts: &[Fact],
    factor: FactorId,
    values: impl Fn(FactorId) -> Option<Vec<DayRange>>,
) -> Option<Vec<DayRange>> {
    let mut same = vec![factor];
    let mut next = 0;
    while let Some(&id) = same.get(next) {
        next += 1;
        for fact in facts {
            let Fact::Same(a, b) = fact else { continue };
            for (here, there) in [(a, b), (b, a)] {
                if *here == id && !same.contains(there) {
                    same.push(*there);
                }
            }
        }
    }
    let limits = within(facts);
    let spoken_of = same.len() > 1 || limits.iter().any(|(id, _)| *id == factor);
    if !spoken_of {
        return None;
    }
    let mut result: Option<Vec<DayRange>> = (same.len() > 1).then(|| vec![any_day()]);
    for &id in &same {
        let stated = limits.iter().find(|(other, _)| *other == id).map(|(_, union)| union.clone());
        for union in [stated, values(id)].into_iter().flatten() {
            // A latest partition is that of one table; it says nothing about another one.
            if id != factor && !is_plain(&union) {
                continue;
            }
            result = Some(match result {
                Some(so_far) => intersect(&so_far, &union),
                None => union,
            });
        }
    }
    result
}

/// Whether a union consists of plain ranges of days, which mean the same for every table.
pub fn is_plain(union: &[DayRange]) -> bool {
    union.iter().all(|range| matches!(range, DayRange::Between { .. } | DayRange::Own))
}
