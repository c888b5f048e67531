//! `strata completions`: the shell's half of the command line.

use anyhow::Result;
use clap::CommandFactory;
use clap_complete::Shell;

use super::output;
use super::session::Session;
use crate::error::Exit;

/// Writes the completions for a shell to stdout
#[derive(clap::Args)]
#[command(after_help = "Examples:
  strata completions bash > ~/.local/share/bash-completion/completions/strata
  strata completions zsh > ~/.zfunc/_strata")]
pub struct Args {
    /// The shell
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

impl Args {
    pub(super) fn run(self, _: &Session) -> Result<Exit> {
        // Through memory, since the generator panics when its pipe is closed.
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut super::Cli::command(), "strata", &mut script);
        output::print(&String::from_utf8_lossy(&script))?;
        Ok(Exit::Done)
    }
}
