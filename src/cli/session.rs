//! What every command starts from: the global options, the terminal, and the project when a command needs it.

use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use clap::Args;

use super::render::Style;
use super::terminal::{Color, LogFormat, Terminal};
use crate::config::{ByteSize, Config, Environment, find_root, redact};
use crate::progress::Reporter;
use crate::run;

/// How long a thread that read or wrote a file waits for the next one. Work goes to idle threads in turn, so that all that
/// ever were stay busy, each with memory of its own: letting them go early halves what a large day takes.
const IDLE_THREADS_STAY: Duration = Duration::from_millis(100);

/// Options of every command.
#[derive(Args)]
#[command(next_help_heading = "Global options")]
pub struct Global {
    /// The project's folder [default: $STRATA_PROJECT, else the nearest folder around here with conf/warehouse.toml]
    #[arg(long, global = true, value_name = "DIR")]
    project: Option<PathBuf>,
    /// Overrides a setting, for instance `--set lake.url=/data/lake`; may be repeated
    #[arg(long, global = true, value_name = "KEY=VALUE", value_parser = setting)]
    set: Vec<(String, String)>,
    /// How much memory to use before spilling to disk, for instance 2GiB [default: resources.memory]
    #[arg(long, global = true, value_name = "SIZE", hide_short_help = true)]
    memory: Option<ByteSize>,
    /// How many threads to use [default: resources.threads; 0: all]
    #[arg(long, global = true, value_name = "N", hide_short_help = true)]
    threads: Option<usize>,
    /// Whether to use colour
    #[arg(long, global = true, value_name = "WHEN", value_enum, default_value_t, hide_short_help = true)]
    color: Color,
    /// How messages on stderr are written
    #[arg(long, global = true, value_name = "FORMAT", value_enum, default_value_t, hide_short_help = true)]
    log_format: LogFormat,
    /// Says only what went wrong
    #[arg(short, long, global = true)]
    quiet: bool,
    /// Ends with exit code 3 when there were warnings
    #[arg(long, global = true, hide_short_help = true)]
    strict: bool,
}

fn setting(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("a setting is written like lake.url=/data/lake".to_owned()),
    }
}

/// One invocation of the program.
pub struct Session {
    /// The talking side.
    pub terminal: Arc<Terminal>,
    /// The one clock of this invocation: epoch milliseconds at its start.
    pub now_ms: i64,
    /// `--strict`.
    pub strict: bool,
    color: Color,
    environment: Environment,
    project: Option<PathBuf>,
    overrides: Vec<(String, String)>,
}

impl Session {
    /// Starts from the global options, the environment and the clock.
    pub fn new(global: Global) -> Self {
        let environment = Environment::current();
        let terminal = Terminal::new(global.color, global.log_format, global.quiet, environment.plain());
        let mut overrides = global.set;
        overrides.extend(global.memory.map(|memory| ("resources.memory".to_owned(), memory.0.to_string())));
        overrides.extend(global.threads.map(|threads| ("resources.threads".to_owned(), threads.to_string())));
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            terminal: Arc::new(terminal),
            now_ms: i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX),
            strict: global.strict,
            color: global.color,
            environment,
            project: global.project,
            overrides,
        }
    }

    /// Loads the project's configuration; from here on times are told in its zone.
    pub fn config(&self) -> Result<Config> {
        let root = find_root(self.project.as_deref(), &self.environment)?;
        let config = Config::load(&root, &self.overrides)?;
        self.terminal.set_zone(config.timezone);
        Ok(config)
    }

    /// How tables on stdout look.
    pub fn style(&self) -> Style {
        let is_terminal = std::io::IsTerminal::is_terminal(&std::io::stdout());
        if self.color.wanted(is_terminal, self.environment.plain()) { Style::Coloured } else { Style::Plain }
    }

    /// A name for this run that sorts by time and is not given twice.
    fn run_id(&self) -> String {
        run::run_name(self.now_ms, std::process::id())
    }

    /// What an operation works with.
    pub fn context(&self, config: Config) -> run::Context {
        let reporter = Arc::clone(&self.terminal) as Arc<dyn Reporter>;
        run::Context { config, now_ms: self.now_ms, run: self.run_id(), reporter, lake: None }
    }

    /// The command as it was typed, without secrets: how this run introduces itself to others.
    pub fn command_line(&self) -> String {
        // One by one: behind a word that ends in the middle of a line, nobody knows where a password ends.
        let words = std::env::args_os().skip(1).map(|word| redact(&word.to_string_lossy()));
        std::iter::once("strata".to_owned()).chain(words).collect::<Vec<_>>().join(" ")
    }

    /// Runs an asynchronous operation on the configured number of threads.
    pub fn block_on<T>(&self, context: &run::Context, operation: impl Future<Output = Result<T>>) -> Result<T> {
        let threads = context.config.resources.threads();
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = runtime.worker_threads(threads).thread_keep_alive(IDLE_THREADS_STAY).enable_all().build();
        runtime.context("start the threads")?.block_on(operation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_is_a_key_and_a_value() {
        assert_eq!(setting("a.b=c=d"), Ok(("a.b".to_owned(), "c=d".to_owned())));
        assert_eq!(setting("a.b="), Ok(("a.b".to_owned(), String::new())));
        assert!(setting("a.b").is_err());
        assert!(setting("=c").is_err());
    }
}
