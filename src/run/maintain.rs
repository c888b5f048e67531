//! Maintenance as a run: small files become one, files and log entries that nothing within the retention needs go.
//!
//! It holds the lock, so that no run is at work; readers are spared by the grace period. Nothing that a table says changes.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use serde::Serialize;

use super::project::{Context, Project};
use super::report::RunReport;
use super::{new_report, under_lock};
use crate::ingest::replay;
use crate::lake::{Compacted, Retention, Vacuumed};
use crate::progress::{Event, counted};

/// What is kept.
#[derive(Clone, Debug)]
pub struct MaintainRequest {
    /// How long versions of tables can be read and gone back to.
    pub keep: Duration,
    /// How old a file must be, by the log and by the storage, that nothing refers to.
    pub grace: Duration,
    /// Whether records of runs before the retention go as well.
    pub runs: bool,
    /// Whether to look only.
    pub dry_run: bool,
    /// How long to wait for another run.
    pub wait: Duration,
    /// What the run calls itself to others that wait for it.
    pub command: String,
}

/// What was done about one table.
#[derive(Clone, Debug, Default, Serialize)]
pub struct MaintenanceReport {
    /// The table; `target/runs` for the records of runs.
    pub table: String,
    /// Small files that became part of larger ones.
    pub merged: usize,
    /// Their bytes.
    pub merged_bytes: u64,
    /// The files that they became.
    pub made: usize,
    /// The bytes of these.
    pub made_bytes: u64,
    /// Files that went.
    pub removed: usize,
    /// Their bytes.
    pub removed_bytes: u64,
    /// Log entries that went.
    pub log_entries: usize,
    /// Files that nothing refers to and that are not old enough yet.
    pub waiting: usize,
}

impl MaintenanceReport {
    /// Whether there was nothing to do.
    pub fn is_idle(&self) -> bool {
        self.merged == 0 && self.removed == 0 && self.log_entries == 0
    }

    fn of(table: &str, compacted: Compacted, vacuumed: Vacuumed) -> Self {
        Self {
            table: table.to_owned(),
            merged: compacted.files,
            merged_bytes: compacted.bytes,
            made: compacted.made,
            made_bytes: compacted.bytes_made,
            removed: vacuumed.files,
            removed_bytes: vacuumed.bytes,
            log_entries: vacuumed.log_entries,
            waiting: vacuumed.waiting,
        }
    }
}

/// Compacts and vacuums every table of the lake. May be interrupted at any moment, and done again.
///
/// # Errors
/// When another run holds the lock, or the lake cannot be read or written.
pub async fn maintain(ctx: &Context, request: &MaintainRequest) -> Result<RunReport> {
    let since = Instant::now();
    let project = Project::without_models(ctx)?;
    let lock = (!request.dry_run).then_some((request.command.as_str(), request.wait));
    under_lock(ctx, &project, lock, locked_maintain(ctx, &project, request, since)).await
}

async fn locked_maintain(
    ctx: &Context,
    project: &Project,
    request: &MaintainRequest,
    since: Instant,
) -> Result<RunReport> {
    let mut report = new_report(ctx, &request.command);
    let before = |age: Duration| ctx.now_ms.saturating_sub(i64::try_from(age.as_millis()).unwrap_or(i64::MAX));
    let retention = Retention { versions_since_ms: before(request.keep), untouched_since_ms: before(request.grace) };
    let tables = project.lake.all_tables().await?;
    // What an interrupted replay staged becomes part of its table before anything is looked at.
    for name in tables.iter().filter(|_| !request.dry_run) {
        let records = project.lake.records(name).await?;
        replay::finish(&project.lake, name, &records, ctx.now_ms).await?;
    }
    let step = "maintain".to_owned();
    ctx.reporter.report(Event::StepStarted { step: step.clone(), total: tables.len() as u64 });
    for (number, name) in tables.iter().enumerate() {
        let Some(mut table) = project.lake.table(name).await? else { continue };
        let compacted = table.compact(&ctx.run, ctx.now_ms, request.dry_run).await?;
        let vacuumed = table.vacuum(retention, request.dry_run).await;
        let vacuumed = vacuumed.with_context(|| format!("clean up {name}"))?;
        report.maintained.push(MaintenanceReport::of(name, compacted, vacuumed));
        ctx.reporter.report(Event::StepAdvanced { step: step.clone(), done: number as u64 + 1 });
    }
    if request.runs {
        report.maintained.push(forget_runs(&ctx.config.runs_dir(), &ctx.run, before(request.keep), request.dry_run)?);
    }
    ctx.reporter.report(Event::StepFinished { step, line: counted(tables.len() as u64, "table") });
    report.close_books(&*ctx.reporter);
    report.seconds = since.elapsed().as_secs_f64();
    if !request.dry_run {
        report.save(&ctx.config.runs_dir())?;
    }
    Ok(report)
}

/// Takes away the records of runs that were before a time, as their names tell.
fn forget_runs(folder: &Path, own: &str, before_ms: i64, dry_run: bool) -> Result<MaintenanceReport> {
    let mut report = MaintenanceReport { table: "target/runs".to_owned(), ..MaintenanceReport::default() };
    let Ok(entries) = std::fs::read_dir(folder) else { return Ok(report) };
    for entry in entries {
        let entry = entry.with_context(|| format!("list {}", folder.display()))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name == own || began_ms(&name).is_none_or(|began| began >= before_ms) {
            continue;
        }
        let files = std::fs::read_dir(entry.path()).into_iter().flatten().flatten();
        report.removed += 1;
        report.removed_bytes += files.filter_map(|file| file.metadata().ok()).map(|file| file.len()).sum::<u64>();
        if !dry_run {
            std::fs::remove_dir_all(entry.path()).with_context(|| format!("take away {}", entry.path().display()))?;
        }
    }
    Ok(report)
}

/// When a run began, as its name tells; nothing for what is no run's name.
fn began_ms(run: &str) -> Option<i64> {
    let (time, process) = run.split_once('-')?;
    let is_name = time.len() == 18 && process.bytes().all(|byte| byte.is_ascii_digit()) && !process.is_empty();
    let began = chrono::NaiveDateTime::parse_from_str(time, "%Y%m%dT%H%M%S%3f").ok().filter(|_| is_name)?;
    Some(began.and_utc().timestamp_millis())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_tells_by_its_name_when_it_began() {
        assert_eq!(began_ms("20260117T010000123-04711"), Some(1_768_611_600_123));
        for other in ["", "manifest.json", "20260117T010000-04711", "20260117T010000123", "20260117T010000123-x"] {
            assert_eq!(began_ms(other), None, "{other}");
        }
    }

    #[test]
    fn only_records_of_old_runs_go() {
        let folder = tempfile::tempdir().expect("a folder");
        for name in ["20260101T000000000-1", "20260201T000000000-1", "notes"] {
            std::fs::create_dir(folder.path().join(name)).expect("makes");
        }
        let before = began_ms("20260115T000000000-1").expect("a time");
        let told = forget_runs(folder.path(), "own", before, true).expect("looks");
        assert_eq!((told.removed, std::fs::read_dir(folder.path()).expect("lists").count()), (1, 3));
        forget_runs(folder.path(), "own", before, false).expect("forgets");
        assert!(!folder.path().join("20260101T000000000-1").exists());
        assert!(folder.path().join("20260201T000000000-1").exists() && folder.path().join("notes").exists());
    }
}
