//! What a partition is made from, in a form that is recorded with it and compared later.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{DayIndex, States};
use crate::date::Slot;
use crate::model::{Model, Read};

/// The model's meaning and, of each table that it or its checks read, a hash of exactly the partitions that are read,
/// with the versions of the columns that can be seen.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fingerprint {
    /// The meaning of the model.
    #[serde(serialize_with = "hex", deserialize_with = "from_hex")]
    pub meaning: u64,
    /// By table; 0 when nothing of it is there to be read.
    pub inputs: BTreeMap<String, Hash>,
}

/// A hash, written as 16 hexadecimal digits, for JSON readers take large numbers for floats.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hash(pub u64);

impl Serialize for Hash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        hex(&self.0, serializer)
    }
}

impl<'de> Deserialize<'de> for Hash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        from_hex(deserializer).map(Self)
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature serde asks for")]
fn hex<S: Serializer>(hash: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{hash:016x}"))
}

fn from_hex<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let text = String::deserialize(deserializer)?;
    u64::from_str_radix(&text, 16).map_err(serde::de::Error::custom)
}

/// What a partition of a model would be made from, and checked against, today; the slot of a model that is made in one
/// go is `None`.
pub fn fingerprint(model: &Model, slot: Slot, states: &States) -> Fingerprint {
    Inputs::of(model, states).fingerprint(slot)
}

/// The inputs of a model as they are, for as many of its partitions as one likes.
pub(super) struct Inputs<'a> {
    meaning: u64,
    /// With the columns that it can see.
    reads: Vec<(&'a Read, &'a DayIndex, Vec<usize>)>,
}

impl<'a> Inputs<'a> {
    pub fn of(model: &'a Model, states: &'a States) -> Self {
        let read = |read: &'a Read| (read, states.days(&read.table), states.seen(read));
        Self { meaning: model.meaning, reads: model.dependencies.iter().map(read).collect() }
    }

    /// What a partition would be made from.
    pub fn fingerprint(&self, slot: Slot) -> Fingerprint {
        let inputs = self.hashes(slot).map(|(table, hash)| (table.to_owned(), hash)).collect();
        Fingerprint { meaning: self.meaning, inputs }
    }

    /// Whether a partition would be made from what it was made from.
    pub fn are(&self, made_from: &Fingerprint, slot: Slot) -> bool {
        let is_same = |(table, hash): (&str, Hash)| made_from.inputs.get(table) == Some(&hash);
        self.meaning == made_from.meaning
            && self.reads.len() == made_from.inputs.len()
            && self.hashes(slot).all(is_same)
    }

    fn hashes(&self, slot: Slot) -> impl Iterator<Item = (&str, Hash)> {
        self.reads.iter().map(move |(read, days, columns)| {
            let spans = read.spans(slot, *days);
            let hash = spans.iter().fold(0, |sum: u64, span| sum.wrapping_add(days.hash(span, columns)));
            (read.table.as_str(), Hash(hash))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_is_text_that_reads_back() {
        let inputs = BTreeMap::from([("ods_user".to_owned(), Hash(u64::MAX)), ("t".to_owned(), Hash(0))]);
        let fingerprint = Fingerprint { meaning: 0x1f, inputs };
        let json = serde_json::to_string(&fingerprint).expect("JSON");
        let expected =
            r#"{"meaning":"000000000000001f","inputs":{"ods_user":"ffffffffffffffff","t":"0000000000000000"}}"#;
        assert_eq!(json, expected);
        assert_eq!(serde_json::from_str::<Fingerprint>(&json).expect("a fingerprint"), fingerprint);
        assert!(serde_json::from_str::<Fingerprint>(r#"{"meaning":"xyz","inputs":{}}"#).is_err());
    }
}
