//! The books of an extraction: what was read must be what the server counts and adds up in the same snapshot, part by part
//! and all together, each key once.

use std::collections::BTreeMap;

use anyhow::{Context, Error, Result, anyhow};
use mysql_async::{Row, Value};

use super::question::Totals;
use super::values::hundredths;
use crate::config::source::ColumnType;
use crate::error::with_hint;
use crate::ingest::orders::intake::SourceRow;
use crate::ingest::orders::layout::Layout;
use crate::ingest::orders::mask::shown;
use crate::ingest::orders::tally::Tally;
use crate::ingest::orders::value::Fault;

/// The amounts that could not land, by money column, so that those that did are still held against the server's sum; none
/// for a column with one that cannot even be added up.
#[derive(Debug, Default)]
pub struct Unread(BTreeMap<usize, Option<i128>>);

impl Unread {
    /// Adds a row's; `sent` is what the server sent for a declared column.
    pub fn add<'r>(&mut self, layout: &Layout, faults: &[(usize, Fault)], sent: impl Fn(usize) -> Option<&'r Value>) {
        for (at, _) in faults.iter().filter(|(at, _)| layout.columns[*at].kind == ColumnType::Money) {
            let sum = self.0.entry(*at).or_insert(Some(0));
            *sum = sum.zip(sent(*at).and_then(hundredths)).and_then(|(sum, amount)| sum.checked_add(amount));
        }
    }
}

/// Checks that what was read of a part is what the server counted.
///
/// # Errors
/// When it is not.
pub fn check_part(layout: &Layout, tally: &Tally, totals: &Totals, unread: &Unread) -> Result<()> {
    if tally.read != totals.rows || !tally.closes() {
        return Err(anyhow!(
            "{} rows were read, {} landed and {} were rejected, and the server counts {}",
            tally.read,
            tally.landed,
            tally.rows_rejected(),
            totals.rows
        ));
    }
    for (column, expected) in &totals.sums {
        let at = layout.columns.iter().position(|declared| declared.name == *column);
        let Some(unread) = at.and_then(|at| unread.0.get(&at).copied()).unwrap_or(Some(0)) else { continue };
        let sum = tally.sums.get(column).map_or(0, |sum| sum.read.0);
        if sum.checked_add(unread) != Some(*expected) {
            return Err(differs(column, sum + unread, *expected)).with_context(|| layout.table.clone());
        }
    }
    Ok(())
}

/// Checks that the parts together are the whole, as the server counts it without them.
///
/// # Errors
/// When they are not.
pub fn check_whole<'t>(parts: impl Iterator<Item = &'t Totals>, whole: &Totals) -> Result<()> {
    let mut all = Totals::default();
    for part in parts {
        all.rows += part.rows;
        all.sums.resize(part.sums.len(), (String::new(), 0));
        for ((name, sum), (of, more)) in all.sums.iter_mut().zip(&part.sums) {
            name.clone_from(of);
            *sum += more;
        }
    }
    if all.rows != whole.rows {
        return Err(anyhow!("its parts have {} rows, and the server counts {} in all", all.rows, whole.rows));
    }
    for ((column, sum), (_, expected)) in all.sums.iter().zip(&whole.sums) {
        if sum != expected {
            return Err(differs(column, *sum, *expected));
        }
    }
    Ok(())
}

fn differs(column: &str, sum: i128, expected: i128) -> Error {
    let (sum, expected) = (super::amount(sum), super::amount(expected));
    anyhow!("column `{column}` adds up to {sum}, and to {expected} at the server")
}

/// The first of the rows that has the key, at these places, of the row before it; `last` is before the first of them.
pub fn first_repeated(last: Option<&Row>, rows: &[Row], key: &[usize]) -> Option<usize> {
    let before = last.into_iter().chain(rows);
    let at =
        before.zip(&rows[usize::from(last.is_none()).min(rows.len())..]).position(|(a, b)| is_same_key(a, b, key))?;
    Some(at + usize::from(last.is_none()))
}

/// Whether two rows have the same key; a key that is NULL in part is that of no other row.
fn is_same_key(one: &Row, other: &Row, key: &[usize]) -> bool {
    !key.is_empty()
        && key.iter().all(|at| match (one.as_ref(*at), other.as_ref(*at)) {
            (Some(Value::NULL) | None, _) => false,
            (one, other) => one == other,
        })
}

/// The error of a key that more than one row has.
pub fn not_unique(layout: &Layout, row: &dyn SourceRow) -> Error {
    let name = |at: &usize| layout.columns[*at].name.as_str();
    let names: Vec<&str> = layout.key.iter().map(name).collect();
    let values = layout.key.iter().map(|at| format!("{} {}", name(at), shown(&row.text(*at), layout.is_personal())));
    let values = values.collect::<Vec<_>>().join(", ");
    let error = anyhow!("key `{}` is not unique: {}, {values}, is not the only one", names.join(", "), row.place());
    with_hint(
        error,
        "does the key lack a column, or does a join in `select` double rows? Such rows would land again each run",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::source::Source;
    use crate::ingest::orders::tally::{Amount, MoneySum};

    #[test]
    fn an_amount_that_cannot_land_does_not_hide_one_that_is_lost() {
        let Source::Tables(shop) = toml::from_str(include_str!("../../../../conf/sources/orders.toml")).unwrap() else {
            panic!("orders is a source of tables")
        };
        let table = shop.tables.iter().find(|table| table.name == "payment_flow").unwrap();
        let layout = Layout::new(table).unwrap();
        let at = layout.columns.iter().position(|column| column.name == "pay_money").unwrap();
        let mut tally = Tally::for_columns(["pay_money"].into_iter());
        (tally.read, tally.landed) = (2, 1);
        tally.rejected.insert("bad_type".to_owned(), 1);
        tally.add("pay_money", MoneySum { read: Amount(150), landed: Amount(150) });
        let huge = Value::Bytes(b"100000000000000000000.00".to_vec());
        let mut unread = Unread::default();
        unread.add(&layout, &[(at, "out of range")], |_| Some(&huge));
        let expected = |sum| Totals { rows: 2, sums: vec![("pay_money".to_owned(), sum)] };
        let huge = 10_000_000_000_000_000_000_000;
        assert!(check_part(&layout, &tally, &expected(huge + 150), &unread).is_ok());
        assert!(check_part(&layout, &tally, &expected(huge + 151), &unread).is_err());
        // What is no number at all cannot be told from one.
        unread.add(&layout, &[(at, "not an amount")], |_| None);
        assert!(check_part(&layout, &tally, &expected(7), &unread).is_ok());
    }

    #[test]
    fn parts_are_held_against_the_whole() {
        let totals = |rows, sum| Totals { rows, sums: vec![("pay".to_owned(), sum)] };
        let parts = [totals(2, 150), totals(3, -50)];
        assert!(check_whole(parts.iter(), &totals(5, 100)).is_ok());
        assert!(check_whole(parts.iter(), &Totals { rows: 5, sums: Vec::new() }).is_ok(), "rows alone were counted");
        let error = check_whole(parts.iter(), &totals(6, 100)).expect_err("a row is missing").to_string();
        assert_eq!(error, "its parts have 5 rows, and the server counts 6 in all");
        let error = check_whole(parts.iter(), &totals(5, 101)).expect_err("a cent is missing").to_string();
        assert_eq!(error, "column `pay` adds up to 1.00, and to 1.01 at the server");
    }
}
