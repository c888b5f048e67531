//! A project opened for work: its models and seeds, the lake, the engine, and what the lake records of every table.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Error, Result, anyhow};
use datafusion::common::runtime::SpawnedTask;
use futures::{StreamExt, TryStreamExt};
use xxhash_rust::xxh3::xxh3_64;

use super::name::name_after;
use super::records::read_records;
use crate::config::source::Source;
use crate::config::{Config, Location};
use crate::date::BizDate;
use crate::engine::{Calendar, Engine, Seeds};
use crate::error::{Advice, Exit};
use crate::lake::Lake;
use crate::model::{Layer, Models, Partitions};
use crate::plan::{SlotState, SourceStart, States, TableState};
use crate::progress::Reporter;
use crate::transform::Workshop;

/// Tables whose records are read at once.
pub const CONCURRENT_TABLES: usize = 16;

/// What every operation works with.
#[derive(Clone)]
pub struct Context {
    /// The project's configuration.
    pub config: Config,
    /// The run's one clock: epoch milliseconds.
    pub now_ms: i64,
    /// The run's name; later runs sort after earlier ones.
    pub run: String,
    /// Who watches.
    pub reporter: Arc<dyn Reporter>,
    /// The lake, where it is another than the configuration's.
    pub lake: Option<Lake>,
}

/// A project's content, opened.
pub struct Project {
    /// The models, each after what it reads.
    pub models: Models,
    /// The small tables of `conf/seeds`.
    pub seeds: Seeds,
    /// Where the sources begin.
    pub starts: Vec<SourceStart>,
    /// The lake.
    pub lake: Lake,
    /// The engine over it.
    pub engine: Engine,
    seed_versions: BTreeMap<String, u64>,
    start: Option<BizDate>,
    log_tables: BTreeSet<String>,
}

/// Everything the lake records, and until when data has arrived.
pub struct Recorded {
    /// All tables' partitions.
    pub states: States,
    /// The newest arrival date of any source.
    pub last_arrival: Option<BizDate>,
}

impl Context {
    /// The same, with a name for its run that sorts after another run: a clock may be set back between two runs.
    pub fn after(&self, newest: &str) -> Self {
        Self { run: name_after(&self.run, newest), ..self.clone() }
    }
}

impl Recorded {
    /// The name, of the runs that gave a partition its version, that sorts last.
    pub fn newest_run(&self) -> &str {
        self.states.newest_run()
    }
}

impl Project {
    /// Loads the models and seeds of a project and opens its lake.
    ///
    /// # Errors
    /// When a model or a seed is wrong (all mistakes are told), or the lake cannot be opened.
    pub fn open(ctx: &Context) -> Result<Self> {
        Self::with(ctx, load_models(&ctx.config).exit(Exit::Usage)?)
    }

    /// Opens the lake and the seeds alone, so that no mistake in a model stands in the way of a question.
    ///
    /// # Errors
    /// When a seed is wrong, or the lake cannot be opened.
    pub fn without_models(ctx: &Context) -> Result<Self> {
        Self::with(ctx, Models::default())
    }

    fn with(Context { config, lake, .. }: &Context, models: Models) -> Result<Self> {
        let seed_texts = read_folder(&config.seeds_dir(), "csv")?;
        let names = seed_texts.iter().map(|(path, text)| (stem(path).to_owned(), text.clone()));
        let seeds = Seeds::parse(&names.collect()).exit(Exit::Usage)?;
        let seed_versions =
            seed_texts.iter().map(|(path, text)| (format!("seed_{}", stem(path)), xxh3_64(text.as_bytes()))).collect();
        let lake = match (lake, &config.lake) {
            (Some(lake), _) => lake.clone(),
            (None, Location::Local(path)) => Lake::open(&path.to_string_lossy())?,
            (None, Location::Object(url)) => Lake::open(url.reveal())?,
            (None, Location::Mysql(place)) => return Err(anyhow!("{}: a lake is a folder, not a database", place.url)),
        };
        let memory = usize::try_from(config.resources.memory.0).unwrap_or(usize::MAX);
        let engine = Engine::new(&lake, memory, config.resources.threads(), config.timezone)?;
        let log_tables = config.sources.values().filter_map(|s| match &s.source {
            Source::Log(log) => Some(log.table.clone()),
            Source::Tables(_) => None,
        });
        Ok(Self {
            models,
            seeds,
            starts: starts(config),
            lake,
            engine,
            seed_versions,
            start: config.start,
            log_tables: log_tables.collect(),
        })
    }

    /// The project over the lake as it was after a run; models, seeds and settings are today's.
    pub fn after(self, run: &str) -> Self {
        Self { lake: self.lake.after(run), ..self }
    }

    /// Reads what the lake records of every table; no data file is opened.
    ///
    /// # Errors
    /// When the lake cannot be read.
    pub async fn recorded(&self) -> Result<Recorded> {
        let names = self.models.sources().chain(self.models.iter().map(|m| m.name.as_str()));
        self.recorded_of_all(names.map(str::to_owned).collect()).await
    }

    /// Reads what ingest may have changed again; the models' tables are as they were.
    ///
    /// # Errors
    /// When the lake cannot be read.
    pub async fn recorded_after_ingest(&self, mut before: Recorded) -> Result<Recorded> {
        let sources: Vec<String> = self.models.sources().map(str::to_owned).collect();
        let now = self.recorded_of_all(sources.clone()).await?;
        for name in sources {
            if let Some(state) = now.states.get(&name).cloned() {
                before.states.set(name, state);
            }
        }
        self.note_first_days(&mut before.states);
        Ok(Recorded { last_arrival: now.last_arrival, ..before })
    }

    /// Reads what the lake records of some tables and what the project says of its seeds.
    ///
    /// # Errors
    /// When the lake cannot be read.
    pub async fn recorded_of_all(&self, tables: Vec<String>) -> Result<Recorded> {
        let mut states = States::default();
        let mut last_arrival = None;
        let mut tables = futures::stream::iter(tables)
            .map(|name| {
                let lake = self.lake.clone();
                // On all threads: to make sense of them takes longer than to read them.
                let read = SpawnedTask::spawn(async move {
                    read_records(&lake, &name).await.map(|(state, arrival)| (name, state, arrival))
                });
                async move { read.join_unwind().await.context("reading records was given up")? }
            })
            .buffer_unordered(CONCURRENT_TABLES);
        while let Some((name, state, arrival)) = tables.try_next().await? {
            last_arrival = last_arrival.max(arrival);
            if let Some(state) = state {
                states.set(name, state);
            }
        }
        for (seed, version) in &self.seed_versions {
            let slot = SlotState { version: *version, rows: 1, ..SlotState::default() };
            states.set(seed.clone(), TableState { slots: [(None, slot.into())].into(), ..TableState::default() });
        }
        drop(tables);
        self.note_first_days(&mut states);
        Ok(Recorded { states, last_arrival })
    }

    /// What the lake records of one table now.
    ///
    /// # Errors
    /// When the lake cannot be read.
    pub async fn recorded_of(&self, name: &str) -> Result<TableState> {
        Ok(read_records(&self.lake, name).await?.0.unwrap_or_default())
    }

    /// Makes the first loaded days an input that partitions are compared by, as a table of one row.
    pub fn note_first_days(&self, states: &mut States) {
        let days: Vec<Option<BizDate>> = ["logs", "orders"].map(|kind| self.first_day(kind, states)).into();
        let version = xxh3_64(format!("{days:?}").as_bytes());
        let slot = SlotState { version, rows: 1, ..SlotState::default() };
        states.set(
            crate::model::FIRST_LOADED_DAY,
            TableState { slots: [(None, slot.into())].into(), ..TableState::default() },
        );
    }

    /// The first loaded day of the `logs`, of the `orders`, or the earlier of `both`; not before the configured start.
    fn first_day(&self, kind: &str, states: &States) -> Option<BizDate> {
        let is_log = |start: &SourceStart| !start.tables.is_disjoint(&self.log_tables);
        let wanted = self.starts.iter().filter(|start| match kind {
            "logs" => is_log(start),
            "orders" => !is_log(start),
            _ => true,
        });
        let first = wanted.filter_map(|start| states.earliest(&start.first_day_of)).min();
        first.map(|day| self.start.map_or(day, |start| day.max(start)))
    }

    /// Answers to what SQL asks about the lake's days, for the states as they are now.
    pub fn calendar(self: &Arc<Self>, states: &States) -> Arc<dyn Calendar> {
        Arc::new(RunCalendar { project: Arc::clone(self), states: states.clone() })
    }

    /// Where this run's queries are computed.
    pub fn workshop(&self, ctx: &Context) -> Workshop {
        Workshop {
            engine: self.engine.clone(),
            lake: self.lake.clone(),
            seeds: self.seeds.clone(),
            run: ctx.run.clone(),
            now_ms: ctx.now_ms,
        }
    }

    /// The configured first day of the warehouse.
    pub fn start(&self) -> Option<BizDate> {
        self.start
    }
}

struct RunCalendar {
    project: Arc<Project>,
    states: States,
}

impl Calendar for RunCalendar {
    fn latest_snapshot(&self, table: &str, day: BizDate) -> Option<BizDate> {
        let days = self.states.days(table);
        days.latest_until(day).or_else(|| days.earliest())
    }

    fn first_loaded_day(&self, source: &str) -> Option<BizDate> {
        self.project.first_day(source, &self.states)
    }
}

/// The tables that a project declares: its sources' and, whether they load or not, its models'.
pub fn declared_tables(config: &Config) -> Vec<String> {
    let models = Layer::ALL.iter().flat_map(|layer| {
        let files = std::fs::read_dir(config.sql_dir().join(layer.name())).into_iter().flatten().flatten();
        files.filter_map(|file| file.file_name().to_str()?.strip_suffix(".sql").map(str::to_owned)).collect::<Vec<_>>()
    });
    starts(config).into_iter().flat_map(|start| start.tables).chain(models).collect()
}

fn starts(config: &Config) -> Vec<SourceStart> {
    let start = |source: &Source| SourceStart {
        tables: source.tables().into_iter().collect(),
        first_day_of: match source {
            Source::Log(log) => log.table.clone(),
            Source::Tables(tables) => tables.first_day.clone(),
        },
    };
    config.sources.values().map(|source| start(&source.source)).collect()
}

fn load_models(config: &Config) -> Result<Models> {
    let sources: Vec<String> = starts(config).into_iter().flat_map(|start| start.tables).collect();
    let mut files = Vec::new();
    for layer in ["ods", "dwd", "dws", "app"] {
        files.extend(read_folder(&config.sql_dir().join(layer), "sql")?);
    }
    let shown = |path: &str| config.shown(Path::new(path)).to_string();
    let files: Vec<(String, String)> = files.into_iter().map(|(path, text)| (shown(&path), text)).collect();
    if files.is_empty() {
        let error = anyhow!("no models in {}", config.shown(&config.sql_dir()));
        return Err(error).hint("`strata init DIR` makes a project with the models of a shop");
    }
    let seeds: Vec<String> =
        read_folder(&config.seeds_dir(), "csv")?.iter().map(|(path, _)| format!("seed_{}", stem(path))).collect();
    Models::load(files, &sources, &seeds).map_err(|mistakes| {
        let texts: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
        Error::msg(texts.join("\n"))
    })
}

/// The files of a folder with an extension, by path, with their texts; a missing folder has none.
fn read_folder(folder: &Path, extension: &str) -> Result<Vec<(String, String)>> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Ok(Vec::new()) };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.with_context(|| format!("list {}", folder.display()))?.path();
        if path.extension().is_some_and(|e| e == extension) {
            let text = std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
            files.push((path.to_string_lossy().into_owned(), text));
        }
    }
    files.sort();
    Ok(files)
}

fn stem(path: &str) -> &str {
    Path::new(path).file_stem().and_then(|s| s.to_str()).unwrap_or(path)
}
