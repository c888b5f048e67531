//! A plan that is made once and run for many days.
//!
//! To make a physical plan takes several times as long as to compute a few rows with it. Here the day is a function that
//! answers what it was told last, and a table a place that files are put into, so that a plan over few rows outlives both.

use std::any::Any;
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::{Array, ArrayData, RecordBatch};
use arrow::datatypes::{DataType, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Result, ScalarValue, Statistics, TableReference, exec_err, internal_err, resources_err};
use datafusion::datasource::{TableType, provider_as_source};
use datafusion::execution::TaskContext;
use datafusion::execution::context::SessionState;
use datafusion::logical_expr::expr::{Placeholder, ScalarFunction};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{
    ColumnarValue, Expr, LogicalPlan, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    TableProviderFilterPushDown, TableScan, Volatility,
};
use datafusion::physical_expr::{EquivalenceProperties, Partitioning};
use datafusion::physical_plan::execution_plan::{
    Boundedness, EmissionType, ReplaceChildrenOptions, SchedulingType, reset_plan_states,
};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, PhysicalExpr, PlanProperties, SendableRecordBatchStream,
    StatisticsArgs, execute_stream,
};
use futures::{StreamExt, TryStreamExt};

use crate::date::{BizDate, Slot};

/// The tables of a session by the names that a query has for them.
pub type Tables = HashMap<TableReference, Arc<dyn TableProvider>>;

/// The extension of a session whose queries read few rows and are planned once for many days.
pub struct FewRows;

/// The rows of one run that may wait in memory, in bytes.
const WAITING_BYTES: usize = 64 << 20;

/// Plans of one query that nobody runs at the moment.
#[derive(Default)]
pub struct Idle(Mutex<Vec<Prepared>>);

impl Idle {
    /// One of them.
    pub fn take(&self) -> Option<Prepared> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    /// Puts one back.
    pub fn put(&self, plan: Prepared) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(plan);
    }
}

/// A physical plan with room for a day and for files.
pub struct Prepared {
    plan: Arc<dyn ExecutionPlan>,
    day: Arc<Day>,
    places: Vec<Arc<Place>>,
}

impl Prepared {
    /// The physical plan of an optimised query in which a placeholder is the day, over the tables of a session.
    ///
    /// # Errors
    /// When something has to be known of the day to make a plan.
    pub async fn new(state: &SessionState, query: &LogicalPlan, day: &str, tables: &Tables) -> Result<Self> {
        let told = Arc::new(Day::default());
        let function = Arc::new(ScalarUDF::from(DayFunction::new(Arc::clone(&told))));
        let asked = |expr: Expr| match expr {
            Expr::Placeholder(Placeholder { id, .. }) if id == day => {
                Ok(Transformed::yes(Expr::ScalarFunction(ScalarFunction::new_udf(Arc::clone(&function), Vec::new()))))
            }
            other => Ok(Transformed::no(other)),
        };
        let places = Arc::new(Mutex::new(Vec::new()));
        let open = query.clone().transform_up_with_subqueries(|plan| {
            let plan = match plan {
                LogicalPlan::TableScan(scan) => LogicalPlan::TableScan(opened(scan, tables, &places)),
                other => other,
            };
            // What reads a column of the query knows it by the name that it has with the placeholder.
            let names = NamePreserver::new(&plan);
            let named = |expr: Expr| {
                let name = names.save(&expr);
                Ok(expr.transform_up(asked)?.update_data(|expr| name.restore(expr)))
            };
            plan.map_expressions(named)?.map_data(LogicalPlan::recompute_schema)
        })?;
        let plan = state.query_planner().create_physical_plan(&open.data, state).await?;
        let places = std::mem::take(&mut *places.lock().unwrap_or_else(PoisonError::into_inner));
        Ok(Self { plan, day: told, places })
    }

    /// The rows for a day of the tables of a session.
    ///
    /// # Errors
    /// When they are too many to wait here, when the storage fails, or when something cannot be computed: with the day known,
    /// conditions may be put in a form that always can.
    pub async fn rows(&self, state: &SessionState, day: Slot, tables: &Tables) -> Result<Vec<RecordBatch>> {
        let day = ScalarValue::Date32(day.map(BizDate::days));
        for place in &self.places {
            let Some(table) = tables.get(&place.table) else { return internal_err!("{} is gone", place.table) };
            let filters = place.filters.iter().map(|filter| with_day(filter, &day)).collect::<Result<Vec<_>>>()?;
            let rows = table.scan(state, place.projection.as_ref(), &filters, place.limit).await?;
            place.put(Some(rows))?;
        }
        self.day.tell(day);
        let mut stream = execute_stream(reset_plan_states(Arc::clone(&self.plan))?, state.task_ctx())?;
        let (mut rows, mut held) = (Vec::new(), Held::default());
        while let Some(batch) = stream.next().await.transpose()? {
            batch.columns().iter().for_each(|column| held.add(&column.to_data()));
            if held.bytes > WAITING_BYTES {
                return resources_err!("more than {WAITING_BYTES} bytes of rows");
            }
            rows.push(batch);
        }
        // What was put in need not wait for the next day.
        for place in &self.places {
            place.put(None)?;
        }
        Ok(rows)
    }

    /// The columns of the rows.
    pub fn schema(&self) -> SchemaRef {
        self.plan.schema()
    }
}

/// The memory of some arrays; sorted rows share the texts that they were sorted from.
#[derive(Default)]
struct Held {
    buffers: HashSet<usize>,
    bytes: usize,
}

impl Held {
    fn add(&mut self, array: &ArrayData) {
        for buffer in array.buffers() {
            if self.buffers.insert(buffer.data_ptr().as_ptr() as usize) {
                self.bytes += buffer.capacity();
            }
        }
        array.child_data().iter().for_each(|child| self.add(child));
    }
}

/// The table that a scan of a query reads; what a recursive query has so far may be called like one, and is temporary.
pub fn table_of<'a>(scan: &TableScan, tables: &'a Tables) -> Option<&'a Arc<dyn TableProvider>> {
    tables.get(&scan.table_name).filter(|_| scan.source.table_type() != TableType::Temporary)
}

/// A scan of a place for the table's files.
fn opened(scan: TableScan, tables: &Tables, places: &Arc<Mutex<Vec<Arc<Place>>>>) -> TableScan {
    match table_of(&scan, tables) {
        Some(table) => {
            let (name, table, places) = (scan.table_name.clone(), Arc::clone(table), Arc::clone(places));
            TableScan { source: provider_as_source(Arc::new(OpenTable { name, table, places })), ..scan }
        }
        None => scan,
    }
}

/// A filter with the day in place of the function that tells it.
fn with_day(filter: &Expr, day: &ScalarValue) -> Result<Expr> {
    let known = filter.clone().transform_up(|expr| match expr {
        Expr::ScalarFunction(call) if (call.func.inner().as_ref() as &dyn Any).is::<DayFunction>() => {
            Ok(Transformed::yes(Expr::Literal(day.clone(), None)))
        }
        other => Ok(Transformed::no(other)),
    });
    known.map(|known| known.data)
}

/// The day that a plan is run for, once it is told.
#[derive(Debug, Default)]
struct Day(Mutex<Option<ScalarValue>>);

impl Day {
    fn tell(&self, day: ScalarValue) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(day);
    }

    fn told(&self) -> Option<ScalarValue> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The function that answers the day. While a plan is made it has no answer, so that none becomes a part of it.
#[derive(Debug)]
struct DayFunction {
    day: Arc<Day>,
    signature: Signature,
}

impl DayFunction {
    fn new(day: Arc<Day>) -> Self {
        Self { day, signature: Signature::nullary(Volatility::Immutable) }
    }
}

impl PartialEq for DayFunction {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.day, &other.day)
    }
}

impl Eq for DayFunction {}

impl Hash for DayFunction {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Arc::as_ptr(&self.day).hash(state);
    }
}

impl ScalarUDFImpl for DayFunction {
    fn name(&self) -> &str {
        "day"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Date32)
    }

    fn invoke_with_args(&self, _: ScalarFunctionArgs) -> Result<ColumnarValue> {
        match self.day.told() {
            Some(day) => Ok(ColumnarValue::Scalar(day)),
            None => exec_err!("the day is not known yet"),
        }
    }
}

/// A table whose scans are places for files.
#[derive(Debug)]
struct OpenTable {
    name: TableReference,
    table: Arc<dyn TableProvider>,
    places: Arc<Mutex<Vec<Arc<Place>>>>,
}

#[async_trait]
impl TableProvider for OpenTable {
    fn schema(&self) -> SchemaRef {
        self.table.schema()
    }

    fn table_type(&self) -> TableType {
        self.table.table_type()
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        self.table.supports_filters_pushdown(filters)
    }

    fn statistics(&self) -> Option<Statistics> {
        self.table.statistics()
    }

    async fn scan(
        &self,
        _: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let schema = match projection {
            Some(wanted) => Arc::new(self.schema().project(wanted)?),
            None => self.schema(),
        };
        let known = EquivalenceProperties::new(Arc::clone(&schema));
        let properties = PlanProperties::new(
            known,
            Partitioning::UnknownPartitioning(1),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        let place = Arc::new(Place {
            table: self.name.clone(),
            projection: projection.cloned(),
            filters: filters.to_vec(),
            limit,
            // Not of the day that the plan is made for: on which side a join holds its rows must not depend on that.
            statistics: Arc::new(Statistics::new_unknown(&schema)),
            properties: Arc::new(properties.with_scheduling_type(SchedulingType::Cooperative)),
            rows: Mutex::new(None),
        });
        self.places.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&place));
        Ok(place)
    }
}

/// A place in a plan for the scan of a table, in one piece and in no order.
#[derive(Debug)]
struct Place {
    table: TableReference,
    projection: Option<Vec<usize>>,
    filters: Vec<Expr>,
    limit: Option<usize>,
    statistics: Arc<Statistics>,
    properties: Arc<PlanProperties>,
    rows: Mutex<Option<Arc<dyn ExecutionPlan>>>,
}

impl Place {
    fn put(&self, rows: Option<Arc<dyn ExecutionPlan>>) -> Result<()> {
        let rows = match rows {
            Some(rows) if rows.schema() != *self.properties.eq_properties.schema() => {
                return internal_err!("{} has other columns than were planned", self.table);
            }
            other => other,
        };
        *self.rows.lock().unwrap_or_else(PoisonError::into_inner) = rows;
        Ok(())
    }
}

impl DisplayAs for Place {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Place: {}", self.table)
    }
}

impl ExecutionPlan for Place {
    fn name(&self) -> &'static str {
        "Place"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        _: Vec<Arc<dyn ExecutionPlan>>,
        _: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn with_new_children(self: Arc<Self>, _: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn execute(&self, _: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(rows) = rows else { return internal_err!("no rows of {} were put in", self.table) };
        // One part after the other: which row comes first must not depend on which is read faster.
        let parts = 0..rows.properties().partitioning.partition_count();
        let parts = futures::stream::iter(parts.map(move |part| rows.execute(part, Arc::clone(&context))));
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), parts.try_flatten())))
    }

    fn statistics_from_inputs(&self, _: &[Arc<Statistics>], _: &StatisticsArgs) -> Result<Arc<Statistics>> {
        Ok(Arc::clone(&self.statistics))
    }
}
