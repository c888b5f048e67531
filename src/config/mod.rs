//! What a project says of itself: `conf/warehouse.toml` (where things are) and `conf/sources/*.toml` (what comes in).
//!
//! [`Config::load`] reads both, lays overrides and the environment over them, and checks what can be checked without
//! touching what they point at. Only this module reads the environment.

mod document;
mod environment;
mod load;
mod location;
mod mysql;
mod secret;
pub mod source;
mod validate;

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use environment::Environment;
pub use load::find_root;
pub use location::{ByteSize, ExportTarget, Location};
pub use mysql::{MysqlPlace, Tls};
pub use secret::{Password, Secret, redact};
use source::Source;

use crate::date::{BizDate, Zone};

/// The file that makes a folder a project.
pub const WAREHOUSE_FILE: &str = "conf/warehouse.toml";

/// A project's whole configuration, checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// The project's folder, absolute.
    pub root: PathBuf,
    /// `timezone`: decides every day boundary.
    pub timezone: Zone,
    /// `start`: facts of earlier days are history; tables begin here at the earliest.
    pub start: Option<BizDate>,
    /// `lake.url`: where the tables are.
    pub lake: Location,
    /// `[sources.NAME]`, by name, each with what `conf/sources/NAME.toml` says of it.
    pub sources: BTreeMap<String, SourceConfig>,
    /// `[exports.NAME]`, by name.
    pub exports: BTreeMap<String, ExportTarget>,
    /// `[resources]`: what a run may use.
    pub resources: Resources,
}

/// One source: where it is, and what is in it.
#[derive(Clone, Debug)]
pub struct SourceConfig {
    /// Where its files or its database are.
    pub location: Location,
    /// What comes from there.
    pub source: Source,
    /// How a database is read; without meaning for files.
    pub reading: Reading,
}

/// How a database is read, for its own sake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// `connections`: at most how many read or count side by side.
    pub connections: usize,
    /// `rows_per_second`: how fast at most, all connections together; `None` (written 0) is as fast as can be.
    pub rows_per_second: Option<NonZeroUsize>,
    /// `overlap`: how far before the last watermark changes are read again, so that none committed late is missed.
    pub overlap: Duration,
    /// `silence`: how long the server may say nothing between rows; four times that before it has counted.
    pub silence: Duration,
}

/// How long a database may be silent unless it is configured.
pub const DEFAULT_SILENCE: Duration = Duration::from_secs(900);

/// The same where rows are written: no statement counts for long there, and four times this is a quarter of an hour.
pub const EXPORT_SILENCE: Duration = Duration::from_secs(225);

impl Default for Reading {
    fn default() -> Self {
        Self { connections: 2, rows_per_second: None, overlap: Duration::from_secs(600), silence: DEFAULT_SILENCE }
    }
}

/// What a run may use of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resources {
    /// `memory`: above it queries spill to disk.
    pub memory: ByteSize,
    /// `threads`; `None` (written 0) is as many as the machine has.
    threads: Option<NonZeroUsize>,
}

impl Resources {
    /// How many threads to use, at least one.
    pub fn threads(&self) -> usize {
        let all = || std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        self.threads.map_or_else(all, NonZeroUsize::get)
    }
}

impl Config {
    /// The folder of the models.
    pub fn sql_dir(&self) -> PathBuf {
        self.root.join("sql")
    }

    /// The folder of the lookup tables that models read as `seed_<name>`.
    pub fn seeds_dir(&self) -> PathBuf {
        self.root.join("conf/seeds")
    }

    /// The folder of the models' cases.
    pub fn cases_dir(&self) -> PathBuf {
        self.root.join("tests/models")
    }

    /// The folder of the runs' records.
    pub fn runs_dir(&self) -> PathBuf {
        self.root.join("target/runs")
    }

    /// A path as a person in the project's folder would write it.
    pub fn shown<'a>(&self, path: &'a Path) -> std::path::Display<'a> {
        path.strip_prefix(&self.root).unwrap_or(path).display()
    }
}
