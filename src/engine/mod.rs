//! The engine: DataFusion sessions over the lake, with a memory limit, spilling, and the warehouse's functions.
//!
//! It knows tables and SQL, not models: what is built, when and whether it may be published is decided above.

mod functions;
mod memory;
mod order;
mod pool;
mod prepared;
mod scan;
mod schemas;
mod small;
mod template;
mod types;

use std::sync::Arc;

use anyhow::{Context, Result};
use arrow::array::RecordBatch;
use datafusion::catalog::{
    CatalogProvider, CatalogProviderList, MemoryCatalogProvider, MemoryCatalogProviderList, MemorySchemaProvider,
};
use datafusion::execution::context::{SessionConfig, SessionContext, SessionState};
use datafusion::execution::memory_pool::TrackConsumersPool;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::physical_plan::SendableRecordBatchStream;
use datafusion::prelude::SQLOptions;

pub use functions::{Calendar, register_calendar};
pub use memory::memory_table;
use pool::QueryMemory;
use prepared::FewRows;
pub use scan::{LakeScan, Sees, cast_batch};
pub use schemas::{Seeds, register_lake};
pub use template::{Template, analyzed};
pub use types::{in_sql_words, sql_type};

use crate::date::Zone;
use crate::lake::Lake;

/// How many consumers an out-of-memory message names.
const NAMED_CONSUMERS: usize = 3;

/// Queries over fewer rows than this run on one thread.
const SPLIT_ROWS: u64 = 200_000;

/// The rules that plans over few rows go without: to look takes longer than what is found would save. None of them is needed
/// for the result to be right.
const FOR_MANY_ROWS: [&str; 8] = [
    "aggregate_statistics",
    "FilterPushdown",
    "FilterPushdown(Post)",
    "LimitAggregation",
    "LimitedDistinctAggregation",
    "ProjectionPushdown",
    "PushdownSort",
    "TopKRepartition",
];

/// One engine for a run: sessions made from it share memory, caches and spill space.
#[derive(Clone)]
pub struct Engine {
    // Rules and functions are made once: a run plans a thousand queries.
    state: Arc<SessionState>,
    /// The same for queries that read few rows.
    small: Arc<SessionState>,
}

impl Engine {
    /// An engine over a lake's storage with at most `memory` bytes for its operators; above it they spill to disk.
    ///
    /// # Errors
    /// When there is no folder to spill to.
    pub fn new(lake: &Lake, memory: usize, threads: usize, zone: Zone) -> Result<Self> {
        let consumers = std::num::NonZeroUsize::new(NAMED_CONSUMERS).context("at least one consumer")?;
        let pool = Arc::new(TrackConsumersPool::new(QueryMemory::new(memory), consumers));
        let runtime = RuntimeEnvBuilder::new().with_memory_pool(pool).build_arc()?;
        runtime.register_object_store(lake.root(), lake.store());
        let mut config = SessionConfig::new()
            .with_target_partitions(threads)
            .with_information_schema(true)
            .with_default_catalog_and_schema("strata", "all")
            .with_extension(Arc::new(small::SmallFiles::new(memory)));
        let options = config.options_mut();
        options.catalog.create_default_catalog_and_schema = false;
        options.sql_parser.collect_spans = true;
        options.execution.time_zone = Some("+00:00".to_owned());
        options.execution.parquet.pushdown_filters = true;
        // The small side of a join stands on the left, where it is held once for all threads; the other side streams by
        // in the order that it has.
        options.optimizer.repartition_joins = false;
        let session = SessionContext::new_with_config_rt(config, runtime);
        functions::register(&session, zone);
        let state = session.state();
        let rules = state.physical_optimizers().iter().filter(|rule| !FOR_MANY_ROWS.contains(&rule.name())).cloned();
        let config = state.config().clone().with_target_partitions(1).with_extension(Arc::new(FewRows));
        let small = SessionStateBuilder::new_from_existing(state.clone())
            .with_config(config)
            .with_physical_optimizer_rules(rules.collect())
            .build();
        Ok(Self { state: Arc::new(state), small: Arc::new(small) })
    }

    /// The names of all functions that SQL may call.
    pub fn functions(&self) -> Vec<String> {
        let state = &self.state;
        let (scalar, sums) = (state.scalar_functions().keys(), state.aggregate_functions().keys());
        scalar.chain(sums).chain(state.window_functions().keys()).cloned().collect()
    }

    /// Whether a query that reads so many rows is computed on one thread.
    pub fn is_small(rows: u64) -> bool {
        rows < SPLIT_ROWS
    }

    /// A session for a query that reads about so many rows: few are computed in one piece, for splitting them over
    /// threads and gathering them again would cost more than it saves. The result is the same either way.
    pub fn session_for(&self, rows: u64) -> SessionContext {
        self.session_like(if Self::is_small(rows) { &self.small } else { &self.state })
    }

    /// A session whose queries are computed in one piece, however many rows they read: these come in the order of the files.
    pub fn session_in_one_piece(&self) -> SessionContext {
        let session = self.session();
        session.state_ref().write().config_mut().options_mut().execution.target_partitions = 1;
        session
    }

    /// A session with the warehouse's functions and no tables.
    pub fn session(&self) -> SessionContext {
        self.session_like(&self.state)
    }

    fn session_like(&self, state: &SessionState) -> SessionContext {
        let catalog = MemoryCatalogProvider::new();
        // Memory catalogs take any schema: this cannot fail, and a failure would show as a missing table.
        let _ = catalog.register_schema("all", Arc::new(MemorySchemaProvider::new()));
        let catalogs = MemoryCatalogProviderList::new();
        catalogs.register_catalog("strata".to_owned(), Arc::new(catalog));
        let mut state = state.clone();
        state.register_catalog_list(Arc::new(catalogs));
        SessionContext::new_with_state(state)
    }
}

/// The rows of a query as they are computed.
///
/// # Errors
/// When the SQL is wrong, or would change something.
pub async fn query_stream(session: &SessionContext, sql: &str) -> Result<SendableRecordBatchStream> {
    let read_only = SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false);
    Ok(session.sql_with_options(sql, read_only).await?.execute_stream().await?)
}

/// Runs a read-only query: no statement that creates, writes or sets anything.
///
/// # Errors
/// When the SQL is wrong, or would change something.
pub async fn query(session: &SessionContext, sql: &str) -> Result<Vec<RecordBatch>> {
    let read_only = SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false);
    let frame = session.sql_with_options(sql, read_only).await?;
    let schema = Arc::new(frame.schema().as_arrow().clone());
    let mut batches = frame.collect().await?;
    if batches.is_empty() {
        batches.push(RecordBatch::new_empty(schema));
    }
    Ok(batches)
}

#[cfg(test)]
mod tests {
    use arrow::util::pretty::pretty_format_batches;

    use super::*;

    fn engine() -> (tempfile::TempDir, Engine) {
        let folder = tempfile::tempdir().expect("a folder");
        let lake = Lake::open(&folder.path().to_string_lossy()).expect("a lake");
        let engine = Engine::new(&lake, 1 << 26, 2, "UTC".parse().expect("a zone")).expect("an engine");
        (folder, engine)
    }

    #[test]
    fn plans_over_few_rows_go_without_rules_that_there_are() {
        let (_folder, engine) = engine();
        let names: Vec<&str> = engine.state.physical_optimizers().iter().map(|rule| rule.name()).collect();
        assert!(FOR_MANY_ROWS.iter().all(|name| names.contains(name)), "{names:?}");
        let left: Vec<&str> = engine.small.physical_optimizers().iter().map(|rule| rule.name()).collect();
        assert!(left.contains(&"SanityCheckPlan") && FOR_MANY_ROWS.iter().all(|name| !left.contains(name)), "{left:?}");
    }

    #[tokio::test]
    async fn few_rows_come_to_the_same_as_many() {
        let (_folder, engine) = engine();
        let rows = "(values (1, 'a', 2), (1, 'b', null), (2, 'a', 5), (3, 'c', 5), (3, null, 1)) as t (k, name, n)";
        for sql in [
            format!("select k, name, n from {rows} where n > 1 order by n desc, k limit 2"),
            format!("select k, max(n) as most from {rows} group by k order by most desc limit 2"),
            format!("select distinct name from {rows} order by name nulls first limit 3"),
            format!("select count(*) as rows, count(distinct name) as names from {rows}"),
            format!(
                "select * from (select k, row_number() over (partition by k order by n, name) as place from {rows}) \
                     where place = 1 order by k"
            ),
            format!(
                "with t as (select * from {rows}) select a.k, b.name from t as a left join t as b on a.n = b.k \
                     where a.k < 3 order by a.k, b.name, a.n"
            ),
        ] {
            let mut answers = Vec::new();
            for session in [engine.session_for(0), engine.session_for(SPLIT_ROWS), engine.session_in_one_piece()] {
                let found = query(&session, &sql).await.expect(&sql);
                answers.push(pretty_format_batches(&found).expect("text").to_string());
            }
            assert!(answers.iter().all(|answer| *answer == answers[0]), "{sql}\n{}", answers.join("\n"));
        }
    }
}
