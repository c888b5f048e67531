//! The few things the model files ask of the SQL parser: one dialect, errors with places, names as the engine folds them.

use datafusion::sql::sqlparser::ast::{Expr, Ident, ObjectName, Spanned, Statement};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::{Location, Token, TokenWithSpan, Tokenizer};

/// Larger files are refused; it bounds the depth of what the parser can build.
pub const MAX_SQL_BYTES: usize = 128 * 1024;

/// What the parser did not like, and where (line and column from 1, or 0 when unknown).
#[derive(Debug)]
pub struct SqlError {
    /// The complaint, without its place.
    pub message: String,
    /// Line and column in the parsed text.
    pub place: (usize, usize),
}

impl SqlError {
    /// The parser gives no place for the end of the text: that is after the last thing in it.
    fn placed_in(mut self, text: &str) -> Self {
        if self.place == (0, 0) && self.message.ends_with("found: EOF") && !text.trim().is_empty() {
            let text = text.trim_end();
            let column = text.lines().last().unwrap_or_default().chars().count() + 1;
            self.place = (text.lines().count().max(1), column);
        }
        self
    }
}

impl From<ParserError> for SqlError {
    fn from(error: ParserError) -> Self {
        let message = match error {
            ParserError::ParserError(message) | ParserError::TokenizerError(message) => message,
            ParserError::RecursionLimitExceeded => "the query is nested too deeply".to_owned(),
        };
        // The parser puts the place into the text of its message: ` at Line: 3, Column: 8`.
        let place = message.rsplit_once(" at Line: ").and_then(|(before, numbers)| {
            let (line, column) = numbers.split_once(", Column: ")?;
            Some((before.to_owned(), (line.trim().parse().ok()?, column.trim().parse().ok()?)))
        });
        match place {
            Some((message, place)) => Self { message, place },
            None => Self { message, place: (0, 0) },
        }
    }
}

/// The statements of a text.
pub fn parse_statements(text: &str) -> Result<Vec<Statement>, SqlError> {
    within_limit(text)?;
    Parser::parse_sql(&GenericDialect {}, text).map_err(|error| SqlError::from(error).placed_in(text))
}

/// The statements of a text whose tokens are known.
pub fn parse_tokens(tokens: &[TokenWithSpan], text: &str) -> Result<Vec<Statement>, SqlError> {
    let mut parser = Parser::new(&GenericDialect {}).with_tokens_with_locations(tokens.to_vec());
    parser.parse_statements().map_err(|error| SqlError::from(error).placed_in(text))
}

/// The one expression that a text is.
pub fn parse_expression(text: &str) -> Result<Expr, SqlError> {
    within_limit(text)?;
    let dialect = GenericDialect {};
    let mut parser = Parser::new(&dialect).try_with_sql(text)?;
    let expr = parser.parse_expr().map_err(|error| SqlError::from(error).placed_in(text))?;
    let rest = parser.peek_token();
    if rest.token != Token::EOF {
        let message = format!("Expected: end of the expression, found: {}", rest.token);
        return Err(SqlError { message, place: place(rest.span.start) });
    }
    Ok(expr)
}

/// The tokens of a text with their places, comments and white space included.
pub fn tokens(text: &str) -> Result<Vec<TokenWithSpan>, SqlError> {
    within_limit(text)?;
    let tokenized = Tokenizer::new(&GenericDialect {}, text).tokenize_with_location();
    tokenized.map_err(|e| SqlError { place: place(e.location), message: e.message })
}

/// All words of a text in lower case, what stands in quotes as one: whatever a query names is among them, for a column may
/// be named by a text and by a parameter (`t.'a'`, `using ('a')`, `t.$a`).
pub fn words(tokens: &[TokenWithSpan]) -> impl Iterator<Item = String> {
    tokens.iter().filter_map(|token| match &token.token {
        Token::Word(word) => Some(word.value.to_lowercase()),
        Token::Whitespace(_) => None,
        Token::Placeholder(name) => Some(name.trim_start_matches('$').to_lowercase()),
        Token::SingleQuotedString(text) | Token::DoubleQuotedString(text) => Some(text.to_lowercase()),
        other => Some(other.to_string().to_lowercase()),
    })
}

/// A name as the engine folds it: lower case unless quoted.
pub fn ident_text(ident: &Ident) -> String {
    match ident.quote_style {
        Some(_) => ident.value.clone(),
        None => ident.value.to_ascii_lowercase(),
    }
}

/// The name of a table, its parts joined by dots.
pub fn table_text(name: &ObjectName) -> String {
    let parts = name.0.iter().map(|part| part.as_ident().map_or_else(|| part.to_string(), ident_text));
    parts.collect::<Vec<_>>().join(".")
}

/// Where a table's name stands.
pub fn table_place(name: &ObjectName) -> (usize, usize) {
    place(name.span().start)
}

/// A parser's location as line and column.
pub fn place(location: Location) -> (usize, usize) {
    let number = |n: u64| usize::try_from(n).unwrap_or(0);
    (number(location.line), number(location.column))
}

fn within_limit(text: &str) -> Result<(), SqlError> {
    if text.len() > MAX_SQL_BYTES {
        let message = format!("the text is {} bytes long; the limit is {MAX_SQL_BYTES}", text.len());
        return Err(SqlError { message, place: (0, 0) });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_say_where() {
        let error = parse_statements("select 1\nfrom x wher").map(|_| ());
        assert!(error.is_ok(), "an alias");
        let error = parse_statements("select 1\nfrom x where").expect_err("no condition");
        assert!(error.place.0 <= 2 && !error.message.contains("Line:"), "{error:?}");
        let error = parse_statements("select 'x\n").expect_err("an open string");
        assert_eq!(error.place, (1, 8), "{error:?}");
        let error = parse_expression("a >= 0 b").expect_err("two expressions");
        assert_eq!(error.place, (1, 8));
    }

    #[test]
    fn whatever_a_query_names_is_a_word_of_it() {
        let all: Vec<String> = words(
            &tokens("select T.Ab, x.'Cd', \"Ef gh\" /* no */ from t using ('k') -- nor this\n, y.$z").expect("tokens"),
        )
        .collect();
        for name in ["t", "ab", "cd", "ef gh", "k", "z"] {
            assert!(all.iter().any(|word| word == name), "{name} is in {all:?}");
        }
        assert!(!all.iter().any(|word| word == "no" || word == "nor"), "{all:?}");
    }

    #[test]
    fn a_huge_or_deep_text_is_refused_without_a_crash() {
        let wide = format!("select {} from t", vec!["a"; 70_000].join(","));
        assert!(parse_statements(&wide).is_err());
        let deep = format!("select {}1{}", "(".repeat(60_000), ")".repeat(60_000));
        assert!(parse_statements(&deep).is_err());
    }
}
