//! The pace at which a source is read, for the source's sake.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How much of a pause may be made up for by reading faster after it.
const BURST: Duration = Duration::from_secs(1);

/// Keeps all connections together at a rate.
pub struct Pace {
    rows_per_second: Option<u64>,
    /// When the rows read so far are due.
    due: Mutex<Instant>,
    rows: AtomicU64,
}

impl Pace {
    /// A pace of so many rows a second at most.
    pub fn new(rows_per_second: Option<u64>) -> Self {
        Self { rows_per_second, due: Mutex::new(Instant::now()), rows: AtomicU64::new(0) }
    }

    /// Counts rows, and waits when they came too fast; how many there are.
    pub fn keep(&self, rows: u64) -> u64 {
        let all = self.rows.fetch_add(rows, Ordering::Relaxed) + rows;
        if let Some(rate) = self.rows_per_second {
            let now = Instant::now();
            let due = {
                let mut due = self.due.lock().unwrap_or_else(PoisonError::into_inner);
                *due = due_after(*due, now, rows, rate);
                *due
            };
            std::thread::sleep(due.saturating_duration_since(now));
        }
        all
    }
}

/// When rows are due that came now, after those before them.
fn due_after(before: Instant, now: Instant, rows: u64, rate: u64) -> Instant {
    let earliest = now.checked_sub(BURST).unwrap_or(now);
    before.max(earliest) + Duration::from_micros(rows.saturating_mul(1_000_000) / rate.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_is_not_made_up_for_by_more_than_a_second() {
        let start = Instant::now();
        let second = Duration::from_secs(1);
        // Ten seconds of nothing, and then three seconds' worth of rows at once.
        let now = start + 10 * second;
        let due = (0..3).fold(start, |due, _| due_after(due, now, 100, 100));
        assert_eq!(due, now + 2 * second);
        assert_eq!(due_after(due, now, 50, 100), now + 2 * second + second / 2);
    }
}
