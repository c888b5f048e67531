//! The last words of a run: what came in, what was built, what went out, what failed. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use super::wording::{count, counted, duration};
use crate::run::{ModelReport, ModelResult, RunReport, SourceReport, UndoReport};

/// A run's summary: a line a step that did something, and one for how it ended.
///
/// ```text
/// ingest   user_action   54 files   16,200 read = 16,012 landed + 188 rejected (bad_type 12, no_visitor 176)
/// build    31 models, 503 partitions, 12,480 rows
/// export   metrics: 16 tables, 256 partitions, 4,000 rows
/// done in 4.21 s, up to 2026-01-16 (Asia/Shanghai), run 20260117T010000000-04711
/// ```
pub fn summary(report: &RunReport) -> String {
    if report.did_nothing() {
        if report.undone.is_some() {
            return format!("nothing to undo; {}", ending(report));
        }
        let checked = if report.warnings.is_empty() { String::new() } else { told(&report.warnings) };
        return format!("nothing new, all is fresh{checked}; {}", ending(report));
    }
    let mut lines = Vec::new();
    lines.extend(
        report.sources.iter().filter(|s| s.read > s.unchanged || s.files > 0 || s.partitions > 0).map(source_line),
    );
    lines.extend(report.undone.as_ref().map(undo_line));
    lines.extend(build_line(&report.models));
    for export in report.exports.iter().filter(|e| e.partitions > 0) {
        let (tables, partitions) =
            (counted(export.tables as u64, "table"), counted(export.partitions as u64, "partition"));
        lines.push(format!("export   {}: {tables}, {partitions}, {}", export.export, counted(export.rows, "row")));
    }
    let result = if report.failures.is_empty() {
        format!("done{}", told(&report.warnings))
    } else {
        lines.extend(unbuilt_line(&report.models));
        format!("FAILED ({})", counted(report.failures.len() as u64, "failure"))
    };
    lines.push(format!("{result} {}", ending(report)));
    lines.join("\n")
}

/// The last words of a replay: what landed of each table's rejects, and what comes next.
///
/// ```text
/// replay   ods_user_action: 25 rejects = 20 landed + 5 rejected (bad_type 5), of 3 files
/// done in 0.21 s, run 20260117T010000000-04711; `strata run` builds what became stale
/// ```
pub fn replayed(report: &RunReport, dry_run: bool) -> String {
    let (landed, verb) = if dry_run { ("would land", "nothing was changed") } else { ("landed", "done") };
    let mut lines: Vec<String> = Vec::new();
    for source in report.sources.iter().filter(|source| source.read > 0) {
        let SourceReport { source, files, read, landed: accepted, rejected, .. } = source;
        let rest = rejections(rejected);
        let of = if *files == 0 { String::new() } else { format!(", of {}", counted(*files as u64, "file")) };
        lines.push(format!(
            "replay   {source}: {} = {} {landed} + {rest}{of}",
            counted(*read, "reject"),
            count(*accepted)
        ));
    }
    let changed = report.sources.iter().any(|source| source.partitions > 0 && !dry_run);
    let next = if changed { "; `strata run` builds what became stale" } else { "" };
    let result = match (report.failures.len(), lines.is_empty()) {
        (0, true) => "there are no such rejects;".to_owned(),
        (0, false) => format!("{verb}{}", told(&report.warnings)),
        (failures, _) => format!("FAILED ({})", counted(failures as u64, "failure")),
    };
    lines.push(format!("{result} {}{next}", ending(report)));
    lines.join("\n")
}

fn rejections(rejected: &BTreeMap<String, u64>) -> String {
    let reasons: Vec<String> = rejected.iter().map(|(reason, n)| format!("{reason} {}", count(*n))).collect();
    let reasons = if reasons.is_empty() { String::new() } else { format!(" ({})", reasons.join(", ")) };
    format!("{} rejected{reasons}", count(rejected.values().sum::<u64>()))
}

fn ending(report: &RunReport) -> String {
    let took = duration(Duration::try_from_secs_f64(report.seconds).unwrap_or_default());
    let to = report.to.map_or_else(String::new, |day| format!(", up to {day} ({})", report.timezone));
    format!("in {took}{to}, run {}", report.run)
}

fn told(warnings: &[String]) -> String {
    if warnings.is_empty() { String::new() } else { format!(" with {}", counted(warnings.len() as u64, "warning")) }
}

fn source_line(source: &SourceReport) -> String {
    let SourceReport { source, files, read, landed, unchanged, deleted, rejected, .. } = source;
    let gone = if *deleted == 0 { String::new() } else { format!("; {} deleted", counted(*deleted, "key")) };
    let again = if *unchanged == 0 { String::new() } else { format!(" + {} unchanged", count(*unchanged)) };
    let files = if *files == 0 { String::new() } else { format!("{}, ", counted(*files as u64, "file")) };
    format!(
        "ingest   {source}: {files}{} read = {} landed{again} + {}{gone}",
        count(*read),
        count(*landed),
        rejections(rejected)
    )
}

fn undo_line(undone: &UndoReport) -> String {
    let partitions = undone.tables.iter().map(|table| table.slots.len() as u64).sum();
    let (tables, partitions) = (counted(undone.tables.len() as u64, "table"), counted(partitions, "partition"));
    format!("undo     {tables}, {partitions} as before run {}", undone.run)
}

fn build_line(models: &[ModelReport]) -> Option<String> {
    let built: Vec<&ModelReport> = models.iter().filter(|m| m.built > 0).collect();
    let sum = |of: fn(&ModelReport) -> usize| built.iter().map(|m| of(m)).sum::<usize>() as u64;
    let (partitions, changed) = (sum(|m| m.built), sum(|m| m.changed));
    let rows: u64 = built.iter().map(|m| m.rows).sum();
    let mut line = format!(
        "build    {}, {}, {}",
        counted(built.len() as u64, "model"),
        counted(partitions, "partition"),
        counted(rows, "row")
    );
    if changed < partitions {
        line.push_str(&format!(", {} as before", count(partitions - changed)));
    }
    (!built.is_empty()).then_some(line)
}

/// Names what was not published, which may have scrolled away.
fn unbuilt_line(models: &[ModelReport]) -> Option<String> {
    let of = |wanted: &[ModelResult]| -> Vec<&str> {
        models.iter().filter(|m| wanted.contains(&m.result)).map(|m| m.model.as_str()).collect()
    };
    let failed = of(&[ModelResult::Failed, ModelResult::ChecksFailed]);
    let skipped = of(&[ModelResult::Skipped]);
    let skipped = if skipped.is_empty() { String::new() } else { format!("; skipped: {}", skipped.join(", ")) };
    (!failed.is_empty()).then(|| format!("not published: {}{skipped}", failed.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::{ExportReport, Ledger};

    fn report() -> RunReport {
        RunReport {
            format: 2,
            run: "r1".to_owned(),
            command: "strata run".to_owned(),
            started: "2026-01-17T01:00:00.000Z".to_owned(),
            timezone: "Asia/Shanghai".to_owned(),
            to: "2026-01-16".parse().ok(),
            outcome: "done",
            seconds: 4.21,
            sources: Vec::new(),
            models: Vec::new(),
            exports: Vec::new(),
            differences: Vec::new(),
            undone: None,
            ledger: Ledger::default(),
            maintained: Vec::new(),
            warnings: Vec::new(),
            failures: Vec::new(),
        }
    }

    #[test]
    fn a_run_that_found_nothing_new_says_so_on_one_line() {
        let said = summary(&report());
        assert_eq!(said, "nothing new, all is fresh; in 4.21 s, up to 2026-01-16 (Asia/Shanghai), run r1");
    }

    #[test]
    fn the_books_of_each_source_are_shown() {
        let source = SourceReport {
            source: "user_action".to_owned(),
            files: 1,
            read: 1_200,
            landed: 1_190,
            unchanged: 0,
            deleted: 0,
            rejected: [("bad_type".to_owned(), 3), ("no_visitor".to_owned(), 7)].into(),
            partitions: 2,
        };
        let model = ModelReport { built: 3, changed: 2, rows: 1, ..ModelReport::new("dws_x") };
        let export = ExportReport { export: "metrics".to_owned(), tables: 1, partitions: 3, rows: 9, read_back: 9 };
        let said = summary(&RunReport {
            sources: vec![source],
            models: vec![model],
            exports: vec![export],
            warnings: vec!["odd".to_owned()],
            ..report()
        });
        let expected = "\
ingest   user_action: 1 file, 1,200 read = 1,190 landed + 10 rejected (bad_type 3, no_visitor 7)
build    1 model, 3 partitions, 1 row, 1 as before
export   metrics: 1 table, 3 partitions, 9 rows
done with 1 warning in 4.21 s, up to 2026-01-16 (Asia/Shanghai), run r1";
        assert_eq!(said, expected);
    }

    #[test]
    fn what_was_not_published_is_named_with_what_depends_on_it() {
        let failed = ModelReport { result: ModelResult::ChecksFailed, ..ModelReport::new("dwd_order") };
        let models = vec![failed, ModelReport::skipped("app_gmv", "a check of dwd_order failed")];
        let said = summary(&RunReport { models, failures: vec!["x".to_owned()], ..report() });
        let expected = "not published: dwd_order; skipped: app_gmv\n\
                        FAILED (1 failure) in 4.21 s, up to 2026-01-16 (Asia/Shanghai), run r1";
        assert_eq!(said, expected);
    }
}
