//! The simulator's promises, read back from its files by a reader that shares nothing with its writer.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read;
use std::path::Path;

use flate2::read::MultiGzDecoder;
use serde_json::Value;
use tempfile::TempDir;

use super::{SampleOptions, SampleSummary, write_sample};
use crate::date::{BizDate, Zone};

fn shanghai() -> Zone {
    "Asia/Shanghai".parse().expect("a zone")
}

/// A small shop: 3 days, 60 devices, 500 events and 20 orders a day.
fn small(out: &TempDir, messy: f64) -> SampleOptions {
    SampleOptions {
        out: out.path().into(),
        days: 3,
        devices: 60,
        events: 500,
        orders: 20,
        goods: 50,
        seed: 7,
        start: BizDate::from_ymd(2026, 1, 30).expect("a date"),
        messy,
        zone: shanghai(),
    }
}

fn write(options: &SampleOptions) -> SampleSummary {
    write_sample(options, &mut |_, _| {}).expect("a sample")
}

/// All files beneath a folder: (path, bytes as they are).
fn files(root: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(root).expect("beneath the root").display().to_string();
                found.insert(name, fs::read(&path).expect("a file"));
            }
        }
    }
    found
}

fn unpacked(name: &str, bytes: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    match name.rsplit('.').next() {
        Some("gz") => drop(MultiGzDecoder::new(bytes).read_to_end(&mut plain).expect("gz")),
        Some("zst") => plain = zstd::decode_all(bytes).expect("zst"),
        _ => plain.extend_from_slice(bytes),
    }
    plain
}

/// The log's lines with their arrival dates.
fn log_lines(root: &Path) -> Vec<(BizDate, Vec<u8>)> {
    let mut lines = Vec::new();
    for (name, bytes) in files(&root.join("user_action")) {
        let arrival: BizDate = name[..10].parse().expect("a date");
        let bytes = unpacked(&name, &bytes);
        let bytes = bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(&bytes);
        lines.extend(bytes.split(|byte| *byte == b'\n').map(|line| (arrival, line.to_vec())));
    }
    lines.retain(|(_, line)| !line.trim_ascii().is_empty());
    lines
}

/// An integer field: `Err` when it cannot be read.
fn integer(event: &Value, name: &str) -> Result<Option<i64>, ()> {
    match event.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if text.trim().is_empty() => Ok(None),
        Some(Value::String(text)) => text.trim().parse().map(Some).map_err(drop),
        Some(value) => value.as_i64().map(Some).ok_or(()),
    }
}

/// Why one event is rejected.
fn reason(event: &Value, arrival: BizDate) -> Option<&'static str> {
    if !event.is_object() {
        return Some("not_an_object");
    }
    match integer(event, "act") {
        Ok(None) => return Some("missing_act"),
        Ok(Some(act)) if !(1..=5).contains(&act) => return Some("unknown_act"),
        _ => {}
    }
    match integer(event, "acttime") {
        Ok(None) => return Some("missing_acttime"),
        Ok(Some(time)) => {
            let ms = if (1_000_000_000..10_000_000_000).contains(&time) { time * 1000 } else { time };
            let day = shanghai().day_of_ms(ms);
            if day.is_none_or(|day| day < arrival.plus_days(-30) || day > arrival.plus_days(1)) {
                return Some("acttime_out_of_range");
            }
        }
        Err(()) => {}
    }
    let xaid = event.get("xaid").and_then(Value::as_str).unwrap_or_default().trim();
    if xaid.is_empty() && integer(event, "uid").is_ok_and(|uid| uid.unwrap_or(0) == 0) {
        return Some("no_visitor");
    }
    let is_bad = |name: &&str| integer(event, name).is_err();
    ["act", "acttime", "uid", "platform", "net", "goods_id", "loading_time"].iter().any(is_bad).then_some("bad_type")
}

/// Why a line, or elements of it, are rejected.
fn reasons(line: &[u8], arrival: BizDate) -> Vec<&'static str> {
    if line.len() > 1_048_576 {
        return vec!["too_long"];
    }
    let Ok(text) = str::from_utf8(line) else { return vec!["not_utf8"] };
    let Ok(value) = serde_json::from_str::<Value>(text) else { return vec!["malformed_json"] };
    match value.get("data") {
        None | Some(Value::Null) => reason(&value, arrival).into_iter().collect(),
        Some(Value::Array(data)) => data.iter().filter(|e| !e.is_object()).map(|_| "not_an_object").collect(),
        Some(_) => Vec::new(),
    }
}

#[test]
fn the_same_options_give_the_same_bytes() {
    for messy in [0.0, 0.2] {
        let [one, two, other] = [(); 3].map(|()| TempDir::new().expect("a folder"));
        let first = write(&small(&one, messy));
        let second = write(&small(&two, messy));
        write(&SampleOptions { seed: 8, ..small(&other, messy) });
        assert_eq!(first, second);
        assert_eq!(files(one.path()), files(two.path()));
        assert_ne!(files(one.path()), files(other.path()));
    }
}

#[test]
fn of_a_clean_sample_only_anonymous_pc_visitors_are_rejected() {
    let out = TempDir::new().expect("a folder");
    let summary = write(&small(&out, 0.0));
    let lines = log_lines(out.path());
    assert_eq!((lines.len() as u64, summary.dirty), (summary.events, 0));
    for (arrival, line) in &lines {
        let event: Value = serde_json::from_slice(line).expect("JSON");
        if let Some(why) = reason(&event, *arrival) {
            assert_eq!((why, &event["platform"]), ("no_visitor", &Value::from(3)));
        }
        let day = shanghai().day_of_ms(event["acttime"].as_i64().expect("a time"));
        assert_eq!(day, Some(*arrival));
    }
}

#[test]
fn a_messy_sample_has_every_reject_reason() {
    let out = TempDir::new().expect("a folder");
    write(&small(&out, 0.3));
    let found: BTreeSet<&str> = log_lines(out.path()).iter().flat_map(|(day, line)| reasons(line, *day)).collect();
    let all = [
        "acttime_out_of_range",
        "bad_type",
        "malformed_json",
        "missing_act",
        "missing_acttime",
        "no_visitor",
        "not_an_object",
        "not_utf8",
        "too_long",
        "unknown_act",
    ];
    assert_eq!(found, BTreeSet::from(all));
}

/// The rows of a plain extract without quoted fields, of all days.
fn rows(root: &Path, table: &str) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    for (name, bytes) in files(&root.join("orders")) {
        if name.ends_with(&format!("/{table}.csv")) {
            let text = String::from_utf8(bytes).expect("UTF-8");
            rows.extend(text.lines().skip(1).map(|line| line.split(',').map(str::to_owned).collect()));
        }
    }
    rows
}

fn cents(money: &str) -> i64 {
    money.replace('.', "").parse().expect("an amount")
}

#[test]
fn the_money_of_a_clean_order_is_the_sum_of_its_lines() {
    let out = TempDir::new().expect("a folder");
    let options = SampleOptions { orders: 400, ..small(&out, 0.0) };
    let summary = write(&options);
    let mut lines: BTreeMap<String, i64> = BTreeMap::new();
    for row in rows(out.path(), "order_item") {
        *lines.entry(row[0].clone()).or_default() += cents(&row[3]);
    }
    let orders: BTreeMap<String, i64> =
        rows(out.path(), "user_order").into_iter().map(|row| (row[0].clone(), cents(&row[3]))).collect();
    assert_eq!(orders, lines);
    assert_eq!(orders.len() as u64, summary.orders);
}

#[test]
fn visitors_come_for_the_first_time_stay_return_and_are_lost() {
    let out = TempDir::new().expect("a folder");
    write(&SampleOptions { days: 16, devices: 150, ..small(&out, 0.0) });
    let mut days: BTreeMap<String, BTreeSet<BizDate>> = BTreeMap::new();
    for (arrival, line) in log_lines(out.path()) {
        let event: Value = serde_json::from_slice(&line).expect("JSON");
        if let Some(xaid) = event["xaid"].as_str().filter(|xaid| !xaid.is_empty()) {
            days.entry(xaid.to_owned()).or_default().insert(arrival);
        }
    }
    let last = BizDate::from_ymd(2026, 2, 14).expect("a date");
    let gaps = |seen: &BTreeSet<BizDate>| {
        let days: Vec<i32> = seen.iter().map(|day| day.days()).collect();
        days.windows(2).map(|pair| pair[1] - pair[0]).collect::<Vec<_>>()
    };
    assert!(days.values().any(|seen| gaps(seen).contains(&1)), "retained");
    assert!(days.values().any(|seen| gaps(seen).iter().any(|gap| *gap > 1)), "resurrected");
    assert!(days.values().any(|seen| seen.last().is_some_and(|day| *day <= last.plus_days(-7))), "lapsed");
    assert!(days.values().any(|seen| seen.first().is_some_and(|day| *day > last.plus_days(-5))), "new");
}

#[test]
fn a_sample_is_never_mixed_with_what_was_there() {
    let out = TempDir::new().expect("a folder");
    write(&small(&out, 0.0));
    let again = write_sample(&small(&out, 0.0), &mut |_, _| {}).expect_err("the folder is not empty");
    assert!(again.to_string().contains("is not empty"), "{again}");
}

#[test]
fn the_smallest_shops_are_shops() {
    for (devices, events, orders, messy) in [(1, 0, 0, 1.0), (1, 3, 1, 0.5), (2, 1000, 0, 1.0), (5, 0, 40, 0.5)] {
        let out = TempDir::new().expect("a folder");
        write(&SampleOptions { devices, events, orders, goods: 1, ..small(&out, messy) });
    }
}
