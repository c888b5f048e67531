//! What a model means, as one number: equal for texts that differ only in comments, white space and the case of words.

use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};
use xxhash_rust::xxh3::xxh3_64;

use super::sql::tokens;
use super::{Check, Severity};

/// Changes when the canonical form does, so that all partitions are built again and none is trusted by accident.
const FORM: &str = "strata model 1";

/// The hash of a model's SQL, grain and checks.
pub fn meaning(sql: &[TokenWithSpan], grain: &[String], checks: &[Check]) -> u64 {
    let mut text = String::from(FORM);
    let mut part = |kind: &str, value: &str| {
        text.push('\u{1}');
        text.push_str(kind);
        text.push('\u{2}');
        text.push_str(value);
    };
    part("sql", &spelled(sql));
    for column in grain {
        part("grain", column);
    }
    for check in checks {
        let kind = match check.severity {
            Severity::Fail => "check",
            Severity::Warn => "warn",
        };
        part(kind, &canonical(&check.text));
    }
    xxh3_64(text.as_bytes())
}

/// The tokens of a text, words in lower case, separated by one space; the text itself when it has no tokens.
pub fn canonical(sql: &str) -> String {
    tokens(sql).map_or_else(|_| sql.to_owned(), |tokens| spelled(&tokens))
}

fn spelled(tokens: &[TokenWithSpan]) -> String {
    let mut text = String::new();
    for TokenWithSpan { token, .. } in tokens {
        match token {
            Token::Whitespace(_) | Token::EOF => continue,
            Token::Word(word) if word.quote_style.is_none() => text.push_str(&word.value.to_ascii_lowercase()),
            other => text.push_str(&other.to_string()),
        }
        text.push(' ');
    }
    text.trim_end_matches([' ', ';']).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(sql: &str) -> u64 {
        meaning(&tokens(sql).expect("tokens"), &["dt".to_owned()], &[])
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
        assert_ne!(meaning(&sql, &["a".into()], &[]), meaning(&sql, &["b".into()], &[]));
    }

    #[test]
    fn the_hash_is_the_same_on_every_machine_and_in_every_version() {
        assert_eq!(of("select 1"), 14421903210496373724);
    }
}
