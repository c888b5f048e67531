//! `strata init`: a new project, made from the shop's own models.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::output;
use super::session::Session;
use super::wording::counted;
use crate::error::{Advice, Exit};

// FILES: every file of the repository's conf/ and sql/, as (path, text); written by build.rs.
include!(concat!(env!("OUT_DIR"), "/project_files.rs"));

/// What a project does not keep under version control.
const GITIGNORE: &str = "/target\n/warehouse\n/sample-logs\n";

/// Makes a new project: the shop's configuration and models, to start from
#[derive(clap::Args)]
#[command(after_help = "Example:
  strata init shop && cd shop && strata sample --out sample-logs && strata run")]
pub struct Args {
    /// The folder to make; it must be empty or not there
    #[arg(value_name = "DIR")]
    dir: PathBuf,
}

impl Args {
    pub(super) fn run(self, session: &Session) -> Result<Exit> {
        output::require_empty(&self.dir).hint("a new project needs a folder of its own").exit(Exit::Usage)?;
        let files = FILES.iter().copied().chain([(".gitignore", GITIGNORE)]);
        for (path, text) in files {
            write(&self.dir.join(path), text)?;
        }
        let dir = self.dir.display();
        let files = counted(FILES.len() as u64 + 1, "file");
        session.terminal.note(&format!(
            "{dir}: {files}; next:\n  cd {dir}\n  strata sample --out sample-logs    # or your own logs: conf/warehouse.toml\n  \
             strata run"
        ));
        Ok(Exit::Done)
    }
}

fn write(path: &Path, text: &str) -> Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
    }
    fs::write(path, text).with_context(|| format!("write {}", path.display()))
}
