//! Which tables a query reads, and which of their partitions: a walk over every SELECT of the parsed query.
//!
//! Each table in a FROM is limited by the conditions of its own SELECT (`facts`, `joins`); nothing is pushed into
//! subqueries. A construct whose tables the walk does not reach is an error, not a guess.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Cte, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentList, FunctionArguments, ObjectName, Query,
    Select, SelectItem, SetExpr, SetOperator, SetQuantifier, Visit, Visitor, visit_relations,
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

/// What a query reads.
#[derive(Clone, Debug, Default)]
pub struct Reads {
    /// Its tables, with the ranges read of each.
    pub ranges: BTreeMap<String, Vec<DayRange>>,
    /// Those of which columns are read that it does not name.
    pub starred: BTreeSet<String>,
}

/// What a query reads, or the name of a table that is read where its days cannot be followed.
pub fn reads(query: &Query, catalog: Catalog<'_>) -> Result<Reads, String> {
    let mut walk = Walk { catalog, found: Reads::default(), reached: BTreeMap::new(), missed: None };
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
        None => Ok(walk.found),
    }
}

/// The state of one walk.
pub(super) struct Walk<'a> {
    catalog: Catalog<'a>,
    found: Reads,
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
            let name = ident_text(&cte.alias.name);
            // Its first part may mean a table of that name.
            self.star([&name].into_iter());
            inner.add(name, Derived::UNKNOWN);
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
        let is_star = |item: &SelectItem| matches!(item, SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..));
        // `from t` alone is `select * from t`.
        if select.projection.is_empty() || select.projection.iter().any(is_star) {
            self.star(factors.tables());
        }
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
            let union = self.found.ranges.entry(name.clone()).or_default();
            known.unwrap_or_else(|| vec![DayRange::All]).into_iter().for_each(|range| add(union, range));
        }
        limits
    }

    /// Notes tables of which columns are read that are not named.
    pub(super) fn star<'a>(&mut self, tables: impl Iterator<Item = &'a String>) {
        self.found.starred.extend(tables.cloned());
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
        for (table, range) in calls.found {
            add(self.found.ranges.entry(table).or_default(), range);
        }
        if calls.sees_rows {
            self.found.starred.extend(self.found.ranges.keys().cloned());
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
struct Calls {
    found: Vec<(String, DayRange)>,
    /// Whether a function is given whole rows, other than to count them.
    sees_rows: bool,
}

impl Visitor for Calls {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        let Expr::Function(function) = expr else { return ControlFlow::Continue(()) };
        self.sees_rows |= sees_rows(function);
        if let Some((table, date)) = snapshot(expr) {
            self.found.push((table.to_owned(), DayRange::Latest(date)));
        } else if table_text(&function.name) == FIRST_LOADED_DAY {
            self.found.push((FIRST_LOADED_DAY.to_owned(), DayRange::All));
        }
        ControlFlow::Continue(())
    }
}

/// Whether a function is given whole rows; `count(*)` does not look at them.
fn sees_rows(function: &Function) -> bool {
    let FunctionArguments::List(FunctionArgumentList { duplicate_treatment, args, .. }) = &function.args else {
        return false;
    };
    let counts = duplicate_treatment.is_none() && table_text(&function.name) == "count";
    args.iter().any(|arg| match arg {
        FunctionArg::Named { arg, .. } | FunctionArg::ExprNamed { arg, .. } | FunctionArg::Unnamed(arg) => match arg {
            FunctionArgExpr::Expr(_) => false,
            FunctionArgExpr::Wildcard => !counts,
            _ => true,
        },
    })
}

#[cfg(test)]
mod tests;
