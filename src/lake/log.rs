//! A table's Delta log as a folder of files: which versions there are, and from which files a version is put together.
//!
//! `deltalake` reads a table's files and columns out of it; what it does not tell in one pass is read here: who made
//! each version, and what is recorded beside the rows. Format: the Delta protocol, JSON commits and (classic) Parquet
//! checkpoints.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use bytes::Bytes;
use futures::{Stream, StreamExt};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use serde::Deserialize;

use super::head::Metadata;

/// How many commits are fetched at once.
pub const CONCURRENT_READS: usize = 16;

/// The files of a log.
pub struct Log {
    folder: Path,
    /// The versions whose commit is there.
    pub commits: BTreeSet<u64>,
    checkpoints: BTreeSet<u64>,
}

/// What a version says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Version {
    /// Its number.
    pub version: u64,
    /// The run that made it; empty where nothing was said.
    pub run: String,
    /// What that did: `ingest`, `build`, `undo`, ….
    pub operation: String,
    /// When it was committed, epoch milliseconds.
    pub at_ms: i64,
}

/// A record as a version leaves it: its domain, and its text unless it was taken away.
pub type RecordChange = (String, Option<String>);

#[derive(Deserialize)]
struct Line {
    #[serde(rename = "domainMetadata")]
    domain_metadata: Option<DomainMetadata>,
    #[serde(rename = "commitInfo")]
    commit_info: Option<CommitInfo>,
    #[serde(rename = "metaData")]
    metadata: Option<Metadata>,
}

#[derive(Deserialize)]
struct DomainMetadata {
    domain: String,
    configuration: String,
    removed: bool,
}

#[derive(Deserialize)]
struct CommitInfo {
    #[serde(default)]
    timestamp: i64,
    #[serde(default)]
    run: String,
    #[serde(default, rename = "strataOperation")]
    operation: String,
}

impl Log {
    /// Lists a log; empty when there is none.
    pub async fn list(store: &dyn ObjectStore, folder: Path) -> Result<Self> {
        let listing = store.list_with_delimiter(Some(&folder)).await.with_context(|| format!("list {folder}"))?;
        let (mut commits, mut checkpoints) = (BTreeSet::new(), BTreeSet::new());
        for name in listing.objects.iter().filter_map(|object| object.location.filename()) {
            let Some(version) = name.get(..20).and_then(|digits| digits.parse::<u64>().ok()) else { continue };
            match &name[20..] {
                ".json" => drop(commits.insert(version)),
                ".checkpoint.parquet" => drop(checkpoints.insert(version)),
                _ => {}
            }
        }
        Ok(Self { folder, commits, checkpoints })
    }

    /// Where it lies.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The newest version.
    pub fn newest(&self) -> Option<u64> {
        self.commits.last().max(self.checkpoints.last()).copied()
    }

    /// The checkpoint, if any, and the commits after it that a version is made of; `None` when they are not all there,
    /// as when the log was cleaned up behind a later checkpoint.
    pub fn pieces(&self, version: u64) -> Option<(Option<u64>, Vec<u64>)> {
        let checkpoint = self.checkpoints.range(..=version).next_back().copied();
        let first = checkpoint.map_or(0, |checkpoint| checkpoint + 1);
        let commits: Vec<u64> = self.commits.range(first..=version.max(first)).copied().collect();
        let commits: Vec<u64> = commits.into_iter().filter(|commit| *commit <= version).collect();
        let wanted = version.checked_sub(first).map_or(0, |gap| gap + 1);
        (commits.len() as u64 == wanted).then_some((checkpoint, commits))
    }

    /// The oldest version that can be put together.
    pub fn oldest(&self) -> Option<u64> {
        let versions: BTreeSet<u64> = self.commits.union(&self.checkpoints).copied().collect();
        versions.into_iter().find(|version| self.pieces(*version).is_some())
    }

    /// The texts of some commits, in the order they are asked for, a bounded number of them fetched at once.
    pub fn read<'a>(
        &self,
        store: &'a dyn ObjectStore,
        versions: impl Iterator<Item = u64> + Send + 'a,
    ) -> impl Stream<Item = Result<(u64, Bytes)>> + 'a {
        let folder = self.folder.clone();
        let fetch = move |version| {
            let path = commit_path(&folder, version);
            async move {
                let text = async { store.get(&path).await?.bytes().await };
                Ok((version, text.await.with_context(|| format!("read {path}"))?))
            }
        };
        futures::stream::iter(versions.map(fetch)).buffered(CONCURRENT_READS)
    }
}

/// Where a version's commit is in a log.
pub fn commit_path(log: &Path, version: u64) -> Path {
    log.clone().join(format!("{version:020}.json"))
}

/// Where a version's checkpoint is in a log.
pub fn checkpoint_path(log: &Path, version: u64) -> Path {
    log.clone().join(format!("{version:020}.checkpoint.parquet"))
}

/// Who made a version, by the text of its commit.
pub fn version_of(version: u64, text: &[u8]) -> Result<Version> {
    let mut found = Version { version, ..Version::default() };
    for line in lines(text, b"\"commitInfo\"") {
        let line: Line = serde_json::from_slice(line).context("the information of a commit in the log")?;
        if let Some(CommitInfo { timestamp, run, operation }) = line.commit_info {
            (found.run, found.operation, found.at_ms) = (run, operation, timestamp);
        }
    }
    Ok(found)
}

/// What a commit records, by its text.
pub fn records_of(text: &[u8]) -> Result<Vec<RecordChange>> {
    let mut found = Vec::new();
    for line in lines(text, b"\"domainMetadata\"") {
        let line: Line = serde_json::from_slice(line).context("a domain metadata action in the log")?;
        if let Some(DomainMetadata { domain, configuration, removed }) = line.domain_metadata {
            found.push((domain, (!removed).then_some(configuration)));
        }
    }
    Ok(found)
}

/// What a commit says that the table is from then on, by its text.
pub fn metadata_of(text: &[u8]) -> Result<Option<Metadata>> {
    for line in lines(text, b"\"metaData\"") {
        let line: Line = serde_json::from_slice(line).context("a metadata action in the log")?;
        if line.metadata.is_some() {
            return Ok(line.metadata);
        }
    }
    Ok(None)
}

/// The lines of a commit that hold a word.
fn lines<'a>(text: &'a [u8], marker: &'static [u8]) -> impl Iterator<Item = &'a [u8]> {
    let marker = memchr::memmem::Finder::new(marker);
    text.split(|byte| *byte == b'\n').filter(move |line| marker.find(line).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(commits: &[u64], checkpoints: &[u64]) -> Log {
        let set = |versions: &[u64]| versions.iter().copied().collect();
        Log { folder: Path::from("log"), commits: set(commits), checkpoints: set(checkpoints) }
    }

    #[test]
    fn a_version_is_made_of_the_checkpoint_before_it_and_the_commits_since() {
        let whole = log(&[0, 1, 2, 3, 4], &[2]);
        assert_eq!(whole.pieces(1), Some((None, vec![0, 1])));
        assert_eq!(whole.pieces(2), Some((Some(2), vec![])));
        assert_eq!(whole.pieces(4), Some((Some(2), vec![3, 4])));
        assert_eq!((whole.oldest(), whole.newest()), (Some(0), Some(4)));
    }

    #[test]
    fn a_version_whose_commits_were_cleaned_away_is_gone() {
        let cleaned = log(&[3, 4, 5], &[4]);
        assert_eq!(cleaned.pieces(3), None, "nothing to begin with");
        assert_eq!(cleaned.pieces(5), Some((Some(4), vec![5])));
        assert_eq!(cleaned.oldest(), Some(4));
        assert_eq!(log(&[0, 2], &[]).pieces(2), None, "one is missing");
        assert_eq!(log(&[], &[7]).pieces(7), Some((Some(7), vec![])));
    }

    #[test]
    fn a_commit_says_who_made_it_and_what_it_records() {
        let text = br#"{"commitInfo":{"timestamp":7,"run":"r1","strataOperation":"build","more":{"a":1}}}
{"domainMetadata":{"domain":"a","configuration":"1","removed":false}}
{"add":{"path":"x"}}
{"domainMetadata":{"domain":"b","configuration":"","removed":true}}"#;
        let expected = Version { version: 3, run: "r1".into(), operation: "build".into(), at_ms: 7 };
        assert_eq!(version_of(3, text).expect("reads"), expected);
        assert_eq!(records_of(text).expect("reads"), [("a".into(), Some("1".into())), ("b".into(), None)]);
    }
}
