//! One run at a time: an advisory lock on a file in the lake's folder, held by the process and released by its end.
//!
//! The operating system lets go of it when the process dies, however it dies, so there are no stale locks. Readers
//! take none. A lake on an object store has a [`Lease`] instead.

use std::fs::{File, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::lease::Lease;

/// How often a waiting run looks again.
const POLL: Duration = Duration::from_millis(200);

/// Who holds the lock, as it says of itself.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Holder {
    /// The run.
    pub run: String,
    /// Its process.
    pub pid: u32,
    /// Its machine.
    pub host: String,
    /// Since when, as the holder's clock had it.
    pub since: String,
}

/// A held lock.
#[derive(Debug)]
pub enum RunLock {
    /// That of a folder; dropping it lets go.
    File {
        /// Locked as long as it is open.
        _file: File,
    },
    /// That of an object store.
    Lease(Lease),
}

impl RunLock {
    /// Ends when somebody else took it over, which only happens to leases.
    pub async fn lost(&self) {
        match self {
            Self::File { .. } => std::future::pending().await,
            Self::Lease(lease) => lease.lost().await,
        }
    }

    /// Lets go.
    pub async fn release(self) {
        if let Self::Lease(lease) = self {
            lease.release().await;
        }
    }
}

impl Holder {
    /// One that cannot be read.
    pub fn unknown() -> Self {
        Self { run: "unknown".into(), pid: 0, host: "unknown".into(), since: "unknown".into() }
    }
}

/// What came of asking for the lock.
pub enum Attempt {
    /// It is ours.
    Held(RunLock),
    /// Somebody else has it.
    Busy(Holder),
}

/// Takes the lock of a lake's folder, waiting for it at most `patience`.
///
/// # Errors
/// When the lock file cannot be written.
pub async fn acquire(folder: &Path, holder: &Holder, patience: Duration) -> Result<Attempt> {
    let path = folder.join("_strata.lock");
    let since = Instant::now();
    loop {
        let mut file = File::options().create(true).truncate(false).read(true).write(true).open(&path);
        let file =
            file.as_mut().map_err(|e| anyhow::anyhow!("{e}")).with_context(|| format!("open {}", path.display()))?;
        match file.try_lock() {
            Ok(()) => {
                file.set_len(0)?;
                file.seek(SeekFrom::Start(0))?;
                file.write_all(serde_json::to_string(holder)?.as_bytes())
                    .with_context(|| format!("write {}", path.display()))?;
                return Ok(Attempt::Held(RunLock::File { _file: file.try_clone()? }));
            }
            Err(TryLockError::WouldBlock) if since.elapsed() >= patience => return Ok(Attempt::Busy(read(file))),
            Err(TryLockError::WouldBlock) => tokio::time::sleep(POLL).await,
            Err(TryLockError::Error(error)) => return Err(error).with_context(|| format!("lock {}", path.display())),
        }
    }
}

/// Who holds the lock of a folder now, if anybody.
pub fn holder(folder: &Path) -> Option<Holder> {
    let mut file = File::open(folder.join("_strata.lock")).ok()?;
    match file.try_lock_shared() {
        Ok(()) => None,
        Err(_) => Some(read(&mut file)),
    }
}

fn read(file: &mut File) -> Holder {
    let mut text = String::new();
    // A holder that is just writing its name is told as unknown; the lock itself is what counts.
    let _ = file.seek(SeekFrom::Start(0)).and_then(|_| file.read_to_string(&mut text));
    serde_json::from_str(&text).unwrap_or_else(|_| Holder::unknown())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn me(run: &str) -> Holder {
        Holder { run: run.into(), pid: 7, host: "here".into(), since: "now".into() }
    }

    #[tokio::test]
    async fn the_second_run_is_told_who_holds_the_lock_until_it_is_let_go() {
        let folder = tempfile::tempdir().expect("a folder");
        let first = acquire(folder.path(), &me("one"), Duration::ZERO).await.expect("lock");
        let Attempt::Held(first) = first else { panic!("nobody else is there") };
        match acquire(folder.path(), &me("two"), Duration::ZERO).await.expect("lock") {
            Attempt::Busy(holder) => assert_eq!(holder.run, "one"),
            Attempt::Held(_) => panic!("two hold it"),
        }
        assert_eq!(holder(folder.path()).map(|h| h.pid), Some(7));
        drop(first);
        assert!(holder(folder.path()).is_none());
        let second = acquire(folder.path(), &me("two"), Duration::ZERO).await.expect("lock");
        assert!(matches!(second, Attempt::Held(_)));
    }
}
