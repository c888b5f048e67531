//! What the doctor asks the machine: folders, disk, memory, clock.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use anyhow::{Context, Result};

use super::super::wording::counted;
use super::Finding;
use crate::config::{ByteSize, Config};
use crate::error::Advice;

/// Enough to tell that a folder is the right one; a doctor does not read a year of files.
const CENSUS_LIMIT: u64 = 100_000;

/// How many files there are beneath a folder, and of what size.
pub(super) struct Census {
    pub(super) files: u64,
    bytes: u64,
    pub(super) newest_ms: Option<i64>,
}

impl fmt::Display for Census {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let more = if self.files >= CENSUS_LIMIT { " and more" } else { "" };
        write!(f, "{}{more}, {}", counted(self.files, "file"), ByteSize(self.bytes))
    }
}

/// Counts the files that ingest would look at.
pub(super) fn census(folder: &Path) -> Result<Census> {
    let mut census = Census { files: 0, bytes: 0, newest_ms: None };
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        let entries = fs::read_dir(&folder)
            .with_context(|| format!("read {}", folder.display()))
            .hint("see [sources] in conf/warehouse.toml, and whether this user may read it")?;
        for entry in entries {
            let entry = entry.with_context(|| format!("read {}", folder.display()))?;
            let name = entry.file_name();
            let is_hidden = name.to_string_lossy().starts_with(['.', '_']);
            // A file may vanish between the listing and the look: logs rotate.
            let Some(metadata) = fs::metadata(entry.path()).ok().filter(|_| !is_hidden) else { continue };
            if metadata.is_dir() {
                folders.push(entry.path());
                continue;
            }
            census.files += 1;
            census.bytes += metadata.len();
            let since_epoch = metadata.modified().ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok());
            let modified_ms = since_epoch.and_then(|d| i64::try_from(d.as_millis()).ok());
            census.newest_ms = census.newest_ms.max(modified_ms);
            if census.files >= CENSUS_LIMIT {
                return Ok(census);
            }
        }
    }
    Ok(census)
}

/// Whether files can be made in a folder, or, while it is not there, in the nearest one above.
pub(super) fn writable(subject: &str, folder: &Path) -> Finding {
    let existing = nearest_existing(folder);
    let probe = existing.join(format!(".strata-doctor-{}", std::process::id()));
    let written = OpenOptions::new().write(true).create_new(true).open(&probe);
    if written.is_ok() {
        // If it cannot be removed it was at least written; an empty hidden file harms nobody.
        let _ = fs::remove_file(&probe);
    }
    let shown = folder.display();
    match written {
        Err(e) => {
            let text = format!("{shown}: cannot write in {}: {e}", existing.display());
            Finding::wrong(
                subject,
                text,
                "give this user the right to write there, or name another place in conf/warehouse.toml",
            )
        }
        Ok(_) if existing != folder => Finding::fine(subject, format!("{shown}: not there yet, can be made")),
        Ok(_) => Finding::fine(subject, format!("{shown} is writable")),
    }
}

/// How much room the lake has left.
pub(super) fn disk(folder: &Path) -> Finding {
    let existing = nearest_existing(folder);
    let stat = match rustix::fs::statvfs(&existing) {
        Ok(stat) => stat,
        Err(e) => return Finding::odd("disk", format!("{}: {e}", existing.display()), "is it mounted?"),
    };
    let (free, all) = (stat.f_bavail.saturating_mul(stat.f_frsize), stat.f_blocks.saturating_mul(stat.f_frsize));
    let text = format!("{} free of {} at {}", ByteSize(free), ByteSize(all), existing.display());
    if free < 256 << 20 {
        Finding::wrong("disk", text, "make room: a run keeps the old and the new version of what it builds")
    } else if free < 4 << 30 || free < all / 20 {
        Finding::odd("disk", text, "it is getting tight: a run keeps the old and the new version of what it builds")
    } else {
        Finding::fine("disk", text)
    }
}

/// Whether the memory limit fits the machine; says nothing where the machine does not tell (not Linux).
pub(super) fn memory(limit: ByteSize) -> Finding {
    let available = fs::read_to_string("/proc/meminfo").ok().and_then(|text| available_bytes(&text));
    match available {
        Some(available) if available < limit.0 => {
            let text = format!("the limit is {limit}, available are {}", ByteSize(available));
            Finding::odd("memory", text, "lower resources.memory, or stop what else uses it")
        }
        Some(available) => {
            Finding::fine("memory", format!("the limit is {limit}, available are {}", ByteSize(available)))
        }
        None => Finding::fine("memory", format!("the limit is {limit}")),
    }
}

fn available_bytes(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// Whether the clock can be right; shows the business day it gives.
pub(super) fn clock(config: &Config, now_ms: i64) -> Finding {
    /// 2026-01-01T00:00:00Z: this program is younger.
    const YOUNGER_THAN_MS: i64 = 1_767_225_600_000;
    match config.timezone.day_of_ms(now_ms) {
        Some(today) if now_ms >= YOUNGER_THAN_MS => {
            let text = format!(
                "business day {today} is under way in {}; a run ends with {}",
                config.timezone,
                today.plus_days(-1)
            );
            Finding::fine("clock", text)
        }
        _ => Finding::wrong(
            "clock",
            "the clock of this machine is in the past",
            "set it, for instance with `timedatectl set-ntp true`",
        ),
    }
}

/// Whether a file is, or can become, a SQLite database.
pub(super) fn sqlite_header(file: &Path) -> Result<bool> {
    let mut header = Vec::new();
    match File::open(file) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(true),
        opened => {
            let opened = opened.with_context(|| format!("read {}", file.display()))?;
            opened.take(16).read_to_end(&mut header).with_context(|| format!("read {}", file.display()))?;
        }
    }
    Ok(header.is_empty() || header == b"SQLite format 3\0")
}

fn nearest_existing(folder: &Path) -> PathBuf {
    let existing = folder.ancestors().find(|path| path.is_dir());
    existing.map_or_else(|| PathBuf::from("/"), Path::to_path_buf)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn available_memory_is_read_from_the_kernel_s_own_words() {
        let text = "MemTotal:       24000000 kB\nMemFree:  1 kB\nMemAvailable:   2048 kB\n";
        assert_eq!(available_bytes(text), Some(2 << 20));
        assert_eq!(available_bytes("MemTotal: 1 kB\n"), None);
    }

    #[test]
    fn a_folder_that_is_not_there_yet_is_judged_by_the_one_above() {
        let folder = tempfile::tempdir().expect("a folder");
        let finding = writable("lake", &folder.path().join("a/b"));
        assert!(finding.text.ends_with("a/b: not there yet, can be made"), "{finding:?}");
        assert_eq!(fs::read_dir(folder.path()).expect("read").count(), 0);
    }
}
