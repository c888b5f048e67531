//! What a model means, as one number: equal for texts that differ only in comments, white space and the case of words;
//! and what of it is kept, so that a later text can say where it differs.

use std::fmt;

use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use super::sql::tokens;
use super::{Check, Model, Severity};

/// Changes when the canonical form does, so that all partitions are built again and none is trusted by accident.
const FORM: &str = "strata model 1";

/// All that a model's meaning is made of, without what means nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Form {
    /// The SELECT, one space between its tokens.
    pub sql: String,
    /// The columns that tell rows apart.
    pub grain: Vec<String>,
    /// The checks, each as its key and its canonical text.
    pub checks: Vec<(String, String)>,
}

/// Where a model differs from what it meant before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Edit {
    /// The SELECT; the line of the file where it begins to differ.
    Sql(usize),
    /// The grain.
    Grain,
    /// A check that is new or other; its line.
    Check(usize),
    /// A check is gone, or they stand in another order.
    Checks,
}

impl fmt::Display for Edit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sql(line) => write!(f, "SQL changed at line {line}"),
            Self::Grain => f.write_str("grain changed"),
            Self::Check(line) => write!(f, "check changed at line {line}"),
            Self::Checks => f.write_str("checks changed"),
        }
    }
}

impl Form {
    /// The form of a model's SQL, grain and checks.
    pub fn new(sql: &[TokenWithSpan], grain: &[String], checks: &[Check]) -> Self {
        Self { sql: spelled(sql), grain: grain.to_vec(), checks: checks.iter().map(check_form).collect() }
    }

    /// The hash of it all.
    pub fn meaning(&self) -> u64 {
        let mut text = String::from(FORM);
        let mut part = |kind: &str, value: &str| {
            text.push('\u{1}');
            text.push_str(kind);
            text.push('\u{2}');
            text.push_str(value);
        };
        part("sql", &self.sql);
        for column in &self.grain {
            part("grain", column);
        }
        for (kind, check) in &self.checks {
            part(kind, check);
        }
        xxh3_64(text.as_bytes())
    }
}

impl Model {
    /// What its meaning is made of.
    pub fn form(&self) -> Form {
        // The text was cut into tokens when the model was loaded.
        let sql = tokens(&self.sql).unwrap_or_default();
        Form::new(&sql, &self.grain, &self.checks)
    }

    /// Where it differs first from what it meant before; `None` when it means the same.
    pub fn edit_since(&self, before: &Form) -> Option<Edit> {
        let now = self.form();
        if now.sql != before.sql {
            return Some(Edit::Sql(self.first_difference(&before.sql)));
        }
        if now.grain != before.grain {
            return Some(Edit::Grain);
        }
        let other = self.checks.iter().zip(&now.checks).find(|(_, form)| !before.checks.contains(form));
        match other {
            Some((check, _)) => Some(Edit::Check(check.line)),
            None => (now.checks != before.checks).then_some(Edit::Checks),
        }
    }

    /// The line of the first token that the earlier SELECT does not have in this place; of the last one, when it went on.
    fn first_difference(&self, before: &str) -> usize {
        let tokens = tokens(&self.sql).unwrap_or_default();
        let (mut rest, mut line) = (before, 0);
        for TokenWithSpan { token, span } in &tokens {
            let Some(word) = word(token) else { continue };
            line = usize::try_from(span.start.line).unwrap_or(0);
            let after = rest.strip_prefix(word.as_str()).filter(|after| after.is_empty() || after.starts_with(' '));
            match after {
                Some(after) => rest = after.trim_start_matches(' '),
                None => break,
            }
        }
        line
    }
}

fn check_form(check: &Check) -> (String, String) {
    let kind = match check.severity {
        Severity::Fail => "check",
        Severity::Warn => "warn",
    };
    (kind.to_owned(), canonical(&check.text))
}

/// The tokens of a text, words in lower case, separated by one space; the text itself when it has no tokens.
pub fn canonical(sql: &str) -> String {
    tokens(sql).map_or_else(|_| sql.to_owned(), |tokens| spelled(&tokens))
}

fn spelled(tokens: &[TokenWithSpan]) -> String {
    let words: Vec<String> = tokens.iter().filter_map(|token| word(&token.token)).collect();
    words.join(" ").trim_end_matches([' ', ';']).to_owned()
}

/// A token as it counts; `None` for white space and comments.
fn word(token: &Token) -> Option<String> {
    match token {
        Token::Whitespace(_) | Token::EOF => None,
        Token::Word(word) if word.quote_style.is_none() => Some(word.value.to_ascii_lowercase()),
        other => Some(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(sql: &str) -> u64 {
        Form::new(&tokens(sql).expect("tokens"), &["dt".to_owned()], &[]).meaning()
    }

    #[test]
    fn comments_case_and_white_space_mean_nothing() {
        let plain = of("select a, 'X' as b from t where dt = $dt");
        for same in [
            "-- A header.\nSELECT a,\n       'X' AS B -- the b\nFROM T\nWHERE dt=$dt;\n",
            "select a /* c */, 'X' as b from t where dt = $dt ; ;",
        ] {
            assert_eq!(of(same), plain, "{same}");
        }
    }

    #[test]
    fn literals_quoted_names_and_structure_do() {
        let plain = of("select a, 'X' as b from t where dt = $dt");
        for other in [
            "select a, 'x' as b from t where dt = $dt",
            "select a, 'X' as \"B\" from t where dt = $dt",
            "select a, 'X' as b from t where dt = $dt and true",
            "select a, 'X ' as b from t where dt = $dt",
            "select a, 'X' as b from t where dt < $dt",
        ] {
            assert_ne!(of(other), plain, "{other}");
        }
        let sql = tokens("select 1").expect("tokens");
        let form = |grain: &str| Form::new(&sql, &[grain.to_owned()], &[]).meaning();
        assert_ne!(form("a"), form("b"));
    }

    #[test]
    fn the_hash_is_the_same_on_every_machine_and_in_every_version() {
        assert_eq!(of("select 1"), 14421903210496373724);
    }

    const BEFORE: &str =
        "-- Rows.\n--\n-- grain: dt\n-- check: a > 0\nselect\n    dt, -- the day\n    a\nfrom x\nwhere dt = $dt\n";

    fn edit(from: &str, to: &str) -> Option<String> {
        let load = |text: &str| crate::model::load_model("sql/dws/dws_a.sql", text).expect("a model");
        let after = BEFORE.replace(from, to);
        assert_ne!(after, BEFORE);
        load(&after).edit_since(&load(BEFORE).form()).map(|edit| edit.to_string())
    }

    #[test]
    fn an_edit_is_told_with_the_line_where_it_begins() {
        assert_eq!(edit("-- the day", "-- the business day"), None);
        assert_eq!(edit("from x", "FROM  X"), None);
        assert_eq!(edit("    a\n", "    a + 1 as a\n").as_deref(), Some("SQL changed at line 7"));
        assert_eq!(edit("from x", "from xx").as_deref(), Some("SQL changed at line 8"));
        assert_eq!(edit("where dt = $dt\n", "where dt = $dt\nlimit 1\n").as_deref(), Some("SQL changed at line 10"));
        assert_eq!(edit("dt = $dt\n", "dt =\n$dt\n").as_deref(), None, "only white space");
        assert_eq!(edit("a > 0", "a >= 0").as_deref(), Some("check changed at line 4"));
        assert_eq!(edit("-- check: a > 0\n", "").as_deref(), Some("checks changed"));
        assert_eq!(edit("grain: dt", "grain: dt, a").as_deref(), Some("grain changed"));
    }

    #[test]
    fn a_select_that_has_become_shorter_differs_at_its_end() {
        let load = |text: &str| crate::model::load_model("sql/dws/dws_a.sql", text).expect("a model");
        let longer = load(&BEFORE.replace("where dt = $dt\n", "where dt = $dt\nand a > 1\n"));
        assert_eq!(load(BEFORE).edit_since(&longer.form()), Some(Edit::Sql(9)));
    }
}
