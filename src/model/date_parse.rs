//! Reads dates out of SQL expressions: what of `$dt` arithmetic the planner understands.
//!
//! Whatever is not recognised here is simply not a date to the planner, and the predicate that holds it does not narrow
//! a read: a superset of the days is always safe. So every form accepted must mean exactly what the engine makes of it.

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, DataType, DateTimeField, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Interval,
    Value,
};

use super::date_expr::{DateExpr, Period};
use super::sql::ident_text;

/// How the parameter of the business day is written.
pub const DAY_PARAMETER: &str = "$dt";

/// Deeper expressions are not dates; keeps the recursion short on any input.
const MAX_DEPTH: usize = 24;
/// Shifts beyond a thousand years are not taken for dates.
const MAX_SHIFT_DAYS: i64 = 366_000;

/// The date an expression stands for, when it follows from `$dt` and literals alone.
pub fn parse_date(expr: &Expr) -> Option<DateExpr> {
    parse(expr, MAX_DEPTH)
}

/// As `parse_date`, and also a plain string in the exact form of a date, as a comparison with a date coerces it.
pub fn parse_compared_date(expr: &Expr) -> Option<DateExpr> {
    match string(expr) {
        Some(text) => text.parse().ok().map(DateExpr::Literal),
        None => parse_date(expr),
    }
}

/// The positional arguments of a plain call of the function: no DISTINCT, filter, window or named argument.
pub fn call_arguments<'a>(function: &'a Function, name: &str) -> Option<Vec<&'a Expr>> {
    let plain = function.filter.is_none()
        && function.over.is_none()
        && function.null_treatment.is_none()
        && function.within_group.is_empty()
        && matches!(function.parameters, FunctionArguments::None);
    let [part] = function.name.0.as_slice() else { return None };
    if !plain || ident_text(part.as_ident()?) != name {
        return None;
    }
    let FunctionArguments::List(list) = &function.args else { return None };
    if list.duplicate_treatment.is_some() || !list.clauses.is_empty() {
        return None;
    }
    let argument = |arg: &'a FunctionArg| match arg {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr),
        _ => None,
    };
    list.args.iter().map(argument).collect()
}

/// The text of a string literal.
pub fn string(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::Value(value) => match &value.value {
            Value::SingleQuotedString(text) => Some(text),
            _ => None,
        },
        _ => None,
    }
}

fn parse(expr: &Expr, depth: usize) -> Option<DateExpr> {
    let depth = depth.checked_sub(1)?;
    match expr {
        Expr::Nested(inner) => parse(inner, depth),
        Expr::Value(value) => match &value.value {
            Value::Placeholder(name) if name == DAY_PARAMETER => Some(DateExpr::Day),
            _ => None,
        },
        Expr::TypedString(typed) if typed.data_type == DataType::Date => match &typed.value.value {
            Value::SingleQuotedString(text) => text.parse().ok().map(DateExpr::Literal),
            _ => None,
        },
        Expr::Cast { expr, data_type: DataType::Date, array: false, format: None, .. } => match string(expr) {
            Some(text) => text.parse().ok().map(DateExpr::Literal),
            None => parse(expr, depth),
        },
        Expr::BinaryOp { left, op: BinaryOperator::Minus, right } => shifted(left, right, -1, depth),
        Expr::BinaryOp { left, op: BinaryOperator::Plus, right } => {
            shifted(left, right, 1, depth).or_else(|| shifted(right, left, 1, depth))
        }
        Expr::Function(function) => parse_call(function, depth),
        _ => None,
    }
}

fn shifted(date: &Expr, interval: &Expr, sign: i32, depth: usize) -> Option<DateExpr> {
    let Expr::Interval(interval) = interval else { return None };
    let (months, days) = parse_interval(interval)?;
    Some(parse(date, depth)?.shifted(months * sign, days * sign))
}

fn parse_call(function: &Function, depth: usize) -> Option<DateExpr> {
    let arguments = |name: &str| call_arguments(function, name);
    let all = |args: Vec<&Expr>| -> Option<Vec<DateExpr>> {
        let dates: Option<Vec<DateExpr>> = args.into_iter().map(|arg| parse(arg, depth)).collect();
        dates.filter(|dates| !dates.is_empty())
    };
    if let Some(args) = arguments("date_trunc") {
        let [unit, date] = args.as_slice() else { return None };
        let date = parse(date, depth)?;
        return match string(unit)?.to_ascii_lowercase().as_str() {
            "day" => Some(date),
            "week" => Some(DateExpr::StartOf(Period::Week, Box::new(date))),
            "month" => Some(DateExpr::StartOf(Period::Month, Box::new(date))),
            "quarter" => Some(DateExpr::StartOf(Period::Quarter, Box::new(date))),
            "year" => Some(DateExpr::StartOf(Period::Year, Box::new(date))),
            _ => None,
        };
    }
    if let Some(args) = arguments("year_before") {
        let [date] = args.as_slice() else { return None };
        return Some(parse(date, depth)?.shifted(-12, 0));
    }
    if let Some(args) = arguments("least") {
        return all(args).map(DateExpr::Least);
    }
    arguments("greatest").and_then(all).map(DateExpr::Greatest)
}

/// Months and days of an interval that has nothing finer than a day.
fn parse_interval(interval: &Interval) -> Option<(i32, i32)> {
    let extras = interval.leading_precision.is_some()
        || interval.last_field.is_some()
        || interval.fractional_seconds_precision.is_some();
    if extras {
        return None;
    }
    let number;
    let text = match interval.value.as_ref() {
        Expr::Value(value) => match &value.value {
            Value::SingleQuotedString(text) => text.as_str(),
            Value::Number(text, _) => {
                number = text.to_string();
                number.as_str()
            }
            _ => return None,
        },
        _ => return None,
    };
    let unit = match &interval.leading_field {
        None => None,
        Some(DateTimeField::Day | DateTimeField::Days) => Some("day"),
        Some(DateTimeField::Week(None) | DateTimeField::Weeks) => Some("week"),
        Some(DateTimeField::Month | DateTimeField::Months) => Some("month"),
        Some(DateTimeField::Year | DateTimeField::Years) => Some("year"),
        Some(_) => return None,
    };
    let words: Vec<&str> = text.split_ascii_whitespace().chain(unit).collect();
    let (mut months, mut days) = (0_i64, 0_i64);
    for pair in words.chunks(2) {
        let [amount, unit] = pair else { return None };
        let amount: i64 = amount.parse().ok().filter(|n: &i64| n.abs() <= MAX_SHIFT_DAYS)?;
        match unit.to_ascii_lowercase().as_str() {
            "day" | "days" => days += amount,
            "week" | "weeks" => days += amount * 7,
            "month" | "months" => months += amount,
            "year" | "years" => months += amount * 12,
            _ => return None,
        }
    }
    let within = !words.is_empty() && days.abs() <= MAX_SHIFT_DAYS && months.abs() <= MAX_SHIFT_DAYS / 28;
    within.then_some((i32::try_from(months).ok()?, i32::try_from(days).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::date::BizDate;
    use crate::model::sql::parse_expression;

    fn on(day: &str, text: &str) -> Option<String> {
        let expr = parse_expression(text).expect("an expression");
        let dt: BizDate = day.parse().expect("a date");
        parse_compared_date(&expr).and_then(|date| date.eval(Some(dt))).map(|date| date.to_string())
    }

    #[test]
    fn day_arithmetic_is_read_as_the_engine_computes_it() {
        for (text, expected) in [
            ("$dt", "2026-03-31"),
            ("($dt)", "2026-03-31"),
            ("$dt::date", "2026-03-31"),
            ("cast($dt as date)", "2026-03-31"),
            ("$dt - interval '6 days'", "2026-03-25"),
            ("$dt - INTERVAL '1' DAY", "2026-03-30"),
            ("$dt - interval '1 week'", "2026-03-24"),
            ("interval '1 day' + $dt", "2026-04-01"),
            ("$dt - interval '1 month'", "2026-02-28"),
            ("$dt - interval '1 month 1 day'", "2026-02-27"),
            ("$dt - interval '-1 day'", "2026-04-01"),
            ("$dt - interval '1 day' - interval '1 month'", "2026-02-28"),
            ("date_trunc('month', $dt)", "2026-03-01"),
            ("date_trunc('WEEK', $dt)", "2026-03-30"),
            ("cast(date_trunc('quarter', $dt) as date) - interval '1 year'", "2025-01-01"),
            ("year_before($dt)", "2025-03-31"),
            ("year_before(date '2024-02-29')", "2023-02-28"),
            ("least($dt, date '2026-01-05')", "2026-01-05"),
            ("greatest($dt - interval '29 days', date_trunc('month', $dt))", "2026-03-02"),
            ("date '2026-01-05'", "2026-01-05"),
            ("'2026-01-05'", "2026-01-05"),
            ("'2026-01-05'::date", "2026-01-05"),
        ] {
            assert_eq!(on("2026-03-31", text).as_deref(), Some(expected), "{text}");
        }
    }

    #[test]
    fn anything_else_is_not_a_date() {
        for text in [
            "dt",
            "$dt - 1",
            "$dt - interval '36 hours'",
            "$dt - interval '1.5 days'",
            "$dt - interval '1 day 2'",
            "$dt - interval '9999999999 days'",
            "$dt - interval '1' year to month",
            "$dt - interval x",
            "date_trunc('hour', $dt)",
            "date_trunc($dt)",
            "least()",
            "least($dt, x)",
            "timestamp '2026-01-05 00:00:00'",
            "date '2026-02-30'",
            "'2026-1-5'",
            "'yesterday'",
            "$other",
            "max($dt)",
            "least(distinct $dt)",
            "coalesce($dt, dt)",
            "cast($dt as timestamp)",
            "$dt * 2",
        ] {
            assert_eq!(on("2026-03-31", text), None, "{text}");
        }
    }

    #[test]
    fn a_very_deep_expression_is_not_a_date_and_does_no_harm() {
        let text = format!("$dt{}", " - interval '1 day'".repeat(500));
        assert_eq!(on("2026-03-31", &text), None);
    }
}
