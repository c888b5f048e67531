//! Raw files as the lake has taken them, written into a folder of their own: what waits at the source is left out.
//!
//! Each file gets the name by which it landed, so that ingesting that folder brings the same rows under the same names.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use anyhow::{Context, Result};

use super::files::{InputFile, list_files};
use super::{logs, orders};
use crate::config::source::Source;
use crate::date::{BizDate, Zone};

/// What a table's commits record, by table.
pub type TableRecords = BTreeMap<String, BTreeMap<String, String>>;

/// Where files are written as they were taken.
pub(super) struct Folder<'a> {
    into: &'a Path,
    zone: Zone,
    present: BTreeMap<String, InputFile>,
}

/// Writes what the lake took of a source's folder into another one; the tables of which something is there no more, and
/// why. Of these nothing is written.
///
/// # Errors
/// When the records are not this program's, or the folder cannot be written.
pub fn restore(
    source: &Source,
    root: &Path,
    records: &TableRecords,
    zone: Zone,
    into: &Path,
) -> Result<BTreeMap<String, String>> {
    fs::create_dir_all(into).with_context(|| format!("create {}", into.display()))?;
    let listed = if root.is_dir() { list_files(root, zone)? } else { Vec::new() };
    let present = listed.into_iter().map(|file| (file.relative.clone(), file)).collect();
    let folder = Folder { into, zone, present };
    let mut lost = BTreeMap::new();
    match source {
        Source::Log(log) => {
            let records = records.get(&log.table).cloned().unwrap_or_default();
            lost.extend(logs::restore(&records, &folder)?.map(|why| (log.table.clone(), why)));
        }
        Source::Tables(tables) => {
            for table in tables.tables.iter().map(|table| format!("ods_{}", table.name)) {
                let records = records.get(&table).cloned().unwrap_or_default();
                lost.extend(orders::restore(&records, &folder)?.map(|why| (table, why)));
            }
        }
    }
    Ok(lost)
}

impl Folder<'_> {
    /// The file at a path of the source, if it is there.
    pub fn find(&self, relative: &str) -> Option<&InputFile> {
        self.present.get(relative)
    }

    /// All files of the source.
    pub fn files(&self) -> impl Iterator<Item = &InputFile> {
        self.present.values()
    }

    /// Writes content under a name of the lake, compressed as the name says and with a time on its arrival day.
    pub fn write(&self, name: &str, arrival: BizDate, content: &mut dyn Read) -> Result<()> {
        let path = self.into.join(name);
        let context = || format!("write {}", path.display());
        fs::create_dir_all(path.parent().unwrap_or(self.into)).with_context(context)?;
        let file = File::create(&path).with_context(context)?;
        let time = u64::try_from(self.zone.start_of_day_ms(arrival)).unwrap_or_default();
        // The same folder may hold names that end in #2: these are plain.
        let suffix = path.extension().map(|suffix| suffix.to_ascii_lowercase());
        match suffix.as_ref().and_then(|suffix| suffix.to_str()) {
            Some("gz") => {
                let mut out = flate2::write::GzEncoder::new(&file, flate2::Compression::fast());
                io::copy(content, &mut out).with_context(context)?;
                out.finish().with_context(context)?;
            }
            Some("zst") => {
                zstd::stream::copy_encode(content, &file, 1).with_context(context)?;
            }
            _ => drop(io::copy(content, &mut &file).with_context(context)?),
        }
        (&file).flush().with_context(context)?;
        file.set_modified(UNIX_EPOCH + Duration::from_millis(time)).with_context(context)
    }

    /// Takes a file away again.
    pub fn remove(&self, name: &str) -> Result<()> {
        let path = self.into.join(name);
        fs::remove_file(&path).with_context(|| format!("remove {}", path.display()))
    }
}
