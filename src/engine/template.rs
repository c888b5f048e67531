//! A query that is planned once and computed for many days.
//!
//! Reading SQL and optimising its plan take as long as computing a small partition. A day's value and the files that are
//! read for it change neither; they are put into the optimised plan.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use anyhow::{Result, bail};
use arrow::datatypes::{DataType, Field};
use datafusion::catalog::TableProvider;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, ParamValues, ScalarValue, TableReference};
use datafusion::dataframe::DataFrame;
use datafusion::datasource::provider_as_source;
use datafusion::execution::context::SessionContext;
use datafusion::logical_expr::expr::Placeholder;
use datafusion::logical_expr::{Expr, LogicalPlan, TableScan, TableType};
use datafusion::optimizer::common_subexpr_eliminate::CommonSubexprEliminate;
use datafusion::optimizer::simplify_expressions::SimplifyExpressions;
use datafusion::optimizer::{Optimizer, OptimizerConfig, OptimizerRule};
use datafusion::physical_plan::{SendableRecordBatchStream, execute_stream};

use crate::date::{BizDate, Slot};

/// The parameter of a query that is computed by the day.
const DAY: &str = "$dt";

/// An optimised query, its day still open.
pub struct Template {
    plan: LogicalPlan,
    /// The tables that it reads of a session; others are its own.
    tables: HashSet<TableReference>,
    /// What is done when the day is known: what is said of it becomes constants, and conditions on columns.
    rest: Optimizer,
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
        let tables = tables.into_iter().filter(|name| session.table_exist(name.clone()).unwrap_or(false)).collect();
        // A day that is not known yet would be computed once and referred to as a column, which no file is pruned by.
        let common = CommonSubexprEliminate::new();
        let rules = state.optimizers().iter().filter(|rule| rule.name() != common.name()).cloned();
        let early = Optimizer::with_rules(rules.collect()).optimize(analyzed.clone(), &state, |_, _| {});
        Ok(match early {
            Ok(plan) => {
                let rest = Optimizer::with_rules(vec![Arc::new(SimplifyExpressions::new()), Arc::new(common)]);
                Self { plan, tables, rest }
            }
            // Some rules compute what an expression comes to, which the day has to be known for.
            Err(_) => Self { plan: analyzed, tables, rest: Optimizer::with_rules(state.optimizers().to_vec()) },
        })
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
        let day = ScalarValue::Date32(day.map(BizDate::days));
        let values = ParamValues::from(vec![(DAY.trim_start_matches('$'), day)]);
        let plan = self.over(session, self.plan.clone().replace_params_with_values(&values)?).await?;
        let state = session.state();
        let plan = self.rest.optimize(plan, &state, |_, _| {})?;
        let plan = state.query_planner().create_physical_plan(&plan, &state).await?;
        Ok(execute_stream(plan, state.task_ctx())?)
    }

    /// A plan of the query over the tables of a session.
    async fn over(&self, session: &SessionContext, plan: LogicalPlan) -> Result<LogicalPlan> {
        let mut tables: HashMap<&TableReference, Arc<dyn TableProvider>> = HashMap::new();
        for name in &self.tables {
            tables.insert(name, session.table_provider(name.clone()).await?);
        }
        let mut changed = None;
        let over = plan.transform_up_with_subqueries(|plan| {
            let LogicalPlan::TableScan(scan) = plan else { return Ok(Transformed::no(plan)) };
            let table = tables.get(&scan.table_name);
            // What a recursive query has so far may be called like a table, and is temporary.
            let Some(table) = table.filter(|_| scan.source.table_type() != TableType::Temporary) else {
                return Ok(Transformed::no(LogicalPlan::TableScan(scan)));
            };
            if table.schema().fields() != scan.source.schema().fields() {
                changed = Some(scan.table_name.to_string());
            }
            let source = provider_as_source(Arc::clone(table));
            Ok(Transformed::yes(LogicalPlan::TableScan(TableScan { source, ..scan })))
        })?;
        match changed {
            Some(name) => bail!("{name} got other columns while it was read"),
            None => Ok(over.data),
        }
    }
}

/// The plan of a query, in which `$dt` is a day, with the types that its columns will have.
///
/// # Errors
/// When the query does not hold together.
pub fn analyzed(session: &SessionContext, query: DataFrame) -> Result<LogicalPlan> {
    let (state, plan) = (session.state(), with_typed_day(query.into_unoptimized_plan())?);
    Ok(state.analyzer().execute_and_check(plan, &state.options(), |_, _| {})?)
}

/// The tables that a plan names.
fn tables_of(plan: &LogicalPlan) -> Result<HashSet<TableReference>> {
    let mut names = HashSet::new();
    plan.apply_with_subqueries(|plan| {
        if let LogicalPlan::TableScan(scan) = plan {
            names.insert(scan.table_name.clone());
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(names)
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
    use futures::TryStreamExt;

    use super::*;

    /// A session with a table `t` of numbers, each with its day.
    fn session(rows: &[(i64, i32)]) -> SessionContext {
        let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.0)));
        let days: ArrayRef = Arc::new(Date32Array::from_iter_values(rows.iter().map(|row| row.1)));
        let batch = RecordBatch::try_from_iter([("n", numbers), ("dt", days)]).expect("a batch");
        let table = MemTable::try_new(batch.schema(), vec![vec![batch]]).expect("a table");
        let session = SessionContext::new();
        session.register_table("t", Arc::new(table)).expect("registers");
        session
    }

    async fn computed(sql: &str, rows: &[(i64, i32)], day: Slot) -> String {
        // Planned with other rows than it is computed of.
        let planning = session(&[(0, 0)]);
        let query = planning.sql(sql).await.expect("plans");
        let template = Template::new(&planning, query).expect("optimises");
        let rows: Vec<RecordBatch> =
            template.rows(&session(rows), day).await.expect("plans").try_collect().await.expect("computes");
        let text = pretty_format_batches(&rows).expect("text").to_string();
        let cells = text.lines().skip(3).filter(|line| line.starts_with('|'));
        cells.map(|line| line.replace(['|', ' '], "")).collect::<Vec<_>>().join(" ")
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
}
