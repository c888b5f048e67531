//! A query that is planned once and computed for many days.
//!
//! Reading SQL and optimising its plan take as long as computing a small partition. A day's value and the files that are
//! read for it change neither; they are put into the optimised plan.

use std::collections::HashMap;
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
use datafusion::logical_expr::{Expr, LogicalPlan, TableScan};
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
        let plan = with_typed_day(query.into_unoptimized_plan())?;
        let plan = state.analyzer().execute_and_check(plan, &state.options(), |_, _| {})?;
        // A day that is not known yet would be computed once and referred to as a column, which no file is pruned by.
        let common = CommonSubexprEliminate::new();
        let rules = state.optimizers().iter().filter(|rule| rule.name() != common.name()).cloned();
        let plan = Optimizer::with_rules(rules.collect()).optimize(plan, &state, |_, _| {})?;
        let rest = Optimizer::with_rules(vec![Arc::new(SimplifyExpressions::new()), Arc::new(common)]);
        Ok(Self { plan, rest })
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
        let plan = with_tables_of(session, self.plan.clone().replace_params_with_values(&values)?).await?;
        let state = session.state();
        let plan = self.rest.optimize(plan, &state, |_, _| {})?;
        let plan = state.query_planner().create_physical_plan(&plan, &state).await?;
        Ok(execute_stream(plan, state.task_ctx())?)
    }
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

/// The plan over the tables of a session.
async fn with_tables_of(session: &SessionContext, plan: LogicalPlan) -> Result<LogicalPlan> {
    let mut names: Vec<TableReference> = Vec::new();
    plan.apply_with_subqueries(|plan| {
        if let LogicalPlan::TableScan(scan) = plan {
            names.push(scan.table_name.clone());
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    let mut tables: HashMap<TableReference, Arc<dyn TableProvider>> = HashMap::new();
    for name in names {
        let table = session.table_provider(name.clone()).await?;
        tables.insert(name, table);
    }
    let mut changed = None;
    let over = plan.transform_up_with_subqueries(|plan| match plan {
        LogicalPlan::TableScan(scan) => match tables.get(&scan.table_name) {
            Some(table) => {
                if table.schema().fields() != scan.source.schema().fields() {
                    changed = Some(scan.table_name.to_string());
                }
                let source = provider_as_source(Arc::clone(table));
                Ok(Transformed::yes(LogicalPlan::TableScan(TableScan { source, ..scan })))
            }
            None => Ok(Transformed::no(LogicalPlan::TableScan(scan))),
        },
        other => Ok(Transformed::no(other)),
    })?;
    if let Some(name) = changed {
        bail!("{name} got other columns while it was read");
    }
    Ok(over.data)
}
