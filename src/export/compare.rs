//! Where a target differs from the lake, partition by partition: what `strata export --verify` tells and mends. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::changes::{slot_text, version_text};
use super::{ExportTable, METADATA_TABLE};
use crate::progress::{count, counted};

/// The content of a partition: rows, and a checksum as 16 hexadecimal digits.
pub type Content = (u64, String);

/// A partition that a target has otherwise than the lake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The table.
    pub table: String,
    /// The day, or nothing for a table without days.
    pub dt: String,
    /// What is different.
    pub kind: Unlike,
}

/// How a partition differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unlike {
    /// Its rows are others.
    Content {
        /// What the target has.
        target: Content,
        /// What the lake has.
        lake: Content,
    },
    /// The target lacks it.
    Missing(Content),
    /// The lake lacks it.
    Extra(Content),
    /// The rows are the same, but are recorded as another version of them, or not at all.
    Record,
    /// A column is of a type that no export gave it.
    Column {
        /// Its name.
        column: String,
        /// Its type in the target.
        target: String,
        /// The type that it should have at the least.
        wanted: String,
    },
    /// The rows are the same, but are recorded as so many, with such a checksum.
    Told {
        /// What the record says.
        told: Content,
        /// What is there.
        target: Content,
    },
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { table, dt, kind } = self;
        write!(f, "{table}{}{dt}: ", if dt.is_empty() { "" } else { " dt=" })?;
        match kind {
            Unlike::Content { target, lake } if target.0 == lake.0 => {
                let rows = counted(target.0, "row");
                write!(f, "{rows}, but not as in the lake (checksums {} and {})", target.1, lake.1)
            }
            Unlike::Content { target, lake } => {
                write!(f, "{}, the lake has {}", counted(target.0, "row"), count(lake.0))
            }
            Unlike::Missing(lake) => write!(f, "missing, the lake has {}", counted(lake.0, "row")),
            Unlike::Extra(target) => write!(f, "{} that the lake has not", counted(target.0, "row")),
            Unlike::Column { column, target, wanted } => {
                write!(f, "column {column} is {target} in the target and {wanted} in the lake")
            }
            Unlike::Record => f.write_str("the rows of the lake, recorded as another version"),
            Unlike::Told { told, target } => write!(
                f,
                "the rows of the lake, but {METADATA_TABLE} tells of {} with checksum {}, and there are {} with {}",
                counted(told.0, "row"),
                told.1,
                count(target.0),
                target.1
            ),
        }
    }
}

/// What is found of one table in a target.
#[derive(Default)]
pub struct Found {
    /// Rows and checksum by partition, as the target names it.
    pub target: BTreeMap<String, Content>,
    /// The same of the lake, by the same checksum; partitions without rows may be left out.
    pub lake: BTreeMap<String, Content>,
    /// The columns that are of other types than an export gives them.
    pub columns: Vec<Unlike>,
    /// What the target records of each partition.
    pub recorded: BTreeMap<String, Told>,
}

/// What a target records of a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// The version of its content.
    pub version: String,
    /// Its rows and checksum.
    pub content: Content,
}

/// The partitions of a table that differ.
pub fn differences(table: &ExportTable, found: &Found) -> Vec<Difference> {
    let versions = table.slots.iter().map(|(slot, (version, _))| (slot_text(*slot), version_text(*version))).collect();
    let name = table.head.name();
    let columns = found.columns.iter().cloned();
    let columns = columns.map(|kind| Difference { table: name.to_owned(), dt: String::new(), kind });
    columns.chain(unlike(name, &versions, found)).collect()
}

fn unlike(table: &str, versions: &BTreeMap<String, String>, found: &Found) -> Vec<Difference> {
    let (there, here) = (found.target.keys().chain(found.recorded.keys()), found.lake.keys().chain(versions.keys()));
    let days: BTreeSet<&String> = there.chain(here).collect();
    let differ = days.into_iter().filter_map(|day| {
        let kind = match (found.target.get(day), found.lake.get(day)) {
            (Some(target), Some(lake)) if target != lake => {
                Unlike::Content { target: target.clone(), lake: lake.clone() }
            }
            (None, Some(lake)) => Unlike::Missing(lake.clone()),
            (Some(target), None) => Unlike::Extra(target.clone()),
            (target, _) => match found.recorded.get(day) {
                told if told.map(|told| &told.version) != versions.get(day) => Unlike::Record,
                Some(told) if told.content != target.cloned().unwrap_or_else(nothing) => {
                    Unlike::Told { told: told.content.clone(), target: target.cloned().unwrap_or_else(nothing) }
                }
                _ => return None,
            },
        };
        Some(Difference { table: table.to_owned(), dt: day.clone(), kind })
    });
    differ.collect()
}

/// The content of a partition without rows.
fn nothing() -> Content {
    (0, format!("{:016x}", 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_to_differ_is_told() {
        let content = |days: &[(&str, u64, &str)]| -> BTreeMap<String, Content> {
            days.iter().map(|(day, rows, sum)| ((*day).to_owned(), (*rows, (*sum).to_owned()))).collect()
        };
        let versions = |days: &[(&str, &str)]| -> BTreeMap<String, String> {
            days.iter().map(|(day, version)| ((*day).to_owned(), (*version).to_owned())).collect()
        };
        let found = Found {
            columns: Vec::new(),
            target: content(&[
                ("1", 3, "a"),
                ("2", 3, "b"),
                ("3", 2, "c"),
                ("5", 1, "e"),
                ("6", 1, "f"),
                ("8", 1, "h"),
            ]),
            lake: content(&[("1", 3, "a"), ("2", 3, "x"), ("3", 4, "y"), ("4", 1, "d"), ("6", 1, "f"), ("8", 1, "h")]),
            recorded: versions(&[
                ("1", "v"),
                ("2", "v"),
                ("3", "v"),
                ("5", "v"),
                ("6", "w"),
                ("7", "v"),
                ("8", "v"),
                ("9", "v"),
            ])
            .into_iter()
            .map(|(day, version)| {
                let content = if day == "1" { (3, "a".to_owned()) } else { nothing() };
                (day, Told { version, content })
            })
            .collect(),
        };
        let wanted = versions(&[("1", "v"), ("2", "v"), ("3", "v"), ("4", "v"), ("6", "v"), ("8", "v"), ("9", "v")]);
        let told: Vec<String> = unlike("t", &wanted, &found).iter().map(ToString::to_string).collect();
        assert_eq!(
            told,
            [
                "t dt=2: 3 rows, but not as in the lake (checksums b and x)",
                "t dt=3: 2 rows, the lake has 4",
                "t dt=4: missing, the lake has 1 row",
                "t dt=5: 1 row that the lake has not",
                "t dt=6: the rows of the lake, recorded as another version",
                "t dt=7: the rows of the lake, recorded as another version",
                "t dt=8: the rows of the lake, but strata_export tells of 0 rows with checksum 0000000000000000, and there are 1 \
                 with h",
            ]
        );
    }
}
