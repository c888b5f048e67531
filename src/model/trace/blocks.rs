//! A query taken apart: its common table expressions, the queries in its FROMs, and its last SELECT, as blocks with names.

use datafusion::sql::sqlparser::ast::{
    Ident, ObjectName, Query, Select, SetExpr, SetOperator, SetQuantifier, TableAlias, TableFactor,
};

use crate::model::sql::{ident_text, table_text};

/// One SELECT of a query, or several united.
#[derive(Clone, Debug)]
pub struct Block {
    /// What later blocks call it; the last has none.
    pub name: Option<String>,
    /// The name with its columns, as a WITH declares it.
    declared: String,
    /// Its query.
    pub sql: String,
    /// The SELECTs whose rows together are its rows, or why rows cannot be followed through it.
    pub selects: Result<Vec<Select>, String>,
    /// Every table and block that it reads.
    pub reads: Vec<String>,
}

/// The blocks of a query, each after those that it reads; the last one's rows are the query's.
pub fn blocks(query: &Query) -> Vec<Block> {
    let mut found = Vec::new();
    if let Some(with) = &query.with {
        for cte in &with.cte_tables {
            let mut inner = (*cte.query).clone();
            let reason = with.recursive.then(|| "a recursive query".to_owned());
            add(&mut found, Some((&cte.alias.name, cte.alias.to_string())), &mut inner, reason);
        }
    }
    let mut last = Query { with: None, ..query.clone() };
    add(&mut found, None, &mut last, None);
    found
}

/// A WITH that declares blocks, or nothing when there are none.
pub fn with_clause(blocks: &[Block]) -> String {
    let parts: Vec<String> = blocks.iter().map(|block| format!("{} as ({})", block.declared, block.sql)).collect();
    if parts.is_empty() { String::new() } else { format!("with {} ", parts.join(", ")) }
}

fn add(found: &mut Vec<Block>, name: Option<(&Ident, String)>, query: &mut Query, reason: Option<String>) {
    let reads = relations(query);
    let selects = match reason {
        Some(reason) => Err(reason),
        None => selects(found, query),
    };
    let (name, declared) = match name {
        Some((name, declared)) => (Some(ident_text(name)), declared),
        None => (None, String::new()),
    };
    found.push(Block { name, declared, sql: query.to_string(), selects, reads });
}

fn relations(query: &Query) -> Vec<String> {
    let mut names = Vec::new();
    let _ = datafusion::sql::sqlparser::ast::visit_relations(query, |name: &ObjectName| {
        names.push(table_text(name));
        std::ops::ControlFlow::<()>::Continue(())
    });
    names
}

/// The SELECTs of a query, the queries in their FROMs made blocks of their own.
fn selects(found: &mut Vec<Block>, query: &mut Query) -> Result<Vec<Select>, String> {
    if query.with.is_some() {
        return Err("a WITH within a query".to_owned());
    }
    if query.limit_clause.is_some() || query.fetch.is_some() || !query.pipe_operators.is_empty() {
        return Err("it takes only some of its rows (LIMIT)".to_owned());
    }
    let (mut open, mut selects) = (vec![query.body.as_mut()], Vec::new());
    while let Some(body) = open.pop() {
        match body {
            SetExpr::Select(select) => {
                hoist(found, select);
                selects.push((**select).clone());
            }
            SetExpr::Query(inner) if inner.with.is_none() && inner.limit_clause.is_none() && inner.fetch.is_none() => {
                open.push(inner.body.as_mut());
            }
            SetExpr::SetOperation {
                op: SetOperator::Union,
                set_quantifier: SetQuantifier::All | SetQuantifier::None | SetQuantifier::Distinct,
                left,
                right,
            } => {
                open.push(right.as_mut());
                open.push(left.as_mut());
            }
            SetExpr::SetOperation { op, .. } => return Err(format!("{op} of two queries")),
            _ => return Err("it is no SELECT".to_owned()),
        }
    }
    Ok(selects)
}

/// Makes the queries in a FROM blocks of their own, read by name.
fn hoist(found: &mut Vec<Block>, select: &mut Select) {
    for from in &mut select.from {
        let factors = std::iter::once(&mut from.relation).chain(from.joins.iter_mut().map(|join| &mut join.relation));
        for factor in factors {
            let TableFactor::Derived { lateral: false, subquery, alias: Some(alias), sample: None, .. } = factor else {
                continue;
            };
            let name = Ident::new(format!("{}_{}", ident_text(&alias.name), found.len()));
            let alias = alias.clone();
            let columns = TableAlias { name: name.clone(), ..alias.clone() };
            let declared = columns.to_string().trim_start_matches("AS ").to_owned();
            let mut inner = (**subquery).clone();
            add(found, Some((&name, declared)), &mut inner, None);
            *factor = table(name, TableAlias { columns: Vec::new(), ..alias });
        }
    }
}

fn table(name: Ident, alias: TableAlias) -> TableFactor {
    TableFactor::Table {
        name: ObjectName::from(vec![name]),
        alias: Some(alias),
        args: None,
        with_hints: Vec::new(),
        version: None,
        with_ordinality: false,
        partitions: Vec::new(),
        json_path: None,
        sample: None,
        index_hints: Vec::new(),
    }
}
