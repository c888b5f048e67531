//! The books of a run: what was read is what landed, what was there already and what was rejected; what landed is in the
//! lake; what was exported was read back. Only what the run touched is looked at. A run whose books do not close fails.
//!
//! Laws between tables of the warehouse are checks of its models, and held before anything was published; here they are
//! counted.

use std::fmt;

use serde::Serialize;

use crate::ingest::orders::Amount;

/// Files of one run that are accounted for one by one in `run.json`; more of them are in the sums of their tables only.
pub const FILES_LISTED: usize = 10_000;

/// All accounts of a run.
#[derive(Debug, Default, Serialize)]
pub struct Ledger {
    /// Rows, by what they are of.
    pub accounts: Vec<Account>,
    /// Money, by column.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sums: Vec<SumAccount>,
    /// Checks that were made before publishing, by model.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub laws: Vec<Laws>,
    /// Whether no account has a difference.
    pub closes: bool,
}

/// An account of rows: read = landed + unchanged + rejected, or else there is a difference.
#[derive(Debug, Serialize)]
pub struct Account {
    /// The part of the run: `ingest` (a source's table), `file` (one file of it), `lake` (the table's rows before and
    /// after), `replay`, `export`.
    pub part: &'static str,
    /// What it is of.
    pub what: String,
    /// What went in.
    pub read: u64,
    /// What came out.
    pub landed: u64,
    /// What was there already.
    pub unchanged: u64,
    /// What was rejected.
    pub rejected: u64,
    /// What is missing, or, below zero, what there is too much.
    pub difference: i64,
}

/// An account of money: what the source gave is in the lake, but for the rows that were rejected.
#[derive(Debug, Serialize)]
pub struct SumAccount {
    /// The table and the column.
    pub what: String,
    /// Over all rows of the source whose amount could be read.
    pub read: Amount,
    /// Over those that landed, as counted on the way.
    pub landed: Amount,
    /// Over those that were rejected.
    pub rejected: Amount,
    /// Over those that landed, as read back from the lake.
    pub in_lake: Amount,
    /// What is missing there.
    pub difference: Amount,
}

/// The checks of one model that were made.
#[derive(Debug, Serialize)]
pub struct Laws {
    /// The model.
    pub model: String,
    /// How many checks it has.
    pub checks: usize,
    /// How many of them were violated.
    pub violated: usize,
}

impl Account {
    /// An account of so many rows.
    pub fn of(part: &'static str, what: &str, read: u64, landed: u64, unchanged: u64, rejected: u64) -> Self {
        let signed = |rows: u64| i128::from(rows);
        let difference = signed(read) - signed(landed) - signed(unchanged) - signed(rejected);
        let difference = i64::try_from(difference).unwrap_or(i64::MAX);
        Self { part, what: what.to_owned(), read, landed, unchanged, rejected, difference }
    }
}

impl SumAccount {
    /// An account of money by what was read at the source, what landed of it, and what is in the lake.
    pub fn of(what: String, read: Amount, landed: Amount, in_lake: Amount) -> Self {
        let (rejected, difference) = (Amount(read.0 - landed.0), Amount(landed.0 - in_lake.0));
        Self { what, read, landed, rejected, in_lake, difference }
    }
}

impl Ledger {
    /// Closes the books: what is wrong with them, a sentence each.
    pub fn close(&mut self) -> Vec<String> {
        let rows = self.accounts.iter().filter(|account| account.difference != 0).map(ToString::to_string);
        let sums = self.sums.iter().filter(|sum| sum.difference.0 != 0).map(ToString::to_string);
        let wrong: Vec<String> = rows.chain(sums).collect();
        self.closes = wrong.is_empty();
        wrong
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { part, what, read, landed, unchanged, rejected, difference } = self;
        match *part {
            "lake" => {
                write!(f, "the books of {what} do not close: it should have {read} rows in the lake, and has {landed}")
            }
            "export" => {
                write!(f, "the books of the export {what} do not close: {read} rows of the lake, {landed} read back")
            }
            _ => write!(
                f,
                "the books of {what} do not close: {read} read, {landed} landed, {unchanged} unchanged, {rejected} \
                 rejected, {difference} missing"
            ),
        }
    }
}

impl fmt::Display for SumAccount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, landed, in_lake, .. } = self;
        write!(f, "the books of {what} do not close: {landed} landed, {in_lake} in the lake")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn books_close_when_nothing_is_missing_and_nothing_too_much() {
        let mut ledger = Ledger::default();
        ledger.accounts.push(Account::of("ingest", "ods_x", 10, 7, 1, 2));
        ledger.sums.push(SumAccount::of("ods_x.money".into(), Amount(500), Amount(450), Amount(450)));
        assert!(ledger.close().is_empty() && ledger.closes);
        assert_eq!(ledger.sums[0].rejected, Amount(50));
    }

    #[test]
    fn a_row_or_an_amount_that_is_missing_is_told() {
        let mut ledger = Ledger::default();
        ledger.accounts.push(Account::of("file", "a.log", 10, 7, 0, 2));
        ledger.accounts.push(Account::of("lake", "ods_x", 7, 8, 0, 0));
        ledger.accounts.push(Account::of("export", "metrics", 7, 6, 0, 0));
        ledger.sums.push(SumAccount::of("ods_x.money".into(), Amount(500), Amount(450), Amount(440)));
        assert_eq!(
            ledger.close(),
            [
                "the books of a.log do not close: 10 read, 7 landed, 0 unchanged, 2 rejected, 1 missing",
                "the books of ods_x do not close: it should have 7 rows in the lake, and has 8",
                "the books of the export metrics do not close: 7 rows of the lake, 6 read back",
                "the books of ods_x.money do not close: 4.50 landed, 4.40 in the lake",
            ]
        );
        assert!(!ledger.closes);
        assert_eq!(ledger.accounts[1].difference, -1);
    }
}
