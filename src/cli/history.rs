//! `strata history`: what each run did.

use anyhow::Result;
use serde_json::Value;

use super::args::Results;
use super::grid::{Cell, Grid};
use super::operations;
use super::output::write_to;
use super::render::{Format, Style, write_grid};
use super::session::Session;
use crate::error::Exit;
use crate::run::RunRow;

/// Shows what each run did: when, how long, what it read, built, rejected and exported
#[derive(clap::Args)]
#[command(after_help = "Examples:
  strata history
  strata history --limit 100 --format csv
  strata history 20260105T010203123-04711
  strata history 20260105T010203123-04711 --ledger --format csv")]
pub struct Args {
    /// One run, in detail: its name or the beginning of it [default: the latest runs, a line each]
    #[arg(value_name = "RUN")]
    run: Option<String>,
    /// Of the run only its books, with all files
    #[arg(long, requires = "run")]
    ledger: bool,
    /// How many runs to show
    #[arg(long, value_name = "N", default_value_t = 20)]
    limit: usize,
    #[command(flatten)]
    results: Results,
}

impl Args {
    pub(super) fn run(self, session: &Session) -> Result<Exit> {
        let runs = operations::runs(session, session.config()?, self.run.as_deref(), self.limit)?;
        let Results { format, output } = self.results;
        let style = if output.is_some() { Style::Plain } else { session.style() };
        let grids = match (&self.run, runs.as_slice()) {
            (Some(_), [run]) if self.ledger => vec![ledger(&run.record, true)],
            // A file holds one table; a person is shown the books as well.
            (Some(_), [run]) if format != Format::Table => vec![detail(&run.record)],
            (Some(_), [run]) => vec![detail(&run.record), ledger(&run.record, false)],
            _ => vec![list(&runs)],
        };
        write_to(output.as_deref(), |out| {
            for (number, grid) in
                grids.iter().enumerate().filter(|(number, grid)| *number == 0 || !grid.rows.is_empty())
            {
                if number > 0 {
                    writeln!(out, "\nbooks")?;
                }
                write_grid(out, grid, format, style)?;
            }
            Ok(())
        })?;
        Ok(Exit::Done)
    }
}

/// The books of a run: a row an account. Of the files only those of which something did not land, unless `all` are wanted.
fn ledger(record: &Value, all: bool) -> Grid {
    let names = ["part", "what", "read#", "landed#", "unchanged#", "rejected#", "difference#"];
    let mut grid = Grid::new(&names);
    let books = &record["ledger"];
    let is_told = |account: &&Value| {
        all || account["part"] != "file" || account["read"] != account["landed"] || account["difference"] != 0
    };
    for account in parts(books, "accounts").filter(is_told) {
        grid.push(["part", "what", "read", "landed", "unchanged", "rejected", "difference"].map(|f| cell(&account[f])));
    }
    // Amounts are numbers although JSON has them as text, so that no digit is lost.
    let amount = |value: &Value| value.as_str().map_or(Cell::Null, |text| Cell::Bare(text.to_owned()));
    for sum in parts(books, "sums") {
        let [read, landed, rejected, difference] =
            ["read", "in_lake", "rejected", "difference"].map(|field| amount(&sum[field]));
        grid.push(["money".into(), cell(&sum["what"]), read, landed, Cell::Null, rejected, difference]);
    }
    for law in parts(books, "laws") {
        let (checks, violated) = (law["checks"].as_u64(), law["violated"].as_u64());
        let held = checks.zip(violated).map(|(checks, violated)| checks.saturating_sub(violated));
        let what = law["model"].as_str().map(|model| format!("checks of {model}"));
        // What only warns was published all the same: it is told, and no difference.
        grid.push(["laws".into(), what.into(), checks.into(), held.into(), Cell::Null, violated.into(), Cell::Null]);
    }
    grid
}

fn list(runs: &[RunRow]) -> Grid {
    let names = [
        "run",
        "started",
        "outcome",
        "to",
        "seconds#",
        "read#",
        "landed#",
        "built#",
        "changed#",
        "exported#",
        "command",
    ];
    let mut grid = Grid::new(&names);
    for RunRow { run, record } in runs {
        let sum =
            |part: &str, field: &str| Cell::from(parts(record, part).filter_map(|p| p[field].as_u64()).sum::<u64>());
        grid.push([
            run.as_str().into(),
            cell(&record["started"]),
            cell(&record["outcome"]),
            cell(&record["to"]),
            seconds(&record["seconds"]),
            sum("sources", "read"),
            sum("sources", "landed"),
            sum("models", "built"),
            sum("models", "changed"),
            sum("exports", "partitions"),
            cell(&record["command"]),
        ]);
    }
    grid
}

/// One run: a row for each source that had something new, each model that was built and each export.
fn detail(record: &Value) -> Grid {
    let mut grid =
        Grid::new(&["part", "name", "result", "rows#", "rejected#", "built#", "changed#", "seconds#", "reason"]);
    for source in parts(record, "sources").filter(|s| s["read"].as_u64() != Some(0)) {
        let rejected: u64 = source["rejected"].as_object().into_iter().flatten().filter_map(|(_, n)| n.as_u64()).sum();
        let name = cell(&source["source"]);
        let (rows, built) = (cell(&source["landed"]), cell(&source["partitions"]));
        grid.push([
            "ingest".into(),
            name,
            "landed".into(),
            rows,
            rejected.into(),
            built,
            Cell::Null,
            Cell::Null,
            Cell::Null,
        ]);
    }
    for model in parts(record, "models") {
        let reason = model["error"].as_str().or(model["reason"].as_str()).unwrap_or_default();
        // The whole error was told during the run, and is in run.json.
        let reason = reason.lines().next().unwrap_or_default().trim_start_matches("error: ");
        grid.push([
            "build".into(),
            cell(&model["model"]),
            cell(&model["result"]),
            cell(&model["rows"]),
            Cell::Null,
            cell(&model["built"]),
            cell(&model["changed"]),
            seconds(&model["seconds"]),
            reason.into(),
        ]);
    }
    for table in parts(&record["undone"], "tables") {
        let partitions = table["slots"].as_array().map_or(0, Vec::len) as u64;
        let reason = record["undone"]["run"].as_str().map(|run| format!("as before run {run}"));
        grid.push([
            "undo".into(),
            cell(&table["table"]),
            "brought back".into(),
            cell(&table["rows_before"]),
            Cell::Null,
            Cell::Null,
            partitions.into(),
            Cell::Null,
            reason.into(),
        ]);
    }
    for export in parts(record, "exports") {
        let (name, rows, built) = (cell(&export["export"]), cell(&export["rows"]), cell(&export["partitions"]));
        grid.push([
            "export".into(),
            name,
            "exported".into(),
            rows,
            Cell::Null,
            built,
            Cell::Null,
            Cell::Null,
            Cell::Null,
        ]);
    }
    let is_idle = |table: &&Value| table["merged"] == 0 && table["removed"] == 0 && table["log_entries"] == 0;
    for table in parts(record, "maintained").filter(|table| !is_idle(table)) {
        let number = |field: &str| table[field].as_u64().unwrap_or_default();
        let done = format!(
            "{} files became {}, {} files and {} log entries went",
            number("merged"),
            number("made"),
            number("removed"),
            number("log_entries")
        );
        let mut row = [const { Cell::Null }; 9];
        (row[0], row[1], row[2], row[8]) = ("maintain".into(), cell(&table["table"]), "done".into(), done.into());
        grid.push(row);
    }
    grid
}

fn parts<'a>(record: &'a Value, part: &str) -> impl Iterator<Item = &'a Value> {
    record[part].as_array().into_iter().flatten()
}

fn seconds(value: &Value) -> Cell {
    value.as_f64().map_or(Cell::Null, |seconds| Cell::Bare(format!("{seconds:.2}")))
}

/// A value of a record as a cell; a record of another version may lack it.
fn cell(value: &Value) -> Cell {
    match value {
        Value::Null => Cell::Null,
        Value::String(text) => text.as_str().into(),
        number => Cell::Bare(number.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_run_is_a_line_with_its_sums() {
        let record = json!({
            "started": "2026-01-17T01:00:00.000Z", "outcome": "done", "to": "2026-01-16", "seconds": 4.2149,
            "sources": [{"read": 10, "landed": 8}, {"read": 5, "landed": 5}],
            "models": [{"built": 3, "changed": 2}],
            "exports": [{"partitions": 7}],
        });
        let grid = list(&[RunRow { run: "r1".into(), record }]);
        let bare = |text: &str| Cell::Bare(text.to_owned());
        let expected = ["4.21", "15", "13", "3", "2", "7"].map(bare);
        assert_eq!(grid.rows[0][..2], ["r1".into(), "2026-01-17T01:00:00.000Z".into()]);
        assert_eq!(grid.rows[0][4..10], expected);
    }

    #[test]
    fn the_books_of_a_run_are_shown_with_the_files_of_which_something_did_not_land() {
        let account = |part: &str, what: &str, read: u64, rejected: u64| {
            json!({"part": part, "what": what, "read": read, "landed": read - rejected, "unchanged": 0,
                   "rejected": rejected, "difference": 0})
        };
        let accounts =
            [account("ingest", "ods_x", 10, 1), account("file", "good.csv", 4, 0), account("file", "bad.csv", 6, 1)];
        let sum = json!({"what": "ods_x.money", "read": "5.00", "in_lake": "4.50", "rejected": "0.50",
                         "difference": "0.00"});
        let laws = [json!({"model": "dwd_x", "checks": 3, "violated": 1})];
        let record = json!({"ledger": {"accounts": accounts, "sums": [sum], "laws": laws}});
        let what = |all| ledger(&record, all).rows.into_iter().map(|row| row[1].clone()).collect::<Vec<Cell>>();
        assert_eq!(what(false), ["ods_x", "bad.csv", "ods_x.money", "checks of dwd_x"].map(Cell::from));
        assert_eq!(what(true).len(), 5);
        let money = &ledger(&record, false).rows[2];
        assert_eq!(money[2..4], [Cell::Bare("5.00".into()), Cell::Bare("4.50".into())]);
        assert_eq!(ledger(&record, false).rows[3][3], 2_u64.into());
    }

    #[test]
    fn a_record_of_another_version_leaves_cells_empty() {
        let grid = list(&[RunRow { run: "r1".into(), record: json!({"format": 99}) }]);
        assert_eq!(grid.rows[0][1], Cell::Null);
        assert!(detail(&json!({})).rows.is_empty() && ledger(&json!({}), true).rows.is_empty());
    }

    #[test]
    fn a_run_in_detail_shows_what_failed_and_why() {
        let failed = json!({"model": "dwd_order", "result": "failed", "error": "error: no such column\n  1 | x", "reason": "never built"});
        let grid = detail(&json!({"models": [failed]}));
        assert_eq!(grid.rows[0][2], "failed".into());
        assert_eq!(grid.rows[0].last(), Some(&"no such column".into()));
    }
}
