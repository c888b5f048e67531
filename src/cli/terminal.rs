//! What is said on stderr while a command works, in one of three manners: to a person (colour, bars), to a log file
//! (a time on every line), or to a program (a JSON object a line). Data goes to stdout and is not this module's.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use anyhow::Error;
use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::{Map, Value, json};

use super::wording;
use crate::config::redact;
use crate::date::Zone;
use crate::error::{hints, render};
use crate::progress::{Event, Reporter};

/// Whether to use colour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Color {
    /// On a terminal, unless NO_COLOR is set.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// How messages are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    Person,
    LogFile,
    Program,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    Info,
    Warning,
    Error,
}

/// The talking side of the command line; takes the events of a run from any thread.
pub struct Terminal {
    manner: Manner,
    colour: bool,
    quiet: bool,
    zone: OnceLock<Zone>,
    bars: MultiProgress,
    steps: Mutex<BTreeMap<String, ProgressBar>>,
    warnings: AtomicUsize,
}

impl Terminal {
    /// Decides the manner; `plain` is the environment's wish for no colour.
    pub fn new(color: Color, format: LogFormat, quiet: bool, plain: bool) -> Self {
        let is_terminal = io::stderr().is_terminal();
        let manner = match format {
            LogFormat::Json => Manner::Program,
            LogFormat::Text if is_terminal => Manner::Person,
            LogFormat::Text => Manner::LogFile,
        };
        let shows_bars = manner == Manner::Person && !quiet;
        let target = if shows_bars { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        Self {
            manner,
            colour: color.wanted(is_terminal, plain) && manner != Manner::Program,
            quiet,
            zone: OnceLock::new(),
            bars: MultiProgress::with_draw_target(target),
            steps: Mutex::default(),
            warnings: AtomicUsize::new(0),
        }
    }

    /// From here on times are shown in the warehouse's zone (in UTC before).
    pub fn set_zone(&self, zone: Zone) {
        // A second zone cannot come: a process works on one project.
        let _ = self.zone.set(zone);
    }

    /// How many warnings there were.
    pub fn warnings(&self) -> usize {
        self.warnings.load(Ordering::Relaxed)
    }

    /// Says something in passing.
    pub fn note(&self, text: &str) {
        self.say(Level::Info, text, "note", Map::new());
    }

    /// Reports the error that ends the command.
    pub fn error(&self, error: &Error) {
        let text = render(error);
        if self.manner == Manner::Program {
            let message = text.strip_prefix("error: ").unwrap_or(&text);
            let message = message.split("\n hint: ").next().unwrap_or_default();
            let fields = Map::from_iter([("hints".to_owned(), json!(hints(error)))]);
            self.write(&self.json(Level::Error, "error", message, fields));
            return;
        }
        let coloured = self.paint("error:", RED) + text.strip_prefix("error:").unwrap_or(&text);
        self.write(&coloured.replace("\n hint:", &format!("\n {}", self.paint("hint:", CYAN))));
    }

    /// Takes the bars away, for a last word before the process ends.
    pub fn clear(&self) {
        // Nothing is to be done about a terminal that is gone.
        let _ = self.bars.clear();
    }

    /// Says why the process ends before its time, even when it is to be quiet.
    pub fn farewell(&self, text: &str) {
        self.say(Level::Warning, text, "interrupted", Map::new());
    }

    fn say(&self, level: Level, text: &str, event: &str, fields: Map<String, Value>) {
        if self.quiet && level == Level::Info {
            return;
        }
        let text = redact(text.strip_prefix("error: ").unwrap_or(text));
        let line = match self.manner {
            Manner::Program => self.json(level, event, &text, fields),
            Manner::LogFile => {
                let name = ["info ", "warn ", "error"][level as usize];
                format!("{} {name} {}", self.now(), text.trim_end().replace('\n', "\n    "))
            }
            Manner::Person => match level {
                Level::Info => text,
                Level::Warning => format!("{} {text}", self.paint("warning:", YELLOW)),
                Level::Error => format!("{} {text}", self.paint("failed:", RED)),
            },
        };
        self.write(&line);
    }

    fn json(&self, level: Level, event: &str, message: &str, fields: Map<String, Value>) -> String {
        let name = ["info", "warning", "error"][level as usize];
        let mut object = Map::new();
        object.insert("time".into(), self.now().into());
        object.insert("level".into(), name.into());
        object.insert("event".into(), event.into());
        object.insert("message".into(), message.into());
        object.extend(fields);
        Value::Object(object).to_string()
    }

    fn now(&self) -> String {
        let zone = self.zone.get().map_or(Tz::UTC, |zone| zone.tz());
        DateTime::<Utc>::from(std::time::SystemTime::now())
            .with_timezone(&zone)
            .format("%Y-%m-%dT%H:%M:%S%:z")
            .to_string()
    }

    fn write(&self, line: &str) {
        self.bars.suspend(|| {
            // A closed stderr must not stop the work.
            let _ = writeln!(io::stderr().lock(), "{line}");
        });
    }

    fn paint(&self, text: &str, code: &str) -> String {
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    fn start(&self, step: &str, total: u64) {
        if self.manner != Manner::Person || self.quiet {
            return self.say(Level::Info, step, "step_started", Map::from_iter([("total".to_owned(), total.into())]));
        }
        let bar = ProgressBar::new(total).with_style(bar_style(step, total)).with_prefix(step.to_owned());
        let bar = self.bars.add(bar);
        bar.enable_steady_tick(Duration::from_millis(200));
        if let Some(old) = self.steps().insert(step.to_owned(), bar) {
            old.finish_and_clear();
        }
    }

    fn finish(&self, step: &str, line: &str) {
        if let Some(bar) = self.steps().remove(step) {
            bar.finish_and_clear();
        }
        self.say(
            Level::Info,
            &format!("{step}: {line}"),
            "step_finished",
            Map::from_iter([("step".to_owned(), step.into())]),
        );
    }

    fn steps(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, ProgressBar>> {
        // Bars stay usable whatever happened to the thread that held them.
        self.steps.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reporter for Terminal {
    fn report(&self, event: Event) {
        match event {
            Event::StepStarted { step, total } => self.start(&step, total),
            Event::StepAdvanced { step, done } => {
                if let Some(bar) = self.steps().get(&step) {
                    bar.set_position(done);
                }
            }
            Event::StepFinished { step, line } => self.finish(&step, &line),
            Event::ModelBuilt { model, by_day, slots, partitions, changed, rows, elapsed } => {
                let days = wording::range(slots, partitions, by_day);
                let line = wording::model_line(&model, &days, (partitions, changed), rows, elapsed);
                let fields = json!({
                    "model": model,
                    "from": slots.0, "to": slots.1,
                    "partitions": partitions, "changed": changed, "rows": rows,
                    "seconds": elapsed.as_secs_f64(),
                });
                let fields = if let Value::Object(fields) = fields { fields } else { Map::new() };
                self.say(Level::Info, &line, "model_built", fields);
            }
            Event::Warning(text) => {
                self.warnings.fetch_add(1, Ordering::Relaxed);
                self.say(Level::Warning, &text, "warning", Map::new());
            }
            Event::Failure(text) => self.say(Level::Error, &text, "failure", Map::new()),
            Event::Note(text) => self.note(&text),
        }
    }
}

impl Color {
    /// Whether to colour what goes to a terminal, or to something else.
    pub fn wanted(self, is_terminal: bool, plain: bool) -> bool {
        match self {
            Self::Always => true,
            Self::Never => false,
            Self::Auto => is_terminal && !plain,
        }
    }
}

const RED: &str = "1;31";
const YELLOW: &str = "1;33";
const CYAN: &str = "36";

fn bar_style(step: &str, total: u64) -> ProgressStyle {
    // A template that a test has found valid.
    let style =
        ProgressStyle::with_template(bar_template(step, total)).unwrap_or_else(|_| ProgressStyle::default_bar());
    style.progress_chars("=> ")
}

fn bar_template(step: &str, total: u64) -> &'static str {
    if total == 0 {
        "{spinner} {prefix}  {elapsed}"
    } else if step.starts_with("ingest") {
        "{prefix:<28} {bar:24} {percent:>3} %  {binary_bytes} of {binary_total_bytes}  {binary_bytes_per_sec}  ETA {eta}"
    } else {
        "{prefix:<28} {bar:24} {percent:>3} %  {human_pos} of {human_len}  ETA {eta}"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colour_follows_the_flag_then_the_environment_then_the_terminal() {
        assert!(Color::Always.wanted(false, true));
        assert!(!Color::Never.wanted(true, false));
        assert!(Color::Auto.wanted(true, false));
        assert!(!Color::Auto.wanted(true, true));
        assert!(!Color::Auto.wanted(false, false));
    }

    #[test]
    fn a_line_for_programs_is_one_json_object_with_the_message_and_its_parts() {
        let terminal = Terminal::new(Color::Never, LogFormat::Json, false, false);
        terminal.set_zone("Asia/Shanghai".parse().expect("a zone"));
        let fields = Map::from_iter([("rows".to_owned(), json!(3))]);
        let line = terminal.json(Level::Warning, "warning", "two\nlines", fields);
        let object: Value = serde_json::from_str(&line).expect("JSON");
        assert_eq!(
            (&object["level"], &object["message"], &object["rows"]),
            (&json!("warning"), &json!("two\nlines"), &json!(3))
        );
        assert!(object["time"].as_str().is_some_and(|t| t.ends_with("+08:00")), "{line}");
        assert!(!line.contains('\n'));
    }

    #[test]
    fn bars_have_valid_templates() {
        for (step, total) in [("ingest x", 1), ("export", 1), ("plan", 0)] {
            assert!(ProgressStyle::with_template(bar_template(step, total)).is_ok(), "{step} {total}");
        }
    }

    #[test]
    fn warnings_are_counted_for_strict_runs() {
        let terminal = Terminal::new(Color::Never, LogFormat::Text, true, false);
        terminal.report(Event::Note("fine".into()));
        assert_eq!(terminal.warnings(), 0);
        terminal.report(Event::Warning("odd".into()));
        assert_eq!(terminal.warnings(), 1);
    }
}
