//! Envelopes: elements, inheritance, and data that is none.

use super::super::super::rejects::Reason;
use super::*;

#[test]
fn an_envelope_is_one_event_an_element() {
    let header = format!(r#""uid":7,"acttime":{NOON},"event_id":"delivery","h":1"#);
    let elements =
        r#"[{"act":1},{"act":2,"uid":8,"event_id":"e"},5,{"act":9},{"act":3,"uid":"","h":2,"o":3},{"act":4,"uid":0}]"#;
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
fn a_huge_envelope_lands_whole_and_its_rejects_share_one_line() {
    let elements = vec![r#"{"act":1}"#; 3000].join(",");
    let bad = vec!["1"; 3000].join(",");
    let written =
        format!(r#"{{"uid":1,"xaid":"device","acttime":{NOON},"h":"{}","data":[{elements},{bad}]}}"#, "x".repeat(1000));
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
