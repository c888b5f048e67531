//! What a run did: a value for the summary on the terminal and for `target/runs/<run>/run.json`.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde::Serialize;

use super::ledger::{Account, Laws, Ledger};
use super::maintain::MaintenanceReport;
use super::undo::UndoReport;
use crate::check::Violation;
use crate::date::{BizDate, Slot};
use crate::error::Exit;
use crate::plan::Reason;
use crate::progress::{Event, Reporter};

/// The version of the format of `run.json`.
pub const FORMAT: u32 = 2;

/// The result of a run.
#[derive(Debug, Serialize)]
pub struct RunReport {
    /// The version of this format.
    pub format: u32,
    /// The run.
    pub run: String,
    /// The command that was typed, without secrets.
    pub command: String,
    /// When it began, UTC.
    pub started: String,
    /// The zone that decides its days.
    pub timezone: String,
    /// The last business day it was about; `None` when nothing is loaded.
    pub to: Option<BizDate>,
    /// How it ended: `done`, `failed`.
    pub outcome: &'static str,
    /// How long it took, seconds.
    pub seconds: f64,
    /// What each source brought.
    pub sources: Vec<SourceReport>,
    /// What was built.
    pub models: Vec<ModelReport>,
    /// What was exported.
    pub exports: Vec<ExportReport>,
    /// Where targets differed from the lake, when that was asked.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub differences: Vec<DifferenceReport>,
    /// What was brought back, when the run is an undo.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub undone: Option<UndoReport>,
    /// The books.
    pub ledger: Ledger,
    /// What was done about each table, when the lake was maintained.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub maintained: Vec<MaintenanceReport>,
    /// What was odd.
    pub warnings: Vec<String>,
    /// What failed.
    pub failures: Vec<String>,
}

/// The books of one source: read = landed + unchanged + rejected.
#[derive(Debug, Default, Serialize)]
pub struct SourceReport {
    /// The source, or one table of it.
    pub source: String,
    /// Files that had something new; none where a database is read.
    pub files: usize,
    /// Events or rows read.
    pub read: u64,
    /// Those that landed.
    pub landed: u64,
    /// Those that a database gave once more as they had landed before.
    #[serde(skip_serializing_if = "is_zero")]
    pub unchanged: u64,
    /// Keys that are gone from a database, whose rows left.
    #[serde(skip_serializing_if = "is_zero")]
    pub deleted: u64,
    /// Those that did not, by reason.
    pub rejected: BTreeMap<String, u64>,
    /// Partitions that changed.
    pub partitions: usize,
}

fn is_zero(rows: &u64) -> bool {
    *rows == 0
}

/// How a model's turn ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ModelResult {
    /// What was stale is published.
    Published,
    /// A check forbade it; what was there stays.
    ChecksFailed,
    /// The query could not be run.
    Failed,
    /// Something that it reads failed.
    Skipped,
}

/// What was done for one model.
#[derive(Debug, Serialize)]
pub struct ModelReport {
    /// The model.
    pub model: String,
    /// How it ended.
    pub result: ModelResult,
    /// Partitions built.
    pub built: usize,
    /// Those of them that came out different from before.
    pub changed: usize,
    /// Rows staged.
    pub rows: u64,
    /// The first partition built.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first: Option<Slot>,
    /// The last partition built.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last: Option<Slot>,
    /// Why the first of them was built.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// How many checks were made before anything of it was published.
    #[serde(skip)]
    pub checks: usize,
    /// Violated checks.
    #[serde(skip)]
    pub violations: Vec<Violation>,
    /// What went wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// How long it took.
    #[serde(rename = "seconds", serialize_with = "seconds")]
    pub elapsed: Duration,
}

fn seconds<S: serde::Serializer>(elapsed: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(elapsed.as_secs_f64())
}

impl ModelReport {
    /// A model whose turn begins.
    pub fn new(model: &str) -> Self {
        Self {
            model: model.to_owned(),
            result: ModelResult::Published,
            built: 0,
            changed: 0,
            rows: 0,
            first: None,
            last: None,
            reason: None,
            checks: 0,
            violations: Vec::new(),
            error: None,
            elapsed: Duration::ZERO,
        }
    }

    /// A model that was not built because something it reads failed.
    pub fn skipped(model: &str, cause: &str) -> Self {
        Self { result: ModelResult::Skipped, error: Some(cause.to_owned()), ..Self::new(model) }
    }

    /// A model whose query could not be run.
    pub fn failed(model: &str, error: String) -> Self {
        Self { result: ModelResult::Failed, error: Some(error), ..Self::new(model) }
    }

    /// Notes why a partition is built; the first reason stands for all.
    pub fn note_reason(&mut self, reason: &Reason) {
        self.reason.get_or_insert_with(|| reason.to_string());
    }

    /// Notes a partition that was built.
    pub fn note_built(&mut self, slot: Slot, rows: u64) {
        self.first.get_or_insert(slot);
        self.last = Some(slot);
        self.built += 1;
        self.rows += rows;
    }
}

/// What one export did.
#[derive(Debug, Serialize)]
pub struct ExportReport {
    /// The export.
    pub export: String,
    /// Tables that changed.
    pub tables: usize,
    /// Partitions written or taken away.
    pub partitions: usize,
    /// Rows written.
    pub rows: u64,
    /// Rows read back from the target before the commit.
    pub read_back: u64,
}

/// A partition that a target had otherwise than the lake.
#[derive(Debug, Serialize)]
pub struct DifferenceReport {
    /// The export.
    pub export: String,
    /// The table.
    pub table: String,
    /// The day, or nothing for a table without days.
    pub dt: String,
    /// What was different, with table and day.
    pub text: String,
}

impl RunReport {
    /// How the program ends after this run.
    pub fn exit(&self, strict: bool) -> Exit {
        if !self.failures.is_empty() {
            Exit::Failed
        } else if strict && !self.warnings.is_empty() {
            Exit::Warnings
        } else {
            Exit::Done
        }
    }

    /// Whether nothing was new, stale or due for export.
    pub fn did_nothing(&self) -> bool {
        self.failures.is_empty()
            && self.sources.iter().all(|s| s.read == s.unchanged && s.partitions == 0)
            && self.models.iter().all(|m| m.built == 0)
            && self.exports.iter().all(|e| e.partitions == 0)
            && self.undone.as_ref().is_none_or(|undone| undone.tables.is_empty())
    }

    /// Closes the books of what was built and exported, besides what is in them already; where they do not close, the
    /// run has failed.
    pub fn close_books(&mut self, reporter: &dyn Reporter) {
        let laws = self.models.iter().filter(|model| model.checks > 0).map(|model| Laws {
            model: model.model.clone(),
            checks: model.checks,
            violated: model.violations.len(),
        });
        self.ledger.laws.extend(laws);
        let written = self.exports.iter().filter(|export| export.partitions > 0);
        let exports = written.map(|e| Account::of("export", &e.export, e.rows, e.read_back, 0, 0));
        self.ledger.accounts.extend(exports);
        for text in self.ledger.close() {
            reporter.report(Event::Failure(text.clone()));
            self.failures.push(text);
        }
    }

    /// Writes `run.json` into the run's folder, whole or not at all.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn save(&self, runs: &Path) -> Result<()> {
        let folder = runs.join(&self.run);
        std::fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
        let (draft, file) = (folder.join(".run.json"), folder.join("run.json"));
        std::fs::write(&draft, serde_json::to_vec_pretty(self)?)
            .with_context(|| format!("write {}", draft.display()))?;
        // Renamed in the same folder: a reader sees the whole file or none.
        std::fs::rename(&draft, &file).with_context(|| format!("write {}", file.display()))
    }
}
