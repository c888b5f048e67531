//! Where data goes: stdout, or a file that appears only when it is complete.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;

use anyhow::{Context, Error, Result, bail};

/// Hands a writer to `fill`: stdout, or a file under a temporary name that gets its own when all went well.
pub fn write_to(path: Option<&Path>, fill: impl FnOnce(&mut (dyn Write + Send)) -> Result<()>) -> Result<()> {
    let Some(path) = path else {
        let mut out = BufWriter::new(io::stdout());
        fill(&mut out)?;
        return out.flush().context("write to stdout");
    };
    let mut name = path.file_name().with_context(|| format!("{} is not a file", path.display()))?.to_owned();
    name.push(format!(".{}.tmp", std::process::id()));
    let staged = path.with_file_name(name);
    let file = File::create(&staged).with_context(|| format!("create {}", staged.display()))?;
    let mut out = BufWriter::new(file);
    let written = fill(&mut out)
        .and_then(|()| out.flush().with_context(|| format!("write {}", staged.display())))
        .and_then(|()| fs::rename(&staged, path).with_context(|| format!("name {}", path.display())));
    if written.is_err() {
        // What is half-written is of no use; that it could not be written is the error worth telling.
        let _ = fs::remove_file(&staged);
    }
    written
}

/// Writes text to stdout.
pub fn print(text: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).context("write to stdout")
}

/// Whether an error only says that the reader of stdout has seen enough (`| head`).
pub fn is_closed_pipe(error: &Error) -> bool {
    let closed = |e: &io::Error| e.kind() == io::ErrorKind::BrokenPipe;
    crate::error::find::<io::Error>(error).is_some_and(closed)
}

/// Fails when a folder that is to be filled is not empty.
pub fn require_empty(folder: &Path) -> Result<()> {
    match fs::read_dir(folder) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(e).with_context(|| format!("read {}", folder.display())),
        Ok(mut entries) => match entries.next() {
            None => Ok(()),
            Some(_) => bail!("{} is not empty", folder.display()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_appears_only_when_it_is_complete() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("out.csv");
        let written = write_to(Some(&path), |out| {
            out.write_all(b"a\n")?;
            assert!(!path.exists());
            Ok(())
        });
        assert!(written.is_ok());
        assert_eq!(fs::read_to_string(&path).expect("read"), "a\n");
        assert!(write_to(Some(&folder.path().join("b")), |_| bail!("no rows")).is_err());
        assert_eq!(fs::read_dir(folder.path()).expect("read").count(), 1);
    }

    #[test]
    fn a_closed_pipe_is_known_behind_contexts() {
        let error =
            Err::<(), _>(io::Error::from(io::ErrorKind::BrokenPipe)).context("write a row").expect_err("closed");
        assert!(is_closed_pipe(&error));
        assert!(!is_closed_pipe(&Error::msg("else")));
    }
}
