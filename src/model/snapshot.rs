//! `latest_snapshot('<table>', <date>)`: a call that becomes a date before the query runs.
//!
//! Which snapshot is the latest is decided from the lake's log, not from data, so a scan is pruned to one partition.

use datafusion::sql::sqlparser::ast::Expr;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use super::facts::snapshot;
use super::sql::{SqlError, parse_expression, place, tokens};
use crate::date::BizDate;

/// The name of the function.
pub const LATEST_SNAPSHOT: &str = "latest_snapshot";

/// A query or expression with each `latest_snapshot` replaced by the date that `latest(table, date)` gives, or NULL.
///
/// `dt` is the business day, for calls whose date follows from `$dt`. Lines stay where they are.
pub fn bind_snapshots(
    sql: &str,
    dt: BizDate,
    mut latest: impl FnMut(&str, BizDate) -> Option<BizDate>,
) -> Result<String, SqlError> {
    let calls = calls(sql)?;
    let mut bound = String::with_capacity(sql.len());
    let mut rest = 0;
    for call in calls {
        let (table, date) = read(&sql[call.from..call.to], call.place)?;
        let literal = match latest(&table, date.eval(dt)) {
            Some(day) => format!("date '{day}'"),
            None => "cast(null as date)".to_owned(),
        };
        bound.push_str(&sql[rest..call.from]);
        bound.push_str(&literal);
        bound.push_str(&"\n".repeat(sql[call.from..call.to].matches('\n').count()));
        rest = call.to;
    }
    bound.push_str(&sql[rest..]);
    Ok(bound)
}

/// Complains about the first call whose arguments are not a table and a date that follows from `$dt`.
pub fn check_snapshots(sql: &str) -> Result<(), SqlError> {
    for call in calls(sql)? {
        read(&sql[call.from..call.to], call.place)?;
    }
    Ok(())
}

fn read(text: &str, place: (usize, usize)) -> Result<(String, super::date_expr::DateExpr), SqlError> {
    let expr: Option<Expr> = parse_expression(text).ok();
    match expr.as_ref().and_then(snapshot) {
        Some((table, date)) => Ok((table.to_owned(), date)),
        None => {
            let message = format!("expected {LATEST_SNAPSHOT}('<table>', <date that follows from $dt>)");
            Err(SqlError { message, place })
        }
    }
}

/// One call in a text: its byte range and its place.
struct Call {
    from: usize,
    to: usize,
    place: (usize, usize),
}

fn calls(sql: &str) -> Result<Vec<Call>, SqlError> {
    if !sql.to_ascii_lowercase().contains(LATEST_SNAPSHOT) {
        return Ok(Vec::new());
    }
    let tokens: Vec<TokenWithSpan> =
        tokens(sql)?.into_iter().filter(|t| !matches!(t.token, Token::Whitespace(_))).collect();
    let named = |token: &Token| {
        matches!(token, Token::Word(word)
            if word.quote_style.is_none() && word.value.eq_ignore_ascii_case(LATEST_SNAPSHOT))
    };
    let mut calls = Vec::new();
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        at += 1;
        if !named(&token.token) || tokens.get(at).is_none_or(|next| next.token != Token::LParen) {
            continue;
        }
        let mut depth = 0_usize;
        while let Some(next) = tokens.get(at) {
            at += 1;
            match next.token {
                Token::LParen => depth += 1,
                Token::RParen => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                let (from, to) = (place(token.span.start), place(next.span.end));
                calls.push(Call { from: offset(sql, from), to: offset(sql, to), place: from });
                break;
            }
        }
    }
    Ok(calls)
}

/// The byte at a line and column, which count from 1, columns in characters.
fn offset(text: &str, (line, column): (usize, usize)) -> usize {
    let start = match line {
        0 | 1 => 0,
        n => text.match_indices('\n').nth(n - 2).map_or(text.len(), |(at, _)| at + 1),
    };
    let rest = &text[start..];
    start + rest.char_indices().nth(column.saturating_sub(1)).map_or(rest.len(), |(at, _)| at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bind(sql: &str) -> Result<String, SqlError> {
        let dt = BizDate::from_ymd(2026, 1, 5).expect("a date");
        bind_snapshots(sql, dt, |table, day| (table == "ods_user").then(|| day.plus_days(-1)))
    }

    #[test]
    fn calls_become_dates_and_the_rest_of_the_text_stays() {
        let sql = "select 'é latest_snapshot(' as é -- latest_snapshot('x', $dt)\nfrom ods_user\n\
                   where dt = Latest_Snapshot('ods_user', $dt) and x = latest_snapshot( 'ods_user'\n,\
                   ($dt - interval '2 days'))\nand y = latest_snapshot('none', $dt)";
        let expected = "select 'é latest_snapshot(' as é -- latest_snapshot('x', $dt)\nfrom ods_user\n\
                        where dt = date '2026-01-04' and x = date '2026-01-02'\n\n\
                        and y = cast(null as date)";
        assert_eq!(bind(sql).expect("bound"), expected);
        assert_eq!(bind("select latest_snapshot from t").expect("a column"), "select latest_snapshot from t");
    }

    #[test]
    fn a_call_that_cannot_be_bound_is_an_error_with_its_place() {
        for sql in
            ["select\n  latest_snapshot('t', dt)", "select\n  latest_snapshot(t, $dt)", "select\n  latest_snapshot()"]
        {
            assert_eq!(bind(sql).expect_err("unbound").place, (2, 3), "{sql}");
        }
        assert_eq!(bind("select latest_snapshot('t', $dt").expect("not closed: the parser's to say").len(), 31);
    }
}
