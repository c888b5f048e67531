//! Fields: types, normal forms, and what makes two events the same.

use super::*;

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
    let hashes =
        decoded.days[0].batch.column_by_name("event_hash").expect("a column").as_primitive::<Int64Type>().values();
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
