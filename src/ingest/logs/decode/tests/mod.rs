//! The rules of `sources.md` §2 and §4, one by one: what lands, as what, and what is rejected for which reason.

mod envelopes;
mod fields;
mod lines;

use arrow::array::{Array, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type};

use super::{Counts, DayBatch, Decoded, Decoder, FileContext};
use crate::config::source::{LogSource, Source};

/// 2026-01-01 12:00 in Shanghai, the arrival date of all files here.
pub(crate) const NOON: i64 = 1_767_240_000_000;
pub(crate) const DAY: i64 = 86_400_000;

pub(crate) fn source() -> LogSource {
    let declared = include_str!("../../../../../conf/sources/user_action.toml");
    match toml::from_str(declared).expect("the declaration of the warehouse") {
        Source::Log(source) => source,
        Source::Tables(_) => panic!("user_action is a log"),
    }
}

pub(crate) fn decode_with(source: &LogSource, bytes: &[u8]) -> Decoded {
    let mut decoder = Decoder::new("user_action", source, "Asia/Shanghai".parse().expect("a zone")).expect("fits");
    decoder.begin_file(FileContext {
        name: "a.log".into(),
        arrival: "2026-01-01".parse().expect("a date"),
        rejects_from: 0,
    });
    decoder.push(bytes, 0).expect("decodes");
    decoder.finish().expect("finishes")
}

pub(crate) fn decode(lines: &[&str]) -> Decoded {
    decode_with(&source(), format!("{}\n", lines.join("\n")).as_bytes())
}

/// A good line with the given fields besides the ones that an event must have.
pub(crate) fn line(fields: &str) -> String {
    let comma = if fields.is_empty() { "" } else { "," };
    format!(r#"{{"act":5,"acttime":{NOON},"uid":7{comma}{fields}}}"#)
}

/// The values of a column over all days as text, `-` for NULL.
pub(crate) fn column(decoded: &Decoded, name: &str) -> Vec<String> {
    let mut values = Vec::new();
    for DayBatch { day, batch, .. } in &decoded.days {
        if name == "dt" {
            values.extend(std::iter::repeat_n(day.to_string(), batch.num_rows()));
            continue;
        }
        let text = cast(batch.column_by_name(name).expect("a column"), &DataType::Utf8).expect("casts");
        values.extend(text.as_string::<i32>().iter().map(|v| v.unwrap_or("-").to_owned()));
    }
    values
}

/// What landed of a column, and the reasons of what did not.
pub(crate) fn outcome(decoded: &Decoded, name: &str) -> (Vec<String>, Vec<String>) {
    let reasons = decoded.rejects.iter().flat_map(|(_, batch)| {
        let reasons = batch.column_by_name("reason").expect("a column");
        reasons.as_string::<i32>().iter().map(|r| r.unwrap_or("-").to_owned()).collect::<Vec<_>>()
    });
    (column(decoded, name), reasons.collect())
}

pub(crate) fn value_of(name: &str, fields: &str) -> String {
    let (landed, rejected) = outcome(&decode(&[&line(fields)]), name);
    landed.into_iter().chain(rejected).collect::<Vec<_>>().join("+")
}

pub(crate) fn reasons(lines: &[&str]) -> Vec<String> {
    outcome(&decode(lines), "act").1
}

pub(crate) fn reason(line: &str) -> String {
    reasons(&[line]).join("+")
}
