//! The second chance of rejects: which of them are wanted, what came of them, and how two tables change as one.
//!
//! Rows land in their table and leave `ods_reject`. The commit that lands them records what is to change there (an
//! [`Exchange`], its files already staged), so that a crash between the two commits neither doubles nor loses a line:
//! whoever next ingests, replays or maintains makes the exchange.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::rejects::REJECT_TABLE;
use crate::date::{BizDate, Slot};
use crate::lake::{Commit, FileRef, Lake, StagedFile, Table};

/// The domain of a table's last [`Exchange`]; `ods_reject` has, for each table, the run whose exchange was made.
pub const REPLAY: &str = "strata.replay";

/// How often the exchange is tried when others commit to the table of all sources' rejects as well.
const ATTEMPTS: usize = 5;

/// Which rejects are to have a second chance.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Only of this ODS table.
    pub table: Option<String>,
    /// Only for this reason.
    pub reason: Option<String>,
    /// Only those that arrived on this day or later.
    pub from: Option<BizDate>,
    /// Only those that arrived on this day or earlier.
    pub to: Option<BizDate>,
    /// Whether to look only.
    pub dry_run: bool,
}

impl Wanted {
    /// Whether rejects of an ODS table are wanted.
    pub fn table(&self, table: &str) -> bool {
        self.table.as_ref().is_none_or(|wanted| wanted == table)
    }

    /// Whether rejects that arrived on a day are wanted.
    pub fn arrival(&self, day: BizDate) -> bool {
        self.from.is_none_or(|from| day >= from) && self.to.is_none_or(|to| day <= to)
    }

    /// Whether rejects for a reason are wanted.
    pub fn reason(&self, reason: &str) -> bool {
        self.reason.as_ref().is_none_or(|wanted| wanted == reason)
    }
}

/// What came of the rejects of one table: read = landed + rejected.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Replayed {
    /// The ODS table.
    pub table: String,
    /// Files of the source of which something landed, or is rejected for another reason now.
    pub files: BTreeSet<String>,
    /// Events or rows looked at.
    pub read: u64,
    /// Those that landed.
    pub landed: u64,
    /// Those that stay, by reason as of now.
    pub rejected: BTreeMap<String, u64>,
    /// The partitions that changed.
    pub slots: BTreeSet<Slot>,
    /// What could not be tried, and why.
    pub untried: Vec<String>,
}

/// What changes in `ods_reject` once the rows of a replay have landed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Exchange {
    /// The run that replayed.
    pub run: String,
    /// Files staged in the folder of `ods_reject`.
    pub adds: Vec<StagedFile>,
    /// Files of it that leave, by path.
    pub removes: Vec<String>,
    /// Records to be written, or taken away.
    pub records: Vec<(String, Option<String>)>,
}

/// The domain in `ods_reject` that says whose exchange was made last for a table.
fn made_domain(table: &str) -> String {
    format!("{REPLAY}:{table}")
}

/// The exchange that is recorded beside a table's rows and was not made yet.
///
/// # Errors
/// When the lake cannot be read, or a record is not what this module writes.
pub async fn pending(lake: &Lake, table: &str, records: &BTreeMap<String, String>) -> Result<Option<Exchange>> {
    let Some(text) = records.get(REPLAY) else { return Ok(None) };
    let exchange: Exchange = serde_json::from_str(text).with_context(|| format!("record `{REPLAY}` of {table}"))?;
    let made = lake.records(REJECT_TABLE).await?;
    Ok((made.get(&made_domain(table)) != Some(&exchange.run)).then_some(exchange))
}

/// Makes the exchange that an interrupted replay of a table left to be made.
///
/// # Errors
/// When the lake cannot be read or written.
pub async fn finish(lake: &Lake, table: &str, records: &BTreeMap<String, String>, now_ms: i64) -> Result<()> {
    match pending(lake, table, records).await? {
        Some(exchange) => make(lake, table, exchange, now_ms).await,
        None => Ok(()),
    }
}

/// Makes an exchange.
///
/// # Errors
/// When the lake cannot be read or written, or the rejects that are to leave are not there.
pub async fn make(lake: &Lake, table: &str, exchange: Exchange, now_ms: i64) -> Result<()> {
    for attempt in 1.. {
        let missing = || format!("{REJECT_TABLE} is gone");
        let mut rejects = lake.table(REJECT_TABLE).await?.with_context(missing)?;
        let commit = commit_of(table, &exchange, &rejects, now_ms)?;
        let before = rejects.version();
        let Err(error) = rejects.commit(commit).await else { return Ok(()) };
        let overtaken = lake.table(REJECT_TABLE).await?.is_some_and(|rejects| rejects.version() != before);
        if !overtaken || attempt >= ATTEMPTS {
            return Err(error);
        }
    }
    Ok(())
}

fn commit_of(table: &str, exchange: &Exchange, rejects: &Table, now_ms: i64) -> Result<Commit> {
    let find = |path: &String| -> Result<FileRef> {
        let file = rejects.files().iter().find(|file| file.path == *path).cloned();
        file.with_context(|| format!("{REJECT_TABLE} has no file {path}, from which rejects of {table} are to leave"))
    };
    let removes = exchange.removes.iter().map(find).collect::<Result<_>>()?;
    let mut records = exchange.records.clone();
    records.push((made_domain(table), Some(exchange.run.clone())));
    Ok(Commit { adds: exchange.adds.clone(), removes, records, run: exchange.run.clone(), operation: "replay", now_ms })
}
