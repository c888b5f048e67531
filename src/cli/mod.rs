//! The command line: what each command is called and takes (its doc comments are the help text), how it talks, and how
//! it ends. A command is a thin wrapper over an operation of [`crate::run`]; only this module prints and reads the clock.

mod args;
mod bisect;
mod build;
mod check;
mod completions;
mod diff;
mod docs;
mod doctor;
mod export;
mod grid;
mod history;
mod ingest;
mod init;
mod last_words;
mod ls;
mod maintain;
mod operations;
mod output;
mod plan;
mod query;
mod rejects;
mod render;
mod run;
mod sample;
mod session;
mod show;
mod summary;
mod terminal;
mod test;
mod undo;
mod verify;
mod why;
mod wording;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

use anyhow::Result;
use clap::error::{ContextKind, ContextValue};
use clap::{Parser, Subcommand};

use self::session::{Global, Session};
use crate::error::{Exit, exit_of};

/// Turns raw client logs and an order database into checked, published metrics.
///
/// A project is a folder with conf/ (what comes in, where it goes) and sql/ (one model a file). The nightly job is
/// `strata run`; everything else looks at its results or does a part of it.
#[derive(Parser)]
#[command(name = "strata", version, max_term_width = 110, after_long_help = EXIT_CODES)]
#[command(subcommand_required = true, arg_required_else_help = true, disable_help_subcommand = true)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

const EXIT_CODES: &str = "\
Exit codes:
  0        all done
  1        a model, a check or an export failed; what failed was not published
  2        the command line or the configuration is wrong
  3        done, with warnings (only with --strict)
  4        another run holds the lock (--wait 30m waits for it)
  130/143  interrupted; safe to run again

Example:
  strata plan && strata run
  strata query \"select * from app_gmv order by dt\"";

#[derive(Subcommand)]
enum Command {
    Run(run::Args),
    Ingest(ingest::Args),
    Build(build::Args),
    Check(check::Args),
    Test(test::Args),
    Export(export::Args),
    Plan(plan::Args),
    Verify(verify::Args),
    Query(query::Args),
    Ls(ls::Args),
    Show(show::Args),
    Docs(docs::Args),
    Rejects(rejects::Args),
    History(history::Args),
    Undo(undo::Args),
    Diff(diff::Args),
    Bisect(bisect::Args),
    Maintain(maintain::Args),
    Why(why::Args),
    Sample(sample::Args),
    Doctor(doctor::Args),
    Init(init::Args),
    Completions(completions::Args),
}

/// Runs the program: reads the command line, does the command, reports how it went.
pub fn main() -> ExitCode {
    last_words::on_panic();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(e) => {
            match to_come(&e) {
                Some(words) => eprintln!("{words}"),
                // Help is printed this way too, and `| head` may have closed the pipe.
                None => drop(e.print()),
            }
            return ExitCode::from(if e.use_stderr() { Exit::Usage } else { Exit::Done }.code());
        }
    };
    let session = Session::new(cli.global);
    last_words::on_signal(&session);
    let outcome = catch_unwind(AssertUnwindSafe(|| cli.command.run(&session)));
    session.terminal.clear();
    let exit = match outcome {
        Ok(Ok(Exit::Done)) if session.strict && session.terminal.warnings() > 0 => Exit::Warnings,
        Ok(Ok(exit)) => exit,
        Ok(Err(e)) if output::is_closed_pipe(&e) => Exit::Done,
        Ok(Err(e)) => {
            session.terminal.error(&e);
            exit_of(&e)
        }
        // The hook has said what there is to say.
        Err(_panic) => Exit::Failed,
    };
    ExitCode::from(exit.code())
}

/// What to say of a command that is announced and not there yet, with the nearest thing there is.
fn to_come(error: &clap::Error) -> Option<String> {
    let Some(ContextValue::String(name)) = error.get(ContextKind::InvalidSubcommand) else { return None };
    let instead = match name.as_str() {
        "lineage" => "`strata show MODEL` tells the lineage of one model, `strata docs` of all",
        "shell" => "`strata query SQL` answers one question",
        "report" => "`strata history` tells of past runs, `strata docs` of the tables",
        "man" => "`strata --help` and `strata COMMAND --help` tell everything",
        _ => return None,
    };
    Some(format!("error: the command `{name}` is not there yet\n hint: {instead}"))
}

impl Command {
    fn run(self, session: &Session) -> Result<Exit> {
        match self {
            Self::Run(args) => args.run(session),
            Self::Ingest(args) => args.run(session),
            Self::Build(args) => args.run(session),
            Self::Check(args) => args.run(session),
            Self::Test(args) => args.run(session),
            Self::Export(args) => args.run(session),
            Self::Plan(args) => args.run(session),
            Self::Verify(args) => args.run(session),
            Self::Query(args) => args.run(session),
            Self::Ls(args) => args.run(session),
            Self::Show(args) => args.run(session),
            Self::Docs(args) => args.run(session),
            Self::Rejects(args) => args.run(session),
            Self::History(args) => args.run(session),
            Self::Undo(args) => args.run(session),
            Self::Diff(args) => args.run(session),
            Self::Bisect(args) => args.run(session),
            Self::Maintain(args) => args.run(session),
            Self::Why(args) => args.run(session),
            Self::Sample(args) => args.run(session),
            Self::Doctor(args) => args.run(session),
            Self::Init(args) => args.run(session),
            Self::Completions(args) => args.run(session),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_has_an_example_in_its_help() {
        fn walk(command: &clap::Command, path: &str) {
            let help = command.get_after_long_help().or(command.get_after_help()).map(ToString::to_string);
            let has_example = help.is_some_and(|h| h.contains("Example") && h.contains("strata "));
            assert!(has_example || command.has_subcommands(), "`{path}` has no example");
            command.get_subcommands().for_each(|c| walk(c, &format!("{path} {}", c.get_name())));
        }
        walk(&Cli::command(), "strata");
    }

    #[test]
    fn every_option_is_explained() {
        fn walk(command: &clap::Command, path: &str) {
            let unexplained = command.get_arguments().find(|a| a.get_help().is_none());
            assert!(unexplained.is_none(), "{path}: {:?}", unexplained.map(clap::Arg::get_id));
            assert!(command.get_about().is_some(), "`{path}` does not say what it does");
            command.get_subcommands().for_each(|c| walk(c, &format!("{path} {}", c.get_name())));
        }
        walk(&Cli::command(), "strata");
    }
}
