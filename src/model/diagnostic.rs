//! What is wrong with a model file, said the way a compiler says it: where, the source line, and what to do next.

use std::fmt;

/// One mistake in one file, shown with the line it is on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// The file, as the caller named it.
    pub path: String,
    /// The line, from 1; 0 when the mistake is about the file as a whole.
    pub line: usize,
    /// The column, from 1; 0 when the mistake is about the line as a whole.
    pub column: usize,
    /// The text of that line; empty when the mistake is about the file as a whole.
    pub source_line: String,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl Diagnostic {
    /// A mistake at a line and column of `text`; 0 for either means the file or the line as a whole.
    pub fn at(path: &str, text: &str, (line, column): (usize, usize), message: impl Into<String>) -> Self {
        let source_line = match line {
            0 => "",
            n => text.lines().nth(n - 1).unwrap_or_default(),
        };
        Self {
            path: path.to_owned(),
            line,
            column,
            source_line: source_line.to_owned(),
            message: message.into(),
            hint: None,
        }
    }

    /// Adds what to do about it.
    #[must_use]
    pub fn with_hint(mut self, hint: Option<String>) -> Self {
        self.hint = hint;
        self
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.line, self.column) {
            (0, _) => write!(f, "{}: {}", self.path, self.message)?,
            (line, 0) => write!(f, "{}:{line}: {}", self.path, self.message)?,
            (line, column) => write!(f, "{}:{line}:{column}: {}", self.path, self.message)?,
        }
        if !self.source_line.trim().is_empty() {
            let number = self.line.to_string();
            write!(f, "\n {number} | {}", self.source_line.trim_end())?;
            if self.column > 0 {
                // Tabs stay tabs, so that the caret stands under its column whatever their width.
                let before = self.source_line.chars().take(self.column - 1);
                let pad: String = before.map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
                write!(f, "\n {} | {pad}^", " ".repeat(number.len()))?;
            }
        }
        match &self.hint {
            Some(hint) => write!(f, "\n hint: {hint}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Diagnostic {}

/// The hint for a misspelled word: the known word nearest to it, if any is near enough to be meant.
pub fn did_you_mean<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let near = |candidate: &&str| strsim::damerau_levenshtein(word, candidate);
    let best = known.into_iter().min_by_key(|candidate| (near(candidate), *candidate))?;
    let limit = (word.chars().count() / 3).clamp(1, 4);
    (near(&best) <= limit).then(|| format!("did you mean `{best}`?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_diagnostic_shows_the_line_a_caret_and_the_hint() {
        let text = "select 1\n\tfrom x wher y";
        let shown = Diagnostic::at("sql/app/app_x.sql", text, (2, 9), "odd word")
            .with_hint(did_you_mean("wher", ["where", "when"]))
            .to_string();
        assert_eq!(
            shown,
            "sql/app/app_x.sql:2:9: odd word\n 2 | \tfrom x wher y\n   | \t       ^\n hint: did you mean `when`?"
        );
    }

    #[test]
    fn a_word_unlike_all_others_gets_no_hint() {
        assert_eq!(did_you_mean("colour", ["grain", "check"]), None);
        assert_eq!(did_you_mean("grian", ["grain", "check"]).as_deref(), Some("did you mean `grain`?"));
        assert_eq!(did_you_mean("x", []), None);
    }

    #[test]
    fn a_diagnostic_beyond_the_end_of_the_file_still_prints() {
        let shown = Diagnostic::at("a.sql", "one line", (99, 1), "unexpected end").to_string();
        assert_eq!(shown, "a.sql:99:1: unexpected end");
    }
}
