//! The columns of a model: what its last SELECT lists, with the comment beside each.

use std::collections::BTreeMap;

use datafusion::sql::sqlparser::ast::{Expr, Ident, Query, Select, SelectItem, SetExpr, Spanned};
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan, Whitespace};

use super::ColumnDoc;
use super::formula::{expression, formula};
use super::sql::{SqlError, ident_text, place};

/// The columns of a query's last SELECT, of the first part when it is a union.
pub fn columns(query: &Query, tokens: &[TokenWithSpan]) -> Result<Vec<ColumnDoc>, SqlError> {
    let selects = last_selects(query)?;
    let mut named: Vec<(String, (usize, usize))> = Vec::new();
    for (nth, select) in selects.iter().enumerate() {
        for item in &select.projection {
            let column = column(item)?;
            if nth > 0 {
                continue;
            }
            if named.iter().any(|(name, _)| *name == column.0) {
                return Err(SqlError { message: format!("two columns are called `{}`", column.0), place: column.1 });
            }
            named.push(column);
        }
    }
    let comments = comments(tokens);
    let ends: Vec<usize> = named.iter().map(|(_, (line, _))| *line).collect();
    let docs = named.into_iter().enumerate().map(|(at, (name, (line, _)))| {
        // Of several columns on a line the comment is about the last, if about any.
        let alone = ends.get(at + 1) != Some(&line);
        ColumnDoc { name, comment: comments.get(&line).filter(|_| alone).cloned() }
    });
    Ok(docs.collect())
}

/// How each column of a query's last SELECT is computed, in order; none of a union, whose parts differ.
pub fn formulas(query: &Query) -> Vec<Option<String>> {
    let Ok(selects) = last_selects(query) else { return Vec::new() };
    let [select] = selects.as_slice() else {
        return vec![None; selects.first().map_or(0, |select| select.projection.len())];
    };
    let ctes = query.with.as_ref().map_or(&[][..], |with| &with.cte_tables);
    select.projection.iter().map(|item| formula(expression(item)?, select, ctes)).collect()
}

/// The SELECTs whose rows are the output, in the order of the text.
fn last_selects(query: &Query) -> Result<Vec<&Select>, SqlError> {
    let (mut open, mut selects) = (vec![query.body.as_ref()], Vec::new());
    while let Some(body) = open.pop() {
        match body {
            SetExpr::Select(select) => selects.push(select.as_ref()),
            SetExpr::Query(query) => open.push(&query.body),
            SetExpr::SetOperation { left, right, .. } => open.extend([right.as_ref(), left.as_ref()]),
            other => {
                let message = "the rows of a model come from a SELECT".to_owned();
                return Err(SqlError { message, place: place(other.span().start) });
            }
        }
    }
    if let Some(empty) = selects.iter().find(|select| select.projection.is_empty()) {
        let message = "the last SELECT lists no columns".to_owned();
        return Err(SqlError { message, place: place(empty.select_token.0.span.start) });
    }
    Ok(selects)
}

fn column(item: &SelectItem) -> Result<(String, (usize, usize)), SqlError> {
    let named = |ident: &Ident| Ok((ident_text(ident), place(ident.span.start)));
    let wrong = |message: &str| Err(SqlError { message: message.to_owned(), place: place(item.span().start) });
    match item {
        SelectItem::ExprWithAlias { alias, .. } => named(alias),
        SelectItem::UnnamedExpr(Expr::Identifier(ident)) => named(ident),
        SelectItem::UnnamedExpr(Expr::CompoundIdentifier(parts)) => match parts.last() {
            Some(ident) => named(ident),
            None => wrong("the column has no name; add `as <name>`"),
        },
        SelectItem::UnnamedExpr(_) => wrong("the column has no name; add `as <name>`"),
        SelectItem::ExprWithAliases { .. } => wrong("a column has one name"),
        SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..) => {
            wrong("`*` in the last SELECT: list every column, for the list is the model's contract")
        }
    }
}

/// The comments of a text that follow something on their line, by line.
fn comments(tokens: &[TokenWithSpan]) -> BTreeMap<usize, String> {
    let mut found = BTreeMap::new();
    for token in tokens {
        if let Token::Whitespace(Whitespace::SingleLineComment { comment, .. }) = &token.token {
            let comment = comment.trim();
            if !comment.is_empty() {
                found.insert(place(token.span.start).0, comment.to_owned());
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::sql::parse_statements;
    use datafusion::sql::sqlparser::ast::Statement;

    fn of(sql: &str) -> Result<Vec<ColumnDoc>, SqlError> {
        let statements = parse_statements(sql).expect("SQL");
        let Some(Statement::Query(query)) = statements.first() else { panic!("a query") };
        columns(query, &crate::model::sql::tokens(sql).expect("tokens"))
    }

    #[test]
    fn names_and_comments_come_from_the_last_select() {
        let sql = "with x as (select a, -- not this\n b from t)\nselect\n    x.dt, -- The day.\n    \
                   count(*) filter (where a > 0) -- inner\n        as \"Opens\", b,\n    c -- The C.\nfrom x";
        let columns = of(sql).expect("columns");
        let shown: Vec<(&str, Option<&str>)> =
            columns.iter().map(|c| (c.name.as_str(), c.comment.as_deref())).collect();
        assert_eq!(shown, [("dt", Some("The day.")), ("Opens", None), ("b", None), ("c", Some("The C."))]);
    }

    #[test]
    fn a_star_an_unnamed_or_a_doubled_column_is_refused_in_any_part() {
        for (sql, line, column) in [
            ("select * from t", 1, 8),
            ("select t.* from t", 1, 8),
            ("select a from t union all\nselect * from t", 2, 8),
            ("(select a + 1 from t)", 1, 9),
            ("select a, b as a from t", 1, 16),
            ("select count(*) from t", 1, 8),
        ] {
            assert_eq!(of(sql).expect_err(sql).place, (line, column), "{sql}");
        }
        assert!(of("values (1)").is_err());
        assert!(of("select a from t union all select b from t").is_ok());
    }
}
