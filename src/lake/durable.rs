//! What a commit refers to is on the disk before the commit is, and the commit before anything that follows from it: a
//! power cut takes away the newest commits at most, and never a file of one that is there.
//!
//! Object stores answer when what they were given is safe. A local folder has to be asked: `object_store` does not.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::path::{Path as Local, PathBuf};

use anyhow::{Context, Result};
use futures::{StreamExt, TryStreamExt};
use object_store::local::LocalFileSystem;
use object_store::path::Path;

use super::Lake;

/// Files that are waited for at once: the disk takes their requests together.
const CONCURRENT_SYNCS: usize = 16;

impl Lake {
    /// Waits until files, and that they are there, would outlast a power cut.
    ///
    /// # Errors
    /// When the disk says that they would not.
    pub(super) async fn persist(&self, files: impl IntoIterator<Item = Path>) -> Result<()> {
        if self.root().scheme() != "file" {
            return Ok(());
        }
        let Ok(root) = self.root().to_file_path() else { return Ok(()) };
        let store = LocalFileSystem::new();
        let files: Vec<PathBuf> = files.into_iter().map(|f| store.path_to_filesystem(&f)).collect::<Result<_, _>>()?;
        // A new folder is an entry of the one above it: a partition's of the table's, and so on up to the lake.
        let above = |file: &PathBuf| file.ancestors().skip(1).map(Local::to_path_buf).collect::<Vec<_>>();
        let folders: BTreeSet<PathBuf> = files.iter().flat_map(above).filter(|f| f.starts_with(&root)).collect();
        sync_all(files).await?;
        sync_all(folders).await
    }
}

async fn sync_all(paths: impl IntoIterator<Item = PathBuf>) -> Result<()> {
    let sync = |path: PathBuf| async move {
        tokio::task::spawn_blocking(move || {
            sync_one(&path).with_context(|| format!("wait for the disk to have {}", path.display()))
        })
        .await?
    };
    futures::stream::iter(paths).map(sync).buffer_unordered(CONCURRENT_SYNCS).try_collect().await
}

fn sync_one(path: &Local) -> io::Result<()> {
    File::open(path)?.sync_all()
}
