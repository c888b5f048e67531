//! Lines: what is one, what lands, and for which reason the others do not.

use super::super::super::rejects::{Reason, reason_names};
use super::*;

#[test]
fn a_flat_line_lands_with_its_types_and_its_place() {
    let first = r#"{"uid":10000,"ver":"3.3.2","act":3,"acttime":1767240000123,"xaid":" d-1 ","goods_id":100013209248,"platform":3}"#;
    let decoded = decode(&[first, &line("")]);
    for (name, expected) in [
        ("dt", ["2026-01-01", "2026-01-01"]),
        ("uid", ["10000", "7"]),
        ("ver", ["3.3.2", "-"]),
        ("act", ["3", "5"]),
        ("acttime", ["1767240000123", "1767240000000"]),
        ("xaid", ["d-1", "-"]),
        ("goods_id", ["100013209248", "-"]),
        ("platform", ["3", "-"]),
        ("extra", ["-", "-"]),
        ("file", ["a.log", "a.log"]),
        ("arrival_dt", ["2026-01-01", "2026-01-01"]),
        ("element", ["0", "0"]),
    ] {
        assert_eq!(column(&decoded, name), expected, "{name}");
    }
    assert_eq!(column(&decoded, "byte_offset"), ["0".to_owned(), (first.len() + 1).to_string()]);
    let (_, counts) = &decoded.files[0];
    assert_eq!(counts, &Counts { read: 2, landed: 2, ..Counts::default() });
}

#[test]
fn a_line_is_rejected_for_the_first_reason_that_applies() {
    let time = format!(r#""acttime":{NOON}"#);
    for (written, expected) in [
        ("{\"act\":5", "malformed_json"),
        ("{\"act\":NaN}", "malformed_json"),
        (r#"{"act":5} x"#, "malformed_json"),
        (r#"{"act":5}{"act":5}"#, "malformed_json"),
        (r#"{"ver":"\uD800"}"#, "malformed_json"),
        ("{\"ver\":\"a\tb\"}", "malformed_json"),
        ("hello", "malformed_json"),
        ("[1]", "not_an_object"),
        ("5", "not_an_object"),
        ("null", "not_an_object"),
        (r#"  "text" "#, "not_an_object"),
        ("[NaN]", "malformed_json"),
        ("{}", "missing_act"),
        (r#"{"act":null,"uid":true}"#, "missing_act"),
        (r#"{"act":"","acttime":1}"#, "missing_act"),
        (r#"{"act":6}"#, "unknown_act"),
        (r#"{"act":0,"acttime":true}"#, "unknown_act"),
        (r#"{"act":1}"#, "missing_acttime"),
        (r#"{"act":1,"acttime":5}"#, "acttime_out_of_range"),
        (&format!(r#"{{"act":1,{time}}}"#), "no_visitor"),
        (&format!(r#"{{"act":1,{time},"net":"x"}}"#), "no_visitor"),
        (&format!(r#"{{"act":1,{time},"uid":"x"}}"#), "bad_type"),
        (&format!(r#"{{"act":1,{time},"xaid":{{}}}}"#), "bad_type"),
        (&format!(r#"{{"act":1,{time},"uid":1,"net":[]}}"#), "bad_type"),
        (r#"{"act":"x"}"#, "missing_acttime"),
        (r#"{"act":"x","acttime":1.5}"#, "no_visitor"),
        (r#"{"act":"x","acttime":1.5,"uid":1}"#, "bad_type"),
        (&format!(r#"{{"act":true,{time},"uid":1}}"#), "bad_type"),
        (r#"{"act":1,"acttime":"x","uid":1}"#, "bad_type"),
    ] {
        assert_eq!(reason(written), expected, "{written}");
    }
}

#[test]
fn a_line_that_is_not_utf8_is_rejected_alone() {
    let good = line(r#""ver":"中""#);
    let bytes = [good.as_bytes(), b"\n", b"{\"ver\":\"\xff\"\n", b"[\xc3\n", good.as_bytes(), b"\n"].concat();
    let decoded = decode_with(&source(), &bytes);
    assert_eq!(outcome(&decoded, "ver"), (vec!["中".to_owned(); 2], vec!["not_utf8".to_owned(); 2]));
}

#[test]
fn blank_lines_are_no_events_and_only_newlines_end_lines() {
    let decoded = decode(&["", " \t\r", &line(""), "\r", &format!("\r{}\r", line("")), "\u{b}"]);
    let (_, counts) = &decoded.files[0];
    assert_eq!((counts.read, counts.landed, counts.rejected[Reason::MalformedJson as usize]), (3, 2, 1));
    let two_in_one = format!("{}\r{}", line(""), line(""));
    assert_eq!(reason(&two_in_one), "malformed_json");
}

#[test]
fn a_byte_order_mark_is_skipped_at_the_start_of_a_file_only() {
    let decoded = decode(&[&format!("\u{feff}{}", line("")), &format!("\u{feff}{}", line(""))]);
    assert_eq!(outcome(&decoded, "byte_offset"), (vec!["3".to_owned()], vec!["malformed_json".to_owned()]));
}

#[test]
fn a_long_line_is_too_long_whatever_it_says() {
    let mut source = source();
    source.limits.line_bytes = 100;
    source.limits.reject_bytes = 10;
    let fits = line(&format!(r#""a":"{}""#, "x".repeat(100 - line(r#""a":"""#).len())));
    let bytes = [fits.as_bytes(), b"\n", fits.as_bytes(), b"\r\n", &[b' '; 200], b"\n", &[0xff; 101], b"\n"].concat();
    let decoded = decode_with(&source, &bytes);
    assert_eq!(outcome(&decoded, "element"), (vec!["0".to_owned()], vec!["too_long".to_owned(); 2]));
    let raw = cast(decoded.rejects[0].1.column_by_name("raw").expect("a column"), &DataType::Binary).expect("casts");
    assert_eq!(raw.as_binary::<i32>().value(1), [0xff; 10]);
}

#[test]
fn nesting_of_128_levels_is_allowed() {
    let nested = |depth: usize| line(&format!(r#""a":{}{}"#, "[".repeat(depth), "]".repeat(depth)));
    assert_eq!(reason(&nested(127)), "");
    assert_eq!(reason(&nested(128)), "malformed_json");
}

#[test]
fn thousands_of_events_of_mixed_days_keep_their_order_within_a_day() {
    let lines: Vec<String> = (0..5000)
        .map(|i| format!(r#"{{"act":1,"uid":{},"acttime":{},"xaid":"d{i}","n":{i}}}"#, i + 1, NOON - DAY * (i % 3)))
        .collect();
    let decoded = decode(&lines.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(
        decoded.days.iter().map(|d| (d.day.to_string(), d.batch.num_rows())).collect::<Vec<_>>(),
        [("2025-12-30".to_owned(), 1666), ("2025-12-31".to_owned(), 1667), ("2026-01-01".to_owned(), 1667),]
    );
    let expected: Vec<String> =
        [2, 1, 0].iter().flat_map(|d| (0..5000).filter(move |i| i % 3 == *d)).map(|i| format!("d{i}")).collect();
    assert_eq!(column(&decoded, "xaid"), expected);
}

#[test]
fn the_reasons_are_named_after_the_declared_fields() {
    assert_eq!(
        reason_names("act", "acttime")[4..8],
        ["missing_act", "unknown_act", "missing_acttime", "acttime_out_of_range"]
    );
}

#[test]
fn a_declaration_that_contradicts_itself_is_refused() {
    let refused = |change: fn(&mut LogSource)| {
        let mut source = source();
        change(&mut source);
        Decoder::new("user_action", &source, "UTC".parse().expect("a zone")).err().map(|e| format!("{e:#}"))
    };
    assert!(refused(|s| s.event.kind = "nope".to_owned()).is_some_and(|e| e.contains("`nope`")));
    assert!(refused(|s| s.event.time = "xaid".to_owned()).is_some_and(|e| e.contains("must be an integer")));
    assert!(refused(|s| s.fields[1].name = "event_id".to_owned()).is_some_and(|e| e.contains("`uid`")));
    assert!(refused(|s| s.fields[3].name = "dt".to_owned()).is_some_and(|e| e.contains("`dt`")));
    assert!(refused(|s| s.fields[3].name = "data".to_owned()).is_some_and(|e| e.contains("declared twice")));
}

#[test]
fn random_mutations_are_json_to_this_scanner_exactly_when_they_are_to_serde() {
    let seeds = [
        line(
            r#""ver":"3.3.2","net":" 1 ","x":[1,-2.5e3,{"y":"\u4e2d\uD83D\uDE00\n"}],"brand":"华为","t":true,"f":false,"n":null"#,
        ),
        format!(r#"{{"uid":1,"acttime":{NOON},"data":[{{"act":1,"k":"v"}},{{"act":2}}]}}"#),
        format!(r#"{{"uid":1,"acttime":{NOON},"data":"[{{\"act\":1}},{{\"act\":\"2\"}}]"}}"#),
    ];
    let inserts: [&[u8]; 24] = [
        b"\"", b"\\", b"{", b"}", b"[", b"]", b",", b":", b"0", b"1", b"-", b".", b"e", b"E+", b" ", b"\t", b"\x01",
        b"\\u", b"\\ud800", b"null", b"true", b"\xff", b"1e999", b"\"\"",
    ];
    let mut state = 1_u64;
    let mut random = move |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    let mut decoder = Decoder::new("user_action", &source(), "UTC".parse().expect("a zone")).expect("fits");
    let mut expected = Vec::new();
    for _ in 0..30_000 {
        let mut bytes = seeds[random(seeds.len())].clone().into_bytes();
        for _ in 0..=random(3) {
            let at = random(bytes.len());
            match random(4) {
                0 => drop(bytes.remove(at)),
                1 => bytes[at] = inserts[random(inserts.len())][0],
                2 => drop(bytes.splice(at..at, inserts[random(inserts.len())].iter().copied())),
                _ => {
                    let end = (at + random(12)).min(bytes.len());
                    let piece = bytes[at..end].to_vec();
                    let to = random(bytes.len());
                    drop(bytes.splice(to..to, piece));
                }
            }
        }
        bytes.retain(|byte| *byte != b'\n');
        let theirs = serde_json::from_slice::<serde_json::Value>(&bytes);
        if theirs.as_ref().is_err_and(|e| e.to_string().contains("number out of range")) {
            continue;
        }
        expected.push((bytes.escape_ascii().to_string(), theirs.is_ok()));
        bytes.push(b'\n');
        decoder.begin_file(FileContext {
            name: "a".into(),
            arrival: "2026-01-01".parse().expect("a date"),
            rejects_from: 0,
        });
        decoder.push(&bytes, 1).expect("decodes");
    }
    let decoded = decoder.finish().expect("finishes");
    for ((shown, is_json), (_, counts)) in expected.iter().zip(&decoded.files) {
        let refused = counts.rejected[Reason::MalformedJson as usize] + counts.rejected[Reason::NotUtf8 as usize];
        assert_eq!(refused == 0, *is_json, "{shown}");
        assert_eq!(counts.read, counts.landed + counts.rejected.iter().sum::<u64>(), "{shown}");
    }
    let landed: usize = decoded.days.iter().map(|day| day.batch.num_rows()).sum();
    let rows = landed + decoded.rejects.iter().map(|(_, batch)| batch.num_rows()).sum::<usize>();
    assert_eq!(rows as u64, decoded.files.iter().map(|(_, counts)| counts.read).sum::<u64>());
    let good = expected.iter().filter(|(_, is_json)| *is_json).count();
    assert!(good > 3_000 && expected.len() - good > 3_000, "{good} of {}", expected.len());
}
