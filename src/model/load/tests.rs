//! One file at a time: what a good one says, and how each bad one is told.

use super::*;

const GOOD: &str = "-- Visitors active on the day.\n--\n-- grain:  dt, visitor_id\n-- check:  opens >= 0\n\
-- check:  select visitor_id from dws_visitor_day\n--           where dt = $dt group by visitor_id having count(*) > 1\n\
-- tags:   audience, daily\n\n\
with opened as (\n    select dt, visitor_id from dwd_app_open where dt = $dt\n)\n\
select\n    dt, -- The day.\n    visitor_id,\n    count(*) as opens\nfrom opened\ngroup by dt, visitor_id;\n";

fn model() -> Model {
    load_model("sql/dws/dws_visitor_day.sql", GOOD).expect("a model")
}

fn error(path: &str, text: &str) -> String {
    load_model(path, text).expect_err(text).to_string()
}

/// A DWS model with this header and body.
fn wrong(header: &str, body: &str) -> String {
    error("sql/dws/dws_x.sql", &format!("-- Rows.\n--\n{header}\n{body}"))
}

#[test]
fn a_model_knows_itself() {
    let model = model();
    assert_eq!((model.name.as_str(), model.layer), ("dws_visitor_day", Layer::Dws));
    assert_eq!(model.description, "Visitors active on the day.");
    assert_eq!(model.grain, ["dt", "visitor_id"]);
    assert_eq!(model.tags, ["audience", "daily"]);
    assert!(model.uses_day && model.is_partitioned() && !model.reads_itself());
    let columns: Vec<(&str, Option<&str>)> =
        model.columns.iter().map(|c| (c.name.as_str(), c.comment.as_deref())).collect();
    assert_eq!(columns, [("dt", Some("The day.")), ("visitor_id", None), ("opens", None)]);
    assert_eq!(model.reads_in_words(), ["dwd_app_open: the day"]);
    assert!(matches!(model.checks[0].kind, CheckKind::Row) && model.checks[0].line == 4);
    assert!(matches!(model.checks[1].kind, CheckKind::Query(_)) && model.checks[1].line == 5);
    assert!(model.checks[1].reads.is_empty(), "its own table is what was staged");
}

#[test]
fn a_comment_leaves_the_meaning_and_a_check_does_not() {
    let other = |from: &str, to: &str| {
        load_model("sql/dws/dws_visitor_day.sql", &GOOD.replace(from, to)).expect("a model").meaning
    };
    assert_eq!(other("The day.", "Another comment."), model().meaning);
    assert_eq!(other("Visitors active", "People active"), model().meaning);
    assert_eq!(other("tags:   audience, daily", "tags: x"), model().meaning);
    assert_ne!(other("opens >= 0", "opens > 0"), model().meaning);
    assert_ne!(other("check:  opens", "warn:  opens"), model().meaning);
    assert_ne!(other("grain:  dt, visitor_id", "grain: visitor_id, dt"), model().meaning);
    assert_ne!(other("count(*) as", "count(visitor_id) as"), model().meaning);
}

#[test]
fn the_file_must_be_named_after_a_table_of_its_layer() {
    for (path, part) in [
        ("sql/dws/visitor_day.sql", "begins with `dws_`"),
        ("sql/dws/dws_Visitor.sql", "only a–z, 0–9 and _"),
        ("sql/dws/dws_.sql", "not a name"),
        ("sql/dwd/dws_x.sql", "begins with `dwd_`"),
        ("sql/mart/mart_x.sql", "`mart` is none of them"),
        ("sql/dws/dws_x.txt", "not a .sql file"),
        ("", "none of them"),
    ] {
        let message = error(path, GOOD);
        assert!(message.contains(part), "{message}");
    }
}

#[test]
fn a_model_is_one_select_and_nothing_else() {
    for (body, part) in [
        ("", "there is no SELECT"),
        ("insert into t values (1)", "found INSERT"),
        ("drop table t", "found DROP"),
        ("select 1 as a; select 2 as a", "found 2 statements"),
        ("values (1)", "come from a SELECT"),
        ("select * from t", "dws_x.sql:4:8: `*` in the last SELECT"),
        ("select a + 1 from t", "4:8: the column has no name"),
        ("select a from t where", "dws_x.sql:4"),
        ("select 'a from t", "dws_x.sql:4:8: Unterminated string literal"),
        ("select a from t where b = $day", "4:27: unknown parameter `$day`; the only one is $dt"),
        ("select a, $dt as day from t", "has no column `dt`"),
        ("select now() as a from t", "4:8: `now` does not give the same result every time"),
        ("select current_date as a from t", "`current_date` does not give"),
        ("select approx_distinct(a) as a from t", "`approx_distinct` does not give"),
        ("select latest_snapshot('t', x) as a from t", "4:8: expected latest_snapshot('<table>'"),
        ("select a from t where dt =\n  Latest_Snapshot(t, $dt)", "5:3: expected latest_snapshot('<table>'"),
        (
            "select a from t where\n  dt is not distinct from $dt and a",
            "5:27: put `… is [not] distinct from …` in parentheses",
        ),
        ("select 1 as a from t pivot (sum(a) for b in ('x'))", "cannot follow which days of `t` are read"),
    ] {
        let message = wrong("-- grain: a", body);
        assert!(message.contains(part), "{body}: {message}");
    }
}

#[test]
fn syntax_errors_point_into_the_file() {
    let message = wrong("-- grain: a", "select\n    a,\n    b c d\nfrom t");
    let expected = "sql/dws/dws_x.sql:6:9: Expected: end of statement, found: d\n 6 |     b c d\n   |         ^";
    assert_eq!(message, expected);
}

#[test]
fn the_header_says_what_a_row_is_and_its_grain() {
    assert!(error("sql/dws/dws_x.sql", "select a from t").contains("does not say what a row is"));
    assert!(wrong("-- tags: x", "select a from t").contains("has no `grain`"));
    assert!(wrong("-- grain:", "select a from t").contains("has no `grain`"));
    let message = wrong("-- grain: visiter_id", "select visitor_id from t");
    assert!(message.contains("dws_x.sql:3: grain column `visiter_id` is not a column"), "{message}");
    assert!(message.contains("did you mean `visitor_id`?"), "{message}");
    assert!(wrong("-- grain: a, a", "select a from t").contains("given twice"));
    assert!(wrong("-- grain: a\n-- export: metrics", "select a from t").contains("only models of the app layer"));
}

#[test]
fn a_check_is_a_condition_on_columns_or_a_query() {
    for (check, part) in [
        ("opens >= 0", "3:11: `opens` is not a column of the model"),
        ("a >= 0 b", "3:18: Expected: end of the expression"),
        ("a in (select a from t)", "a check of a row cannot contain a query"),
        ("", "dws_x.sql:3"),
        ("a >\n--          $day", "4:13: unknown parameter"),
        ("select a from t where x = ", "dws_x.sql:3"),
        ("select a from t; drop table t", "found 2 statements"),
        ("random() > a", "`random` does not give"),
        ("select a from t where dt = latest_snapshot()", "3:38: expected latest_snapshot('<table>'"),
        ("dt >= first_loaded_day('logs')", "a check of a row cannot ask which days are loaded"),
        ("select a from t -- why\n--          where dt = $dt", "3:27: a check has no comment in it"),
    ] {
        let message = wrong(&format!("-- check: {check}\n-- grain: a"), "select a from t");
        assert!(message.contains(part), "{check}: {message}");
    }
    let text = "-- Rows.\n--\n-- grain: a\n-- check: A >= 0 and dt = $dt\nselect a, $dt as dt from t";
    assert!(load_model("sql/dws/dws_x.sql", text).is_ok());
}

#[test]
fn the_tables_of_a_free_query_are_listed_and_nothing_but_a_query_is_taken() {
    let sql = "with x as (select 1 as a from app_gmv) select * from x join ods_user u on u.a = x.a";
    assert_eq!(tables_in(sql).expect("a query"), ["app_gmv", "ods_user"]);
    assert!(tables_in("delete from app_gmv").is_err());
    assert!(tables_in("select 1; select 2").is_err());
    assert_eq!(tables_in("select 1").expect("a query"), Vec::<String>::new());
}

#[test]
fn no_text_makes_the_loader_panic() {
    let mut seed = 7_u64;
    for _ in 0..3000 {
        // Cuts pieces out of a good file and doubles others: most results are wrong, none may crash.
        let mut text: Vec<char> = GOOD.chars().collect();
        for _ in 0..3 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let at = (seed >> 33) as usize % text.len();
            let end = (at + (seed >> 20) as usize % 9).min(text.len());
            let piece: Vec<char> = text[at..end].to_vec();
            if seed & 1 == 0 {
                text.drain(at..end);
            } else {
                text.splice(at..at, piece);
            }
        }
        let text: String = text.into_iter().collect();
        if let Err(diagnostic) = load_model("sql/dws/dws_visitor_day.sql", &text) {
            assert!(!diagnostic.to_string().is_empty());
        }
    }
    let chain = format!("select a from t where {}", vec!["a"; 12_000].join(" and "));
    let _ = load_model("sql/dws/dws_x.sql", &format!("-- Rows.\n--\n-- grain: a\n{chain}"));
}
