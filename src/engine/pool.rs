//! The memory of queries: whoever asks gets it while there is plenty, and what can spill shares the rest in equal parts.
//!
//! Equal parts from the beginning, as [`FairSpillPool`] has them, are too small where many operators stand in line: a plan has
//! dozens of them, most of which never hold anything, and a sort that cannot get its first batch has nothing to spill and
//! fails, with nearly all memory free.

use std::fmt;

use datafusion::common::Result;
use datafusion::execution::memory_pool::{FairSpillPool, MemoryConsumer, MemoryLimit, MemoryPool, MemoryReservation};

/// Memory of so many bytes, of which there is plenty as long as half is free. At the very most half as much again is promised:
/// when a few hold the first half, and all others get their part of the whole.
#[derive(Debug)]
pub struct QueryMemory {
    fair: FairSpillPool,
    plenty: usize,
}

impl QueryMemory {
    /// All of it is free.
    pub fn new(bytes: usize) -> Self {
        Self { fair: FairSpillPool::new(bytes), plenty: bytes / 2 }
    }
}

impl fmt::Display for QueryMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.fair.fmt(f)
    }
}

impl MemoryPool for QueryMemory {
    fn name(&self) -> &str {
        self.fair.name()
    }

    fn register(&self, consumer: &MemoryConsumer) {
        self.fair.register(consumer);
    }

    fn unregister(&self, consumer: &MemoryConsumer) {
        self.fair.unregister(consumer);
    }

    fn grow(&self, reservation: &MemoryReservation, additional: usize) {
        self.fair.grow(reservation, additional);
    }

    fn shrink(&self, reservation: &MemoryReservation, shrink: usize) {
        self.fair.shrink(reservation, shrink);
    }

    fn try_grow(&self, reservation: &MemoryReservation, additional: usize) -> Result<()> {
        if self.fair.reserved().saturating_add(additional) <= self.plenty {
            self.fair.grow(reservation, additional);
            return Ok(());
        }
        self.fair.try_grow(reservation, additional)
    }

    fn reserved(&self) -> usize {
        self.fair.reserved()
    }

    fn memory_limit(&self) -> MemoryLimit {
        self.fair.memory_limit()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn what_can_spill_gets_memory_while_there_is_plenty_and_then_its_part() {
        let pool: Arc<dyn MemoryPool> = Arc::new(QueryMemory::new(1000));
        let spills = |name: &str| MemoryConsumer::new(name).with_can_spill(true).register(&pool);
        let idle: Vec<MemoryReservation> = (0..18).map(|_| spills("idle")).collect();
        let (sort, other) = (spills("sort"), spills("other"));
        // Of twenty, each one's part is 50.
        assert!(sort.try_grow(450).is_ok());
        assert!(other.try_grow(60).is_err());
        assert!(other.try_grow(40).is_ok() && other.try_grow(10).is_ok());
        assert!(sort.try_grow(1).is_err(), "it has to spill");
        sort.shrink(400);
        assert!(other.try_grow(300).is_ok());
        drop(idle);
        assert!(sort.try_grow(400).is_ok(), "of two, each one's part is 500");
        // What cannot spill gets what is left.
        let join = MemoryConsumer::new("join").register(&pool);
        assert!(join.try_grow(201).is_err() && join.try_grow(200).is_ok());
        assert_eq!(pool.reserved(), 1000);
    }
}
