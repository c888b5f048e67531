//! A scratch lake: a folder of its own with the sources as the lake has taken them, in which everything can be built
//! from raw again. It goes away with its last user.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};

use super::project::{Context, Project};
use crate::config::source::Source;
use crate::config::{Location, SourceConfig};
use crate::ingest::logs::{LogsIngest, ingest_logs};
use crate::ingest::orders::{OrdersIngest, Origin, ingest_orders};
use crate::ingest::raw::{TableRecords, restore};
use crate::lake::{Lake, Table};
use crate::progress::{Event, Silent};

/// A lake of its own, with the project opened over it.
pub struct Scratch {
    /// What to work with in it.
    pub ctx: Context,
    /// The project over it.
    pub project: Arc<Project>,
    /// Source tables that are copies of the published ones, and why.
    pub copied: BTreeMap<String, String>,
    folder: PathBuf,
}

/// A snapshot of a source table, and what is recorded beside it.
pub type Landed = (Table, BTreeMap<String, String>);

impl Drop for Scratch {
    fn drop(&mut self) {
        // Whatever is left of it is only space.
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

impl Scratch {
    /// A scratch lake in a new folder, without any rows.
    ///
    /// # Errors
    /// When the folder is there already or cannot be made.
    pub fn new(ctx: &Context, within: Option<&Path>) -> Result<Self> {
        let folder = match (within, &ctx.config.lake) {
            (Some(within), _) => within.join(format!("strata-verify-{}", ctx.run)),
            (None, Location::Local(lake)) => lake.with_file_name(format!("strata-verify-{}", ctx.run)),
            (None, _) => std::env::temp_dir().join(format!("strata-verify-{}", ctx.run)),
        };
        if let Some(parent) = folder.parent() {
            std::fs::create_dir_all(parent).with_context(|| format!("create {}", parent.display()))?;
        }
        std::fs::create_dir(&folder).with_context(|| format!("create the scratch folder {}", folder.display()))?;
        let lake = Lake::open(&folder.join("lake").to_string_lossy())?;
        let ctx = Context { lake: Some(lake), reporter: Arc::new(Silent), ..ctx.clone() };
        let project = Arc::new(Project::open(&ctx)?);
        Ok(Self { ctx, project, copied: BTreeMap::new(), folder })
    }

    /// Where it is.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Brings in what the lake has taken of its sources: from the raw files where they are still what they were, else as
    /// copies of the landed tables.
    ///
    /// # Errors
    /// When a source cannot be read, or does not land as it did.
    pub async fn ingest(&mut self, watched: &Context, landed: &BTreeMap<String, Landed>) -> Result<()> {
        let sources = self.ctx.config.sources.clone();
        for (name, source) in &sources {
            let tables = tables_of(&source.source);
            if tables.iter().any(|table| landed.contains_key(table)) {
                watched.reporter.report(Event::Note(format!("ingesting {name} again")));
                self.ingest_source(name, source, landed).await.with_context(|| format!("ingest {name} again"))?;
            }
        }
        Ok(())
    }

    async fn ingest_source(
        &mut self,
        name: &str,
        source: &SourceConfig,
        landed: &BTreeMap<String, Landed>,
    ) -> Result<()> {
        let tables = tables_of(&source.source);
        let into = self.folder.join("raw").join(name);
        let zone = self.ctx.config.timezone;
        let lost = match &source.location {
            Location::Local(root) => {
                let of_source = tables.iter().filter_map(|table| Some((table.clone(), landed.get(table)?.1.clone())));
                let records: TableRecords = of_source.collect();
                restore(&source.source, root, &records, zone, &into)?
            }
            place => {
                let why = format!("{place} is asked for nothing");
                tables.iter().map(|table| (table.clone(), why.clone())).collect()
            }
        };
        for (table, why) in &lost {
            if let Some((snapshot, records)) = landed.get(table) {
                snapshot.copy_to(&self.project.lake, records, self.ctx.now_ms).await?;
                self.copied.insert(table.clone(), why.clone());
            }
        }
        if lost.len() == tables.len() {
            return Ok(());
        }
        let (run, now_ms, root) = (self.ctx.run.as_str(), self.ctx.now_ms, into.as_path());
        let (lake, threads, reporter) = (&self.project.lake, self.ctx.config.resources.threads(), &*self.ctx.reporter);
        match &source.source {
            Source::Log(log) => {
                let job = LogsIngest { lake, name, source: log, root, zone, run, now_ms, threads, reporter };
                ingest_logs(&job).await?;
            }
            Source::Tables(tables) => {
                let origin = Origin::Folder(root);
                let job = OrdersIngest { lake, name, source: tables, origin, zone, run, now_ms, threads, reporter };
                let outcome = ingest_orders(&job).await?;
                if !outcome.failures.is_empty() {
                    bail!("{}", outcome.failures.join("\n"));
                }
            }
        }
        Ok(())
    }
}

/// The tables that a source lands in.
fn tables_of(source: &Source) -> BTreeSet<String> {
    match source {
        Source::Log(log) => BTreeSet::from([log.table.clone()]),
        Source::Tables(tables) => tables.tables.iter().map(|table| format!("ods_{}", table.name)).collect(),
    }
}
