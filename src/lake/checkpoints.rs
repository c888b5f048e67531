//! A lake's store in which small checkpoints of tables' logs are fetched whole, and as a rule once.
//!
//! Whoever reads a Parquet file asks for its footer and its columns piece by piece, and a log is read in several passes: a
//! run would open the checkpoint of every table a dozen times.

use std::collections::HashMap;
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{BoxStream, StreamExt, TryStreamExt, once};
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetRange, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions, Result,
};

/// Up to which size a checkpoint is small, in bytes.
const SMALL: u64 = 1 << 20;
/// How much is kept, in bytes.
const KEPT: usize = 32 << 20;

/// A store whose small checkpoints are kept once they are read.
#[derive(Debug)]
pub struct Checkpoints {
    inner: Arc<dyn ObjectStore>,
    kept: Arc<Mutex<Kept>>,
}

/// What was read of checkpoints; `None` where one is not to be kept.
#[derive(Debug, Default)]
struct Kept {
    found: HashMap<Path, Option<Whole>>,
    bytes: usize,
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
        Self { inner, kept: Arc::default() }
    }

    /// A small checkpoint; `None` for everything else, and for one of which the store has to tell what is wrong with it.
    async fn whole(&self, location: &Path) -> Option<Whole> {
        if !location.as_ref().ends_with(".checkpoint.parquet") {
            return None;
        }
        if let Some(found) = lock(&self.kept).found.get(location) {
            return found.clone();
        }
        // One byte more than a small one has: of a large one no more is fetched.
        let options = GetOptions { range: Some(GetRange::Bounded(0..SMALL + 1)), ..GetOptions::default() };
        let got = self.inner.get_opts(location, options).await.ok()?;
        let whole = match got.meta.size <= SMALL {
            true => Some(Whole { meta: got.meta.clone(), bytes: got.bytes().await.ok()? }),
            false => None,
        };
        lock(&self.kept).keep(location, whole.clone());
        whole
    }

    fn forget(&self, location: &Path) {
        lock(&self.kept).forget(location);
    }
}

fn lock(kept: &Mutex<Kept>) -> MutexGuard<'_, Kept> {
    kept.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Kept {
    fn keep(&mut self, location: &Path, whole: Option<Whole>) {
        self.forget(location);
        let bytes = whole.as_ref().map_or(0, |whole| whole.bytes.len());
        if self.bytes + bytes > KEPT {
            *self = Self::default();
        }
        self.bytes += bytes;
        self.found.insert(location.clone(), whole);
    }

    /// Forgets an object that becomes another one.
    fn forget(&mut self, location: &Path) {
        let before = self.found.remove(location).flatten();
        self.bytes -= before.map_or(0, |whole| whole.bytes.len());
    }
}

impl Whole {
    /// A part of the content; `None` when there is no such part, as when another process has written the object anew.
    fn part(&self, range: &Range<u64>) -> Option<Bytes> {
        let place = |at: u64| usize::try_from(at).ok().filter(|at| *at <= self.bytes.len());
        let (start, end) = (place(range.start)?, place(range.end)?);
        (start <= end).then(|| self.bytes.slice(start..end))
    }

    /// What an object store answers to a request for a range.
    fn answer(self, range: Option<GetRange>) -> Option<GetResult> {
        let range = match range {
            None => 0..self.meta.size,
            Some(GetRange::Bounded(range)) => range,
            Some(other) => other.as_range(self.meta.size).ok()?,
        };
        let bytes = self.part(&range)?;
        let payload = GetResultPayload::Stream(once(async move { Ok(bytes) }).boxed());
        Some(GetResult { payload, meta: self.meta, range, attributes: Default::default() })
    }
}

impl fmt::Display for Checkpoints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

/// Whether content is asked for, and nothing on a condition.
fn is_plain(options: &GetOptions) -> bool {
    let is_conditional = options.if_match.is_some()
        || options.if_none_match.is_some()
        || options.if_modified_since.is_some()
        || options.if_unmodified_since.is_some();
    !is_conditional && options.version.is_none() && !options.head
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl ObjectStore for Checkpoints {
    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        if is_plain(&options)
            && let Some(whole) = self.whole(location).await
        {
            match whole.answer(options.range.clone()) {
                Some(answer) => return Ok(answer),
                None => self.forget(location),
            }
        }
        self.inner.get_opts(location, options).await
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        if let Some(whole) = self.whole(location).await {
            match ranges.iter().map(|range| whole.part(range)).collect() {
                Some(parts) => return Ok(parts),
                None => self.forget(location),
            }
        }
        self.inner.get_ranges(location, ranges).await
    }

    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.forget(location);
        let put = self.inner.put_opts(location, payload, options).await;
        self.forget(location);
        put
    }

    async fn put_multipart_opts(&self, at: &Path, options: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        // When its last part is there is for the upload to know: it is read from the store.
        if at.as_ref().ends_with(".checkpoint.parquet") {
            lock(&self.kept).keep(at, None);
        }
        self.inner.put_multipart_opts(at, options).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let (kept, also_kept) = (Arc::clone(&self.kept), Arc::clone(&self.kept));
        let locations = locations.inspect_ok(move |location| lock(&kept).forget(location)).boxed();
        let deleted = self.inner.delete_stream(locations);
        deleted.inspect_ok(move |location| lock(&also_kept).forget(location)).boxed()
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
        let copied = self.inner.copy_opts(from, to, options).await;
        self.forget(to);
        copied
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        let forget = || [from, to].map(|location| self.forget(location));
        forget();
        let renamed = self.inner.rename_opts(from, to, options).await;
        forget();
        renamed
    }
}

#[cfg(test)]
mod tests {
    use object_store::memory::InMemory;
    use object_store::{Error, ObjectStoreExt};

    use super::*;

    fn stores() -> (Arc<InMemory>, Checkpoints) {
        let inner = Arc::new(InMemory::new());
        (Arc::clone(&inner), Checkpoints::of(inner))
    }

    async fn read(store: &dyn ObjectStore, range: Option<GetRange>, at: &Path) -> Result<(Range<u64>, Bytes)> {
        let got = store.get_opts(at, GetOptions { range, ..GetOptions::default() }).await?;
        Ok((got.range.clone(), got.bytes().await?))
    }

    #[tokio::test]
    async fn a_small_checkpoint_is_read_once_and_as_it_was_last_written() {
        let (inner, store) = stores();
        let checkpoint = Path::from("t/_delta_log/1.checkpoint.parquet");
        store.put(&checkpoint, "0123456789".into()).await.expect("is put");
        assert_eq!(store.get_range(&checkpoint, 2..4).await.expect("is read"), "23");
        // Behind the store's back: what was read is not read again, whichever part of it is asked for.
        inner.put(&checkpoint, "other".into()).await.expect("is put");
        let tail = read(&store, Some(GetRange::Suffix(3)), &checkpoint).await.expect("is read");
        assert_eq!(tail, (7..10, Bytes::from("789")));
        let rest = read(&store, Some(GetRange::Offset(8)), &checkpoint).await.expect("is read");
        assert_eq!(rest, (8..10, Bytes::from("89")));
        assert_eq!(store.get_ranges(&checkpoint, &[0..1, 8..10]).await.expect("is read"), ["0", "89"]);
        // By way of the store it is another object.
        store.put(&checkpoint, "new".into()).await.expect("is put");
        assert_eq!(read(&store, None, &checkpoint).await.expect("is read"), (0..3, Bytes::from("new")));
        let moved = Path::from("t/_delta_log/2.checkpoint.parquet");
        store.rename(&checkpoint, &moved).await.expect("is renamed");
        assert!(matches!(store.get(&checkpoint).await, Err(Error::NotFound { .. })));
        assert_eq!(store.get_range(&moved, 0..3).await.expect("is read"), "new");
        store.delete(&moved).await.expect("is gone");
        assert!(matches!(store.get(&moved).await, Err(Error::NotFound { .. })));
    }

    #[tokio::test]
    async fn a_request_for_more_than_there_was_is_for_the_store() {
        let (inner, store) = stores();
        let checkpoint = Path::from("t/_delta_log/1.checkpoint.parquet");
        store.put(&checkpoint, "01234".into()).await.expect("is put");
        assert_eq!(store.get_range(&checkpoint, 0..5).await.expect("is read"), "01234");
        inner.put(&checkpoint, "another, longer one".into()).await.expect("is put");
        assert_eq!(store.get_range(&checkpoint, 0..7).await.expect("is read"), "another");
        assert_eq!(store.get_ranges(&checkpoint, &[9..15, 0..1]).await.expect("is read"), ["longer", "a"]);
        assert!(store.get_range(&checkpoint, 90..95).await.is_err());
        // A part of it, as from a process that died, is told of by the store.
        store.put(&checkpoint, PutPayload::new()).await.expect("is put");
        assert_eq!(read(&store, None, &checkpoint).await.expect("is read").1, "");
    }

    #[tokio::test]
    async fn nothing_else_is_kept_and_no_more_than_a_limit() {
        let (inner, store) = stores();
        let large = Path::from("t/_delta_log/1.checkpoint.parquet");
        let commit = Path::from("t/_delta_log/1.json");
        let small = usize::try_from(SMALL).expect("a size");
        for (path, size) in [(&large, small + 1), (&commit, 10)] {
            store.put(path, vec![1; size].into()).await.expect("is put");
            assert_eq!(store.get_range(path, 0..2).await.expect("is read"), [1, 1][..]);
            inner.put(path, vec![2; size].into()).await.expect("is put");
            assert_eq!(store.get_range(path, 0..2).await.expect("is read"), [2, 2][..]);
        }
        assert_eq!(store.to_string(), inner.to_string());
        for number in 0..40 {
            let path = Path::from(format!("{number}/_delta_log/1.checkpoint.parquet"));
            store.put(&path, vec![3; small].into()).await.expect("is put");
            assert_eq!(store.get_range(&path, 0..2).await.expect("is read"), [3, 3][..]);
            let kept = lock(&store.kept);
            let bytes: usize = kept.found.values().flatten().map(|whole| whole.bytes.len()).sum();
            assert!(kept.bytes == bytes && bytes <= KEPT, "{bytes} of {}", kept.bytes);
        }
    }
}
