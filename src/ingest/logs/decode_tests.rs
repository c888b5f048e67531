//! The rules of `sources.md` §2 and §4, one by one: what lands, as what, and what is rejected for which reason.

use arrow::array::{Array, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type};

use super::decode::{Counts, DayBatch, Decoded, Decoder, FileContext};
use super::rejects::{Reason, reason_names};
use crate::config::source::{LogSource, Source};

/// 2026-01-01 12:00 in Shanghai, the arrival date of all files here.
const NOON: i64 = 1_767_240_000_000;
const DAY: i64 = 86_400_000;

pub fn source() -> LogSource {
    let declared = include_str!("../../../conf/sources/user_action.toml");
    match toml::from_str(declared).expect("the declaration of the warehouse") {
        Source::Log(source) => source,
        Source::Tables(_) => panic!("user_action is a log"),
    }
}

fn decode_with(source: &LogSource, bytes: &[u8]) -> Decoded {
    let mut decoder = Decoder::new("user_action", source, "Asia/Shanghai".parse().expect("a zone")).expect("fits");
    decoder.begin_file(FileContext { name: "a.log".into(), arrival: "2026-01-01".parse().expect("a date"), rejects_from: 0 });
    decoder.push(bytes, 0).expect("decodes");
    decoder.finish().expect("finishes")
}

fn decode(lines: &[&str]) -> Decoded {
    decode_with(&source(), format!("{}\n", lines.join("\n")).as_bytes())
}

/// A good line with the given fields besides the ones that an event must have.
fn line(fields: &str) -> String {
    let comma = if fields.is_empty() { "" } else { "," };
    format!(r#"{{"act":5,"acttime":{NOON},"uid":7{comma}{fields}}}"#)
}

/// The values of a column over all days as text, `-` for NULL.
fn column(decoded: &Decoded, name: &str) -> Vec<String> {
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
fn outcome(decoded: &Decoded, name: &str) -> (Vec<String>, Vec<String>) {
    let reasons = decoded.rejects.iter().flat_map(|(_, batch)| {
        let reasons = batch.column_by_name("reason").expect("a column");
        reasons.as_string::<i32>().iter().map(|r| r.unwrap_or("-").to_owned()).collect::<Vec<_>>()
    });
    (column(decoded, name), reasons.collect())
}

fn value_of(name: &str, fields: &str) -> String {
    let (landed, rejected) = outcome(&decode(&[&line(fields)]), name);
    landed.into_iter().chain(rejected).collect::<Vec<_>>().join("+")
}

fn reasons(lines: &[&str]) -> Vec<String> {
    outcome(&decode(lines), "act").1
}

fn reason(line: &str) -> String {
    reasons(&[line]).join("+")
}

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
fn integers_are_read_bare_or_quoted_with_white_space_trimmed() {
    for (written, expected) in [
        ("5", "5"),
        ("-5", "-5"),
        ("0", "0"),
        ("-0", "0"),
        (r#""5""#, "5"),
        (r#"" +5 ""#, "5"),
        (r#""-05""#, "-5"),
        ("\"\u{3000}5\u{a0}\"", "5"),
        (r#""\u0035""#, "5"),
        (r#""\t5\n""#, "5"),
        ("null", "-"),
        (r#""""#, "-"),
        (r#"" ""#, "-"),
        ("2147483647", "2147483647"),
        ("-2147483648", "-2147483648"),
        ("2147483648", "bad_type"),
        ("-2147483649", "bad_type"),
        ("99999999999999999999999", "bad_type"),
        ("12.0", "bad_type"),
        ("1e3", "bad_type"),
        ("1e999", "bad_type"),
        ("true", "bad_type"),
        ("{}", "bad_type"),
        ("[1]", "bad_type"),
        (r#""1 2""#, "bad_type"),
        (r#""1.0""#, "bad_type"),
        (r#""+""#, "bad_type"),
        (r#""0x10""#, "bad_type"),
        ("\"٣\"", "bad_type"),
        ("01", "malformed_json"),
        ("+1", "malformed_json"),
        ("1.", "malformed_json"),
        ("-", "malformed_json"),
    ] {
        assert_eq!(value_of("location", &format!(r#""location":{written}"#)), expected, "{written}");
    }
    for (written, expected) in [
        ("9223372036854775807", "9223372036854775807"),
        ("-9223372036854775808", "-9223372036854775808"),
        ("9223372036854775808", "bad_type"),
        ("1234567890123456", "1234567890123456"),
        ("123456789012345", "123456789012345"),
        (r#""000000000000000000000000012""#, "12"),
    ] {
        assert_eq!(value_of("goods_id", &format!(r#""goods_id":{written}"#)), expected, "{written}");
    }
}

#[test]
fn strings_are_kept_as_they_are_up_to_255_code_points() {
    for (written, expected) in [
        (r#""3.4.5""#.to_owned(), "3.4.5".to_owned()),
        (r#"" a ""#.to_owned(), " a ".to_owned()),
        (r#"" ""#.to_owned(), " ".to_owned()),
        (r#""""#.to_owned(), "-".to_owned()),
        ("null".to_owned(), "-".to_owned()),
        ("3.40".to_owned(), "3.40".to_owned()),
        ("1e999".to_owned(), "1e999".to_owned()),
        (r#""\u4e2d\uD83D\uDE00\n""#.to_owned(), "中😀\n".to_owned()),
        ("true".to_owned(), "bad_type".to_owned()),
        ("{}".to_owned(), "bad_type".to_owned()),
        ("[]".to_owned(), "bad_type".to_owned()),
        (format!("\"{}\"", "中".repeat(255)), "中".repeat(255)),
        (format!("\"{}\"", "中".repeat(256)), "bad_type".to_owned()),
        (format!("\"{}\"", "x".repeat(256)), "bad_type".to_owned()),
        (format!("\"{}\"", r"\u0041".repeat(255)), "A".repeat(255)),
        ("1".repeat(256), "bad_type".to_owned()),
    ] {
        for name in ["ver", "event_id"] {
            assert_eq!(value_of(name, &format!(r#""{name}":{written}"#)), expected, "{name} {written}");
        }
    }
}

#[test]
fn an_xaid_is_trimmed_after_its_length_was_measured() {
    let long = format!("\" {} \"", "x".repeat(254));
    for (written, expected) in [
        (r#"" a b ""#, "a b"),
        ("\"\u{3000}a\u{2003}\"", "a"),
        ("\"\u{200b}a\"", "\u{200b}a"),
        (r#"" \t ""#, "-"),
        ("12", "12"),
        (&long, "bad_type"),
    ] {
        assert_eq!(value_of("xaid", &format!(r#""xaid":{written}"#)), expected, "{written}");
    }
}

#[test]
fn user_zero_is_nobody() {
    let with_uid = |uid: &str| format!(r#"{{"act":5,"acttime":{NOON},"xaid":"d","uid":{uid}}}"#);
    for uid in ["0", "-0", r#""0""#, r#"" 00 ""#, "null", r#""""#] {
        assert_eq!(column(&decode(&[&with_uid(uid)]), "uid"), ["-"], "{uid}");
    }
    let nobody = format!(r#"{{"act":5,"acttime":{NOON},"uid":0,"xaid":" "}}"#);
    assert_eq!(reason(&nobody), "no_visitor");
}

#[test]
fn a_time_of_exactly_ten_digits_is_seconds() {
    let at = |time: &str| decode(&[&format!(r#"{{"act":5,"uid":1,"acttime":{time}}}"#)]);
    assert_eq!(column(&at("1767240000"), "acttime"), ["1767240000000"]);
    assert_eq!(column(&at(r#"" 1767240000 ""#), "acttime"), ["1767240000000"]);
    assert_eq!(outcome(&at("176724000"), "act").1, ["acttime_out_of_range"]);
    assert_eq!(outcome(&at("17672400000"), "act").1, ["acttime_out_of_range"]);
}

#[test]
fn events_from_30_days_before_the_arrival_to_one_after_land_on_their_own_day() {
    let midnight = NOON - DAY / 2;
    let at = |time: i64| decode(&[&format!(r#"{{"act":5,"uid":1,"acttime":{time}}}"#)]);
    for (time, expected) in [
        (midnight, "2026-01-01"),
        (midnight - 1, "2025-12-31"),
        (midnight - 30 * DAY, "2025-12-02"),
        (midnight - 30 * DAY - 1, "acttime_out_of_range"),
        (midnight + 2 * DAY - 1, "2026-01-02"),
        (midnight + 2 * DAY, "acttime_out_of_range"),
        (0, "acttime_out_of_range"),
        (i64::MAX, "acttime_out_of_range"),
        (i64::MIN, "acttime_out_of_range"),
    ] {
        let (landed, rejected) = outcome(&at(time), "dt");
        assert_eq!(landed.into_iter().chain(rejected).collect::<Vec<_>>(), [expected], "{time}");
    }
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
fn of_a_repeated_key_the_last_wins() {
    let decoded = decode(&[
        &line(r#""act":1,"\u0061ct":2,"ver":true,"ver":"1","net":1,"net":null"#),
        &line(r#""uid":"x","uid":9,"zz":1,"zz":{"b":1,"a":2}"#),
    ]);
    assert_eq!(column(&decoded, "act"), ["2", "5"]);
    assert_eq!(column(&decoded, "ver"), ["1", "-"]);
    assert_eq!(column(&decoded, "net"), ["-", "-"]);
    assert_eq!(column(&decoded, "uid"), ["7", "9"]);
    assert_eq!(column(&decoded, "extra"), ["-", r#"{"zz":{"a":2,"b":1}}"#]);
    assert_eq!(reason(&line(r#""net":1,"net":true"#)), "bad_type");
}

#[test]
fn unknown_fields_are_kept_in_canonical_form() {
    let decoded = decode(&[
        &line(r#""z":"\u0041", "a":[1.0, {"y":null,"x":1}], "Act":1"#),
        &line(r#""a_key_of_more_than_sixteen_bytes":true,"data":null"#),
        &line(r#""":"","k\"":0"#),
    ]);
    let extra = column(&decoded, "extra");
    assert_eq!(extra[0], r#"{"Act":1,"a":[1.0,{"x":1,"y":null}],"z":"A"}"#);
    assert_eq!(extra[1], r#"{"a_key_of_more_than_sixteen_bytes":true}"#);
    assert_eq!(extra[2], r#"{"":"","k\"":0}"#);
}

#[test]
fn nesting_of_128_levels_is_allowed() {
    let nested = |depth: usize| line(&format!(r#""a":{}{}"#, "[".repeat(depth), "]".repeat(depth)));
    assert_eq!(reason(&nested(127)), "");
    assert_eq!(reason(&nested(128)), "malformed_json");
}

#[test]
fn an_envelope_is_one_event_an_element() {
    let header = format!(r#""uid":7,"acttime":{NOON},"event_id":"delivery","h":1"#);
    let elements = r#"[{"act":1},{"act":2,"uid":8,"event_id":"e"},5,{"act":9},{"act":3,"uid":"","h":2,"o":3},{"act":4,"uid":0}]"#;
    let quoted = elements.replace('"', "\\\"");
    for written in [
        format!(r#"{{{header},"data":{elements}}}"#),
        format!(r#"{{"data":{elements},{header}}}"#),
        format!(r#"{{"data":"{quoted}",{header}}}"#),
        format!(r#"{{"data":"\n {quoted} \n",{header}}}"#),
        format!(r#"{{"data":5,{header},"data": {elements} }}"#),
    ] {
        let decoded = decode(&[&written]);
        assert_eq!(column(&decoded, "act"), ["1", "2", "3"], "{written}");
        assert_eq!(column(&decoded, "uid"), ["7", "8", "7"]);
        assert_eq!(column(&decoded, "event_id"), ["-", "e", "-"]);
        assert_eq!(column(&decoded, "element"), ["0", "1", "4"]);
        assert_eq!(column(&decoded, "extra"), [r#"{"h":1}"#, r#"{"h":1}"#, r#"{"h":2,"o":3}"#]);
        assert_eq!(outcome(&decoded, "act").1, ["not_an_object", "unknown_act", "no_visitor"]);
        assert_eq!(decoded.files[0].1.read, 6);
        let raw = decoded.rejects[0].1.column_by_name("raw").expect("a column");
        let raw = cast(raw, &DataType::Binary).expect("casts");
        assert!(raw.as_binary::<i32>().iter().all(|r| r == Some(written.as_bytes())));
    }
}

#[test]
fn what_an_element_does_not_say_it_inherits() {
    let envelope = |header: &str, element: &str| {
        let written = format!(r#"{{"act":5,"acttime":{NOON},"uid":1,{header},"data":[{element}]}}"#);
        let (landed, rejected) = outcome(&decode(&[&written]), "net");
        landed.into_iter().chain(rejected).collect::<Vec<_>>().join("+")
    };
    assert_eq!(envelope(r#""net":3"#, "{}"), "3");
    assert_eq!(envelope(r#""net":3"#, r#"{"net":null}"#), "3");
    assert_eq!(envelope(r#""net":3"#, r#"{"net":" "}"#), "3");
    assert_eq!(envelope(r#""net":3"#, r#"{"net":0}"#), "0");
    assert_eq!(envelope(r#""net":true"#, "{}"), "bad_type");
    assert_eq!(envelope(r#""net":true"#, r#"{"net":"5"}"#), "5");
    assert_eq!(envelope(r#""net":3"#, r#"{"net":[]}"#), "bad_type");
    assert_eq!(envelope(r#""event_id":{}"#, r#"{"net":1}"#), "1");
}

#[test]
fn data_that_is_no_array_of_events_is_one_reject() {
    for (data, expected) in [
        ("5", "bad_type"),
        ("{}", "bad_type"),
        ("true", "bad_type"),
        (r#""""#, "bad_type"),
        (r#""x""#, "bad_type"),
        (r#""{}""#, "bad_type"),
        (r#""[NaN]""#, "bad_type"),
        (r#""[] []""#, "bad_type"),
        (r#""[\"\\uD800\"]""#, "bad_type"),
        ("[]", "missing_act"),
        (r#"" [ ] ""#, "missing_act"),
        ("[,]", "malformed_json"),
    ] {
        let written = format!(r#"{{"data":{data}}}"#);
        assert_eq!(reason(&written), expected, "{data}");
        assert_eq!(reason(&line(&format!(r#""data":{data}"#))), expected, "{data}");
    }
    let deep = |depth: usize| format!(r#"{{"data":"{}{}"}}"#, "[".repeat(depth), "]".repeat(depth));
    assert_eq!(reason(&deep(128)), "not_an_object");
    assert_eq!(reason(&deep(129)), "bad_type");
}

#[test]
fn equal_events_have_equal_hashes_and_others_do_not() {
    let same = [
        line(r#""net":1,"ver":"3","x":{"a":1,"b":2}"#),
        line(r#""x":{ "b":2, "a":1 },"ver":3,"net":" 1 ","model":"""#),
        format!(r#"{{"data":[{{"ver":"3","net":1}}],"uid":7,"act":5,"acttime":{},"x":{{"a":1,"b":2}}}}"#, NOON / 1000),
    ];
    let others = [
        line(r#""net":1,"ver":"3","x":{"a":"1","b":2}"#),
        line(r#""net":1,"ver":"3""#),
        line(r#""net":1,"model":"3","x":{"a":1,"b":2}"#),
        line(r#""net":1,"osver":"3","x":{"a":1,"b":2}"#),
        line(r#""ver":"3","x":{"a":1,"b":2}"#),
        line(r#""event_id":"e","net":1,"ver":"3","x":{"a":1,"b":2}"#),
    ];
    let lines: Vec<&str> = same.iter().chain(&others).map(String::as_str).collect();
    let decoded = decode(&lines);
    let hashes = decoded.days[0].batch.column_by_name("event_hash").expect("a column").as_primitive::<Int64Type>().values();
    assert_eq!(hashes.len(), 9);
    assert!(hashes[..3].iter().all(|hash| *hash == hashes[0]));
    let mut distinct = hashes[2..].to_vec();
    distinct.sort_unstable();
    distinct.dedup();
    assert_eq!(distinct.len(), 7);
}

#[test]
fn an_event_id_alone_identifies_its_event() {
    let decoded = decode(&[&line(r#""event_id":"e","net":1"#), &line(r#""event_id":"e","net":2"#)]);
    let hashes = column(&decoded, "event_hash");
    assert_eq!(hashes[0], hashes[1]);
}

#[test]
fn thousands_of_events_of_mixed_days_keep_their_order_within_a_day() {
    let lines: Vec<String> = (0..5000)
        .map(|i| format!(r#"{{"act":1,"uid":{},"acttime":{},"xaid":"d{i}","n":{i}}}"#, i + 1, NOON - DAY * (i % 3)))
        .collect();
    let decoded = decode(&lines.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(decoded.days.iter().map(|d| (d.day.to_string(), d.batch.num_rows())).collect::<Vec<_>>(), [
        ("2025-12-30".to_owned(), 1666),
        ("2025-12-31".to_owned(), 1667),
        ("2026-01-01".to_owned(), 1667),
    ]);
    let expected: Vec<String> = [2, 1, 0].iter().flat_map(|d| (0..5000).filter(move |i| i % 3 == *d)).map(|i| format!("d{i}")).collect();
    assert_eq!(column(&decoded, "xaid"), expected);
}

#[test]
fn a_huge_envelope_lands_whole_and_its_rejects_share_one_line() {
    let elements = vec![r#"{"act":1}"#; 3000].join(",");
    let bad = vec!["1"; 3000].join(",");
    let written = format!(r#"{{"uid":1,"xaid":"device","acttime":{NOON},"h":"{}","data":[{elements},{bad}]}}"#, "x".repeat(1000));
    let decoded = decode(&[&written]);
    assert_eq!((decoded.files[0].1.landed, decoded.rejects[0].1.num_rows()), (3000, 3000));
    assert!(column(&decoded, "xaid").iter().all(|xaid| xaid == "device"));
    assert!(column(&decoded, "extra").iter().all(|extra| extra.len() == 1000 + r#"{"h":""}"#.len()));
    let raw = decoded.rejects[0].1.column_by_name("raw").expect("a column");
    assert_eq!(raw.as_any_dictionary().values().len(), 1);
}

#[test]
fn an_envelope_cannot_make_its_header_fill_the_memory() {
    let elements = vec!["{}"; 100_000].join(",");
    let written = format!(r#"{{"act":1,"uid":1,"acttime":{NOON},"h":"{}","data":[{elements}]}}"#, "x".repeat(500_000));
    let decoded = decode(&[&written]);
    let counts = &decoded.files[0].1;
    assert_eq!((counts.read, counts.landed + counts.rejected[Reason::TooLong as usize]), (100_000, 100_000));
    assert!(counts.landed > 100 && counts.landed < 200);
}

#[test]
fn the_reasons_are_named_after_the_declared_fields() {
    assert_eq!(reason_names("act", "acttime")[4..8], ["missing_act", "unknown_act", "missing_acttime", "acttime_out_of_range"]);
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
        line(r#""ver":"3.3.2","net":" 1 ","x":[1,-2.5e3,{"y":"\u4e2d\uD83D\uDE00\n"}],"brand":"华为","t":true,"f":false,"n":null"#),
        format!(r#"{{"uid":1,"acttime":{NOON},"data":[{{"act":1,"k":"v"}},{{"act":2}}]}}"#),
        format!(r#"{{"uid":1,"acttime":{NOON},"data":"[{{\"act\":1}},{{\"act\":\"2\"}}]"}}"#),
    ];
    let inserts: [&[u8]; 24] = [
        b"\"", b"\\", b"{", b"}", b"[", b"]", b",", b":", b"0", b"1", b"-", b".", b"e", b"E+", b" ", b"\t", b"\x01", b"\\u", b"\\ud800",
        b"null", b"true", b"\xff", b"1e999", b"\"\"",
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
        decoder.begin_file(FileContext { name: "a".into(), arrival: "2026-01-01".parse().expect("a date"), rejects_from: 0 });
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
