//! What is inside an expression: the columns it names, its aggregates, its windows, and what it merely passes on.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    CaseWhen, DuplicateTreatment, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Query, Value, Visit,
    Visitor, WindowType,
};

use crate::model::sql::{ident_text, table_text};

/// A column as an expression names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    /// The table's name in the FROM, where it is said.
    pub table: Option<String>,
    /// The column.
    pub column: String,
}

/// The columns that an expression names, those within a query inside it left out.
pub fn names(expr: &Expr) -> Vec<Name> {
    let mut names = Names { depth: 0, found: Vec::new() };
    let _ = expr.visit(&mut names);
    names.found
}

struct Names {
    depth: usize,
    found: Vec<Name>,
}

impl Visitor for Names {
    type Break = ();

    fn pre_visit_query(&mut self, _: &Query) -> ControlFlow<()> {
        self.depth += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &Query) -> ControlFlow<()> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        if self.depth == 0 {
            self.found.extend(name(expr));
        }
        ControlFlow::Continue(())
    }
}

/// The column that an expression is, if it is just that.
pub fn name(expr: &Expr) -> Option<Name> {
    match expr {
        Expr::Identifier(column) => Some(Name { table: None, column: ident_text(column) }),
        Expr::CompoundIdentifier(parts) => match parts.as_slice() {
            [.., table, column] => Some(Name { table: Some(ident_text(table)), column: ident_text(column) }),
            _ => None,
        },
        _ => None,
    }
}

/// An aggregate: what is added up, and which rows.
#[derive(Clone, Debug)]
pub struct Aggregate {
    /// Its function, in lower case.
    pub function: String,
    /// What it is computed from; nothing for `count(*)`.
    pub arguments: Vec<Expr>,
    /// Which rows of the group count.
    pub filter: Option<Expr>,
    /// Whether equal values count once.
    pub distinct: bool,
}

/// The aggregates in an expression.
pub fn aggregates(expr: &Expr, is_aggregate: &dyn Fn(&str) -> bool) -> Vec<Aggregate> {
    functions(expr).iter().filter_map(|function| aggregate(function, is_aggregate)).collect()
}

/// Whether an expression looks at other rows than its own.
pub fn has_window(expr: &Expr) -> bool {
    functions(expr).iter().any(|function| function.over.is_some())
}

/// What the rows share that each window of an expression looks at; nothing where that is said elsewhere.
pub fn partition_keys(expr: &Expr) -> Option<Vec<Vec<Expr>>> {
    let windows = functions(expr).into_iter().filter_map(|function| function.over);
    let keys = |over| match over {
        WindowType::WindowSpec(spec) if spec.window_name.is_none() => Some(spec.partition_by),
        _ => None,
    };
    windows.map(keys).collect()
}

/// Whether an expression asks another query.
pub fn has_query(expr: &Expr) -> bool {
    struct Queries;
    impl Visitor for Queries {
        type Break = ();
        fn pre_visit_query(&mut self, _: &Query) -> ControlFlow<()> {
            ControlFlow::Break(())
        }
    }
    expr.visit(&mut Queries).is_break()
}

fn functions(expr: &Expr) -> Vec<Function> {
    struct Functions(usize, Vec<Function>);
    impl Visitor for Functions {
        type Break = ();
        fn pre_visit_query(&mut self, _: &Query) -> ControlFlow<()> {
            self.0 += 1;
            ControlFlow::Continue(())
        }
        fn post_visit_query(&mut self, _: &Query) -> ControlFlow<()> {
            self.0 -= 1;
            ControlFlow::Continue(())
        }
        fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
            if let (0, Expr::Function(function)) = (self.0, expr) {
                self.1.push(function.clone());
            }
            ControlFlow::Continue(())
        }
    }
    let mut found = Functions(0, Vec::new());
    let _ = expr.visit(&mut found);
    found.1
}

fn aggregate(function: &Function, is_aggregate: &dyn Fn(&str) -> bool) -> Option<Aggregate> {
    let name = table_text(&function.name).to_ascii_lowercase();
    if function.over.is_some() || !is_aggregate(&name) {
        return None;
    }
    let mut arguments: Vec<Expr> = function.within_group.iter().map(|order| order.expr.clone()).collect();
    let mut distinct = false;
    if let FunctionArguments::List(list) = &function.args {
        distinct = list.duplicate_treatment == Some(DuplicateTreatment::Distinct);
        arguments.extend(list.args.iter().filter_map(|argument| match argument {
            FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) if !matches!(expr, Expr::Value(_)) => Some(expr.clone()),
            _ => None,
        }));
    }
    let mut found = Aggregate { function: name, arguments, filter: function.filter.as_deref().cloned(), distinct };
    chosen_by_case(&mut found);
    Some(found)
}

/// `sum(case when c then x else 0 end)` says `sum(x) filter (where c)`.
fn chosen_by_case(aggregate: &mut Aggregate) {
    let [Expr::Case { operand: None, conditions, else_result, .. }] = aggregate.arguments.as_slice() else { return };
    let [CaseWhen { condition, result }] = conditions.as_slice() else { return };
    let adds_nothing = match else_result.as_deref() {
        None => true,
        Some(Expr::Value(value)) => match &value.value {
            Value::Null => true,
            Value::Number(number, _) => aggregate.function == "sum" && *number == "0",
            _ => false,
        },
        Some(_) => false,
    };
    if adds_nothing && aggregate.filter.is_none() {
        let argument = (!matches!(result, Expr::Value(_))).then(|| result.clone());
        aggregate.filter = Some(condition.clone());
        aggregate.arguments = argument.into_iter().collect();
    }
}

/// The one aggregate that an expression is, if it is just that.
pub fn bare_aggregate(expr: &Expr, is_aggregate: &dyn Fn(&str) -> bool) -> Option<Aggregate> {
    match expr {
        Expr::Function(function) => aggregate(function, is_aggregate),
        _ => None,
    }
}

/// An expression without what leaves a value as it is: parentheses, casts, a constant in the place of NULL, a CASE that
/// gives it or nothing.
pub fn passed_on(expr: &Expr) -> &Expr {
    match expr {
        Expr::Nested(inner) => passed_on(inner),
        Expr::Cast { expr: inner, .. } => passed_on(inner),
        Expr::Case { operand: None, conditions, else_result: None, .. } => match conditions.as_slice() {
            [one] => passed_on(&one.result),
            _ => expr,
        },
        Expr::Function(function) if table_text(&function.name).eq_ignore_ascii_case("coalesce") => {
            let FunctionArguments::List(list) = &function.args else { return expr };
            match list.args.as_slice() {
                [
                    FunctionArg::Unnamed(FunctionArgExpr::Expr(inner)),
                    FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Value(_))),
                ] => passed_on(inner),
                _ => expr,
            }
        }
        _ => expr,
    }
}

/// Whether an expression is the day that is built: the same for all rows.
pub fn is_the_day(expr: &Expr) -> bool {
    match expr {
        Expr::Nested(inner) => is_the_day(inner),
        Expr::Value(value) => matches!(&value.value, Value::Placeholder(_)),
        _ => false,
    }
}

/// The conditions that must all hold for one to hold.
pub fn conjuncts(expr: &Expr) -> Vec<&Expr> {
    use datafusion::sql::sqlparser::ast::BinaryOperator;
    match expr {
        Expr::Nested(inner) => conjuncts(inner),
        Expr::BinaryOp { left, op: BinaryOperator::And, right } => {
            let mut parts = conjuncts(left);
            parts.extend(conjuncts(right));
            parts
        }
        _ => vec![expr],
    }
}
