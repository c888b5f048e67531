//! Who feeds whom: the tables above and below a table, to any distance.

use std::collections::BTreeSet;

use super::Models;

/// The tables that a table is made from, directly or through others, up to a number of steps; sources and seeds included.
pub fn upstream(models: &Models, table: &str, steps: Option<usize>) -> BTreeSet<String> {
    reach(table, steps, |name| match models.get(name) {
        Some(model) => model.inputs().map(|read| read.table.clone()).filter(|table| models.knows(table)).collect(),
        None => Vec::new(),
    })
}

/// The models that are made from a table, directly or through others, up to a number of steps.
pub fn downstream(models: &Models, table: &str, steps: Option<usize>) -> BTreeSet<String> {
    reach(table, steps, |name| {
        let reads = |model: &&super::Model| model.inputs().any(|read| read.table == name);
        models.iter().filter(reads).map(|model| model.name.clone()).collect()
    })
}

fn reach(table: &str, steps: Option<usize>, neighbours: impl Fn(&str) -> Vec<String>) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut edge = vec![table.to_owned()];
    let mut left = steps.unwrap_or(usize::MAX);
    while !edge.is_empty() && left > 0 {
        left -= 1;
        let next: Vec<String> = edge.iter().flat_map(|name| neighbours(name)).collect();
        edge = next.into_iter().filter(|name| found.insert(name.clone())).collect();
    }
    found
}
