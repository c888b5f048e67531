//! One Delta table: creating it, its snapshot, its files, staging into its folder.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use deltalake::DeltaTable;
use deltalake::kernel::engine::arrow_conversion::{TryIntoArrow, TryIntoKernel};
use deltalake::kernel::{Action, MetadataExt, StructType, new_metadata};
use deltalake::logstore::LogStoreRef;
use deltalake::table::state::DeltaTableState;
use object_store::path::Path;
use object_store::{ObjectStoreExt, PutPayload};
use serde::Deserialize;
use uuid::Uuid;

use super::commit::{Commit, StagedFile, partition_folder, write_version};
use super::files::EncodedFile;
use super::log::checkpoint_path;
use super::{Lake, head};
use crate::date::{BizDate, Slot};

/// After how many versions of a table its log is summed up in a checkpoint; before that when its commits are long.
const CHECKPOINT_INTERVAL: u64 = 20;

/// What a table is to be.
#[derive(Clone, Debug)]
pub struct TableSpec {
    /// Its name; the first part is its layer.
    pub name: String,
    /// All its columns, `dt` included; a field's metadata `comment` becomes the column's comment.
    pub schema: SchemaRef,
    /// Whether each day has a folder of its own; small tables keep many days in a file.
    pub partitioned: bool,
    /// One sentence of what a row is.
    pub description: String,
}

/// A file of a table's snapshot.
#[derive(Clone, Debug)]
pub struct FileRef {
    /// Where it lies, beneath the table's folder.
    pub path: String,
    /// The partition of its rows; meaningless (`None`) where the table has no partition folders.
    pub slot: Slot,
    /// The first and the last day in it, where the table keeps many days in a file and has a `dt`.
    pub days: Option<(BizDate, BizDate)>,
    /// Its size in bytes.
    pub size: u64,
    /// Its rows.
    pub rows: u64,
}

/// A snapshot of a table; [`Table::commit`] moves it to the version it made.
#[derive(Clone)]
pub struct Table {
    lake: Lake,
    name: String,
    now: Snapshot,
    /// The columns that it has, or will have with its next commit.
    schema: SchemaRef,
    pending: Option<TableSpec>,
    /// Whether the columns that are pending have other names or types, and not only other comments.
    retyped: bool,
}

/// A table at one of its versions, as `deltalake` has it, and its files.
#[derive(Clone)]
pub(super) struct Snapshot {
    delta: DeltaTable,
    schema: SchemaRef,
    partitioned: bool,
    files: Arc<Vec<FileRef>>,
}

impl Snapshot {
    pub fn of(delta: DeltaTable) -> Result<Self> {
        let state = delta.snapshot()?;
        let schema: Schema = state.schema().as_ref().try_into_arrow()?;
        let partitioned = !state.metadata().partition_columns().is_empty();
        let files = Arc::new(list_files(state, partitioned)?);
        Ok(Self { delta, schema: Arc::new(schema), partitioned, files })
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Stats {
    min_values: Option<DayStat>,
    max_values: Option<DayStat>,
}

#[derive(Deserialize)]
struct DayStat {
    dt: Option<BizDate>,
}

impl Table {
    pub(super) fn new(lake: &Lake, name: &str, now: Snapshot) -> Self {
        let schema = Arc::clone(&now.schema);
        Self { lake: lake.clone(), name: name.to_owned(), now, schema, pending: None, retyped: false }
    }

    pub(super) async fn create(lake: &Lake, spec: &TableSpec) -> Result<Self> {
        let columns = kernel_schema(&spec.schema)?;
        // A night is a commit or two: few JSON files to replay.
        let settings = [("delta.checkpointInterval", CHECKPOINT_INTERVAL.to_string())];
        let metadata = new_metadata(&columns, spec.partitioned.then_some("dt"), settings)?
            .with_name(spec.name.clone())?
            .with_description(spec.description.clone())?;
        let actions = vec![protocol(&spec.schema)?, Action::Metadata(metadata)];
        let log_store = lake.builder(&spec.name)?.build()?.log_store();
        let info = HashMap::from([("strataOperation".to_owned(), "create".into())]);
        write_version(lake, &spec.name, &*log_store, 0, actions, info).await?;
        lake.table_at(&spec.name, 0).await
    }

    /// The table as it will be with other columns; its next commit changes the schema together with the rows.
    ///
    /// # Errors
    /// When the columns cannot be told to Delta, or the table would have to be laid out anew.
    pub(super) fn reshaped(mut self, spec: &TableSpec) -> Result<Self> {
        let wanted = kernel_schema(&spec.schema)?;
        if self.now.delta.snapshot()?.schema().as_ref() == &wanted {
            return Ok(self);
        }
        if spec.partitioned != self.now.partitioned {
            bail!("{} cannot change between one folder a day and many days a file", self.name);
        }
        let schema: Schema = (&wanted).try_into_arrow()?;
        let columns = |schema: &Schema| -> Vec<_> {
            schema.fields().iter().map(|field| (field.name().clone(), field.data_type().clone())).collect()
        };
        self.retyped = columns(&schema) != columns(&self.schema);
        self.schema = Arc::new(schema);
        self.pending = Some(spec.clone());
        Ok(self)
    }

    /// Whether the next commit changes the names or types of columns.
    pub fn is_reshaped(&self) -> bool {
        self.retyped
    }

    /// The table with the wanted columns, after a commit that changes its schema where it differs.
    ///
    /// # Errors
    /// When the storage cannot be written, or the columns cannot be told to Delta.
    pub async fn evolved(self, spec: &TableSpec, now_ms: i64) -> Result<Self> {
        let mut table = self.reshaped(spec)?;
        if table.pending.is_some() {
            table.commit(Commit { operation: "schema", now_ms, ..Commit::default() }).await?;
        }
        Ok(table)
    }

    /// What has to be said in the log for the columns that are to come.
    pub(super) fn schema_actions(&self) -> Result<Vec<Action>> {
        let Some(spec) = &self.pending else { return Ok(Vec::new()) };
        let metadata = self.now.delta.snapshot()?.metadata().clone();
        let metadata =
            metadata.with_schema(&kernel_schema(&spec.schema)?)?.with_description(spec.description.clone())?;
        Ok(vec![protocol(&spec.schema)?, Action::Metadata(metadata)])
    }

    /// The names of its columns, `dt` included, in their order.
    pub fn column_names(&self) -> Vec<String> {
        head::column_names(&self.schema)
    }

    pub(super) fn log_store(&self) -> LogStoreRef {
        self.now.delta.log_store()
    }

    /// Moves the snapshot to a version that was just written, so many bytes long, and writes the checkpoint that may be due.
    pub(super) async fn advance(&mut self, version: u64, bytes: u64) -> Result<()> {
        let mut delta = self.now.delta.clone();
        delta.update_state().await.with_context(|| format!("open {} at version {version}", self.name))?;
        self.now = Snapshot::of(delta)?;
        // Another writer may have been at it.
        self.lake.kept.keep_snapshot(&self.name, self.version(), self.now.clone());
        self.schema = Arc::clone(&self.now.schema);
        self.pending = None;
        self.retyped = false;
        let is_long = self.lake.kept.add_commit(&self.name, bytes).is_long();
        if version.is_multiple_of(CHECKPOINT_INTERVAL) || is_long {
            // The commit stands: what cannot be summed up now, as on a full disk, will be after a later one.
            drop(self.sum_up().await);
        }
        Ok(())
    }

    /// Sums up the log in a checkpoint.
    async fn sum_up(&self) -> Result<()> {
        deltalake::checkpoints::create_checkpoint(&self.now.delta, None).await?;
        let folder = self.lake.log_folder(&self.name);
        let checkpoint = checkpoint_path(&folder, self.version());
        let bytes = self.lake.store.head(&checkpoint).await?.size;
        self.lake.persist([checkpoint, folder.join("_last_checkpoint")]).await?;
        self.lake.kept.note_checkpoint(&self.name, bytes);
        Ok(())
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// All its columns, `dt` included.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// One sentence of what a row is, as the lake has it.
    pub fn description(&self) -> String {
        let snapshot = self.now.delta.snapshot().ok();
        snapshot.and_then(|snapshot| snapshot.metadata().description().map(str::to_owned)).unwrap_or_default()
    }

    /// What its columns mean, by name, as the lake has it.
    pub fn comments(&self) -> BTreeMap<String, String> {
        head::comments(&self.schema)
    }

    /// Whether each day has a folder of its own (`dt` is then no column of the files).
    pub fn partitioned(&self) -> bool {
        self.now.partitioned
    }

    /// The columns that its files hold: all but `dt` where each day has a folder.
    pub fn file_schema(&self) -> SchemaRef {
        if !self.now.partitioned {
            return Arc::clone(&self.schema);
        }
        let fields: Vec<_> = self.schema.fields().iter().filter(|f| f.name() != "dt").cloned().collect();
        Arc::new(Schema::new(fields))
    }

    /// Its files, in the order of their days and then of their paths.
    pub fn files(&self) -> &[FileRef] {
        &self.now.files
    }

    /// Its files as a commit could add them again.
    ///
    /// # Errors
    /// When the snapshot was not loaded, which cannot be.
    pub(super) fn staged(&self) -> Result<Vec<StagedFile>> {
        let mut stats: BTreeMap<String, String> = BTreeMap::new();
        for view in self.now.delta.snapshot()?.log_data().iter() {
            stats.extend(view.stats().map(|text| (view.path().into_owned(), text)));
        }
        let staged = self.now.files.iter().map(|file| StagedFile {
            path: file.path.clone(),
            slot: file.slot,
            size: file.size,
            rows: file.rows,
            stats: stats.remove(&file.path).unwrap_or_else(|| format!("{{\"numRecords\":{}}}", file.rows)),
        });
        Ok(staged.collect())
    }

    /// Has the next commit give it other columns or another description.
    pub(super) fn becomes(&mut self, spec: Option<TableSpec>) {
        self.pending = spec;
    }

    /// What it is, for another table to become like it.
    pub(super) fn spec(&self) -> TableSpec {
        let (schema, description) = (Arc::clone(&self.schema), self.description());
        TableSpec { name: self.name.clone(), schema, partitioned: self.now.partitioned, description }
    }

    /// The version of the snapshot.
    pub fn version(&self) -> u64 {
        self.now.delta.version().unwrap_or_default()
    }

    /// Where a file of the table lies in the lake's object store.
    pub fn object_path(&self, file: &str) -> Path {
        let mut path = self.lake.path(&self.name);
        for part in file.split('/') {
            path = path.join(part);
        }
        path
    }

    /// The lake it belongs to.
    pub fn lake(&self) -> &Lake {
        &self.lake
    }

    /// Puts an encoded file into the table's folder; it is part of the table only after a commit.
    ///
    /// # Errors
    /// When the storage cannot be written.
    pub async fn put(&self, slot: Slot, file: EncodedFile, run: &str) -> Result<StagedFile> {
        let name = format!("{run}-{}.parquet", Uuid::new_v4().simple());
        let path = if self.now.partitioned { format!("{}/{name}", partition_folder(slot)) } else { name };
        let size = file.bytes.len() as u64;
        let target = self.object_path(&path);
        let put = self.lake.store().put(&target, PutPayload::from_bytes(file.bytes)).await;
        put.with_context(|| format!("write {target}"))?;
        Ok(StagedFile { path, slot, size, rows: file.rows, stats: file.stats.to_string() })
    }

    /// Takes staged files away again that no commit will need.
    pub async fn discard(&self, staged: &[StagedFile]) {
        for file in staged {
            // A file left behind is only space: no version refers to it.
            let _ = self.lake.store().delete(&self.object_path(&file.path)).await;
        }
    }
}

pub(super) fn kernel_schema(schema: &Schema) -> Result<StructType> {
    let plain: Vec<Field> = schema
        .fields()
        .iter()
        .map(|field| {
            // Every column is nullable: other engines' writers and later schema changes rely on it.
            let comment = field.metadata().get("comment").filter(|c| !c.is_empty()).cloned();
            let metadata = comment.map(|c| ("comment".to_owned(), c)).into_iter().collect();
            Field::new(field.name(), stored_type(field.data_type()), true).with_metadata(metadata)
        })
        .collect();
    Ok((&Schema::new(plain)).try_into_kernel()?)
}

/// The type under which a column is stored: dictionaries and views are ways of holding plain text.
pub fn stored_type(kind: &DataType) -> DataType {
    match kind {
        DataType::Dictionary(_, value) => stored_type(value),
        DataType::Utf8View | DataType::LargeUtf8 => DataType::Utf8,
        DataType::BinaryView | DataType::LargeBinary => DataType::Binary,
        DataType::UInt64 | DataType::UInt32 => DataType::Int64,
        DataType::UInt16 | DataType::UInt8 | DataType::Int16 | DataType::Int8 => DataType::Int32,
        DataType::Timestamp(_, zone) => DataType::Timestamp(arrow::datatypes::TimeUnit::Microsecond, zone.clone()),
        other => other.clone(),
    }
}

/// The protocol a table needs: domain metadata always, naive timestamps where it has some.
fn protocol(schema: &Schema) -> Result<Action> {
    let naive = schema.fields().iter().any(|f| matches!(f.data_type(), DataType::Timestamp(_, None)));
    let mut writer = vec!["domainMetadata"];
    let mut value = serde_json::json!({"minReaderVersion": 1, "minWriterVersion": 7});
    if naive {
        writer.push("timestampNtz");
        value["minReaderVersion"] = 3.into();
        value["readerFeatures"] = serde_json::json!(["timestampNtz"]);
    }
    value["writerFeatures"] = serde_json::json!(writer);
    Ok(Action::Protocol(serde_json::from_value(value)?))
}

fn list_files(state: &DeltaTableState, partitioned: bool) -> Result<Vec<FileRef>> {
    let mut files = Vec::new();
    for view in state.log_data().iter() {
        let slot = match view.partition_values_map().remove("dt").flatten() {
            Some(text) if partitioned => Some(text.parse::<BizDate>()?),
            _ => None,
        };
        let stats = view.stats().and_then(|text| serde_json::from_str::<Stats>(&text).ok());
        let bound = |side: Option<DayStat>| side.and_then(|s| s.dt);
        let days = stats.and_then(|s| bound(s.min_values).zip(bound(s.max_values)));
        files.push(FileRef {
            path: view.path().into_owned(),
            slot,
            days,
            size: u64::try_from(view.size()).unwrap_or_default(),
            rows: view.num_records().unwrap_or_default() as u64,
        });
    }
    files.sort_by(|a, b| (a.days, &a.path).cmp(&(b.days, &b.path)));
    Ok(files)
}
