//! What an ingest brought as accounts of the ledger: by table, by file, and as the lake has it.

use super::ledger::{Account, FILES_LISTED, SumAccount};
use crate::ingest::books::LakeBooks;
use crate::ingest::logs::IngestOutcome;
use crate::ingest::orders::TableOutcome;

/// The accounts of a log that had something new.
pub fn of_log(source: &str, table: &str, outcome: &IngestOutcome) -> Vec<Account> {
    let tally = &outcome.tally;
    if tally.read == 0 {
        return Vec::new();
    }
    let rejected = tally.rejected_total();
    let mut accounts = vec![Account::of("ingest", source, tally.read, tally.landed, 0, rejected)];
    accounts.push(in_lake(table, outcome.lake, tally.landed));
    let files = outcome.files.iter().filter(|(_, tally)| tally.read > 0).take(FILES_LISTED);
    accounts.extend(
        files.map(|(file, tally)| Account::of("file", file, tally.read, tally.landed, 0, tally.rejected_total())),
    );
    accounts
}

/// The accounts of an order table that had something new.
pub fn of_table(outcome: &TableOutcome) -> Vec<Account> {
    let (table, tally) = (outcome.table.as_str(), &outcome.tally);
    if tally.read == 0 && outcome.lake == LakeBooks::default() {
        return Vec::new();
    }
    let rejected = tally.rows_rejected();
    let mut accounts = vec![Account::of("ingest", table, tally.read, tally.landed, tally.unchanged, rejected)];
    // Where nothing new came no commit was made.
    if outcome.lake != LakeBooks::default() {
        accounts.push(in_lake(table, outcome.lake, tally.landed));
    }
    let files = outcome.extracts.iter().take(FILES_LISTED);
    accounts.extend(files.map(|f| Account::of("file", &f.file, f.read, f.landed, f.unchanged, f.rejected)));
    accounts
}

/// What the money columns of an order table add up to.
pub fn sums_of(outcome: &TableOutcome) -> Vec<SumAccount> {
    let sums = outcome.tally.sums.iter().filter_map(|(column, sum)| {
        let in_lake = *outcome.sums_in_lake.get(column)?;
        Some(SumAccount::of(format!("{}.{column}", outcome.table), sum.read, sum.landed, in_lake))
    });
    sums.collect()
}

/// The rows that a table should have, and those it has.
fn in_lake(table: &str, lake: LakeBooks, landed: u64) -> Account {
    Account::of("lake", table, (lake.before + landed).saturating_sub(lake.left), lake.after, 0, 0)
}
