//! `strata doctor`: what is wrong with a project and its machine, and what to do about it. Changes nothing.

mod database;
mod machine;

use std::fmt::Write;
use std::path::Path;

use anyhow::{Error, Result};

use super::operations;
use super::output;
use super::render::Style;
use super::session::Session;
use super::wording::{counted, duration};
use crate::config::{Config, ExportTarget, Location};
use crate::error::{Exit, exit_of, hints, render};
use crate::run::{self, Vitals};

/// Examines configuration, sources, lake, exports, disk, memory and clock
///
/// Says what is wrong and what to do. Ends with 1 when something is.
#[derive(clap::Args)]
#[command(after_help = "Example:
  strata doctor")]
pub struct Args {}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Grade {
    /// As it should be.
    Fine,
    /// Works, but should be looked at.
    Odd,
    /// A run would fail.
    Wrong,
}

/// What was found out about one subject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub grade: Grade,
    /// What was looked at.
    pub subject: String,
    /// What was seen.
    pub text: String,
    /// What to do.
    pub advice: Vec<String>,
}

impl Finding {
    /// All is well.
    pub fn fine(subject: impl Into<String>, text: impl Into<String>) -> Self {
        Self { grade: Grade::Fine, subject: subject.into(), text: text.into(), advice: Vec::new() }
    }

    /// Something is odd.
    pub fn odd(subject: impl Into<String>, text: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { grade: Grade::Odd, advice: vec![advice.into()], ..Self::fine(subject, text) }
    }

    /// Something is wrong.
    pub fn wrong(subject: impl Into<String>, text: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { grade: Grade::Wrong, advice: vec![advice.into()], ..Self::fine(subject, text) }
    }

    /// Something failed; its hints are the advice.
    pub fn failed(subject: impl Into<String>, error: &Error) -> Self {
        let text = render(error);
        let text = text.strip_prefix("error: ").unwrap_or(&text);
        let text = text.split("\n hint: ").next().unwrap_or_default();
        Self { grade: Grade::Wrong, advice: hints(error), ..Self::fine(subject, text) }
    }
}

impl Args {
    pub(super) fn run(self, session: &Session) -> Result<Exit> {
        let (findings, exit) = match session.config() {
            Ok(config) => {
                let findings = examine(session, &config)?;
                let wrong = findings.iter().any(|f| f.grade == Grade::Wrong);
                (findings, if wrong { Exit::Failed } else { Exit::Done })
            }
            Err(e) => (vec![Finding::failed("configuration", &e)], exit_of(&e)),
        };
        output::print(&report(&findings, session.style()))?;
        Ok(exit)
    }
}

fn examine(session: &Session, config: &Config) -> Result<Vec<Finding>> {
    let mut findings = vec![configuration(config)];
    findings.push(machine::clock(config, session.now_ms));
    for (name, source) in &config.sources {
        findings.extend(source_at(&format!("source {name}"), &source.location, session.now_ms));
    }
    match &config.lake {
        Location::Local(folder) => {
            findings.push(machine::writable("lake", folder));
            findings.push(machine::disk(folder));
        }
        other => findings.push(Finding::odd("lake", format!("{other}: not examined"), "the next run will tell")),
    }
    findings.extend(config.exports.iter().filter_map(|(name, target)| export_to(&format!("export {name}"), target)));
    let context = session.context(config.clone());
    findings.extend(session.block_on(&context, async { Ok(database::examine(config).await) })?);
    findings.push(machine::memory(config.resources.memory));
    findings.push(lock(&config.lake));
    match operations::vitals(session, config.clone()) {
        Ok(vitals) => findings.extend(signs(&vitals, config, session.now_ms)),
        Err(e) => findings.push(Finding::failed("warehouse", &e)),
    }
    Ok(findings)
}

fn configuration(config: &Config) -> Finding {
    let Config { sources, exports, .. } = config;
    let (s, e) = (counted(sources.len() as u64, "source"), counted(exports.len() as u64, "export"));
    let text = format!("{}: {s}, {e}", config.root.display());
    if sources.is_empty() {
        return Finding::odd(
            "configuration",
            text,
            "add a [sources.NAME] to conf/warehouse.toml and its conf/sources/NAME.toml",
        );
    }
    Finding::fine("configuration", text)
}

fn source_at(subject: &str, location: &Location, now_ms: i64) -> Option<Finding> {
    Some(match location {
        Location::Local(folder) => {
            let shown = folder.display();
            match machine::census(folder) {
                Err(e) => Finding::failed(subject, &e),
                Ok(census) if census.files == 0 => Finding::odd(
                    subject,
                    format!("{shown}: no files"),
                    "is this the right folder? See conf/warehouse.toml",
                ),
                Ok(census) if census.newest_ms.is_some_and(|ms| ms > now_ms + 3_600_000) => {
                    let text = format!("{shown}: {census}, some of them from the future");
                    Finding::odd(subject, text, "compare the clock of this machine with the one that writes the files")
                }
                Ok(census) => Finding::fine(subject, format!("{shown}: {census}")),
            }
        }
        Location::Object(_) => Finding::odd(subject, format!("{location}: not examined"), "the next run will tell"),
        // See `database`.
        Location::Mysql(_) => return None,
    })
}

fn export_to(subject: &str, target: &ExportTarget) -> Option<Finding> {
    Some(match target {
        ExportTarget::Sqlite(file) => match machine::sqlite_header(file) {
            Ok(true) => machine::writable(subject, file.parent().unwrap_or(Path::new("/"))),
            Ok(false) => {
                let text = format!("{} is not a SQLite database", file.display());
                Finding::wrong(subject, text, "move it away, or export to another file")
            }
            Err(e) => Finding::failed(subject, &e),
        },
        // See `database`.
        ExportTarget::Mysql(_) => return None,
    })
}

fn lock(lake: &Location) -> Finding {
    match lake.local().and_then(run::holder) {
        None => Finding::fine("lock", "free"),
        Some(held) => {
            let text = format!("held by `{}`, pid {} on {}, since {}", held.run, held.pid, held.host, held.since);
            Finding::odd("lock", text, "a run is under way; queries are not disturbed by it")
        }
    }
}

/// What the models, the loaded data and the past runs look like.
fn signs(vitals: &Vitals, config: &Config, now_ms: i64) -> Vec<Finding> {
    let models = Finding::fine("models", counted(vitals.models as u64, "model"));
    let today = config.timezone.day_of_ms(now_ms);
    let loaded = match (vitals.last_arrival, today) {
        (None, _) => Finding::odd("loaded", "nothing", "`strata run` loads what is at the sources"),
        (Some(day), Some(today)) if day < today.plus_days(-2) => {
            Finding::odd("loaded", format!("up to {day}"), "nothing newer is at the sources, or no run took it in")
        }
        (Some(day), _) => Finding::fine("loaded", format!("up to {day}")),
    };
    let succeeded = vitals.last_success.as_deref().and_then(|at| chrono::DateTime::parse_from_rfc3339(at).ok());
    let success = match succeeded {
        None => Finding::odd("last success", "never", "`strata run`; `strata history` shows what failed"),
        Some(at) => {
            let age =
                std::time::Duration::from_millis(now_ms.saturating_sub(at.timestamp_millis()).try_into().unwrap_or(0));
            let local = at.with_timezone(&config.timezone.tz()).format("%Y-%m-%d %H:%M:%S %:z");
            let text = format!("{local}, {} ago", duration(age));
            // A nightly job that runs at the same hour is a day old at most; two more hours it may take.
            let is_late = age.as_secs() > 26 * 3_600;
            match is_late {
                true => Finding::odd("last success", text, "is the nightly job still scheduled? See `strata history`"),
                false => Finding::fine("last success", text),
            }
        }
    };
    vec![models, loaded, success]
}

fn report(findings: &[Finding], style: Style) -> String {
    let width = findings.iter().map(|f| f.subject.chars().count()).max().unwrap_or(0);
    let mut text = String::new();
    for Finding { grade, subject, text: seen, advice } in findings {
        let (word, code) = match grade {
            Grade::Fine => ("ok  ", "32"),
            Grade::Odd => ("warn", "33"),
            Grade::Wrong => ("FAIL", "1;31"),
        };
        let word = if style == Style::Coloured { format!("\x1b[{code}m{word}\x1b[0m") } else { word.to_owned() };
        let margin = " ".repeat(width + 8);
        let seen = seen.replace('\n', &format!("\n{margin}"));
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{word}  {subject:<width$}  {seen}");
        for line in advice.iter().flat_map(|advice| advice.lines()) {
            let _ = writeln!(text, "{margin}→ {line}");
        }
    }
    let count = |grade| findings.iter().filter(|f| f.grade == grade).count();
    let (wrong, odd) = (count(Grade::Wrong), count(Grade::Odd));
    let _ = match (wrong, odd) {
        (0, 0) => writeln!(text, "all is well"),
        _ => writeln!(text, "{wrong} wrong, {odd} to look at"),
    };
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_has_a_line_a_finding_and_its_advice_beneath() {
        let findings = [
            Finding::fine("lake", "/w/lake is writable"),
            Finding::odd("source orders", "/x: no files", "is this the right folder?"),
            Finding::failed("export", &crate::error::with_hint(Error::msg("refused"), "start the server")),
        ];
        let expected = "\
ok    lake           /w/lake is writable
warn  source orders  /x: no files
                     → is this the right folder?
FAIL  export         refused
                     → start the server
1 wrong, 1 to look at
";
        assert_eq!(report(&findings, Style::Plain), expected);
        assert!(report(&findings[..1], Style::Plain).ends_with("all is well\n"));
    }

    #[test]
    fn a_missing_source_folder_is_wrong_and_an_empty_one_odd() {
        let folder = tempfile::tempdir().expect("a folder");
        let at =
            |path: &Path| source_at("source", &Location::Local(path.to_path_buf()), i64::MAX / 2).expect("a finding");
        assert_eq!(at(&folder.path().join("no")).grade, Grade::Wrong);
        assert_eq!(at(folder.path()).grade, Grade::Odd);
        std::fs::create_dir(folder.path().join("2026-01-01")).expect("made");
        std::fs::write(folder.path().join("2026-01-01/a.log"), "{}").expect("written");
        let found = at(folder.path());
        assert_eq!((found.grade, found.text.ends_with("1 file, 2 B")), (Grade::Fine, true), "{found:?}");
    }

    #[test]
    fn a_text_file_in_the_place_of_a_database_is_wrong() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("metrics.db");
        let found =
            |file: &Path| export_to("export", &ExportTarget::Sqlite(file.to_path_buf())).map(|found| found.grade);
        assert_eq!(found(&file), Some(Grade::Fine));
        std::fs::write(&file, "dear diary").expect("written");
        assert_eq!(found(&file), Some(Grade::Wrong));
    }
}
