//! Which rows of a FROM go together: the keys that a SELECT groups by, and those of its windows.

use std::collections::BTreeSet;

use datafusion::sql::sqlparser::ast::{Expr, GroupByExpr, Select, Value};

use super::expr::{aggregates, name, partition_keys};
use super::select::Around;

/// The key of a group.
#[derive(Clone, Debug)]
pub struct Grouping {
    /// The places of the output columns that are of it.
    pub places: BTreeSet<usize>,
    /// What is of it and not shown.
    pub hidden: Vec<Expr>,
}

impl Grouping {
    /// Whether there are several groups, of which no two give the same row.
    pub fn is_told_apart(&self) -> bool {
        !self.places.is_empty() && self.hidden.is_empty()
    }
}

/// What a SELECT groups by; nothing where it does not group.
///
/// # Errors
/// Why its groups cannot be followed.
pub fn grouping(select: &Select, items: &[(String, Expr)], around: &Around<'_>) -> Result<Option<Grouping>, String> {
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
    let mut found = Grouping { places: BTreeSet::new(), hidden: Vec::new() };
    for key in keys {
        match place_of(key, items) {
            Some(place) => drop(found.places.insert(place)),
            None => found.hidden.push(key.clone()),
        }
    }
    Ok(Some(found))
}

fn place_of(key: &Expr, items: &[(String, Expr)]) -> Option<usize> {
    let place = match key {
        Expr::Value(number) => match &number.value {
            Value::Number(n, _) => n.to_string().parse::<usize>().ok().and_then(|n| n.checked_sub(1)),
            _ => None,
        },
        _ => items
            .iter()
            .position(|(_, expr)| expr == key || same_column(expr, key))
            .or_else(|| items.iter().position(|(column, _)| is_named(key, column))),
    };
    place.filter(|place| *place < items.len())
}

fn is_named(key: &Expr, column: &str) -> bool {
    name(key).is_some_and(|name| name.table.is_none() && name.column == column)
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

/// The places of the columns that all rows share which an expression's windows look at.
///
/// # Errors
/// The expression, when the rows do not show what they share.
pub fn window_keys(expr: &Expr, items: &[(String, Expr)]) -> Result<BTreeSet<usize>, String> {
    let windows = partition_keys(expr).ok_or_else(|| expr.to_string())?;
    let mut shared: Option<BTreeSet<usize>> = None;
    for keys in windows {
        let places: Option<BTreeSet<usize>> =
            keys.iter().map(|key| items.iter().position(|(_, expr)| expr == key || same_column(expr, key))).collect();
        let places = places.ok_or_else(|| expr.to_string())?;
        shared = Some(shared.map_or_else(|| places.clone(), |before| &before & &places));
    }
    Ok(shared.unwrap_or_default())
}
