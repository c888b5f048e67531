//! The lake: Delta tables at `<lake>/<layer>/<table>/`, the only state there is.
//!
//! `deltalake` keeps the log (snapshots, commits, checkpoints); the Parquet files are written here and read by DataFusion.
//! What has been ingested or built is recorded as Delta domain metadata in the same commit as the rows it describes
//! ([`records`]). Nothing here knows of models, checks or goods.

mod checkpoints;
mod commit;
mod compact;
mod copy;
mod dictionary;
mod durable;
mod encoding;
mod files;
mod head;
mod history;
mod hybrid;
mod kept;
mod log;
mod order;
mod records;
mod restore;
mod table;
#[cfg(test)]
mod tests;
mod vacuum;

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use deltalake::DeltaTableBuilder;
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use url::Url;

use self::checkpoints::Checkpoints;
use self::head::About;
use self::kept::Kept;
use self::log::commit_path;

pub use commit::{Commit, StagedFile};
pub use compact::Compacted;
pub use files::{EncodedFile, conform, encode_parquet, read_batches, read_batches_as, read_columns};
pub use head::Head;
pub use log::{RecordChange, Version};
pub use order::sorted_by;
pub use restore::Restoration;
pub use table::{FileRef, Table, TableSpec, stored_type};
pub use vacuum::{Retention, Vacuumed};

/// Tables that are looked at at once.
const CONCURRENT_TABLES: usize = 16;

/// A warehouse's storage: a folder or an object-store URL. Cheap to clone.
#[derive(Clone)]
pub struct Lake {
    root: Url,
    store: Arc<dyn ObjectStore>,
    prefix: Path,
    kept: Kept,
    /// The run after which it is looked at; `None` is now.
    after: Option<Arc<str>>,
}

impl Lake {
    /// Opens the storage at a URL (`file:///…`, `s3://…`) or a path, which is created when it is not there.
    ///
    /// # Errors
    /// When the URL is not understood, or the folder cannot be made.
    pub fn open(url: &str) -> Result<Self> {
        let root = if url.contains("://") {
            let slashed = if url.ends_with('/') { url.to_owned() } else { format!("{url}/") };
            Url::parse(&slashed).with_context(|| format!("lake url `{url}`"))?
        } else {
            std::fs::create_dir_all(url).with_context(|| format!("create the lake's folder {url}"))?;
            let folder = std::fs::canonicalize(url).with_context(|| format!("open the lake's folder {url}"))?;
            match Url::from_directory_path(&folder) {
                Ok(root) => root,
                Err(()) => bail!("the lake's folder {} has no absolute path", folder.display()),
            }
        };
        let (store, _) = object_store::parse_url(&root).with_context(|| format!("open the lake's storage {root}"))?;
        Self::over(root, Arc::from(store))
    }

    /// The lake beneath a URL that ends in `/`, in a store of one's own: all its files and all its logs go through it.
    ///
    /// # Errors
    /// When the URL's path is none of an object.
    pub fn over(root: Url, store: Arc<dyn ObjectStore>) -> Result<Self> {
        let prefix = Path::from_url_path(root.path()).with_context(|| format!("lake url `{root}`"))?;
        let store = Arc::new(Checkpoints::of(store));
        Ok(Self { root, store, prefix, kept: Kept::default(), after: None })
    }

    /// The URL of the root, ending in `/`.
    pub fn root(&self) -> &Url {
        &self.root
    }

    /// The object store that holds the lake; paths in it begin with [`Self::path`].
    pub fn store(&self) -> Arc<dyn ObjectStore> {
        Arc::clone(&self.store)
    }

    /// Where something besides the tables lies in the object store.
    pub fn beside_tables(&self, name: &str) -> Path {
        self.prefix.clone().join(name)
    }

    /// Where a table lies in the object store: the layer is the first part of its name.
    pub fn path(&self, table: &str) -> Path {
        let layer = table.split('_').next().unwrap_or(table);
        self.prefix.clone().join(layer).join(table)
    }

    /// A snapshot of a table's newest version, or of the one it had when the lake is looked at; `None` when there is no such table.
    ///
    /// # Errors
    /// When the storage or the table's log cannot be read.
    pub async fn table(&self, name: &str) -> Result<Option<Table>> {
        match self.version(name).await? {
            Some(version) => self.table_at(name, version).await.map(Some),
            None => Ok(None),
        }
    }

    /// What a table is, without its files; `None` when there is no such table.
    ///
    /// # Errors
    /// When the storage or the table's log cannot be read.
    pub async fn head(&self, name: &str) -> Result<Option<Head>> {
        let Some(version) = self.version(name).await? else { return Ok(None) };
        let about = match self.kept.about(name, version) {
            Some(about) => about,
            None => self.pass(name, version).await?.0.with_context(|| format!("{name} has no columns"))?,
        };
        Ok(Some(Head { lake: self.clone(), name: name.to_owned(), version, about }))
    }

    /// Whether a table is there and as specified.
    ///
    /// # Errors
    /// When the storage or the table's log cannot be read.
    pub async fn has(&self, spec: &TableSpec) -> Result<bool> {
        self.head(&spec.name).await?.map_or(Ok(false), |head| head.is(spec))
    }

    /// A table with at least the given columns: created when missing, its schema changed when it differs.
    ///
    /// # Errors
    /// When the storage cannot be written.
    pub async fn ensure_table(&self, spec: &TableSpec, now_ms: i64) -> Result<Table> {
        match self.table(&spec.name).await? {
            Some(table) => table.evolved(spec, now_ms).await,
            None => Table::create(self, spec).await,
        }
    }

    /// A table that will have the given columns: created when missing; where it has others, its next commit changes them
    /// together with the rows, so that nobody sees one without the other.
    ///
    /// # Errors
    /// When the storage cannot be read or written.
    pub async fn table_to_be(&self, spec: &TableSpec) -> Result<Table> {
        match self.table(&spec.name).await? {
            Some(table) => table.reshaped(spec),
            None => Table::create(self, spec).await,
        }
    }

    /// All that is recorded beside a table's rows: domain → JSON text, in one pass over its log.
    ///
    /// # Errors
    /// When the log cannot be read. A table that does not exist has no records.
    pub async fn records(&self, name: &str) -> Result<BTreeMap<String, String>> {
        let Some(version) = self.version(name).await? else { return Ok(BTreeMap::new()) };
        match self.kept.records(name, version) {
            Some(records) => Ok((*records).clone()),
            None => Ok(self.pass(name, version).await?.1),
        }
    }

    /// All that is recorded beside a table's rows, and the names of its columns; in one pass over its log.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub async fn records_and_columns(&self, name: &str) -> Result<(BTreeMap<String, String>, Vec<String>)> {
        let Some(version) = self.version(name).await? else { return Ok(Default::default()) };
        let (about, records) = match (self.kept.about(name, version), self.kept.records(name, version)) {
            (Some(about), Some(records)) => (Some(about), (*records).clone()),
            _ => self.pass(name, version).await?,
        };
        Ok((records, about.map_or_else(Vec::new, |about| about.column_names())))
    }

    /// What the log tells of a table besides its files, in one pass: what it is and what is recorded.
    async fn pass(&self, name: &str, version: u64) -> Result<(Option<Arc<About>>, BTreeMap<String, String>)> {
        let told = records::read(&*self.store, &self.log(name).await?, version).await;
        let told = told.with_context(|| format!("read what is recorded of {name}"))?;
        let about = told.metadata.as_ref().map(About::of).transpose();
        let about = about.with_context(|| format!("the columns of {name}"))?.map(Arc::new);
        self.kept.keep_pass(name, version, about.clone(), &told);
        Ok((about, told.records))
    }

    /// A table's newest version, or the one it had when the lake is looked at.
    async fn version(&self, name: &str) -> Result<Option<u64>> {
        if let Some(run) = &self.after {
            return self.version_after(name, run).await;
        }
        if let Some(known) = self.kept.newest(name) {
            let next = commit_path(&self.log_folder(name), known + 1);
            match self.store.head(&next).await {
                Err(object_store::Error::NotFound { .. }) => return Ok(Some(known)),
                looked => looked.with_context(|| format!("look for {next}"))?,
            };
        }
        // What a write that was cut short left behind makes no table.
        Ok(self.log(name).await?.newest())
    }

    /// The names of all tables of a layer, sorted.
    ///
    /// # Errors
    /// When the storage cannot be listed.
    pub async fn tables(&self, layer: &str) -> Result<Vec<String>> {
        let listing = self.store.list_with_delimiter(Some(&self.prefix.clone().join(layer))).await?;
        let mut names: Vec<String> =
            listing.common_prefixes.iter().filter_map(|p| p.filename().map(str::to_owned)).collect();
        names.sort();
        let Some(run) = &self.after else { return Ok(names) };
        let there = |name: String| async move {
            // One whose past is gone is told so when it is opened.
            let is_absent = self.version_after(&name, run).await.is_ok_and(|version| version.is_none());
            Ok::<_, anyhow::Error>((!is_absent).then_some(name))
        };
        let there = futures::stream::iter(names).map(there).buffered(CONCURRENT_TABLES);
        there.try_filter_map(|name| async move { Ok(name) }).try_collect().await
    }

    /// Whether there is a table of this name; a listing, and cheaper than opening it.
    ///
    /// # Errors
    /// When the storage cannot be listed.
    pub async fn has_table(&self, name: &str) -> Result<bool> {
        Ok(self.version(name).await?.is_some())
    }

    fn builder(&self, name: &str) -> Result<DeltaTableBuilder> {
        let layer = name.split('_').next().unwrap_or(name);
        let url = self.root.join(&format!("{layer}/{name}/")).with_context(|| format!("table name `{name}`"))?;
        if url.scheme() == "file"
            && let Ok(folder) = url.to_file_path()
        {
            std::fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
        }
        Ok(DeltaTableBuilder::from_url(url.clone())?.with_storage_backend(self.store(), url))
    }
}
