//! Chance that never changes: draws keyed by what they decide, with distributions made of integers only, so that the
//! same arguments give the same bytes on any machine and with any version of the generator's crate.

use rand_pcg::Pcg64Mcg;
use rand_pcg::rand_core::Rng;
use xxhash_rust::xxh3::xxh3_128;

/// What a series of draws decides; series of different topics are independent.
#[derive(Clone, Copy)]
pub enum Topic {
    /// A device's build and habits.
    Device = 1,
    /// A device's account.
    Account,
    /// Whether and how often a device is used on a day.
    Activity,
    /// One session of a device.
    Session,
    /// A session's events.
    Events,
    /// A session's identity on the wire.
    Identity,
    /// A goods.
    Goods,
    /// A user's particulars.
    User,
    /// What a user buys.
    Buyer,
    /// One order.
    Order,
    /// Dirt in the logs.
    LogDirt,
    /// Dirt in the extracts.
    TableDirt,
}

/// One series of draws.
pub struct Draw(Pcg64Mcg);

impl Draw {
    /// Begins the series for a topic and what it is about (a device and a day, an order, …).
    pub fn new(seed: u64, topic: Topic, about: u64, and: u64) -> Self {
        Self(Pcg64Mcg::new(key(seed, topic, about, and)))
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// A number in `0..bound`, or 0 when the bound is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.bits()) * u128::from(bound)) >> 64) as u64
    }

    /// A number in `low..=high`; `low` when the range is empty.
    pub fn between(&mut self, low: i64, high: i64) -> i64 {
        low + self.below((high - low + 1).max(0) as u64) as i64
    }

    /// True `per_mille` times in a thousand.
    pub fn chance(&mut self, per_mille: u64) -> bool {
        self.below(1000) < per_mille
    }

    /// One of the items, each as likely as the next; the slice must not be empty.
    pub fn pick<T: Copy>(&mut self, items: &[T]) -> T {
        items[self.below(items.len() as u64) as usize]
    }

    /// An index, as often as its weight says.
    pub fn weighted(&mut self, weights: &[u32]) -> usize {
        let mut rest = self.below(weights.iter().map(|w| u64::from(*w)).sum());
        for (index, weight) in weights.iter().enumerate() {
            if rest < u64::from(*weight) {
                return index;
            }
            rest -= u64::from(*weight);
        }
        0
    }

    /// A quantity with a heavy tail: between about 1 and 16 times `scale`, half the time under 1.8 times it.
    pub fn tail(&mut self, scale: i64) -> i64 {
        scale * 256 / (16 + self.below(256) as i64)
    }
}

/// A 128-bit hash of what is decided; also serves as an identity (event ids, device ids).
pub fn key(seed: u64, topic: Topic, about: u64, and: u64) -> u128 {
    let mut bytes = [0; 32];
    for (slot, part) in bytes.chunks_exact_mut(8).zip([seed, topic as u64, about, and]) {
        slot.copy_from_slice(&part.to_le_bytes());
    }
    xxh3_128(&bytes)
}

/// How many of `total` fall to the piece of weight `weight` that follows `before` of `all` weight; the pieces sum to the total.
pub fn share(total: u64, before: u64, weight: u64, all: u64) -> u64 {
    let upto = |w: u64| (u128::from(total) * u128::from(w) / u128::from(all.max(1))) as u64;
    upto(before + weight) - upto(before)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stream_is_the_one_the_committed_sample_was_made_with() {
        let mut draw = Draw::new(1, Topic::Device, 2, 3);
        let first: Vec<u64> = (0..4).map(|_| draw.below(1000)).collect();
        assert_eq!(first, [190, 773, 807, 323]);
    }

    #[test]
    fn shares_of_a_total_sum_to_it() {
        let weights = [3, 0, 9, 1, 7];
        let mut before = 0;
        let mut sum = 0;
        for weight in weights {
            sum += share(101, before, weight, 20);
            before += weight;
        }
        assert_eq!(sum, 101);
    }
}
