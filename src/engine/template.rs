//! A query that is planned once and computed for many days.
//!
//! Reading SQL and optimising its plan take as long as computing a small partition. A day's value and the files that are
//! read for it change neither; they are put into the optimised plan, and where rows are few into a physical one.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use anyhow::{Result, bail};
use arrow::datatypes::{DataType, Field, SchemaRef};
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, ParamValues, ScalarValue, TableReference};
use datafusion::dataframe::DataFrame;
use datafusion::datasource::provider_as_source;
use datafusion::execution::context::{SessionContext, SessionState};
use datafusion::logical_expr::expr::Placeholder;
use datafusion::logical_expr::{Expr, LogicalPlan, TableScan};
use datafusion::optimizer::common_subexpr_eliminate::CommonSubexprEliminate;
use datafusion::optimizer::simplify_expressions::SimplifyExpressions;
use datafusion::optimizer::{Optimizer, OptimizerConfig, OptimizerRule};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{SendableRecordBatchStream, execute_stream};

use super::prepared::{FewRows, Idle, Prepared, Tables, table_of};
use crate::date::{BizDate, Slot};

/// The parameter of a query that is computed by the day.
const DAY: &str = "$dt";

/// How often a plan for many days may fail before each day has one of its own: one day may be unlike the others.
const CHANCES: u8 = 3;

/// An optimised query, its day still open.
pub struct Template {
    plan: LogicalPlan,
    /// The tables that it reads of a session, and their columns; others are its own.
    tables: HashMap<TableReference, SchemaRef>,
    /// What is done when the day is known: what is said of it becomes constants, and conditions on columns.
    rest: Optimizer,
    /// How often a physical plan that is made before the day is known may still fail: not at all where none can be made.
    chances: AtomicU8,
    /// The physical plans that were.
    idle: Idle,
}

impl Template {
    /// Optimises a query, in which `$dt` is a day, of a session that has its tables: with their columns, whatever their rows.
    ///
    /// # Errors
    /// When the query does not hold together.
    pub fn new(session: &SessionContext, query: DataFrame) -> Result<Self> {
        let state = session.state();
        let analyzed = analyzed(session, query)?;
        let tables = tables_of(&analyzed)?;
        let tables =
            tables.into_iter().filter(|(name, _)| session.table_exist(name.clone()).unwrap_or(false)).collect();
        // A day that is not known yet would be computed once and referred to as a column, which no file is pruned by.
        let common = CommonSubexprEliminate::new();
        let rules = state.optimizers().iter().filter(|rule| rule.name() != common.name()).cloned();
        let early = Optimizer::with_rules(rules.collect()).optimize(analyzed.clone(), &state, |_, _| {});
        let (plan, rest, chances) = match early {
            Ok(plan) => {
                let rest = Optimizer::with_rules(vec![Arc::new(SimplifyExpressions::new()), Arc::new(common)]);
                let chances = if is_by_day_and_not_recursive(&plan)? { CHANCES } else { 0 };
                (plan, rest, chances)
            }
            // Some rules compute what an expression comes to, which the day has to be known for.
            Err(_) => (analyzed, Optimizer::with_rules(state.optimizers().to_vec()), 0),
        };
        Ok(Self { plan, tables, rest, chances: chances.into(), idle: Idle::default() })
    }

    /// The columns of its rows.
    pub fn schema(&self) -> &DFSchema {
        self.plan.schema()
    }

    /// The rows for a day, NULL where there is none, of the tables that a session has by the names in the query.
    ///
    /// # Errors
    /// When a table is missing or has other columns, or the storage fails.
    pub async fn rows(&self, session: &SessionContext, day: Slot) -> Result<SendableRecordBatchStream> {
        let (state, tables) = (session.state(), self.tables(session).await?);
        // Few rows take longer to plan than to compute.
        let few = state.config().get_extension::<FewRows>().is_some();
        if few && self.chances.load(Ordering::Relaxed) > 0 {
            // Where it fails the usual way can do more, or says what is wrong.
            if let Ok(rows) = self.prepared_rows(&state, day, &tables).await {
                return Ok(rows);
            }
            let fewer = |chances: u8| Some(chances.saturating_sub(1));
            let _ = self.chances.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fewer);
        }
        let day = ScalarValue::Date32(day.map(BizDate::days));
        let values = ParamValues::from(vec![(DAY.trim_start_matches('$'), day)]);
        let plan = over(self.plan.clone().replace_params_with_values(&values)?, &tables)?;
        let plan = self.rest.optimize(plan, &state, |_, _| {})?;
        let plan = state.query_planner().create_physical_plan(&plan, &state).await?;
        Ok(execute_stream(plan, state.task_ctx())?)
    }

    /// The rows by a physical plan that was or now is made for all days.
    async fn prepared_rows(
        &self,
        state: &SessionState,
        day: Slot,
        tables: &Tables,
    ) -> Result<SendableRecordBatchStream> {
        let plan = match self.idle.take() {
            Some(plan) => plan,
            None => Prepared::new(state, &self.plan, DAY, tables).await?,
        };
        let rows = plan.rows(state, day, tables).await?;
        let schema = plan.schema();
        self.idle.put(plan);
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, futures::stream::iter(rows.into_iter().map(Ok)))))
    }

    /// Its tables as a session has them.
    async fn tables(&self, session: &SessionContext) -> Result<Tables> {
        let mut tables = Tables::new();
        for (name, planned) in &self.tables {
            let table = session.table_provider(name.clone()).await?;
            if table.schema().fields() != planned.fields() {
                bail!("{name} got other columns while it was read");
            }
            tables.insert(name.clone(), table);
        }
        Ok(tables)
    }
}

/// A plan over some tables.
fn over(plan: LogicalPlan, tables: &Tables) -> Result<LogicalPlan> {
    let over = plan.transform_up_with_subqueries(|plan| {
        let LogicalPlan::TableScan(scan) = plan else { return Ok(Transformed::no(plan)) };
        Ok(match table_of(&scan, tables) {
            Some(table) => {
                let source = provider_as_source(Arc::clone(table));
                Transformed::yes(LogicalPlan::TableScan(TableScan { source, ..scan }))
            }
            None => Transformed::no(LogicalPlan::TableScan(scan)),
        })
    })?;
    Ok(over.data)
}

/// Whether the day is asked for, and nothing is computed again and again, for which a plan has to be new.
fn is_by_day_and_not_recursive(plan: &LogicalPlan) -> Result<bool> {
    let (mut by_day, mut recursive) = (false, false);
    plan.apply_with_subqueries(|plan| {
        recursive |= matches!(plan, LogicalPlan::RecursiveQuery(_));
        plan.apply_expressions(|expr| {
            by_day |= expr.exists(|expr| Ok(matches!(expr, Expr::Placeholder(Placeholder { id, .. }) if id == DAY)))?;
            Ok(TreeNodeRecursion::Continue)
        })
    })?;
    Ok(by_day && !recursive)
}

/// The plan of a query, in which `$dt` is a day, with the types that its columns will have.
///
/// # Errors
/// When the query does not hold together.
pub fn analyzed(session: &SessionContext, query: DataFrame) -> Result<LogicalPlan> {
    let (state, plan) = (session.state(), with_typed_day(query.into_unoptimized_plan())?);
    Ok(state.analyzer().execute_and_check(plan, &state.options(), |_, _| {})?)
}

/// The tables that a plan names, and their columns.
fn tables_of(plan: &LogicalPlan) -> Result<HashMap<TableReference, SchemaRef>> {
    let mut tables = HashMap::new();
    plan.apply_with_subqueries(|plan| {
        if let LogicalPlan::TableScan(scan) = plan {
            tables.insert(scan.table_name.clone(), scan.source.schema());
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(tables)
}

/// The plan with the day's type where its value will be.
fn with_typed_day(plan: LogicalPlan) -> Result<LogicalPlan> {
    let day = Arc::new(Field::new(DAY, DataType::Date32, true));
    let typed = |expr: Expr| match expr {
        Expr::Placeholder(Placeholder { id, .. }) if id == DAY => {
            Ok(Transformed::yes(Expr::Placeholder(Placeholder { id, field: Some(Arc::clone(&day)) })))
        }
        other => Ok(Transformed::no(other)),
    };
    let typed = plan.transform_up_with_subqueries(|plan| {
        plan.map_expressions(|expr| expr.transform_up(typed))?.map_data(LogicalPlan::recompute_schema)
    })?;
    Ok(typed.data)
}

#[cfg(test)]
mod tests {
    use arrow::array::{ArrayRef, Date32Array, Int64Array, RecordBatch};
    use arrow::util::pretty::pretty_format_batches;
    use datafusion::datasource::MemTable;
    use datafusion::prelude::SessionConfig;
    use futures::TryStreamExt;

    use super::*;

    /// A session with a table `t` of numbers, each with its day; it may be one for few rows.
    fn session(rows: &[(i64, i32)], few: bool) -> SessionContext {
        let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.0)));
        let days: ArrayRef = Arc::new(Date32Array::from_iter_values(rows.iter().map(|row| row.1)));
        let batch = RecordBatch::try_from_iter([("n", numbers), ("dt", days)]).expect("a batch");
        let table = MemTable::try_new(batch.schema(), vec![vec![batch]]).expect("a table");
        let config = SessionConfig::new();
        let config = if few { config.with_target_partitions(1).with_extension(Arc::new(FewRows)) } else { config };
        let session = SessionContext::new_with_config(config);
        session.register_table("t", Arc::new(table)).expect("registers");
        session
    }

    /// Planned with other rows than it is computed of.
    async fn template(sql: &str) -> Template {
        let planning = session(&[(0, 0)], false);
        let query = planning.sql(sql).await.expect("plans");
        Template::new(&planning, query).expect("optimises")
    }

    async fn cells(rows: SendableRecordBatchStream) -> String {
        let rows: Vec<RecordBatch> = rows.try_collect().await.expect("computes");
        let text = pretty_format_batches(&rows).expect("text").to_string();
        let cells = text.lines().skip(3).filter(|line| line.starts_with('|'));
        cells.map(|line| line.replace(['|', ' '], "")).collect::<Vec<_>>().join(" ")
    }

    /// What comes of a query that is planned for a day; and by a plan that was made for another day and other rows.
    async fn computed(sql: &str, rows: &[(i64, i32)], day: Slot) -> String {
        let template = template(sql).await;
        let for_the_day = cells(template.rows(&session(rows, false), day).await.expect("plans")).await;
        for (others, day) in [(&[(3, 9), (1, 77)][..], Some(BizDate::from_days(9))), (&[], None)] {
            cells(template.rows(&session(others, true), day).await.expect("plans")).await;
        }
        let for_many = cells(template.rows(&session(rows, true), day).await.expect("plans")).await;
        assert_eq!(for_many, for_the_day, "{sql}");
        let is_prepared = template.chances.into_inner() == CHANCES;
        assert_eq!(template.idle.take().is_some(), is_prepared, "{sql}");
        assert_eq!(is_prepared, !sql.contains("recursive") && !sql.contains("coalesce"), "{sql}");
        for_the_day
    }

    #[tokio::test]
    async fn a_query_is_computed_of_a_sessions_rows_for_a_day() {
        let rows = [(1, 1), (2, 2), (4, 2), (8, 3)];
        let sum = "select sum(n) as n from t where dt = $dt";
        let next = "select sum(n) as n from t where dt between $dt and $dt + interval '1 day'";
        for (day, of_day, of_two) in [(1, "1", "7"), (2, "6", "14"), (9, "", "")] {
            let day = Some(BizDate::from_days(day));
            assert_eq!(computed(sum, &rows, day).await, of_day);
            assert_eq!(computed(next, &rows, day).await, of_two);
        }
        assert_eq!(computed("select count(*) as n from t where dt is not distinct from $dt", &rows, None).await, "0");
        // The day where rules would like to know it: in groups, windows, joins, names of columns, subqueries, limits.
        for (sql, expected) in [
            ("select $dt, count(*) as n from t where dt = $dt group by dt", "1970-01-032"),
            ("select sum(n) over (order by n) as n from t where dt = $dt order by n", "2 6"),
            ("select a.n from t as a left join t as b on a.dt = b.dt - 1 and a.dt = $dt where b.n = 8", "2 4"),
            ("select \"t.dt = $dt\" from (select dt = $dt from t where n = 4)", "true"),
            ("select n from t where dt = (select max(dt) from t where dt < $dt)", "1"),
            ("select n from t where dt in ($dt, $dt + 1) order by n desc limit 2", "8 4"),
            ("select count(*) from t where dt between $dt - interval '1 month' and date_trunc('month', $dt)", "0"),
            ("select n from t where exists (select 1 from t as o where o.n = 2 * t.n and o.dt > $dt)", "4"),
            ("select count(*) as n from t where $dt is null or dt > $dt union all select 7 order by 1", "1 7"),
        ] {
            assert_eq!(computed(sql, &rows, Some(BizDate::from_days(2))).await, expected, "{sql}");
        }
    }

    #[tokio::test]
    async fn tables_that_are_the_querys_own_stay() {
        let recursive = "with recursive r as (select 1 as n union all select n + 1 from r where n < 3) \
                         select sum(r.n * t.n) as n from r cross join t where t.dt = $dt";
        assert_eq!(computed(recursive, &[(5, 1), (7, 2)], Some(BizDate::from_days(1))).await, "30");
    }

    #[tokio::test]
    async fn an_expression_that_cannot_be_computed_without_the_day_waits_for_it() {
        let nobody =
            "select n, (select coalesce(max(other.dt), $dt) from t as other where other.n = t.n + 100) as dt from t";
        assert_eq!(computed(nobody, &[(5, 1)], Some(BizDate::from_days(31))).await, "51970-02-01");
    }

    #[tokio::test]
    async fn a_plan_is_made_once_and_run_by_one_at_a_time() {
        let template = template("select sum(n) as n, $dt - interval '1 day' from t where dt = $dt").await;
        let day = |day| Some(BizDate::from_days(day));
        let (one, two) = (session(&[(1, 1), (2, 2)], true), session(&[(40, 2)], true));
        assert!(template.idle.take().is_none(), "none is made before it is needed");
        for _ in 0..3 {
            assert_eq!(cells(template.rows(&one, day(2)).await.expect("plans")).await, "21970-01-02");
            let made = template.idle.take().expect("it is idle again");
            assert!(template.idle.take().is_none(), "it is the only one");
            template.idle.put(made);
        }
        let (first, second) = tokio::join!(template.rows(&one, day(1)), template.rows(&two, day(2)));
        assert_eq!(cells(first.expect("plans")).await, "11970-01-01");
        assert_eq!(cells(second.expect("plans")).await, "401970-01-02");
    }

    #[tokio::test]
    async fn parts_of_a_table_come_one_after_the_other_and_what_failed_is_told() {
        let batch = |n: i64| {
            let columns = [
                ("n", Arc::new(Int64Array::from(vec![n])) as ArrayRef),
                ("dt", Arc::new(Date32Array::from(vec![2])) as ArrayRef),
            ];
            RecordBatch::try_from_iter(columns).expect("a batch")
        };
        let parts: Vec<Vec<RecordBatch>> = (0..9).map(|part| vec![batch(9 - part)]).collect();
        let session = session(&[], true);
        session.deregister_table("t").expect("deregisters");
        let table = MemTable::try_new(batch(0).schema(), parts).expect("a table");
        session.register_table("t", Arc::new(table)).expect("registers");
        let day = Some(BizDate::from_days(2));
        let ordered = template("select n from t where dt = $dt").await;
        assert_eq!(cells(ordered.rows(&session, day).await.expect("plans")).await, "9 8 7 6 5 4 3 2 1");
        assert!(ordered.idle.take().is_some());
        let failing = template("select n / (n - 5) as n from t where dt = $dt").await;
        let rows = failing.rows(&session, day).await.expect("plans").try_collect::<Vec<_>>().await;
        assert!(rows.expect_err("fails").to_string().contains("Divide by zero"));
        assert!(failing.idle.take().is_none(), "what went wrong once is not run again");
    }

    #[tokio::test]
    async fn what_can_be_computed_of_a_known_day_alone_is_computed_so() {
        // In nanoseconds, in which a time is compared with the sum of a date and an interval, there is no year 2984.
        let far = "select count(*) as n from t \
                   where dt = $dt and arrow_cast(n * 16000000000000000, 'Timestamp(µs)') >= $dt + interval '1 day'";
        let template = template(far).await;
        let session = session(&[(1, 1), (2, 2), (4, 2)], true);
        for chances in [2, 1, 0, 0] {
            assert_eq!(cells(template.rows(&session, Some(BizDate::from_days(2))).await.expect("plans")).await, "2");
            assert_eq!(template.chances.load(Ordering::Relaxed), chances, "it is tried a few times");
        }
    }

    #[tokio::test]
    async fn only_a_query_that_asks_for_the_day_and_does_not_repeat_itself_is_prepared() {
        let recursive = "with recursive r as (select 1 as n union all select n + 1 from r where n < 3) \
                         select r.n from r cross join t where t.dt = $dt";
        for (sql, is_prepared) in [
            ("select n from t where dt = $dt", true),
            ("select n, (select max(n) from t as other where other.dt < $dt) as most from t", true),
            ("select n from t", false),
            (recursive, false),
        ] {
            assert_eq!(template(sql).await.chances.into_inner() > 0, is_prepared, "{sql}");
        }
    }
}
