//! The files of a log as far as they were taken, for those who want to ingest just that again.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read};

use anyhow::Result;
use xxhash_rust::xxh3::{Xxh3, xxh3_128};

use super::record::{Print, files, hex};
use crate::ingest::files::{InputFile, open};
use crate::ingest::raw::Folder;

/// Hashes what is read through it.
struct Hashed<R> {
    inner: R,
    hash: Xxh3,
    bytes: u64,
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.hash.update(&buffer[..read]);
        self.bytes += read as u64;
        Ok(read)
    }
}

/// A file that nobody knows by its path and that begins like the one that was taken: it was renamed since.
fn moved<'a>(print: &Print, paths: &BTreeSet<String>, folder: &'a Folder<'_>) -> Option<&'a InputFile> {
    folder.files().filter(|file| !paths.contains(&file.relative)).find(|file| {
        let mut head = Vec::new();
        let read = open(file).map(|content| content.take(print.head_len).read_to_end(&mut head));
        matches!(read, Ok(Ok(_))) && hex(xxh3_128(&head)) == print.head_hash
    })
}

/// Writes every file that landed rows, as far as it was taken; says why it cannot, where one is not what it was.
///
/// # Errors
/// When the records are not this program's, or the folder cannot be written.
pub fn restore(records: &BTreeMap<String, String>, folder: &Folder<'_>) -> Result<Option<String>> {
    let mut written: Vec<String> = Vec::new();
    let files = files(records)?;
    let paths: BTreeSet<String> = files.values().map(|record| record.path.clone()).collect();
    for (landed, record) in files {
        // Another file's rows stand for a copy's.
        let is_copy = record.copy_of.is_some() && record.tally.read == 0;
        if is_copy || record.print.consumed == 0 {
            continue;
        }
        let at_home = folder.find(&record.path).filter(|_| !record.path.is_empty());
        let why = match at_home.or_else(|| moved(&record.print, &paths, folder)) {
            _ if record.copy_of.is_some() => Some(format!("`{landed}` went on where a copy of it ended")),
            None => Some(format!("`{landed}` is there no more")),
            Some(file) => {
                let taken = open(file)?.take(record.print.consumed);
                let mut taken = Hashed { inner: taken, hash: Xxh3::new(), bytes: 0 };
                // What cannot be decompressed any more shows as a hash of less.
                let whole = folder.write(&landed, record.arrival, &mut taken);
                let same = taken.bytes == record.print.consumed && hex(taken.hash.digest128()) == record.print.hash;
                if same {
                    whole?
                }
                written.push(landed.clone());
                (!same).then(|| format!("`{}` is not what it was", file.relative))
            }
        };
        if why.is_some() {
            written.iter().try_for_each(|name| folder.remove(name))?;
            return Ok(why);
        }
    }
    Ok(None)
}
