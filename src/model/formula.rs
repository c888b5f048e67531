//! How a column comes about: the expression that computes it, found where it is written.
//!
//! A column of the last SELECT is often only passed on from a common table expression, whose own SELECT says how it is
//! computed: bare names are followed there, one SELECT at a time, as far as that is certain.

use std::collections::BTreeSet;

use datafusion::sql::sqlparser::ast::{Cte, DataType, Expr, Select, SelectItem, SetExpr, TableFactor, Value};
use datafusion::sql::sqlparser::tokenizer::Token;

use super::sql::{ident_text, table_text, tokens};

/// The expression of a column on one line; none where the column is one of a table as it is, or the day itself.
///
/// `ctes` are the common table expressions that the SELECT can name. The cast of a whole expression to a number is left
/// out, for the column's type says it.
pub fn formula(expr: &Expr, select: &Select, ctes: &[Cte]) -> Option<String> {
    let expr = unwrapped(expr);
    let (table, column) = match expr {
        Expr::Value(value) if matches!(value.value, Value::Placeholder(_)) => return None,
        Expr::Identifier(column) => (None, ident_text(column)),
        Expr::CompoundIdentifier(parts) => match parts.as_slice() {
            [table, column] => (Some(ident_text(table)), ident_text(column)),
            _ => return None,
        },
        _ => return Some(spelled(expr)),
    };
    let table = factor(select, table)?;
    let at = ctes.iter().rposition(|cte| ident_text(&cte.alias.name) == table)?;
    let SetExpr::Select(inner) = ctes[at].query.body.as_ref() else { return None };
    let item = inner.projection.iter().find(|item| name(item).as_deref() == Some(&column))?;
    // A common table expression sees only those before it.
    formula(expression(item)?, inner, &ctes[..at])
}

/// The expression of a column in a SELECT's list.
pub fn expression(item: &SelectItem) -> Option<&Expr> {
    match item {
        SelectItem::ExprWithAlias { expr, .. } | SelectItem::UnnamedExpr(expr) => Some(expr),
        _ => None,
    }
}

fn name(item: &SelectItem) -> Option<String> {
    match item {
        SelectItem::ExprWithAlias { alias, .. } => Some(ident_text(alias)),
        SelectItem::UnnamedExpr(Expr::Identifier(column)) => Some(ident_text(column)),
        SelectItem::UnnamedExpr(Expr::CompoundIdentifier(parts)) => parts.last().map(ident_text),
        _ => None,
    }
}

/// The expression without parentheses around it and without a cast to a number.
fn unwrapped(expr: &Expr) -> &Expr {
    match expr {
        Expr::Nested(inner) => unwrapped(inner),
        Expr::Cast {
            expr: inner, data_type: DataType::Decimal(_) | DataType::BigInt(_) | DataType::Double(_), ..
        } => unwrapped(inner),
        _ => expr,
    }
}

/// The table behind a name in a FROM; without a name the only table there is.
fn factor(select: &Select, wanted: Option<String>) -> Option<String> {
    let factors = select.from.iter().flat_map(|from| {
        std::iter::once(&from.relation).chain(from.joins.iter().map(|join| &join.relation)).collect::<Vec<_>>()
    });
    let mut tables = factors.map(|factor| match factor {
        TableFactor::Table { name, alias, .. } => {
            let known_as = alias.as_ref().map_or_else(|| table_text(name), |alias| ident_text(&alias.name));
            Some((known_as, table_text(name)))
        }
        _ => None,
    });
    match wanted {
        Some(wanted) => tables.flatten().find(|(known_as, _)| *known_as == wanted).map(|(_, table)| table),
        None => match (tables.next(), tables.next()) {
            (Some(Some((_, table))), None) => Some(table),
            _ => None,
        },
    }
}

/// The text of an expression in the spelling of the house: words in lower case, and columns without the name of their
/// table where they are all of one.
fn spelled(expr: &Expr) -> String {
    let text = expr.to_string();
    let Ok(tokens) = tokens(&text) else { return text };
    let tokens: Vec<Token> = tokens.into_iter().map(|token| token.token).filter(|token| *token != Token::EOF).collect();
    let is_table = |at: usize| matches!(tokens.get(at..at + 3), Some([Token::Word(_), Token::Period, Token::Word(_)]));
    let tables: BTreeSet<String> =
        (0..tokens.len()).filter(|at| is_table(*at)).map(|at| tokens[at].to_string()).collect();
    let (mut text, mut at) = (String::new(), 0);
    while let Some(token) = tokens.get(at) {
        if tables.len() == 1 && is_table(at) {
            at += 2;
            continue;
        }
        match token {
            Token::Word(word) if word.quote_style.is_none() => text.push_str(&word.value.to_ascii_lowercase()),
            other => text.push_str(&other.to_string()),
        }
        at += 1;
    }
    text
}

#[cfg(test)]
mod tests {
    use crate::model::load_model;

    fn of(sql: &str) -> Vec<Option<String>> {
        let text = format!("-- A row.\n--\n-- grain: dt\n{sql}");
        let model = load_model("sql/app/app_x.sql", &text).expect("a model");
        model.formulas()
    }

    #[test]
    fn a_formula_is_found_behind_names_that_only_pass_it_on() {
        let sql = "with t as (select o.dt, o.money, o.kind from dwd_o as o),
            s as (select dt, sum(money) filter (where kind = 'A') as total, count(*) as n from t group by dt)
            select s.dt, cast(x.total as decimal(18, 2)) as total, ratio(total, n) as mean, x.n from s as x";
        let expected = [None, Some("sum(money) filter (where kind = 'A')"), Some("ratio(total, n)"), Some("count(*)")];
        assert_eq!(of(sql), expected.map(|text| text.map(str::to_owned)));
    }

    #[test]
    fn tables_are_named_where_there_are_several() {
        let sql = "select dt, a.x - a.y as n, a.x / b.x as m from a cross join b";
        assert_eq!(of(sql), [None, Some("x - y".to_owned()), Some("a.x / b.x".to_owned())]);
    }

    #[test]
    fn what_is_not_certain_has_no_formula() {
        let two = "with a as (select 1 + 1 as n, dt from t), b as (select dt from u) select n, $dt as dt from a, b";
        assert_eq!(of(two), [None, None], "an unqualified name of one of two tables");
        let union = "with a as (select 1 + 1 as n, dt from t union all select 2, dt from u) select dt, n from a";
        assert_eq!(of(union), [None, None]);
        assert_eq!(of("select dt, a + 1 as n from t union all select dt, b from u"), [None, None]);
        assert_eq!(of("with t as (select * from u) select dt, t.n from t"), [None, None]);
    }
}
