//! A lake's store in which small checkpoints of tables' logs are fetched whole, and once.
//!
//! Whoever reads a Parquet file asks for its footer and its columns piece by piece, and a log is read in several passes: a
//! run would open the checkpoint of every table a dozen times.

use std::collections::HashMap;
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{BoxStream, StreamExt, once};
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    ObjectStoreExt, PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions, Result,
};

/// Up to which size a checkpoint is small, in bytes.
const SMALL: u64 = 1 << 20;
/// How much is kept, in bytes.
const KEPT: usize = 32 << 20;

/// A store whose small checkpoints are read once.
#[derive(Debug)]
pub struct Checkpoints {
    inner: Arc<dyn ObjectStore>,
    read: Mutex<HashMap<Path, Whole>>,
}

/// An object and its content.
#[derive(Clone, Debug)]
struct Whole {
    meta: ObjectMeta,
    bytes: Bytes,
}

impl Checkpoints {
    /// None read yet.
    pub fn of(inner: Arc<dyn ObjectStore>) -> Self {
        Self { inner, read: Mutex::default() }
    }

    /// A small checkpoint; `None` for everything else.
    async fn whole(&self, location: &Path) -> Result<Option<Whole>> {
        if !location.as_ref().ends_with(".checkpoint.parquet") {
            return Ok(None);
        }
        if let Some(whole) = self.read().get(location) {
            return Ok(Some(whole.clone()));
        }
        let got = self.inner.get(location).await?;
        if got.meta.size > SMALL {
            return Ok(None);
        }
        let whole = Whole { meta: got.meta.clone(), bytes: got.bytes().await? };
        let mut read = self.read();
        if read.values().map(|whole| whole.bytes.len()).sum::<usize>() + whole.bytes.len() <= KEPT {
            read.insert(location.clone(), whole.clone());
        }
        Ok(Some(whole))
    }

    fn read(&self) -> MutexGuard<'_, HashMap<Path, Whole>> {
        self.read.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets an object that is about to become another one.
    fn forget(&self, location: &Path) {
        self.read().remove(location);
    }
}

impl Whole {
    fn part(&self, range: Range<u64>) -> Bytes {
        let place = |at: u64| usize::try_from(at).unwrap_or(usize::MAX).min(self.bytes.len());
        self.bytes.slice(place(range.start)..place(range.end))
    }
}

impl fmt::Display for Checkpoints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

/// Whether nothing but a range is asked for.
fn is_plain(options: &GetOptions) -> bool {
    let is_conditional = options.if_match.is_some()
        || options.if_none_match.is_some()
        || options.if_modified_since.is_some()
        || options.if_unmodified_since.is_some();
    !is_conditional && options.version.is_none() && !options.head
}

#[async_trait]
impl ObjectStore for Checkpoints {
    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let whole = if is_plain(&options) { self.whole(location).await? } else { None };
        let Some(whole) = whole else { return self.inner.get_opts(location, options).await };
        let wrong = |source| Error::Generic { store: "checkpoint", source: Box::new(source) };
        let range =
            options.range.map_or(Ok(0..whole.meta.size), |range| range.as_range(whole.meta.size)).map_err(wrong)?;
        let bytes = whole.part(range.clone());
        let payload = GetResultPayload::Stream(once(async move { Ok(bytes) }).boxed());
        Ok(GetResult { payload, meta: whole.meta, range, attributes: Default::default() })
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        match self.whole(location).await? {
            // Beyond its end the store has its own words.
            Some(whole) if ranges.iter().all(|range| range.start < range.end && range.end <= whole.meta.size) => {
                Ok(ranges.iter().map(|range| whole.part(range.clone())).collect())
            }
            _ => self.inner.get_ranges(location, ranges).await,
        }
    }

    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.forget(location);
        let put = self.inner.put_opts(location, payload, options).await;
        self.forget(location);
        put
    }

    async fn put_multipart_opts(&self, at: &Path, options: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        self.forget(at);
        self.inner.put_multipart_opts(at, options).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.read().clear();
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list_with_offset(prefix, offset)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.forget(to);
        self.inner.copy_opts(from, to, options).await?;
        self.forget(to);
        Ok(())
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        self.forget(from);
        self.inner.rename_opts(from, to, options).await?;
        self.forget(to);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use object_store::memory::InMemory;

    use super::*;

    #[tokio::test]
    async fn a_small_checkpoint_is_read_once_and_as_it_was_last_written() {
        let inner = Arc::new(InMemory::new());
        let store = Checkpoints::of(Arc::clone(&inner) as Arc<dyn ObjectStore>);
        let checkpoint = Path::from("t/_delta_log/1.checkpoint.parquet");
        store.put(&checkpoint, "0123456789".into()).await.expect("is put");
        assert_eq!(store.get_range(&checkpoint, 2..4).await.expect("is read"), "23");
        // Behind the store's back: what was read is not read again, whichever part of it is asked for.
        inner.put(&checkpoint, "other".into()).await.expect("is put");
        let options = GetOptions { range: Some(object_store::GetRange::Suffix(3)), ..GetOptions::default() };
        let tail = store.get_opts(&checkpoint, options).await.expect("is read");
        assert_eq!((tail.range.clone(), tail.meta.size), (7..10, 10));
        assert_eq!(tail.bytes().await.expect("bytes"), "789");
        assert_eq!(store.get_ranges(&checkpoint, &[0..1, 8..10]).await.expect("is read"), ["0", "89"]);
        // By way of the store it is another object.
        store.put(&checkpoint, "new".into()).await.expect("is put");
        assert_eq!(store.get(&checkpoint).await.expect("is read").bytes().await.expect("bytes"), "new");
        store.delete(&checkpoint).await.expect("is gone");
        assert!(matches!(store.get(&checkpoint).await, Err(Error::NotFound { .. })));
    }

    #[tokio::test]
    async fn nothing_else_is_kept() {
        let inner = Arc::new(InMemory::new());
        let store = Checkpoints::of(Arc::clone(&inner) as Arc<dyn ObjectStore>);
        let large = Path::from("t/_delta_log/1.checkpoint.parquet");
        let commit = Path::from("t/_delta_log/1.json");
        let size = usize::try_from(SMALL).expect("a size") + 1;
        for (path, size) in [(&large, size), (&commit, 10)] {
            store.put(path, vec![1; size].into()).await.expect("is put");
            assert_eq!(store.get_range(path, 0..2).await.expect("is read"), [1, 1][..]);
            inner.put(path, vec![2; size].into()).await.expect("is put");
            assert_eq!(store.get_range(path, 0..2).await.expect("is read"), [2, 2][..]);
        }
        assert!(store.get_range(&large, size as u64 + 5..size as u64 + 9).await.is_err());
        assert_eq!(store.to_string(), inner.to_string());
    }
}
