//! What a partition is made from, in a form that is recorded with it and compared later.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::States;
use crate::date::Slot;
use crate::model::Model;

/// The model's meaning and, of each table that it or its checks read, a hash of exactly the partitions that are read,
/// with their versions.
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
    let hash = |read: &crate::model::Read| {
        let days = states.days(&read.table);
        let spans = read.spans(slot, days);
        Hash(spans.iter().fold(0, |sum, span| sum.wrapping_add(days.hash(span))))
    };
    let inputs = model.dependencies.iter().map(|read| (read.table.clone(), hash(read))).collect();
    Fingerprint { meaning: model.meaning, inputs }
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
