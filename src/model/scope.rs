//! Names in a FROM: which table or subquery each stands for, and whose `dt` an expression means.

use std::ops::Range;

use datafusion::sql::sqlparser::ast::{
    Expr, Join, JoinConstraint, JoinOperator, SelectItem, SelectItemQualifiedWildcardKind, TableAlias, TableFactor,
    TableWithJoins, WildcardAdditionalOptions,
};

use super::date_parse::parse_date;
use super::facts::{Columns, Fact, FactorId, facts};
use super::joins::{JoinKind, Tree};
use super::range::{DayRange, intersect};
use super::reads::{Subqueries, Walk};
use super::relation::{Derived, HasDt, Relation};
use super::sql::{ident_text, table_text};

/// The common table expressions that can be named at some place; the last of a name counts.
#[derive(Clone, Default)]
pub struct Scope(Vec<(String, Derived)>);

impl Scope {
    /// Adds one; it hides what had its name.
    pub fn add(&mut self, name: String, derived: Derived) {
        self.0.push((name, derived));
    }

    fn find(&self, name: &str) -> Option<&Derived> {
        self.0.iter().rev().find(|(other, _)| other == name).map(|(_, derived)| derived)
    }
}

/// The tables, subqueries and functions in the FROM of one SELECT.
#[derive(Default)]
pub struct Factors {
    list: Vec<Factor>,
    /// Two factors whose `dt` a USING made one column; the first is of the side whose rows are kept.
    merged: Vec<(FactorId, FactorId)>,
}

struct Factor {
    name: Option<String>,
    relation: Relation,
    output: Derived,
    /// Whether `dt` of it can be trusted to be its own column of that name.
    plain: bool,
    /// Whether later conditions can name it: not when it is the far side of a semi or anti join.
    visible: bool,
}

impl Factors {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// What a factor is.
    pub fn relation(&self, id: FactorId) -> &Relation {
        &self.list[id].relation
    }

    /// The tables among them.
    pub fn tables(&self) -> impl Iterator<Item = &String> {
        self.list.iter().filter_map(|factor| match &factor.relation {
            Relation::Table(name) => Some(name),
            Relation::Derived => None,
        })
    }

    /// Whether it is a table with partitions whose `dt` is what conditions call so.
    pub fn is_partitioned(&self, id: FactorId) -> bool {
        let factor = &self.list[id];
        factor.plain && factor.output.has_dt == HasDt::Yes && matches!(factor.relation, Relation::Table(_))
    }

    /// The days a factor can have, when it is a subquery of which they are known.
    pub fn values(&self, id: FactorId) -> Option<Vec<DayRange>> {
        self.list[id].output.values.clone()
    }

    /// The facts of a condition that can name all factors.
    pub fn facts(&self, condition: &Expr) -> Vec<Fact> {
        facts(condition, &Visible { factors: self, range: 0..self.len() })
    }

    /// Takes in the FROM of a SELECT, walking its subqueries.
    pub(super) fn from(&mut self, from: &[TableWithJoins], scope: &Scope, walk: &mut Walk<'_>) -> Option<Tree> {
        let mut whole = None;
        for table in from {
            let tree = self.joined(table, scope, walk);
            whole = Some(match whole {
                Some(left) => join(JoinKind::Inner, left, tree, Vec::new()),
                None => tree,
            });
        }
        whole
    }

    fn joined(&mut self, table: &TableWithJoins, scope: &Scope, walk: &mut Walk<'_>) -> Tree {
        let mut left = self.factor(&table.relation, scope, walk);
        for Join { relation, join_operator, .. } in &table.joins {
            let mut inner = Subqueries::default();
            inner.of(join_operator);
            walk.queries(inner, scope);
            let right = self.factor(relation, scope, walk);
            let (kind, constraint) = kind(join_operator);
            if matches!(constraint, Some(JoinConstraint::Natural)) || kind == JoinKind::Opaque {
                walk.star(self.tables());
            }
            let facts = self.constraint_facts(kind, constraint, &left, &right);
            match kind {
                JoinKind::LeftOnly => self.hide(right.factors()),
                JoinKind::RightOnly => self.hide(left.factors()),
                _ => {}
            }
            left = join(kind, left, right, facts);
        }
        left
    }

    fn hide(&mut self, range: Range<FactorId>) {
        for factor in &mut self.list[range] {
            factor.visible = false;
        }
    }

    fn constraint_facts(
        &mut self,
        kind: JoinKind,
        constraint: Option<&JoinConstraint>,
        left: &Tree,
        right: &Tree,
    ) -> Vec<Fact> {
        match constraint {
            Some(JoinConstraint::On(condition)) => {
                let range = left.factors().start..right.factors().end;
                facts(condition, &Visible { factors: self, range })
            }
            Some(JoinConstraint::Using(columns)) if columns.iter().any(|column| table_text(column) == "dt") => {
                let pair = (self.unqualified(left.factors()), self.unqualified(right.factors()));
                let (Some(a), Some(b)) = pair else { return Vec::new() };
                match kind {
                    JoinKind::Inner | JoinKind::Left => self.merged.push((a, b)),
                    JoinKind::Right => self.merged.push((b, a)),
                    _ => {}
                }
                vec![Fact::Same(a, b)]
            }
            _ => Vec::new(),
        }
    }

    fn factor(&mut self, factor: &TableFactor, scope: &Scope, walk: &mut Walk<'_>) -> Tree {
        match factor {
            TableFactor::Table { name, alias, args, .. } => {
                let table = table_text(name);
                walk.reach(table.clone());
                let mut inner = Subqueries::default();
                inner.of(args);
                walk.queries(inner, scope);
                let own_name = name.0.last().and_then(|part| part.as_ident()).map(ident_text);
                let (relation, output) = match scope.find(&table) {
                    _ if args.is_some() => (Relation::Derived, Derived::UNKNOWN),
                    Some(derived) => (Relation::Derived, derived.clone()),
                    None => {
                        if renames(alias.as_ref()) {
                            walk.star([&table].into_iter());
                        }
                        (Relation::Table(table.clone()), Derived::new(walk.has_dt(&table), None, None))
                    }
                };
                self.add(alias.as_ref(), own_name, relation, output)
            }
            TableFactor::Derived { subquery, alias, .. } => {
                let output = walk.query(subquery, scope);
                self.add(alias.as_ref(), None, Relation::Derived, output)
            }
            TableFactor::NestedJoin { table_with_joins, alias: None } => self.joined(table_with_joins, scope, walk),
            TableFactor::NestedJoin { table_with_joins, alias } => {
                let mut inner = Self::default();
                let tree = inner.joined(table_with_joins, scope, walk);
                walk.read(&inner, Some(&tree), &[]);
                // Whose columns they are cannot be told any more where they are asked for.
                walk.star(inner.tables());
                self.add(alias.as_ref(), None, Relation::Derived, Derived::UNKNOWN)
            }
            TableFactor::UNNEST { alias, array_exprs, .. } => {
                let mut inner = Subqueries::default();
                inner.of(array_exprs);
                walk.queries(inner, scope);
                self.add(alias.as_ref(), None, Relation::Derived, Derived::UNKNOWN)
            }
            // A table inside any other construct is not reached, and the walk says so in the end.
            _ => self.add(None, None, Relation::Derived, Derived::UNKNOWN),
        }
    }

    fn add(&mut self, alias: Option<&TableAlias>, name: Option<String>, relation: Relation, output: Derived) -> Tree {
        let plain = !renames(alias);
        self.list.push(Factor {
            name: alias.map(|alias| ident_text(&alias.name)).or(name),
            relation,
            output: output.renamed(alias),
            plain,
            visible: true,
        });
        Tree::Factor(self.list.len() - 1)
    }

    /// The factor that an unqualified `dt` means, when that is certain.
    fn unqualified(&self, range: Range<FactorId>) -> Option<FactorId> {
        let visible = || range.clone().filter(|id| self.list[*id].visible);
        if visible().any(|id| self.list[id].output.has_dt == HasDt::Maybe) {
            return None;
        }
        let having: Vec<FactorId> = visible().filter(|id| self.list[*id].output.has_dt == HasDt::Yes).collect();
        match (having.as_slice(), self.merged.as_slice()) {
            ([id], _) => Some(*id),
            // Whichever of the two the engine takes, it follows for the side whose rows are kept.
            ([a, b], [(kept, other)]) if (a, b) == (kept, other) || (b, a) == (kept, other) => Some(*kept),
            _ => None,
        }
    }

    fn named(&self, name: &str, range: Range<FactorId>) -> Option<FactorId> {
        let mut all = range.filter(|id| self.list[*id].visible && self.list[*id].name.as_deref() == Some(name));
        let first = all.next()?;
        all.next().is_none().then_some(first)
    }

    /// What is known of the SELECT's output, given the limits of its factors.
    pub fn output(&self, projection: &[SelectItem], limits: &[Option<Vec<DayRange>>]) -> Derived {
        let columns = Visible { factors: self, range: 0..self.len() };
        let days_of = |id: FactorId| match (limits[id].clone(), self.values(id)) {
            (Some(a), Some(b)) => Some(intersect(&a, &b)),
            (a, b) => a.or(b),
        };
        let (mut found, mut maybe, mut place) = (Vec::new(), projection.is_empty(), Some(0_usize));
        for item in projection {
            let expr = match item {
                SelectItem::ExprWithAlias { expr, alias } if ident_text(alias) == "dt" => Some(expr),
                SelectItem::UnnamedExpr(expr) => match column_name(expr) {
                    Some(name) if name == "dt" => Some(expr),
                    Some(_) => None,
                    // The engine names a bare expression after what is in it.
                    None => {
                        maybe = true;
                        None
                    }
                },
                SelectItem::ExprWithAlias { .. } => None,
                SelectItem::Wildcard(options) if *options == WildcardAdditionalOptions::default() => {
                    place = None;
                    let visible = (0..self.len()).filter(|id| self.list[*id].visible);
                    found.extend(self.starred(visible, &mut maybe).map(|id| (days_of(id), None)));
                    continue;
                }
                SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(name), options)
                    if *options == WildcardAdditionalOptions::default() =>
                {
                    place = None;
                    let id = self.named(&table_text(name), 0..self.len());
                    maybe |= id.is_none();
                    found.extend(self.starred(id.into_iter(), &mut maybe).map(|id| (days_of(id), None)));
                    continue;
                }
                _ => return Derived::UNKNOWN,
            };
            if let Some(expr) = expr {
                let constant = parse_date(expr).map(|date| vec![DayRange::only(date)]);
                found.push((constant.or_else(|| columns.dt_of(expr).and_then(days_of)), place));
            }
            place = place.map(|n| n + 1);
        }
        match (found.as_slice(), maybe) {
            (_, true) => Derived::UNKNOWN,
            ([], false) => Derived::new(HasDt::No, None, None),
            ([(values, place)], false) => Derived::new(HasDt::Yes, values.clone(), *place),
            _ => Derived::new(HasDt::Yes, None, None),
        }
    }

    /// The factors among some whose `dt` a star brings; notes when it may bring one that is not known.
    fn starred<'a>(
        &'a self,
        ids: impl Iterator<Item = FactorId> + 'a,
        maybe: &mut bool,
    ) -> impl Iterator<Item = FactorId> + 'a {
        let ids: Vec<FactorId> = ids.filter(|id| self.list[*id].output.has_dt != HasDt::No).collect();
        *maybe |= ids.iter().any(|id| self.list[*id].output.has_dt == HasDt::Maybe);
        ids.into_iter()
    }
}

/// Whether an alias gives columns other names, by their places.
fn renames(alias: Option<&TableAlias>) -> bool {
    alias.is_some_and(|alias| !alias.columns.is_empty())
}

fn join(kind: JoinKind, left: Tree, right: Tree, facts: Vec<Fact>) -> Tree {
    Tree::Join { kind, left: Box::new(left), right: Box::new(right), facts }
}

fn kind(operator: &JoinOperator) -> (JoinKind, Option<&JoinConstraint>) {
    match operator {
        JoinOperator::Join(on) | JoinOperator::Inner(on) => (JoinKind::Inner, Some(on)),
        JoinOperator::Left(on) | JoinOperator::LeftOuter(on) => (JoinKind::Left, Some(on)),
        JoinOperator::Right(on) | JoinOperator::RightOuter(on) => (JoinKind::Right, Some(on)),
        JoinOperator::FullOuter(on) => (JoinKind::Full, Some(on)),
        JoinOperator::CrossJoin(JoinConstraint::None) => (JoinKind::Inner, None),
        JoinOperator::LeftSemi(on) | JoinOperator::LeftAnti(on) => (JoinKind::LeftOnly, Some(on)),
        JoinOperator::RightSemi(on) | JoinOperator::RightAnti(on) => (JoinKind::RightOnly, Some(on)),
        _ => (JoinKind::Opaque, None),
    }
}

fn column_name(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Identifier(ident) => Some(ident_text(ident)),
        Expr::CompoundIdentifier(parts) => parts.last().map(ident_text),
        _ => None,
    }
}

/// The factors that a condition can name.
struct Visible<'a> {
    factors: &'a Factors,
    range: Range<FactorId>,
}

impl Columns for Visible<'_> {
    fn dt_of(&self, expr: &Expr) -> Option<FactorId> {
        let id = match expr {
            Expr::Nested(inner) => return self.dt_of(inner),
            Expr::Identifier(column) if ident_text(column) == "dt" => self.factors.unqualified(self.range.clone()),
            Expr::CompoundIdentifier(parts) => match parts.as_slice() {
                [table, column] if ident_text(column) == "dt" => {
                    self.factors.named(&ident_text(table), self.range.clone())
                }
                _ => None,
            },
            _ => None,
        };
        id.filter(|id| self.factors.list[*id].plain)
    }

    fn table(&self, factor: FactorId) -> Option<&str> {
        match &self.factors.list[factor].relation {
            Relation::Table(name) => Some(name),
            Relation::Derived => None,
        }
    }
}
