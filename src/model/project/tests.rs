//! Several files together: order, layers, circles, names; lineage and selection over them.

use super::*;
use crate::model::{downstream, select, upstream};

const SOURCES: [&str; 3] = ["ods_user_action", "ods_user_order", "ods_goods_info"];

/// Loads models given as name and SELECT; the grain is `a`, tags come after a `|`.
fn load(models: &[(&str, &str)]) -> Result<Models, Vec<Diagnostic>> {
    let file = |(name, body): &(&str, &str)| {
        let layer = name.split('_').next().unwrap_or_default();
        let (body, tags) = body.split_once('|').unwrap_or((body, "none"));
        let text = format!("-- Rows.\n--\n-- grain: a\n-- tags: {tags}\n{body}");
        (format!("sql/{layer}/{name}.sql"), text)
    };
    Models::load(models.iter().map(file), &SOURCES, &["seed_festival"])
}

fn shop() -> Models {
    let day = "where dt = $dt";
    let list = [
        ("app_open", format!("select dt, a from dws_visitor_day {day}")),
        ("app_gmv", format!("select dt, a from dws_order {day} |orders")),
        ("dws_order", format!("select dt, a from dwd_order {day} |orders, wide")),
        ("dws_first_seen", "select dt, a from dwd_open where dt <= $dt".to_owned()),
        (
            "dws_visitor_day",
            format!("select o.dt, o.a from dwd_open o join seed_festival f on f.a = o.a where o.{}", &day[6..]),
        ),
        ("dwd_order", "select dt, a from ods_user_order |orders".to_owned()),
        ("dwd_open", format!("select dt, a from ods_user_action {day}")),
    ];
    let list: Vec<(&str, &str)> = list.iter().map(|(name, body)| (*name, body.as_str())).collect();
    load(&list).expect("a project")
}

fn error(models: &[(&str, &str)]) -> String {
    let all = load(models).expect_err("a mistake");
    all.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n\n")
}

#[test]
fn models_come_after_what_they_read_in_an_order_that_never_changes() {
    let models = shop();
    let order: Vec<&str> = models.iter().map(|model| model.name.as_str()).collect();
    let expected = ["dwd_open", "dwd_order", "dws_first_seen", "dws_order", "dws_visitor_day", "app_gmv", "app_open"];
    assert_eq!(order, expected);
}

#[test]
fn a_check_that_reads_another_table_waits_for_it() {
    let files = [
        (
            "sql/app/app_a.sql",
            "-- A.\n--\n-- grain: dt\n-- check: select dt from app_z where dt = $dt and b < 0\nselect $dt as dt",
        ),
        ("sql/app/app_z.sql", "-- Z.\n--\n-- grain: dt\nselect $dt as dt, 1 as b"),
    ];
    let models = Models::load(files, &SOURCES, &[""; 0]).expect("a project");
    let order: Vec<&str> = models.iter().map(|model| model.name.as_str()).collect();
    assert_eq!(order, ["app_z", "app_a"]);
    let model = models.get("app_a").expect("a model");
    assert_eq!(model.prerequisites().map(ToString::to_string).collect::<Vec<_>>(), ["app_z: the day"]);
    assert_eq!(upstream(&models, "app_a", None).len(), 0, "a check is not lineage");
}

#[test]
fn an_unknown_table_is_shown_with_the_one_that_was_meant() {
    let message = error(&[("dwd_open", "select dt, a\nfrom ods_user_acton where dt = $dt")]);
    let expected = "sql/dwd/dwd_open.sql:6:6: unknown table `ods_user_acton`\n 6 | from ods_user_acton where dt = $dt\n   |      ^\n \
                    hint: did you mean `ods_user_action`?";
    assert_eq!(message, expected);
    let message = error(&[("dwd_open", "select dt, a from ods.ods_user_action where dt = $dt")]);
    assert!(message.contains("tables are named without their layer: `ods_user_action`"), "{message}");
}

#[test]
fn layers_are_read_downwards_only_and_app_never_reads_ods() {
    let message = error(&[("dwd_a", "select dt, a from dws_b"), ("dws_b", "select dt, a from ods_user_order")]);
    assert!(message.contains("a model of dwd cannot read `dws_b`, which is above it"), "{message}");
    let message = error(&[("app_a", "select dt, a from ods_user_order where dt = $dt")]);
    assert!(message.contains("an app model never reads ods"), "{message}");
    assert!(load(&[("dws_a", "select dt, a from ods_user_order where dt = $dt")]).is_ok());
    assert!(
        load(&[
            ("app_a", "select a, dt from app_b where dt = $dt"),
            ("app_b", "select $dt as dt, a from seed_festival")
        ])
        .is_ok()
    );
}

#[test]
fn a_circle_is_named_in_full() {
    let message = error(&[
        ("dws_a", "select dt, a from dws_b where dt = $dt"),
        ("dws_b", "select dt, a from dws_c where dt = $dt"),
        ("dws_c", "select dt, a from dws_b where dt = $dt - interval '1 day'"),
    ]);
    assert!(
        message.starts_with("sql/dws/dws_b.sql:5:19: models read one another in a circle: dws_b → dws_c → dws_b"),
        "{message}"
    );
}

#[test]
fn a_model_may_read_its_own_past_and_nothing_else_of_itself() {
    for good in ["dt < $dt", "dt = $dt - interval '1 day'", "dt < date_trunc('month', $dt)", "dt = year_before($dt)"] {
        let models = load(&[("dws_a", &format!("select $dt as dt, a from dws_a where {good}"))]).expect(good);
        assert!(models.get("dws_a").is_some_and(Model::reads_itself));
    }
    for bad in ["dt <= $dt", "a = 1", "dt < '2026-01-01'", "dt = latest_snapshot('dws_a', $dt - interval '1 day')"] {
        let message = error(&[("dws_a", &format!("select $dt as dt, a from dws_a where {bad}"))]);
        assert!(message.contains("reads itself, but not only the days before $dt"), "{bad}: {message}");
    }
    let message = error(&[("dws_a", "select a, dt from dws_a where dt < '2026-01-01'")]);
    assert!(message.contains("reads itself"), "{message}");
}

#[test]
fn all_mistakes_are_reported_and_none_twice() {
    let all = load(&[
        ("dws_b", "select dt, a from dwd_a where dt = $dt"),
        ("dwd_a", "select * from ods_user_order"),
        ("app_c", "select dt, a from dws_x where dt = $dt"),
    ]);
    let all = all.expect_err("mistakes");
    let lines: Vec<String> = all.iter().map(|d| format!("{}: {}", d.path, &d.message[..15])).collect();
    assert_eq!(lines, ["sql/app/app_c.sql: unknown table `", "sql/dwd/dwd_a.sql: `*` in the last"]);
}

#[test]
fn two_files_cannot_make_one_table() {
    let text = "-- A.\n--\n-- grain: a\nselect a from ods_user_order";
    let files = [("sql/dwd/dwd_a.sql", text), ("more/dwd/dwd_a.sql", text), ("sql/ods/ods_goods_info.sql", text)];
    let all = Models::load(files, &SOURCES, &[""; 0]).expect_err("mistakes");
    let shown: Vec<String> = all.iter().map(ToString::to_string).collect();
    let expected = [
        "more/dwd/dwd_a.sql: `dwd_a` is defined in sql/dwd/dwd_a.sql as well",
        "sql/ods/ods_goods_info.sql: `ods_goods_info` is a source table; a model cannot have its name",
    ];
    assert_eq!(shown, expected);
}

#[test]
fn a_table_without_dt_is_always_read_whole() {
    let models = load(&[
        ("dwd_flat", "select a from ods_goods_info"),
        (
            "dws_a",
            "select $dt as dt, a from dwd_order o where o.dt = $dt and o.a in (select a from dwd_flat where dt = $dt)",
        ),
        ("dwd_order", "select dt, a from ods_user_order"),
    ]);
    let models = models.expect("a project");
    let words = models.get("dws_a").map(Model::reads_in_words).unwrap_or_default();
    assert_eq!(words, ["dwd_flat: everything", "dwd_order: the day"]);
}

fn chosen(selected: &[&str], excluded: &[&str]) -> String {
    let owned = |list: &[&str]| list.iter().map(|&s| s.to_owned()).collect::<Vec<_>>();
    match select(&shop(), &owned(selected), &owned(excluded)) {
        Ok(names) => names.into_iter().collect::<Vec<_>>().join(" "),
        Err(error) => error.to_string(),
    }
}

#[test]
fn selections_are_dbts() {
    for (selected, expected) in [
        ("app_gmv", "app_gmv"),
        ("+app_gmv", "app_gmv dwd_order dws_order"),
        ("dwd_order+", "app_gmv dwd_order dws_order"),
        ("1+app_gmv", "app_gmv dws_order"),
        ("dwd_order+1", "dwd_order dws_order"),
        ("1+dws_order+1", "app_gmv dwd_order dws_order"),
        ("0+app_gmv", "app_gmv"),
        ("dws", "dws_first_seen dws_order dws_visitor_day"),
        ("layer:dws", "dws_first_seen dws_order dws_visitor_day"),
        ("dws+", "app_gmv app_open dws_first_seen dws_order dws_visitor_day"),
        ("tag:orders", "app_gmv dwd_order dws_order"),
        ("tag:wi*", "dws_order"),
        ("dws_*", "dws_first_seen dws_order dws_visitor_day"),
        ("*_or?er", "dwd_order dws_order"),
        ("app_gmv app_open", "app_gmv app_open"),
        ("tag:orders,dws", "dws_order"),
        ("+app_gmv,+app_open", ""),
        ("ods_user_action+", "app_open dwd_open dws_first_seen dws_visitor_day"),
        ("seed_festival+", "app_open dws_visitor_day"),
        ("ods+1", "dwd_open dwd_order"),
    ] {
        assert_eq!(chosen(&[selected], &[]), expected, "{selected}");
    }
    assert_eq!(chosen(&["app_gmv", "app_open"], &["app_gmv"]), "app_open");
    assert_eq!(chosen(&[], &["dws+", "tag:orders"]), "dwd_open");
    assert_eq!(chosen(&[" "], &[]).split(' ').count(), 7);
}

#[test]
fn what_cannot_be_selected_is_told_with_a_hint() {
    for (selected, expected) in [
        ("app_gvm", "unknown model `app_gvm`\n hint: did you mean `app_gmv`?"),
        ("+zzzzz", "unknown model `zzzzz`\n hint: `strata ls` lists what there is"),
        ("tag:ordres", "unknown tag `ordres`\n hint: did you mean `orders`?"),
        ("layer:dsw", "unknown layer `dsw`\n hint: did you mean `dws`?"),
        ("lyaer:dws", "unknown selection method `lyaer`\n hint: did you mean `layer`?"),
        ("x*", "`x*` matches no model\n hint: `strata ls` lists them"),
        ("+", "`+` selects nothing: a name is missing"),
        ("a,,b", "unknown model `a`\n hint: `strata ls` lists what there is"),
        (
            "ods_user_action",
            "`ods_user_action` is not built by a model\n hint: select what is made from it with `ods_user_action+`",
        ),
        ("99999999999999999999+app_gmv", "`99999999999999999999+app_gmv`: 99999999999999999999 steps are too many"),
    ] {
        assert_eq!(chosen(&[selected], &[]), expected, "{selected}");
    }
}

#[test]
fn lineage_goes_any_number_of_steps() {
    let models = shop();
    let all: Vec<String> = upstream(&models, "app_open", None).into_iter().collect();
    assert_eq!(all, ["dwd_open", "dws_visitor_day", "ods_user_action", "seed_festival"]);
    let near: Vec<String> = downstream(&models, "ods_user_action", Some(2)).into_iter().collect();
    assert_eq!(near, ["dwd_open", "dws_first_seen", "dws_visitor_day"]);
}
