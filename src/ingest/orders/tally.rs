//! The ledger's numbers of an extract: source rows = landed + rejected, and what the money columns add up to.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

/// What became of the rows of an extract, or of several.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Rows read.
    pub read: u64,
    /// Rows that landed.
    pub landed: u64,
    /// Rows that a database gave once more as they had landed before: they do not land again.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub unchanged: u64,
    /// Keys that are gone from a database, whose rows of earlier extracts left; none of the rows read.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub deleted: u64,
    /// Rows that did not, by reason.
    pub rejected: BTreeMap<String, u64>,
    /// Sums of the money columns, by column.
    pub sums: BTreeMap<String, MoneySum>,
}

/// A money column added up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MoneySum {
    /// Over every row whose amount could be read, rejected ones included.
    pub read: Amount,
    /// Over the rows that landed, and those that had landed before.
    pub landed: Amount,
}

/// An exact sum of amounts in hundredths; written as text (`-12.30`) since it may exceed any JSON number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Amount(pub i128);

impl Tally {
    /// A tally of nothing, for a table with these money columns.
    pub fn for_columns<'a>(names: impl Iterator<Item = &'a str>) -> Self {
        Self { sums: names.map(|name| (name.to_owned(), MoneySum::default())).collect(), ..Self::default() }
    }

    /// Adds to what a money column adds up to; other columns have no sum.
    pub fn add(&mut self, column: &str, more: MoneySum) {
        if let Some(sum) = self.sums.get_mut(column) {
            sum.read.0 += more.read.0;
            sum.landed.0 += more.landed.0;
        }
    }

    /// Adds another extract's numbers.
    pub fn merge(&mut self, other: &Self) {
        self.read += other.read;
        self.landed += other.landed;
        self.unchanged += other.unchanged;
        self.deleted += other.deleted;
        for (reason, rows) in &other.rejected {
            *self.rejected.entry(reason.clone()).or_default() += rows;
        }
        for (column, sum) in &other.sums {
            let own = self.sums.entry(column.clone()).or_default();
            own.read.0 += sum.read.0;
            own.landed.0 += sum.landed.0;
        }
    }

    /// All rows that did not land.
    pub fn rows_rejected(&self) -> u64 {
        self.rejected.values().sum()
    }

    /// Whether nothing was lost: read = landed + unchanged + rejected.
    pub fn closes(&self) -> bool {
        self.read == self.landed + self.unchanged + self.rows_rejected()
    }
}

fn is_zero(rows: &u64) -> bool {
    *rows == 0
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let hundredths = self.0.unsigned_abs();
        write!(f, "{sign}{}.{:02}", hundredths / 100, hundredths % 100)
    }
}

impl FromStr for Amount {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let (negative, digits) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
        let all_digits = digits.bytes().all(|b| b == b'.' || b.is_ascii_digit());
        let split = digits.split_once('.').filter(|(_, fraction)| all_digits && fraction.len() == 2);
        let Some((whole, fraction)) = split else { bail!("`{text}` is not an amount") };
        let hundredths: i128 = format!("{whole}{fraction}").parse().with_context(|| format!("`{text}`"))?;
        Ok(Self(if negative { -hundredths } else { hundredths }))
    }
}

impl TryFrom<String> for Amount {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse().map_err(|e: anyhow::Error| e.to_string())
    }
}

impl From<Amount> for String {
    fn from(amount: Amount) -> Self {
        amount.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_amount_survives_being_written_down() {
        for (hundredths, text) in [(0, "0.00"), (5, "0.05"), (-5, "-0.05"), (123_456, "1234.56"), (-100, "-1.00")] {
            assert_eq!(Amount(hundredths).to_string(), text);
            assert_eq!(text.parse::<Amount>().unwrap(), Amount(hundredths));
        }
        for bad in ["", "1", "1.5", "x.00", "1.0x", "--1.00"] {
            assert!(bad.parse::<Amount>().is_err(), "{bad}");
        }
    }

    #[test]
    fn tallies_add_up() {
        let mut one = Tally::for_columns(["pay_money"].into_iter());
        one.add("pay_money", MoneySum { read: Amount(150), landed: Amount(150) });
        one.add("pay_money", MoneySum { read: Amount(50), landed: Amount(0) });
        one.add("other", MoneySum { read: Amount(1), landed: Amount(1) });
        (one.read, one.landed) = (2, 1);
        assert!(!one.closes());
        one.rejected.insert("bad_type".to_owned(), 1);
        assert!(one.closes());
        let mut all = Tally::default();
        all.merge(&one);
        all.merge(&one);
        assert_eq!((all.read, all.rows_rejected(), all.sums["pay_money"].landed), (4, 2, Amount(300)));
        assert_eq!(serde_json::to_string(&one.sums).unwrap(), r#"{"pay_money":{"read":"2.00","landed":"1.50"}}"#);
    }
}
