//! The pace at which a source is read, for the source's sake.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Keeps all connections together at a rate.
pub struct Pace {
    rows_per_second: Option<u64>,
    since: Instant,
    rows: AtomicU64,
}

impl Pace {
    /// A pace of so many rows a second at most.
    pub fn new(rows_per_second: Option<u64>) -> Self {
        Self { rows_per_second, since: Instant::now(), rows: AtomicU64::new(0) }
    }

    /// Counts rows, and waits when they came too fast; how many there are.
    pub fn keep(&self, rows: u64) -> u64 {
        let all = self.rows.fetch_add(rows, Ordering::Relaxed) + rows;
        if let Some(rate) = self.rows_per_second {
            let due = Duration::from_millis(all.saturating_mul(1000) / rate.max(1));
            std::thread::sleep(due.saturating_sub(self.since.elapsed()));
        }
        all
    }
}
