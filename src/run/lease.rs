//! The run lock of a lake on an object store: a lease, an object that only conditional puts write.
//!
//! It names its holder and the moment until which it holds. The holder renews it while it works; one that was not renewed
//! is taken over some minutes after that moment, which is more than clocks of machines differ. Whoever loses it stops.
//! Should two ever hold it, Delta refuses the commits of the second.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use object_store::path::Path;
use object_store::{Error, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload, UpdateVersion};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use uuid::Uuid;

use super::lock::Holder;

/// How long a lease holds, and what follows from it.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// How long it holds without being renewed.
    pub term: Duration,
    /// How often it is renewed, and how often one that waits looks again.
    pub renewal: Duration,
    /// How long after its end it is respected by others, whose clocks may be ahead.
    pub grace: Duration,
}

/// What runs use.
pub const TERMS: Terms =
    Terms { term: Duration::from_secs(90), renewal: Duration::from_secs(20), grace: Duration::from_secs(180) };

/// The time of a process: that of its start, and what has passed since.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start_ms: i64,
    since: Instant,
}

impl Clock {
    /// A clock that shows a moment now, in epoch milliseconds.
    pub fn at(now_ms: i64) -> Self {
        Self { start_ms: now_ms, since: Instant::now() }
    }

    fn now_ms(&self) -> i64 {
        self.start_ms.saturating_add(millis(self.since.elapsed()))
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// What the object says.
#[derive(Debug, Serialize, Deserialize)]
struct Paper {
    #[serde(flatten)]
    holder: Holder,
    /// Until when it holds, by the holder's clock; 0 when it was let go.
    until_ms: i64,
    /// Tells papers apart, so that no two have the same content.
    token: String,
}

/// Where a lease is kept, and by which rules.
#[derive(Clone)]
pub struct Desk {
    /// The object store.
    pub store: Arc<dyn ObjectStore>,
    /// The object.
    pub path: Path,
    /// The rules.
    pub terms: Terms,
    /// The time.
    pub clock: Clock,
}

/// A lease that is held and renewed.
#[derive(Debug)]
pub struct Lease {
    renewing: JoinHandle<()>,
    lost: watch::Receiver<bool>,
    held: Arc<Held>,
}

struct Held {
    desk: Desk,
    holder: Holder,
    /// The version that we wrote last, and until when it holds.
    version: Mutex<(UpdateVersion, i64)>,
}

impl std::fmt::Debug for Held {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", self.holder)
    }
}

/// What came of an attempt to take or renew it.
enum Outcome {
    Written(UpdateVersion, i64),
    Taken,
}

impl Desk {
    async fn write(&self, holder: &Holder, until_ms: i64, mode: PutMode) -> Result<Outcome> {
        let paper = Paper { holder: holder.clone(), until_ms, token: Uuid::new_v4().simple().to_string() };
        let payload = PutPayload::from(serde_json::to_vec(&paper)?);
        match self.store.put_opts(&self.path, payload, PutOptions::from(mode)).await {
            Ok(put) => Ok(Outcome::Written(put.into(), until_ms)),
            Err(Error::AlreadyExists { .. } | Error::Precondition { .. } | Error::NotFound { .. }) => {
                Ok(Outcome::Taken)
            }
            Err(error) => Err(error).with_context(|| format!("write the run lock {}", self.path)),
        }
    }

    fn until(&self) -> i64 {
        self.clock.now_ms().saturating_add(millis(self.terms.term))
    }

    /// Takes the lease, if it is free or has run out; else who holds it.
    async fn take(&self, me: &Holder) -> Result<Result<Lease, Holder>> {
        let mut outcome = self.write(me, self.until(), PutMode::Create).await?;
        let mut other = Holder::unknown();
        if let Outcome::Taken = outcome {
            let context = || format!("read the run lock {}", self.path);
            let found = match self.store.get(&self.path).await {
                Err(Error::NotFound { .. }) => return Ok(Err(other)),
                found => found.with_context(context)?,
            };
            let version = UpdateVersion { e_tag: found.meta.e_tag.clone(), version: found.meta.version.clone() };
            let text = found.bytes().await.with_context(context)?;
            if let Ok(paper) = serde_json::from_slice::<Paper>(&text) {
                other = paper.holder;
                if self.clock.now_ms() > paper.until_ms.saturating_add(millis(self.terms.grace)) {
                    outcome = self.write(me, self.until(), PutMode::Update(version)).await?;
                }
            }
        }
        Ok(match outcome {
            Outcome::Written(version, until) => Ok(self.hold(me, version, until)),
            Outcome::Taken => Err(other),
        })
    }

    fn hold(&self, me: &Holder, version: UpdateVersion, until: i64) -> Lease {
        let held = Arc::new(Held { desk: self.clone(), holder: me.clone(), version: Mutex::new((version, until)) });
        let (tell, lost) = watch::channel(false);
        let renewing = tokio::spawn({
            let held = Arc::clone(&held);
            async move {
                while held.renew_after_a_while().await {}
                // Nobody listens when the run is just over.
                let _ = tell.send(true);
            }
        });
        Lease { renewing, lost, held }
    }

    /// Takes the lease, waiting for it at most `patience`; who holds it, when that was not enough.
    ///
    /// # Errors
    /// When the store cannot be read or written, or knows no conditional puts.
    pub async fn acquire(&self, me: &Holder, patience: Duration) -> Result<Result<Lease, Holder>> {
        let since = Instant::now();
        loop {
            match self.take(me).await? {
                Err(_) if since.elapsed() < patience => tokio::time::sleep(self.terms.renewal.min(patience)).await,
                done => return Ok(done),
            }
        }
    }
}

impl Held {
    fn version(&self) -> (UpdateVersion, i64) {
        self.version.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Renews the lease once; `false` when it is lost.
    async fn renew_after_a_while(&self) -> bool {
        tokio::time::sleep(self.desk.terms.renewal).await;
        let (version, until) = self.version();
        match self.desk.write(&self.holder, self.desk.until(), PutMode::Update(version)).await {
            Ok(Outcome::Written(version, until)) => {
                *self.version.lock().unwrap_or_else(PoisonError::into_inner) = (version, until);
                true
            }
            Ok(Outcome::Taken) => false,
            // The store may be back before the lease ends.
            Err(_) => self.desk.clock.now_ms() < until,
        }
    }
}

impl Lease {
    /// Ends when the lease is lost, and not before.
    pub async fn lost(&self) {
        let mut lost = self.lost.clone();
        if lost.wait_for(|lost| *lost).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Lets go, so that the next run need not wait for its end.
    pub async fn release(self) {
        self.renewing.abort();
        let Self { held, .. } = self;
        let (version, _) = held.version();
        // If that fails it ends by itself.
        let _ = held.desk.write(&held.holder, 0, PutMode::Update(version)).await;
    }
}

#[cfg(test)]
mod tests {
    use object_store::memory::InMemory;

    use super::*;

    const TEN_MINUTES: i64 = 600_000;

    fn me(run: &str) -> Holder {
        Holder { run: run.into(), pid: 7, host: "here".into(), since: "now".into() }
    }

    fn desk(store: &Arc<InMemory>, now_ms: i64) -> Desk {
        let store = Arc::clone(store) as Arc<dyn ObjectStore>;
        Desk { store, path: Path::from("lake/_strata.lock"), terms: TERMS, clock: Clock::at(now_ms) }
    }

    async fn attempt(desk: &Desk, run: &str) -> Result<Lease, String> {
        desk.acquire(&me(run), Duration::ZERO).await.expect("the store works").map_err(|holder| holder.run)
    }

    #[tokio::test]
    async fn one_holds_it_and_the_other_is_told_who_until_it_is_let_go() {
        let store = Arc::new(InMemory::new());
        let first = attempt(&desk(&store, 1), "one").await.expect("nobody else is there");
        assert_eq!(attempt(&desk(&store, 1), "two").await.expect_err("taken"), "one");
        first.release().await;
        attempt(&desk(&store, TEN_MINUTES), "two").await.expect("it was let go");
        assert_eq!(attempt(&desk(&store, TEN_MINUTES), "three").await.expect_err("taken"), "two");
    }

    #[tokio::test]
    async fn the_lease_of_one_that_died_is_taken_over_when_it_has_run_out_for_every_clock() {
        let store = Arc::new(InMemory::new());
        let killed = attempt(&desk(&store, TEN_MINUTES), "killed").await.expect("nobody else is there");
        killed.renewing.abort();
        let end = TEN_MINUTES + millis(TERMS.term);
        assert_eq!(attempt(&desk(&store, end + 1_000), "two").await.expect_err("clocks differ"), "killed");
        let second = attempt(&desk(&store, end + millis(TERMS.grace) + 1_000), "two").await;
        assert!(second.is_ok(), "taken over");
    }

    #[tokio::test]
    async fn one_whose_lease_was_taken_over_is_told_and_cannot_take_it_back() {
        let store = Arc::new(InMemory::new());
        let quick = Terms { renewal: Duration::from_millis(1), ..TERMS };
        let asleep = Desk { terms: Terms { renewal: Duration::from_secs(3_600), ..TERMS }, ..desk(&store, 1) };
        let first = attempt(&asleep, "one").await.expect("nobody else is there");
        let second = attempt(&desk(&store, TEN_MINUTES), "two").await.expect("it has run out");
        // The first wakes up.
        let desk = Desk { terms: quick, ..asleep.clone() };
        let (version, until) = first.held.version();
        let awake = desk.hold(&me("one"), version, until);
        awake.lost().await;
        awake.release().await;
        assert_eq!(attempt(&self::desk(&store, TEN_MINUTES), "three").await.expect_err("taken"), "two");
        second.release().await;
    }

    #[tokio::test]
    async fn a_lease_is_renewed_while_it_is_held() {
        let store = Arc::new(InMemory::new());
        let terms = Terms { renewal: Duration::from_millis(1), ..TERMS };
        let lease = attempt(&Desk { terms, ..desk(&store, 1) }, "one").await.expect("nobody else is there");
        let (first, _) = lease.held.version();
        while lease.held.version().0.e_tag == first.e_tag {
            tokio::task::yield_now().await;
        }
        assert!(!*lease.lost.borrow());
        assert_eq!(attempt(&desk(&store, 1), "two").await.expect_err("taken"), "one");
    }

    #[tokio::test]
    async fn of_many_that_ask_at_once_one_gets_it() {
        let store = Arc::new(InMemory::new());
        let asked = (0..20).map(|n| {
            let desk = desk(&store, 1);
            async move { attempt(&desk, &n.to_string()).await.is_ok() }
        });
        let got = futures::future::join_all(asked).await;
        assert_eq!(got.into_iter().filter(|got| *got).count(), 1);
    }
}
