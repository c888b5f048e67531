//! Finds the declared field that a key names: a perfect hash over the names, made when the decoder is.

use std::collections::HashMap;

use anyhow::{Result, bail};

use super::chunk;

/// Matches no key: 0xFF does not occur in UTF-8.
const FREE: u128 = u128::MAX;

/// The number of no name.
pub const UNKNOWN: usize = usize::MAX;
/// As many places as the highest bits of a product can tell apart.
const MAX_PLACES: usize = 1 << 20;

#[derive(Clone, Copy)]
struct Entry {
    name: u128,
    number: usize,
}

/// Names, numbered in the order given.
pub struct Keys {
    /// Names of at most 15 bytes at the places their hash tells; no two share one.
    entries: Vec<Entry>,
    multiplier: u64,
    long: HashMap<Vec<u8>, usize>,
}

impl Keys {
    /// Numbers the names.
    ///
    /// # Errors
    /// When a name is given twice or has a zero byte.
    pub fn new<'a>(names: impl Iterator<Item = &'a str>) -> Result<Self> {
        let mut long = HashMap::new();
        let mut short = Vec::new();
        for (number, name) in names.enumerate() {
            if name.is_empty() || name.contains('\0') || long.insert(name.as_bytes().to_vec(), number).is_some() {
                bail!("field name `{}` is empty, has a zero byte, or is declared twice", name.escape_debug());
            }
            if name.len() < 16 {
                short.push(Entry { name: chunk::load(name.as_bytes(), 0), number });
            }
        }
        // With n² places about every second multiplier will do; more places are tried if, against all odds, none does.
        let mut places = (short.len() * short.len()).next_power_of_two().clamp(64, MAX_PLACES);
        let mut multiplier = 0x9E37_79B9_7F4A_7C15_u64;
        for attempt in 1.. {
            let mut entries = vec![Entry { name: FREE, number: 0 }; places];
            let collides = short.iter().any(|entry| {
                let place = place(entry.name, multiplier, places);
                std::mem::replace(&mut entries[place], *entry).name != FREE
            });
            if !collides {
                return Ok(Self { entries, multiplier, long });
            }
            if attempt % 100 == 0 && places == MAX_PLACES {
                break;
            } else if attempt % 100 == 0 {
                places *= 2;
            }
            multiplier = multiplier.wrapping_mul(0xD134_2543_DE82_EF95).wrapping_add(2);
        }
        bail!("{} field names are too many to tell apart quickly", short.len());
    }

    /// The number of a name of at most 15 bytes, padded with zeros, or [`UNKNOWN`].
    #[inline(always)]
    pub fn find_short(&self, name: u128) -> usize {
        let entry = &self.entries[place(name, self.multiplier, self.entries.len())];
        if entry.name == name { entry.number } else { UNKNOWN }
    }

    /// The number of any name, or [`UNKNOWN`].
    pub fn find(&self, name: &[u8]) -> usize {
        self.long.get(name).copied().unwrap_or(UNKNOWN)
    }
}

#[inline(always)]
fn place(name: u128, multiplier: u64, places: usize) -> usize {
    let folded = (name as u64) ^ ((name >> 64) as u64).rotate_left(29);
    // Only the highest bits of a product depend on every bit of its factors.
    (folded.wrapping_mul(multiplier) >> 44) as usize & (places - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_found_and_nothing_else() {
        let mut names: Vec<String> = (0..100).map(|i| format!("field_{i}")).collect();
        names.push("a_name_longer_than_sixteen_bytes".to_owned());
        let keys = Keys::new(names.iter().map(String::as_str)).expect("distinct names");
        for (number, name) in names.iter().enumerate() {
            assert_eq!(keys.find(name.as_bytes()), number);
            if name.len() < 16 {
                assert_eq!(keys.find_short(chunk::load(name.as_bytes(), 0)), number);
            }
        }
        for other in ["", "field", "field_100", "Field_1"] {
            assert_eq!(keys.find(other.as_bytes()), UNKNOWN);
            assert_eq!(keys.find_short(chunk::load(other.as_bytes(), 0)), UNKNOWN);
        }
    }

    #[test]
    fn a_name_declared_twice_is_an_error() {
        assert!(Keys::new(["a", "b", "a"].into_iter()).is_err());
    }
}
