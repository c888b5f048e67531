//! Which tables a query reads, and which of their partitions: a walk over every SELECT of the parsed query.
//!
//! Each table in a FROM is limited by the conditions of its own SELECT (`facts`, `joins`); nothing is pushed into
//! subqueries. A construct whose tables the walk does not reach is an error, not a guess.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Cte, Expr, ObjectName, Query, Select, SetExpr, SetOperator, SetQuantifier, Visit, Visitor, visit_relations,
};

use super::FIRST_LOADED_DAY;
use super::facts::{Fact, snapshot};
use super::joins::Tree;
use super::range::{DayRange, add};
use super::relation::{Derived, HasDt, Relation};
use super::scope::{Factors, Scope};
use super::sql::{ident_text, table_text};

/// Whether a table has a `dt` column, as far as the caller knows.
pub type Catalog<'a> = &'a dyn Fn(&str) -> HasDt;

/// The tables of a query with the ranges read of each.
pub type Ranges = BTreeMap<String, Vec<DayRange>>;

/// The tables a query reads with their ranges, or the name of a table that is read where its days cannot be followed.
pub fn ranges(query: &Query, catalog: Catalog<'_>) -> Result<Ranges, String> {
    let mut walk = Walk { catalog, ranges: Ranges::new(), reached: BTreeMap::new(), missed: None };
    walk.query(query, &Scope::default());
    walk.calls(query);
    let mut present: BTreeMap<String, usize> = BTreeMap::new();
    let _ = visit_relations(query, |name: &ObjectName| {
        *present.entry(table_text(name)).or_default() += 1;
        ControlFlow::<()>::Continue(())
    });
    for (name, times) in present {
        if walk.reached.get(&name).copied().unwrap_or(0) < times {
            walk.missed = Some(name);
        }
    }
    match walk.missed {
        Some(name) => Err(name),
        None => Ok(walk.ranges),
    }
}

/// The state of one walk.
pub(super) struct Walk<'a> {
    catalog: Catalog<'a>,
    ranges: Ranges,
    /// How often each name was met in a FROM, to compare with what the parser saw.
    reached: BTreeMap<String, usize>,
    /// What was met and cannot be followed.
    missed: Option<String>,
}

impl Walk<'_> {
    /// Walks a query with everything inside it, and says what it knows of its output.
    pub(super) fn query(&mut self, query: &Query, outer: &Scope) -> Derived {
        let mut scope = outer.clone();
        if let Some(with) = &query.with {
            for cte in &with.cte_tables {
                let derived = self.cte(cte, with.recursive, &scope);
                scope.add(ident_text(&cte.alias.name), derived);
            }
        }
        let derived = self.set(&query.body, &scope);
        let mut inner = Subqueries::default();
        inner
            .of(&query.order_by)
            .of(&query.limit_clause)
            .of(&query.fetch)
            .of(&query.settings)
            .of(&query.pipe_operators);
        self.queries(inner, &scope);
        if query.pipe_operators.is_empty() { derived } else { Derived::UNKNOWN }
    }

    fn cte(&mut self, cte: &Cte, recursive: bool, scope: &Scope) -> Derived {
        let mut inner = scope.clone();
        if recursive {
            inner.add(ident_text(&cte.alias.name), Derived::UNKNOWN);
        }
        let derived = self.query(&cte.query, &inner);
        if recursive { Derived::UNKNOWN } else { derived.renamed(Some(&cte.alias)) }
    }

    fn set(&mut self, body: &SetExpr, scope: &Scope) -> Derived {
        // A union of many parts leans to the left; following that side in a loop keeps the recursion flat.
        let (mut rights, mut body) = (Vec::new(), body);
        while let SetExpr::SetOperation { left, op, right, set_quantifier } = body {
            rights.push((*op, *set_quantifier, right));
            body = left;
        }
        let mut derived = match body {
            SetExpr::Select(select) => self.select(select, scope),
            SetExpr::Query(query) => self.query(query, scope),
            SetExpr::Values(values) => {
                let mut inner = Subqueries::default();
                inner.of(values);
                self.queries(inner, scope);
                Derived::UNKNOWN
            }
            other => {
                self.missed = Some(other.to_string());
                Derived::UNKNOWN
            }
        };
        for (op, quantifier, right) in rights.into_iter().rev() {
            let other = self.set(right, scope);
            derived = match (op, quantifier) {
                (_, SetQuantifier::ByName | SetQuantifier::AllByName | SetQuantifier::DistinctByName) => {
                    Derived::UNKNOWN
                }
                (SetOperator::Union, _) => derived.united(other),
                _ => derived,
            };
        }
        derived
    }

    fn select(&mut self, select: &Select, scope: &Scope) -> Derived {
        let mut factors = Factors::default();
        let tree = factors.from(&select.from, scope, self);
        let above = select.selection.as_ref().map(|condition| factors.facts(condition)).unwrap_or_default();
        let limits = self.read(&factors, tree.as_ref(), &above);
        let mut inner = Subqueries::default();
        inner.of(&select.distinct).of(&select.top).of(&select.projection).of(&select.lateral_views);
        inner.of(&select.prewhere).of(&select.selection).of(&select.connect_by).of(&select.group_by);
        inner.of(&select.cluster_by).of(&select.distribute_by).of(&select.sort_by).of(&select.having);
        inner.of(&select.named_window).of(&select.qualify);
        self.queries(inner, scope);
        if select.exclude.is_some() { Derived::UNKNOWN } else { factors.output(&select.projection, &limits) }
    }

    /// Notes what is read of the tables in a FROM, given the facts of its WHERE; returns the limits of all factors.
    pub(super) fn read(
        &mut self,
        factors: &Factors,
        tree: Option<&Tree>,
        above: &[Fact],
    ) -> Vec<Option<Vec<DayRange>>> {
        let mut limits = vec![None; factors.len()];
        if let Some(tree) = tree {
            tree.limits(above, &|id| factors.values(id), &mut |id, limit| limits[id] = limit);
        }
        for (id, limit) in limits.iter().enumerate() {
            let Relation::Table(name) = factors.relation(id) else { continue };
            let known = limit.clone().filter(|_| factors.is_partitioned(id));
            let union = self.ranges.entry(name.clone()).or_default();
            known.unwrap_or_else(|| vec![DayRange::All]).into_iter().for_each(|range| add(union, range));
        }
        limits
    }

    /// Walks queries inside expressions.
    pub(super) fn queries(&mut self, inner: Subqueries, scope: &Scope) {
        for query in inner.queries {
            self.query(&query, scope);
        }
    }

    /// What the catalog knows of a table.
    pub(super) fn has_dt(&self, table: &str) -> HasDt {
        (self.catalog)(table)
    }

    /// Notes that a name in a FROM was reached.
    pub(super) fn reach(&mut self, name: String) {
        *self.reached.entry(name).or_default() += 1;
    }

    /// What functions answer from the state of tables is read as well: `latest_snapshot` binds to a date that follows
    /// from the partitions of the table it names, and the first loaded day moves when earlier data arrive.
    fn calls(&mut self, query: &Query) {
        let mut calls = Calls::default();
        let _ = query.visit(&mut calls);
        for (table, range) in calls.0 {
            add(self.ranges.entry(table).or_default(), range);
        }
    }
}

/// The queries in pieces of syntax that are not a FROM, without those inside another query.
#[derive(Default)]
pub(super) struct Subqueries {
    depth: usize,
    queries: Vec<Query>,
}

impl Subqueries {
    /// Adds those of one piece.
    pub(super) fn of(&mut self, syntax: &impl Visit) -> &mut Self {
        let _ = syntax.visit(self);
        self
    }
}

impl Visitor for Subqueries {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        if self.depth == 0 {
            self.queries.push(query.clone());
        }
        self.depth += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &Query) -> ControlFlow<()> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }
}

#[derive(Default)]
struct Calls(Vec<(String, DayRange)>);

impl Visitor for Calls {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        let Expr::Function(function) = expr else { return ControlFlow::Continue(()) };
        if let Some((table, date)) = snapshot(expr) {
            self.0.push((table.to_owned(), DayRange::Latest(date)));
        } else if table_text(&function.name) == FIRST_LOADED_DAY {
            self.0.push((FIRST_LOADED_DAY.to_owned(), DayRange::All));
        }
        ControlFlow::Continue(())
    }
}

#[cfg(test)]
mod tests;
