//! A lake's storage in memory that keeps every state it went through, and that fails when it is told to.
//!
//! Durable steps are what changes the storage: a put (a conditional one too), a copy, a delete, the completion of a
//! multipart upload. They are numbered from 0, in the order in which they took effect.

use std::fmt;
use std::io;
use std::sync::Arc;

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use tokio::sync::Mutex;

/// What becomes of a durable step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It does not happen, nor does anything after it, reads included: the process was killed.
    Killed,
    /// It does not happen: no space left on the device. The next ones do.
    NoSpace,
    /// It does not happen: an input/output error.
    Broken,
    /// Half of the bytes are left where nobody looks for them, as by a file system that stages a file before it gets its
    /// name; then an error.
    Short,
    /// It happens, and yet an error is all that is heard of it.
    Unheard,
}

/// All faults but the end of the process.
pub const ERRORS: [Fault; 4] = [Fault::NoSpace, Fault::Broken, Fault::Short, Fault::Unheard];

#[derive(Debug, Default)]
struct Course {
    steps: usize,
    fault: Option<(usize, Fault)>,
    dead: bool,
    journal: Option<Vec<(String, InMemory)>>,
    failed: Option<String>,
}

/// The storage.
#[derive(Clone, Debug)]
pub struct Store {
    inner: Arc<InMemory>,
    course: Arc<Mutex<Course>>,
}

impl Store {
    /// A storage that holds what another one does, and never fails.
    pub fn of(content: InMemory) -> Self {
        Self { inner: Arc::new(content), course: Arc::default() }
    }

    /// What it holds now.
    pub fn content(&self) -> InMemory {
        self.inner.fork()
    }

    /// Lets the n-th durable step from now on fail.
    pub async fn fail_at(&self, step: usize, fault: Fault) {
        *self.course.lock().await = Course { fault: Some((step, fault)), ..Course::default() };
    }

    /// Fails no more; what failed since it was told to, if anything did.
    pub async fn heal(&self) -> Option<String> {
        std::mem::take(&mut *self.course.lock().await).failed
    }

    /// Keeps what it holds before every durable step from now on.
    pub async fn keep_journal(&self) {
        *self.course.lock().await = Course { journal: Some(Vec::new()), ..Course::default() };
    }

    /// What it held before every durable step, with that step in words.
    pub async fn journal(&self) -> Vec<(String, InMemory)> {
        std::mem::take(&mut *self.course.lock().await).journal.unwrap_or_default()
    }

    async fn alive(&self) -> Result<()> {
        if self.course.lock().await.dead { Err(error("the process is gone", None)) } else { Ok(()) }
    }

    /// Takes one durable step, unless it is the one to fail.
    async fn step<T>(
        &self,
        what: String,
        bytes: Option<(&Path, PutPayload)>,
        action: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        // Held all through: steps take effect one after another, and the journal is in their order.
        let mut course = self.course.lock().await;
        if course.dead {
            return Err(error("the process is gone", None));
        }
        let number = course.steps;
        course.steps += 1;
        if let Some(journal) = &mut course.journal {
            journal.push((what.clone(), self.inner.fork()));
        }
        let Some((_, fault)) = course.fault.filter(|(at, _)| *at == number) else { return action.await };
        course.failed = Some(what.clone());
        match fault {
            Fault::Killed => course.dead = true,
            Fault::NoSpace => return Err(error(&what, Some(28))),
            Fault::Broken => {}
            Fault::Short => {
                if let Some((path, payload)) = bytes {
                    let all: bytes::Bytes = payload.into();
                    let staging = Path::from(format!("{path}.part"));
                    self.inner.put(&staging, all.slice(..all.len() / 2).into()).await?;
                }
            }
            Fault::Unheard => drop(action.await?),
        }
        Err(error(&what, Some(5)))
    }
}

fn error(what: &str, os: Option<i32>) -> Error {
    let source: Box<dyn std::error::Error + Send + Sync> = match os {
        Some(code) => Box::new(io::Error::from_raw_os_error(code)),
        None => what.into(),
    };
    Error::Generic { store: "TestStore", source }
}

impl fmt::Display for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TestStore")
    }
}

#[async_trait]
impl ObjectStore for Store {
    async fn put_opts(&self, at: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let put = self.inner.put_opts(at, payload.clone(), options);
        self.step(format!("put {at}"), Some((at, payload)), put).await
    }

    async fn put_multipart_opts(&self, at: &Path, options: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        self.alive().await?;
        let upload = self.inner.put_multipart_opts(at, options).await?;
        Ok(Box::new(Upload { upload, store: self.clone(), at: at.clone() }))
    }

    async fn get_opts(&self, at: &Path, options: GetOptions) -> Result<GetResult> {
        self.alive().await?;
        self.inner.get_opts(at, options).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let store = self.clone();
        let delete = move |location: Result<Path>| {
            let store = store.clone();
            async move {
                let at = location?;
                store.step(format!("delete {at}"), None, store.inner.delete(&at)).await?;
                Ok(at)
            }
        };
        locations.then(delete).boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let (store, listed) = (self.clone(), self.inner.list(prefix));
        let alive = futures::stream::once(async move { store.alive().await });
        alive.map(|alive| alive.err()).filter_map(|error| async { error.map(Err) }).chain(listed).boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.alive().await?;
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.step(format!("copy {from} {to}"), None, self.inner.copy_opts(from, to, options)).await
    }
}

#[derive(Debug)]
struct Upload {
    upload: Box<dyn MultipartUpload>,
    store: Store,
    at: Path,
}

#[async_trait]
impl MultipartUpload for Upload {
    fn put_part(&mut self, payload: PutPayload) -> object_store::UploadPart {
        self.upload.put_part(payload)
    }

    async fn complete(&mut self) -> Result<PutResult> {
        self.store.clone().step(format!("complete {}", self.at), None, self.upload.complete()).await
    }

    async fn abort(&mut self) -> Result<()> {
        self.upload.abort().await
    }
}
