//! One extract on disk: which table it is of, its format, its fingerprint, and reading it into parts.

use std::fs::{self, File};
use std::io::{self, Read};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use anyhow::{Context, Result, bail};
use xxhash_rust::xxh3::Xxh3;

use super::from_csv::read_csv;
use super::from_parquet::read_parquet;
use super::intake::{Findings, Intake, Sink};
use super::layout::Layout;
use super::tally::Tally;
use crate::ingest::files::{Compression, InputFile, open};
use crate::progress::{Event, Reporter};

/// How much is read at once, and how often progress is told.
const READ_BYTES: usize = 256 * 1024;
const TELL_BYTES: u64 = 4 * 1024 * 1024;

/// How an extract is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Text with a header, possibly compressed.
    Csv,
    /// Parquet, compressed within.
    Parquet,
}

/// What came of an extract.
pub struct Extract {
    /// Its rows, counted.
    pub tally: Tally,
    /// What a person should know.
    pub findings: Findings,
    /// The xxh3-128 of its decompressed content, in hex.
    pub hash: String,
}

/// The table and the format of a file by its name: `user.part-1.csv.gz` is CSV of `user`; no format for other suffixes.
pub fn named(file: &InputFile) -> (&str, Option<Format>) {
    let name = file.relative.rsplit('/').next().unwrap_or(&file.relative);
    let table = name.split('.').next().unwrap_or(name);
    let stem = match file.compression {
        Compression::Plain => name,
        Compression::Gzip | Compression::Zstd => name.rsplit_once('.').map_or(name, |(stem, _)| stem),
    };
    let suffix = stem.rsplit_once('.').map(|(_, suffix)| suffix.to_ascii_lowercase());
    let format = match (suffix.as_deref(), file.compression) {
        (Some("csv"), _) => Some(Format::Csv),
        (Some("parquet"), Compression::Plain) => Some(Format::Parquet),
        _ => None,
    };
    (table, format)
}

/// Tells how far a run has come, in bytes as stored, from any thread.
pub struct Meter<'a> {
    reporter: &'a dyn Reporter,
    step: String,
    done: AtomicU64,
}

impl<'a> Meter<'a> {
    /// A meter of a step that was started.
    pub fn new(reporter: &'a dyn Reporter, step: &str) -> Self {
        Self { reporter, step: step.to_owned(), done: AtomicU64::new(0) }
    }

    /// Counts bytes.
    pub fn add(&self, bytes: u64) {
        let before = self.done.fetch_add(bytes, Ordering::Relaxed);
        if before / TELL_BYTES != (before + bytes) / TELL_BYTES {
            self.reporter.report(Event::StepAdvanced { step: self.step.clone(), done: before + bytes });
        }
    }
}

/// The xxh3-128 of a file's decompressed content, in hex.
///
/// # Errors
/// When it cannot be read.
pub fn fingerprint(file: &InputFile) -> Result<String> {
    let mut input = Fingerprinted::new(open(file)?, None);
    let mut buffer = vec![0; READ_BYTES];
    while input.read(&mut buffer).context("cannot be read")? > 0 {}
    Ok(input.hash())
}

/// Reads an extract; its parts go to the sink as they are ready.
///
/// # Errors
/// When the file cannot be read, is no extract of the table, or changes meanwhile; what went to the sink is void then.
pub fn read_extract(
    source: &str,
    layout: &Layout,
    file: &InputFile,
    meter: &Meter<'_>,
    sink: Sink<'_>,
) -> Result<Extract> {
    let format = named(file).1.context("is neither CSV nor Parquet")?;
    let before = stamp(file)?;
    let mut intake = Intake::new(source, layout, &file.relative, file.arrival, sink);
    let hash = match format {
        Format::Csv => {
            let as_stored = file.compression == Compression::Plain;
            let mut input = Fingerprinted::new(open(file)?, as_stored.then_some(meter));
            read_csv(&mut input, &mut intake)?;
            meter.add(if as_stored { 0 } else { file.size });
            input.hash()
        }
        Format::Parquet => {
            let hash = fingerprint(file)?;
            read_parquet(File::open(&file.path).context("cannot be opened")?, &mut intake)?;
            meter.add(file.size);
            hash
        }
    };
    let (tally, findings) = intake.finish()?;
    if before != stamp(file)? || before.0 != file.size {
        bail!("changed while it was read; nothing of it landed, the next run takes it");
    }
    Ok(Extract { tally, findings, hash })
}

fn stamp(file: &InputFile) -> Result<(u64, Option<SystemTime>)> {
    let meta = fs::metadata(&file.path).context("cannot be read")?;
    Ok((meta.len(), meta.modified().ok()))
}

/// Hashes, and counts, what is read through it.
struct Fingerprinted<'a, R> {
    input: R,
    hash: Xxh3,
    meter: Option<&'a Meter<'a>>,
}

impl<'a, R: Read> Fingerprinted<'a, R> {
    fn new(input: R, meter: Option<&'a Meter<'a>>) -> Self {
        Self { input, hash: Xxh3::new(), meter }
    }

    fn hash(&self) -> String {
        format!("{:032x}", self.hash.digest128())
    }
}

impl<R: Read> Read for Fingerprinted<'_, R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let bytes = self.input.read(out)?;
        self.hash.update(&out[..bytes]);
        if let Some(meter) = self.meter {
            meter.add(bytes as u64);
        }
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::date::BizDate;

    #[test]
    fn a_file_belongs_to_the_table_it_is_named_after() {
        let file = |relative: &str, compression| InputFile {
            path: PathBuf::new(),
            relative: relative.to_owned(),
            arrival: BizDate::from_days(0),
            size: 0,
            mtime_ms: 0,
            compression,
        };
        for (path, compression, table, format) in [
            ("2026-01-05/user.csv", Compression::Plain, "user", Some(Format::Csv)),
            ("user.csv.gz", Compression::Gzip, "user", Some(Format::Csv)),
            ("a.b/user_order.part-1.CSV.zst", Compression::Zstd, "user_order", Some(Format::Csv)),
            ("user.parquet", Compression::Plain, "user", Some(Format::Parquet)),
            ("user.parquet.gz", Compression::Gzip, "user", None),
            ("user.gz", Compression::Gzip, "user", None),
            ("user", Compression::Plain, "user", None),
            ("user.txt", Compression::Plain, "user", None),
        ] {
            assert_eq!(named(&file(path, compression)), (table, format), "{path}");
        }
    }
}
