//! The distinct values of a low-cardinality column, numbered as they come.
//!
//! Values of at most 15 bytes, which nearly all are, are found by comparing one 128-bit number: no hashing of slices.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, StringArray};
use arrow::buffer::{Buffer, OffsetBuffer, ScalarBuffer};
use xxhash_rust::xxh3::xxh3_64;

use super::chunk;

/// No text has these bytes: 0xFF does not occur in UTF-8.
const FREE: u128 = u128::MAX;

#[derive(Clone, Copy)]
struct Short {
    text: u128,
    index: u32,
}

/// Distinct texts, each with its number and its hash.
pub struct Dictionary {
    /// Open addressing; the length is a power of two, at most half of it in use.
    short: Vec<Short>,
    shorts: usize,
    long: HashMap<Box<[u8]>, u32>,
    bytes: Vec<u8>,
    ends: Vec<i32>,
    hashes: Vec<u64>,
}

impl Dictionary {
    pub fn new() -> Self {
        let free = Short { text: FREE, index: 0 };
        Self {
            short: vec![free; 64],
            shorts: 0,
            long: HashMap::new(),
            bytes: Vec::new(),
            ends: vec![0],
            hashes: Vec::new(),
        }
    }

    /// The number of a text of at most 15 bytes, none of them zero, padded with zeros.
    #[inline(always)]
    pub fn number_short(&mut self, text: u128) -> u32 {
        let mut at = slot(text, self.short.len());
        loop {
            let entry = self.short[at];
            if entry.text == text {
                return entry.index;
            }
            if entry.text == FREE {
                return self.insert_short(text, at);
            }
            at = (at + 1) & (self.short.len() - 1);
        }
    }

    /// The number of any text.
    pub fn number(&mut self, text: &[u8]) -> u32 {
        if text.len() < 16 && !text.contains(&0) {
            return self.number_short(chunk::load(text, 0));
        }
        if let Some(index) = self.long.get(text) {
            return *index;
        }
        let index = self.add(text);
        self.long.insert(text.into(), index);
        index
    }

    /// The hash of a numbered text.
    #[inline(always)]
    pub fn hash(&self, number: u32) -> u64 {
        self.hashes[number as usize]
    }

    /// All texts in the order of their numbers.
    pub fn values(&self) -> ArrayRef {
        let ends = OffsetBuffer::new(ScalarBuffer::from(self.ends.clone()));
        Arc::new(StringArray::new(ends, Buffer::from(self.bytes.as_slice()), None))
    }

    #[cold]
    fn insert_short(&mut self, text: u128, at: usize) -> u32 {
        let bytes = text.to_le_bytes();
        let len = bytes.iter().position(|byte| *byte == 0).unwrap_or(16);
        let index = self.add(&bytes[..len]);
        self.short[at] = Short { text, index };
        self.shorts += 1;
        if self.shorts * 2 > self.short.len() {
            self.grow();
        }
        index
    }

    fn grow(&mut self) {
        let larger = vec![Short { text: FREE, index: 0 }; self.short.len() * 4];
        for entry in std::mem::replace(&mut self.short, larger) {
            if entry.text != FREE {
                let mut at = slot(entry.text, self.short.len());
                while self.short[at].text != FREE {
                    at = (at + 1) & (self.short.len() - 1);
                }
                self.short[at] = entry;
            }
        }
    }

    fn add(&mut self, text: &[u8]) -> u32 {
        self.bytes.extend_from_slice(text);
        // A segment's text is far below 2 GiB, and its distinct values are no more than that.
        self.ends.push(i32::try_from(self.bytes.len()).expect("the texts of a segment fit 2 GiB"));
        self.hashes.push(xxh3_64(text));
        self.hashes.len() as u32 - 1
    }
}

#[inline(always)]
fn slot(text: u128, slots: usize) -> usize {
    let folded =
        (text as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ ((text >> 64) as u64).wrapping_mul(0xC2B2_AE3D_27D4_EB4F);
    (folded ^ (folded >> 32)).wrapping_mul(0x9E37_79B9_7F4A_7C15) as usize >> 20 & (slots - 1)
}

#[cfg(test)]
mod tests {
    use arrow::array::AsArray;

    use super::*;

    #[test]
    fn equal_texts_share_a_number_however_long() {
        let mut dictionary = Dictionary::new();
        let texts: Vec<String> = (0..3000).map(|i| format!("{i}{}", "x".repeat(i % 20))).collect();
        let first: Vec<u32> = texts.iter().map(|t| dictionary.number(t.as_bytes())).collect();
        let again: Vec<u32> = texts.iter().map(|t| dictionary.number(t.as_bytes())).collect();
        assert_eq!(first, again);
        let values = dictionary.values();
        for (text, number) in texts.iter().zip(first) {
            assert_eq!(values.as_string::<i32>().value(number as usize), text);
            assert_eq!(dictionary.hash(number), xxh3_64(text.as_bytes()));
        }
    }

    #[test]
    fn a_text_with_a_zero_byte_is_its_own() {
        let mut dictionary = Dictionary::new();
        assert_ne!(dictionary.number(b"a"), dictionary.number(b"a\0"));
        assert_ne!(dictionary.number(b""), dictionary.number(b"\0"));
    }
}
