//! The warehouse's own SQL functions: the zone's clock, exact ratios.
//!
//! | function | result |
//! |---|---|
//! | `local_time(ms BIGINT)` | wall-clock time in the warehouse zone, TIMESTAMP without zone |
//! | `local_date(ms BIGINT)` | business day of an instant |
//! | `day_start_ms(DATE)` | first instant of a business day, epoch ms |
//! | `year_before(DATE)` | same calendar date a year before, 29 Feb → 28 Feb |
//! | `ratio(n, d)` | n / d as DECIMAL(18,6), half away from zero, NULL when d is 0 or NULL |
//! | `money_ratio(n, d)` | n / d as DECIMAL(18,2), likewise |
//! | `latest_snapshot('t', DATE)` | newest non-empty partition of `t` on or before the date, else its earliest |
//! | `first_loaded_day('source')` | first loaded day of a source (`both`: the earlier of all) |

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Decimal128Array, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Date32Type, Decimal128Type, Int64Type, TimeUnit, i256};
use datafusion::common::{Result, ScalarValue, exec_datafusion_err, exec_err, plan_err};
use datafusion::execution::context::SessionContext;
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarFunctionImplementation, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
    create_udf,
};

use crate::date::{BizDate, LocalClock, Zone};

/// Answers what SQL may ask about the lake's days; both become literals when a query is planned.
pub trait Calendar: Send + Sync {
    /// The newest non-empty partition of a table on or before a day, else its earliest.
    fn latest_snapshot(&self, table: &str, day: BizDate) -> Option<BizDate>;
    /// The first loaded day of a source, or of all together for `both`.
    fn first_loaded_day(&self, source: &str) -> Option<BizDate>;
}

/// Makes the questions about the lake's days known to a session.
pub fn register_calendar(session: &SessionContext, calendar: Arc<dyn Calendar>) {
    let of_snapshots = Arc::clone(&calendar);
    let snapshot = move |args: &[ColumnarValue]| match args {
        [ColumnarValue::Scalar(table), ColumnarValue::Scalar(ScalarValue::Date32(day))] => {
            let table = table.try_as_str().flatten();
            let found = table.zip(*day).and_then(|(t, d)| of_snapshots.latest_snapshot(t, BizDate::from_days(d)));
            Ok(ColumnarValue::Scalar(ScalarValue::Date32(found.map(BizDate::days))))
        }
        _ => exec_err!("latest_snapshot takes a table's name in quotes and a date that is the same for all rows"),
    };
    let first = move |args: &[ColumnarValue]| match args {
        [ColumnarValue::Scalar(source)] => {
            let found = source.try_as_str().flatten().and_then(|s| calendar.first_loaded_day(s));
            Ok(ColumnarValue::Scalar(ScalarValue::Date32(found.map(BizDate::days))))
        }
        _ => exec_err!("first_loaded_day takes a source's name in quotes"),
    };
    let (text, date) = (DataType::Utf8, DataType::Date32);
    let pair = vec![text.clone(), date.clone()];
    session.register_udf(create_udf("latest_snapshot", pair, date.clone(), Volatility::Immutable, Arc::new(snapshot)));
    session.register_udf(create_udf("first_loaded_day", vec![text], date, Volatility::Immutable, Arc::new(first)));
}

/// Makes the warehouse's functions known to a session.
pub fn register(session: &SessionContext, zone: Zone) {
    let stamp = DataType::Timestamp(TimeUnit::Microsecond, None);
    for udf in [
        create_udf(
            "local_time",
            vec![DataType::Int64],
            stamp,
            Volatility::Immutable,
            on_arrays(move |array| {
                let times = array.as_primitive::<Int64Type>();
                let mut clock = LocalClock::new(zone);
                let local = times.iter().map(|ms| clock.local_ms(ms?)?.checked_mul(1000));
                Ok(Arc::new(local.collect::<TimestampMicrosecondArray>()))
            }),
        ),
        create_udf(
            "local_date",
            vec![DataType::Int64],
            DataType::Date32,
            Volatility::Immutable,
            on_arrays(move |array| {
                let times = array.as_primitive::<Int64Type>();
                Ok(Arc::new(times.unary_opt::<_, Date32Type>(|ms| zone.day_of_ms(ms).map(BizDate::days))))
            }),
        ),
        create_udf(
            "day_start_ms",
            vec![DataType::Date32],
            DataType::Int64,
            Volatility::Immutable,
            on_arrays(move |array| {
                let days = array.as_primitive::<Date32Type>();
                Ok(Arc::new(days.unary::<_, Int64Type>(|day| zone.start_of_day_ms(BizDate::from_days(day)))))
            }),
        ),
        create_udf(
            "year_before",
            vec![DataType::Date32],
            DataType::Date32,
            Volatility::Immutable,
            on_arrays(|array| {
                let days = array.as_primitive::<Date32Type>();
                Ok(Arc::new(days.unary::<_, Date32Type>(|day| BizDate::from_days(day).plus_months(-12).days())))
            }),
        ),
        ScalarUDF::from(Ratio::new("ratio", 6)),
        ScalarUDF::from(Ratio::new("money_ratio", 2)),
    ] {
        session.register_udf(udf);
    }
}

fn on_arrays<F>(compute: F) -> ScalarFunctionImplementation
where
    F: Fn(&ArrayRef) -> Result<ArrayRef> + Send + Sync + 'static,
{
    Arc::new(move |args| match args {
        [ColumnarValue::Array(array)] => Ok(ColumnarValue::Array(compute(array)?)),
        [ColumnarValue::Scalar(value)] => {
            let result = compute(&value.to_array()?)?;
            Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&result, 0)?))
        }
        _ => exec_err!("one argument expected"),
    })
}

/// An exact quotient of integers or decimals, rounded once.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Ratio {
    name: &'static str,
    scale: i8,
    signature: Signature,
}

impl Ratio {
    fn new(name: &'static str, scale: i8) -> Self {
        Self { name, scale, signature: Signature::user_defined(Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for Ratio {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Decimal128(18, self.scale))
    }

    fn coerce_types(&self, kinds: &[DataType]) -> Result<Vec<DataType>> {
        if kinds.len() != 2 {
            return plan_err!("{} takes a numerator and a denominator", self.name);
        }
        let coerce = |kind: &DataType| match kind {
            DataType::Decimal128(_, scale) => Ok(DataType::Decimal128(38, *scale)),
            kind if kind.is_integer() || kind.is_null() => Ok(DataType::Decimal128(38, 0)),
            other => plan_err!("{} is exact and does not take a {other}", self.name),
        };
        kinds.iter().map(coerce).collect()
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let arrays = ColumnarValue::values_to_arrays(&args.args)?;
        let [numerators, denominators] = arrays.as_slice() else {
            return exec_err!("{} takes a numerator and a denominator", self.name);
        };
        let (n_scale, d_scale) = (decimal_scale(numerators)?, decimal_scale(denominators)?);
        let numerators = numerators.as_primitive::<Decimal128Type>();
        let denominators = denominators.as_primitive::<Decimal128Type>();
        let shift = i32::from(self.scale) + i32::from(d_scale) - i32::from(n_scale);
        let quotients = numerators
            .iter()
            .zip(denominators)
            .map(|pair| match pair {
                (Some(n), Some(d)) if d != 0 => quotient(n, d, shift).map(Some),
                _ => Ok(None),
            })
            .collect::<Result<Decimal128Array>>()?;
        Ok(ColumnarValue::Array(Arc::new(quotients.with_precision_and_scale(18, self.scale)?)))
    }
}

fn decimal_scale(array: &ArrayRef) -> Result<i8> {
    match array.data_type() {
        DataType::Decimal128(_, scale) => Ok(*scale),
        other => exec_err!("a decimal expected, not a {other}"),
    }
}

/// `n / d · 10^shift`, rounded half away from zero.
fn quotient(n: i128, d: i128, shift: i32) -> Result<i128> {
    let too_large = || exec_datafusion_err!("a ratio is beyond DECIMAL(18)");
    let power = i256::from_i128(10).checked_pow(shift.unsigned_abs()).ok_or_else(too_large)?;
    let (mut n, mut d) = (i256::from_i128(n), i256::from_i128(d));
    if shift >= 0 {
        n = n.checked_mul(power).ok_or_else(too_large)?;
    } else {
        d = d.checked_mul(power).ok_or_else(too_large)?;
    }
    let (zero, two) = (i256::ZERO, i256::from_i128(2));
    let negative = (n < zero) != (d < zero);
    let (n, d) = (n.wrapping_abs(), d.wrapping_abs());
    let whole = n.checked_div(d).ok_or_else(too_large)?;
    let rest = n.checked_rem(d).ok_or_else(too_large)?;
    let rounded = if rest.wrapping_mul(two) >= d { whole.wrapping_add(i256::ONE) } else { whole };
    let signed = if negative { rounded.wrapping_neg() } else { rounded };
    signed.to_i128().filter(|v| v.unsigned_abs() < 10_u128.pow(18)).ok_or_else(too_large)
}

#[cfg(test)]
mod tests {
    use super::quotient;

    #[test]
    fn ratios_round_half_away_from_zero_from_exact_operands() {
        for (n, d, shift, expected) in [
            (1, 3, 6, 333_333),
            (2, 3, 6, 666_667),
            (1, 2_000_000, 6, 1),
            (-1, 2_000_000, 6, -1),
            (1, 2_000_001, 6, 0),
            (12_345, 100, 0, 123),
            (-5, 2, 0, -3),
        ] {
            assert_eq!(quotient(n, d, shift).expect("in range"), expected, "{n}/{d}");
        }
    }

    #[test]
    fn a_ratio_beyond_its_type_is_an_error_and_never_wrong() {
        assert!(quotient(i128::MAX, 1, 6).is_err());
    }
}
