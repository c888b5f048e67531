//! What an error is to the person who reads it: a message, where, why, what to do next, and an exit code.
//!
//! Errors travel as `anyhow::Error`. This module adds the three things that anyhow lacks: hints ([`Advice::hint`]), exit
//! codes ([`Advice::exit`]) and a place in a text file ([`SourceError`]); and it renders the whole, without Rust's debug
//! output and without a secret. Printing is `cli`'s.

use std::error::Error as StdError;
use std::fmt;
use std::ops::Range;

use anyhow::{Error, Result};

use crate::config::redact;

/// How the program ends; part of the contract with cron.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// All is done.
    Done,
    /// A model, a check or an export failed; what failed was not published.
    Failed,
    /// The command line or the configuration is wrong; nothing was done.
    Usage,
    /// All is done, with warnings; only with `--strict`.
    Warnings,
    /// Another run holds the lock.
    Locked,
    /// Interrupted from the keyboard; safe to run again.
    Interrupted,
    /// Told to end by a signal; safe to run again.
    Terminated,
}

impl Exit {
    /// The process's exit code.
    pub const fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Warnings => 3,
            Self::Locked => 4,
            Self::Interrupted => 130,
            Self::Terminated => 143,
        }
    }
}

/// An error with advice attached; shows as the error itself, so that wrapping never changes a message.
struct Annotated {
    error: Error,
    hint: Option<String>,
    exit: Option<Exit>,
}

impl fmt::Display for Annotated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.error, f)
    }
}

impl fmt::Debug for Annotated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.error, f)
    }
}

impl StdError for Annotated {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.error.source()
    }
}

/// Attaches what to do next, and how to exit, to a failure; the message stays as it is.
pub trait Advice<T> {
    /// Adds a `hint:` line.
    fn hint(self, text: impl Into<String>) -> Result<T>;
    /// Decides the exit code; the outermost decision counts.
    fn exit(self, exit: Exit) -> Result<T>;
}

impl<T, E: Into<Error>> Advice<T> for std::result::Result<T, E> {
    fn hint(self, text: impl Into<String>) -> Result<T> {
        self.map_err(|e| with_hint(e.into(), text))
    }

    fn exit(self, exit: Exit) -> Result<T> {
        self.map_err(|e| Error::new(Annotated { error: e.into(), hint: None, exit: Some(exit) }))
    }
}

/// Adds a `hint:` line to an error at hand; see [`Advice::hint`].
pub fn with_hint(error: Error, text: impl Into<String>) -> Error {
    Error::new(Annotated { error, hint: Some(text.into()), exit: None })
}

/// Another run holds the warehouse's lock.
#[derive(Clone, Debug)]
pub struct Locked {
    /// What the holder does, for instance `strata run`.
    pub holder: String,
    /// Its process.
    pub pid: u32,
    /// The machine it runs on.
    pub host: String,
    /// Since when, as people read it.
    pub since: String,
}

impl fmt::Display for Locked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { holder, pid, host, since } = self;
        write!(f, "another run holds the lock: `{holder}`, pid {pid} on {host}, since {since}")
    }
}

impl StdError for Locked {}

/// A mistake at a place in a text file: shows as `file:line:column: message` and the line itself.
#[derive(Clone, Debug)]
pub struct SourceError {
    /// The file, as a person would name it.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
    /// What is wrong.
    pub message: String,
    text: String,
    width: usize,
}

impl SourceError {
    /// Makes the error for a byte range of a file's text; a range outside of the text points at its end.
    pub fn new(file: impl Into<String>, text: &str, span: Range<usize>, message: impl Into<String>) -> Self {
        let start = floor_char(text, span.start);
        let line_start = text[..start].rfind('\n').map_or(0, |i| i + 1);
        let line_end = text[start..].find('\n').map_or(text.len(), |i| start + i);
        let end = floor_char(text, span.end.min(line_end)).max(start);
        Self {
            file: file.into(),
            line: text[..start].matches('\n').count() + 1,
            column: text[line_start..start].chars().count() + 1,
            message: message.into(),
            text: text[line_start..line_end].trim_end().to_owned(),
            width: text[start..end].chars().count().max(1),
        }
    }
}

impl fmt::Display for SourceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, line, column, message, text, width } = self;
        write!(f, "{file}:{line}:{column}: {message}")?;
        if text.is_empty() {
            return Ok(());
        }
        let number = line.to_string();
        let gutter = " ".repeat(number.len());
        // Tabs are kept in the margin so that the marker stays under its word.
        let margin: String = text.chars().take(column - 1).map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
        write!(f, "\n  {number} | {text}\n  {gutter} | {margin}{}", "^".repeat(*width))
    }
}

impl StdError for SourceError {}

fn floor_char(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

/// The first `T` in an error: the error itself, one of its causes, or what advice was attached to.
pub fn find<T: StdError + Send + Sync + 'static>(error: &Error) -> Option<&T> {
    error.downcast_ref::<T>().or_else(|| find_in(error.chain()))
}

fn find_in<'a, T: StdError + Send + Sync + 'static>(
    chain: impl Iterator<Item = &'a (dyn StdError + 'static)>,
) -> Option<&'a T> {
    for cause in chain {
        if let Some(found) = cause.downcast_ref::<T>() {
            return Some(found);
        }
        if let Some(annotated) = cause.downcast_ref::<Annotated>() {
            return find(&annotated.error);
        }
    }
    None
}

/// How the program ends because of an error.
pub fn exit_of(error: &Error) -> Exit {
    let decided = parts(error).exit;
    let locked = || find::<Locked>(error).map(|_| Exit::Locked);
    decided.or_else(locked).unwrap_or(Exit::Failed)
}

/// The hints of an error, the outermost first.
pub fn hints(error: &Error) -> Vec<String> {
    parts(error).hints
}

/// Renders an error for people: `error: …`, its causes, its hints; secrets are blotted out.
///
/// ```text
/// error: publish dws_visitor_day dt=2026-03-01
///   caused by: write dt=2026-03-01/part-0.parquet
///   caused by: no space left on device
///  hint: free some space, then run again
/// ```
pub fn render(error: &Error) -> String {
    let Parts { messages, hints, .. } = parts(error);
    let mut text = String::new();
    for (i, message) in messages.iter().enumerate() {
        let lead = if i == 0 { "error: " } else { "\n  caused by: " };
        text.push_str(lead);
        text.push_str(&message.trim_end().replace('\n', if i == 0 { "\n" } else { "\n    " }));
    }
    for hint in hints {
        text.push_str("\n hint: ");
        text.push_str(&hint.replace('\n', "\n       "));
    }
    redact(&text)
}

#[derive(Default)]
struct Parts {
    messages: Vec<String>,
    hints: Vec<String>,
    exit: Option<Exit>,
}

fn parts(error: &Error) -> Parts {
    let mut parts = Parts::default();
    let mut rest: Vec<&(dyn StdError + 'static)> = error.chain().collect();
    rest.reverse();
    while let Some(cause) = rest.pop() {
        if let Some(annotated) = cause.downcast_ref::<Annotated>() {
            parts.hints.extend(annotated.hint.clone());
            parts.exit = parts.exit.or(annotated.exit);
            rest = annotated.error.chain().collect();
            rest.reverse();
            continue;
        }
        let message = cause.to_string();
        // Many libraries repeat their cause in their own message; saying it twice helps nobody.
        if !parts.messages.last().is_some_and(|last| last.contains(&message)) {
            parts.messages.push(message);
        }
    }
    parts
}

/// The candidate a person most likely meant, if any is near enough.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let near = candidates.into_iter().map(|c| (strsim::damerau_levenshtein(word, c), c));
    let limit = (word.chars().count().max(3)) / 3;
    near.filter(|(distance, _)| *distance <= limit).min_by_key(|(distance, _)| *distance).map(|(_, c)| c)
}

#[cfg(test)]
mod tests {
    use anyhow::{Context, anyhow, bail};

    use super::*;

    fn full_disk() -> Result<()> {
        bail!("no space left on device")
    }

    #[test]
    fn causes_and_hints_follow_the_message_wherever_they_were_attached() {
        let error = full_disk()
            .hint("free some space")
            .context("write part-0.parquet")
            .hint("then run again")
            .context("publish dws_visitor_day dt=2026-03-01")
            .expect_err("it failed");
        let expected = "error: publish dws_visitor_day dt=2026-03-01\n  caused by: write part-0.parquet\n  \
                        caused by: no space left on device\n hint: then run again\n hint: free some space";
        assert_eq!(render(&error), expected);
    }

    #[test]
    fn a_cause_that_its_error_already_quotes_is_not_said_twice() {
        let error = full_disk().context("cannot write: no space left on device").expect_err("it failed");
        assert_eq!(render(&error), "error: cannot write: no space left on device");
    }

    #[test]
    fn the_outermost_exit_code_counts_and_others_are_failures() {
        let error = full_disk().exit(Exit::Usage).context("outer").expect_err("it failed");
        assert_eq!(exit_of(&error).code(), 2);
        assert_eq!(exit_of(&error.context("more")).code(), 2);
        assert_eq!(exit_of(&anyhow!("plain")).code(), 1);
    }

    #[test]
    fn a_lock_is_found_behind_hints_and_contexts() {
        let locked = Locked { holder: "strata run".into(), pid: 7, host: "mill".into(), since: "02:00".into() };
        let error = Err::<(), _>(Error::new(locked)).context("lock").hint("--wait 30m waits").expect_err("it failed");
        assert_eq!(exit_of(&error), Exit::Locked);
        assert_eq!(find::<Locked>(&error).map(|l| l.pid), Some(7));
    }

    #[test]
    fn a_mistake_is_shown_with_its_line_and_a_marker() {
        let text = "a = 1\n\tb = 二 + x\n";
        let at = text.find('x').expect("it is there");
        let error = SourceError::new("conf/x.toml", text, at..at + 1, "unknown name `x`");
        let expected = "conf/x.toml:2:10: unknown name `x`\n  2 | \tb = 二 + x\n    | \t        ^";
        assert_eq!(error.to_string(), expected);
    }

    #[test]
    fn a_mistake_outside_of_the_text_points_at_its_end() {
        let error = SourceError::new("f", "ab", 90..99, "the file ends too early");
        assert_eq!(error.to_string(), "f:1:3: the file ends too early\n  1 | ab\n    |   ^");
        assert_eq!(SourceError::new("f", "", 0..0, "empty").to_string(), "f:1:1: empty");
    }

    #[test]
    fn only_near_words_are_suggested() {
        assert_eq!(nearest("grian", ["check", "grain"]), Some("grain"));
        assert_eq!(nearest("ulr", ["path", "url"]), Some("url"));
        assert_eq!(nearest("colour", ["path", "url"]), None);
    }

    #[test]
    fn a_secret_never_shows() {
        let error = anyhow!("connect to mysql://shop:s3cret@db/mall");
        assert_eq!(render(&error), "error: connect to mysql://shop:***@db/mall");
    }
}
