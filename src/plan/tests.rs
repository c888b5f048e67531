//! Begins, wants, reasons and the printed plan, on a shop of a few models.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::date::{BizDate, Slot};
use crate::model::Models;

pub(super) const SOURCES: [&str; 3] = ["ods_user_action", "ods_user_order", "ods_goods_info"];

/// Models given as name and SELECT, and perhaps a check after a `|`.
pub(super) fn project(models: &[(&str, &str)]) -> Models {
    let file = |(name, body): &(&str, &str)| {
        let (body, check) = body.split_once('|').unwrap_or((body, "true"));
        let layer = &name[..3];
        let text = format!("-- Rows.\n--\n-- grain: dt\n-- check: {check}\n{body}");
        (format!("sql/{layer}/{name}.sql"), text)
    };
    let loaded = Models::load(models.iter().map(file), &SOURCES, &["seed_festival"]);
    loaded.unwrap_or_else(|e| panic!("{}", e[0]))
}

pub(super) fn shop() -> Models {
    project(&[
        ("dwd_event", "select dt, a from ods_user_action where dt = $dt"),
        ("dwd_order_history", "select dt, a from ods_user_order"),
        ("dwd_order", "select dt, a from dwd_order_history"),
        ("dwd_goods", "select dt, a from ods_goods_info where dt = $dt"),
        ("dws_visitor_day", "select dt, a from dwd_event where dt = $dt"),
        (
            "dws_first",
            "with new as (select a from dws_visitor_day where dt = $dt), old as (select a from dws_first where dt < $dt)
             select $dt as dt, new.a from new left anti join old on new.a = old.a",
        ),
        ("dws_week", "select $dt as dt, a from dws_visitor_day where dt between $dt - interval '6 days' and $dt"),
        (
            "dws_goods_day",
            "select o.dt, g.a from dwd_order o left join dwd_goods g on g.a = o.a and g.dt = latest_snapshot('dwd_goods', $dt)
             where o.dt = $dt",
        ),
        ("app_active", "select dt, a from dws_week where dt in ($dt, $dt - interval '1 day')"),
        ("app_gmv", "select dt, a from dwd_order where dt = $dt"),
        (
            "app_sales",
            "select dt, a from dws_goods_day where dt = $dt|select dt from app_gmv where dt = $dt and a < 0",
        ),
        ("dws_line", "select dt, a from dwd_order where dt is not distinct from $dt"),
        (
            "dws_line_week",
            "with new as (select dt, a from dws_line where dt is not distinct from $dt), old as (select a from dws_line
             where dt >= $dt - interval '6 days' and dt < $dt) select new.dt, new.a from new left join old on new.a = old.a",
        ),
        ("app_both", "select g.dt, f.a from app_gmv g join dws_first f on f.dt = g.dt where g.dt = $dt"),
    ])
}

pub(super) fn day(n: i32) -> BizDate {
    BizDate::from_ymd(2026, 1, 1).expect("a date").plus_days(n - 1)
}

fn days(range: std::ops::RangeInclusive<i32>) -> Vec<Slot> {
    range.map(|n| Some(day(n))).collect()
}

pub(super) fn slot(version: u64, run: &str) -> SlotState {
    SlotState { version, rows: 10, run: run.to_owned(), ..SlotState::default() }
}

fn source(range: std::ops::RangeInclusive<i32>) -> TableState {
    let slots = range.map(|n| (Some(day(n)), slot(1, "r1").into())).collect();
    TableState { slots, run: "r1".to_owned(), ..TableState::default() }
}

/// Ten days of logs from the 3rd, orders from the 1st, one snapshot of the goods on the 2nd.
fn loaded() -> States {
    let mut states = States::default();
    states.set("ods_user_action", source(3..=12));
    states.set("ods_user_order", source(1..=12));
    states.set("ods_goods_info", source(2..=2));
    states
}

pub(super) fn starts() -> Vec<SourceStart> {
    let start = |tables: &[&str], first: &str| SourceStart {
        tables: tables.iter().map(|&t| t.to_owned()).collect(),
        first_day_of: first.to_owned(),
    };
    vec![start(&["ods_user_action"], "ods_user_action"), start(&["ods_user_order", "ods_goods_info"], "dwd_order")]
}

fn names(list: &[&str]) -> BTreeSet<String> {
    list.iter().map(|&name| name.to_owned()).collect()
}

pub(super) fn want(selected: &[&str], from: Option<i32>, to: i32, states: &States) -> Wanted {
    let models = shop();
    let begins = begins(&models, states, &starts(), None);
    let window = Window { from: from.map(day), to: day(to) };
    wanted(&models, &names(selected), window, &begins, states)
}

/// Marks wanted partitions as built from what is there now, in one run.
fn build(models: &Models, wanted: &Wanted, states: &mut States, run: &str) {
    for model in models.iter() {
        for at in wanted.get(&model.name).into_iter().flatten() {
            if !has_content(model, *at, states) {
                continue;
            }
            let made = fingerprint(model, *at, states);
            if model.uses_day {
                // The goods have rows only on the day of their one snapshot.
                let rows = if model.name == "dwd_goods" && *at != Some(day(2)) { 0 } else { 10 };
                states.set_slot(&model.name, *at, SlotState { fingerprint: Some(made), rows, ..slot(1, run) });
            } else {
                let table = TableState { whole: Some(made), run: run.to_owned(), ..source(1..=12) };
                states.set(&model.name, table);
            }
        }
    }
}

/// The shop, all of it built up to the 12th by run `r2`.
pub(super) fn built() -> (Models, States, Wanted) {
    let (models, mut states) = (shop(), loaded());
    let all: Vec<&str> = models.iter().map(|model| model.name.as_str()).collect();
    let wanted = want(&all, None, 12, &states);
    build(&models, &wanted, &mut states, "r2");
    (models, states, wanted)
}

fn planned(states: &States, wanted: &Wanted, expected: &Expected) -> Plan {
    let models = shop();
    plan(&models, wanted, &begins(&models, states, &starts(), None), states, expected)
}

fn printed(states: &States, wanted: &Wanted) -> String {
    let rows = planned(states, wanted, &Expected::default()).rows(|_, _| Cost::default());
    let widest = |width: fn(&PlanRow) -> usize| rows.iter().map(width).max().unwrap_or(0);
    let (model, days) = (widest(|row| row.model.len()), widest(|row| row.days().len()));
    let digits = widest(|row| row.partitions.to_string().len());
    let line = |row: &PlanRow| {
        let PlanRow { model: name, partitions: n, reason, .. } = row;
        let unit = if *n == 1 { "partition" } else { "partitions" };
        let count = if row.whole { " ".repeat(digits + 11) } else { format!("{n:digits$} {unit:10}") };
        format!("{name:model$}  {:days$}  {count}  {reason}\n", row.days())
    };
    rows.iter().map(line).collect()
}

#[test]
fn app_models_begin_with_their_sources_and_others_with_their_inputs() {
    let (models, mut states) = (shop(), loaded());
    let first = |states: &States, start: Option<BizDate>| begins(&models, states, &starts(), start);
    let begins = first(&states, None);
    for (model, begin) in [
        ("dwd_event", 3),
        ("dws_first", 3),
        ("app_active", 3),
        ("app_gmv", 1),
        ("app_sales", 1),
        ("app_both", 1),
        ("dwd_goods", 2),
        ("dws_goods_day", 1),
    ] {
        assert_eq!(begins.get(model), Some(day(begin)), "{model}");
    }
    // Once it is built, the orders' own table says when the orders begin.
    states.set("dwd_order", source(5..=12));
    let begins = first(&states, None);
    assert_eq!((begins.get("app_gmv"), begins.get("app_both")), (Some(day(5)), Some(day(3))));
    let begins = first(&states, Some(day(4)));
    assert_eq!((begins.get("app_active"), begins.get("dws_first")), (Some(day(4)), Some(day(3))));
    assert_eq!(first(&States::default(), None).get("app_gmv"), None);
}

#[test]
fn a_wanted_day_wants_what_it_is_made_from() {
    let wanted = want(&["app_active"], Some(10), 11, &loaded());
    let expected = BTreeMap::from([
        ("app_active".to_owned(), days(10..=11)),
        ("dws_week".to_owned(), days(9..=11)),
        ("dws_visitor_day".to_owned(), days(3..=11)),
        ("dwd_event".to_owned(), days(3..=11)),
    ]);
    assert_eq!(wanted, expected);
}

#[test]
fn own_history_a_snapshot_and_a_check_are_wanted_as_well() {
    let wanted = want(&["app_both", "app_sales"], Some(12), 12, &loaded());
    assert_eq!(wanted["dws_first"], days(3..=12), "its own past");
    assert_eq!(wanted["dwd_goods"], days(2..=12), "any of them may be the latest");
    assert_eq!(wanted["dwd_order"], [None], "made in one go");
    assert_eq!(wanted["app_gmv"], days(12..=12), "for the check of app_sales");
}

#[test]
fn a_day_before_the_first_snapshot_wants_them_all() {
    let wanted = want(&["app_sales"], None, 12, &loaded());
    assert_eq!(wanted["dwd_goods"], days(2..=12), "the earliest with rows may be any");
    assert_eq!(wanted["dws_goods_day"], days(1..=12));
}

#[test]
fn nothing_is_wanted_of_what_is_not_selected_or_not_loaded() {
    let days = |wanted: Wanted| wanted.values().map(Vec::len).sum::<usize>();
    assert_eq!(days(want(&["app_active"], Some(1), 2, &loaded())), 0, "before the first day");
    assert_eq!(days(want(&["app_active"], None, 12, &States::default())), 0, "nothing is loaded");
    let events = BTreeMap::from([("dwd_event".to_owned(), vec![Some(day(3)), Some(day(4))])]);
    assert_eq!(want(&["dwd_event"], None, 4, &loaded()), events);
}

#[test]
fn a_new_warehouse_builds_everything() {
    let wanted = want(&["app_active", "app_gmv"], None, 12, &loaded());
    let expected = "\
dwd_event          2026-01-03..2026-01-12  10 partitions  never built
dwd_order_history  whole table                            never built
dwd_order          whole table                            never built
dws_visitor_day    2026-01-03..2026-01-12  10 partitions  never built
dws_week           2026-01-03..2026-01-12  10 partitions  never built
app_active         2026-01-03..2026-01-12  10 partitions  never built
app_gmv            2026-01-01..2026-01-12  12 partitions  never built
";
    assert_eq!(printed(&loaded(), &wanted), expected);
}

#[test]
fn a_built_warehouse_is_fresh() {
    let (_, states, wanted) = built();
    assert_eq!(printed(&states, &wanted), "");
    assert!(planned(&states, &wanted, &Expected::default()).is_empty());
}

#[test]
fn rows_on_no_day_are_built_as_long_as_there_are_any() {
    let (models, mut states, wanted) = built();
    let model = models.get("dws_line").expect("a model");
    assert!(wanted["dws_line"].starts_with(&[None, Some(day(1))]), "if there are any, they are wanted");
    assert_eq!(states.get("dws_line").and_then(|table| table.slots.get(&None)), None, "and there are none");
    // An order without a day: what reads it by the slot is built there, what reads that as well.
    states.set_slot("dwd_order", None, slot(1, "r3"));
    let lines = |states: &States| {
        let all = printed(states, &wanted);
        all.lines().filter(|line| line.starts_with("dws_line")).map(|line| format!("{line}\n")).collect::<String>()
    };
    let expected = "\
dws_line       no day  1 partition   never built
dws_line_week  no day  1 partition   if dws_line changes
";
    assert_eq!(lines(&states), expected);
    for name in ["dws_line", "dws_line_week"] {
        let made = fingerprint(models.get(name).expect("a model"), None, &states);
        states.set_slot(name, None, SlotState { fingerprint: Some(made), ..slot(1, "r3") });
    }
    assert_eq!(lines(&states), "");
    states.set_slot("dwd_order", None, slot(2, "r4"));
    let expected = "\
dws_line       no day  1 partition   input dwd_order on no day changed by run r4
dws_line_week  no day  1 partition   if dws_line changes
";
    assert_eq!(lines(&states), expected);
    // The order got a day: nothing is to be built on none, and what is there goes.
    states.set_slot("dwd_order", None, SlotState { rows: 0, ..slot(3, "r5") });
    assert!(stale(model, &[None], &states).is_empty());
    assert_eq!(obsolete(model, Some(day(1)), &states), [None]);
    let forced = BTreeMap::from([("dws_line".to_owned(), wanted["dws_line"].iter().copied().collect())]);
    let plan = planned(&states, &wanted, &Expected { forced, ..Expected::default() });
    let step = plan.steps.iter().find(|step| step.model == "dws_line").expect("a step");
    assert!(step.slots.iter().all(|(slot, _)| slot.is_some()) && step.obsolete == [None]);
}

#[test]
fn what_a_check_reads_is_an_input_as_well() {
    let (models, mut states, wanted) = built();
    states.set_slot("app_gmv", Some(day(5)), SlotState { version: 2, run: "r3".to_owned(), ..slot(1, "r2") });
    let model = models.get("app_sales").expect("a model");
    let reasons = stale(model, &wanted["app_sales"], &states);
    let said: Vec<String> = reasons.iter().map(|(_, reason)| reason.to_string()).collect();
    assert_eq!(said, ["input app_gmv 2026-01-05 changed by run r3"]);
    let own = project(&[
        ("dwd_order", "select dt, a from ods_user_order"),
        ("dws_a", "select dt, a from dwd_order where dt = $dt|select a from dwd_order where dt < $dt"),
        ("dws_b", "select dt, a from dwd_order|select 1 from dws_a a join dws_b b on a.dt = $dt and b.dt = $dt"),
    ]);
    let words = |name: &str| {
        let model = own.get(name).expect("a model");
        model.dependencies.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
    };
    assert_eq!(words("dws_a"), "dwd_order: the day, all days before", "both together");
    assert_eq!(words("dws_b"), "dwd_order: everything; dws_a: everything", "a day of the whole table, for each day");
}

#[test]
fn a_late_event_reaches_exactly_the_days_that_read_it() {
    let (_, mut states, wanted) = built();
    states.set_slot("ods_user_action", Some(day(10)), slot(2, "r3"));
    let expected = "\
dwd_event        2026-01-10              1 partition   input ods_user_action 2026-01-10 changed by run r3
dws_visitor_day  2026-01-10              1 partition   if dwd_event changes
dws_first        2026-01-10              1 partition   if dws_visitor_day changes
dws_first        2026-01-11..2026-01-12  2 partitions  if dws_first changes
dws_week         2026-01-10..2026-01-12  3 partitions  if dws_visitor_day changes
app_active       2026-01-10..2026-01-12  3 partitions  if dws_week changes
app_both         2026-01-10..2026-01-12  3 partitions  if dws_first changes
";
    assert_eq!(printed(&states, &wanted), expected);
}

#[test]
fn early_cut_off_stops_where_the_version_stays() {
    let (models, mut states, wanted) = built();
    states.set_slot("ods_user_action", Some(day(10)), slot(2, "r3"));
    let model = models.get("dwd_event").expect("a model");
    assert_eq!(stale(model, &wanted["dwd_event"], &states).len(), 1);
    // Built again with the same rows: the version stays, only the record is new.
    let made = fingerprint(model, Some(day(10)), &states);
    states.set_slot("dwd_event", Some(day(10)), SlotState { fingerprint: Some(made), ..slot(1, "r2") });
    assert_eq!(printed(&states, &wanted), "");
}

#[test]
fn a_source_that_is_about_to_change_is_planned_for() {
    let (_, states, wanted) = built();
    let arriving = BTreeMap::from([("ods_goods_info".to_owned(), BTreeSet::from([Some(day(11))]))]);
    let plan = planned(&states, &wanted, &Expected { arriving, ..Expected::default() });
    let shown: Vec<String> = plan
        .rows(|_, _| Cost::default())
        .iter()
        .map(|row| format!("{} {} {}", row.model, row.days(), row.certain))
        .collect();
    let expected = [
        "dwd_goods 2026-01-11 true",
        "dws_goods_day 2026-01-11..2026-01-12 false",
        "app_sales 2026-01-11..2026-01-12 false",
    ];
    assert_eq!(shown, expected);
}

#[test]
fn every_reason_is_told_in_words() {
    let (_, mut states, wanted) = built();
    let mut said = Vec::new();
    let mut say = |states: &States, model: &str, expected: &Expected| {
        let all = planned(states, &wanted, expected);
        said.extend(
            all.rows(|_, _| Cost::default()).into_iter().filter(|row| row.model == model).map(|row| row.reason),
        );
    };
    let none = Expected::default();
    let forced = BTreeMap::from([("app_gmv".to_owned(), BTreeSet::from([Some(day(5)), Some(day(6))]))]);
    say(&states, "app_gmv", &Expected { forced, ..Expected::default() });
    states.set("ods_user_order", TableState { whole: None, ..source(2..=12) });
    say(&states, "dwd_order_history", &none);
    states.set_slot("ods_user_order", Some(day(4)), slot(2, "r3"));
    states.set_slot("ods_user_order", None, slot(2, "r3"));
    say(&states, "dwd_order_history", &none);
    for n in [6, 8, 10] {
        states.set_slot("ods_user_order", Some(day(n)), slot(2, "r3"));
    }
    say(&states, "dwd_order_history", &none);
    let old = Fingerprint { meaning: 1, ..Fingerprint::default() };
    states.set_slot("app_active", Some(day(5)), SlotState { fingerprint: Some(old), ..slot(1, "r2") });
    states.set_slot("app_active", Some(day(6)), slot(1, "r2"));
    say(&states, "app_active", &none);
    let expected = [
        "forced",
        "input ods_user_order changed",
        "input ods_user_order on no day, 2026-01-04 changed by run r3",
        "input ods_user_order on 5 days changed by run r3",
        "SQL changed",
        "no record of what it was made from",
    ];
    assert_eq!(said, expected);
}

#[test]
fn partitions_before_the_first_day_are_obsolete() {
    let (models, states, _) = built();
    let model = models.get("dwd_event").expect("a model");
    assert_eq!(obsolete(model, Some(day(5)), &states), days(3..=4));
    assert_eq!(obsolete(model, Some(day(3)), &states), []);
    assert_eq!(obsolete(model, None, &states), days(3..=12), "nothing is loaded any more");
}

#[test]
fn a_year_of_sixty_models_is_looked_through_in_a_moment() {
    let list: Vec<(String, String)> = (0..60)
        .map(|n| match n {
            0 => ("dws_m00".to_owned(), "select dt, a from ods_user_action where dt = $dt".to_owned()),
            n => (format!("dws_m{n:02}"), {
                let (a, b) = (n - 1, n / 2);
                format!(
                    "with x as (select a from dws_m{a:02} where dt <= $dt), y as (select a from dws_m{b:02} where dt between \
                     $dt - interval '29 days' and $dt) select $dt as dt, x.a from x join y on x.a = y.a"
                )
            }),
        })
        .collect();
    let list: Vec<(&str, &str)> = list.iter().map(|(name, body)| (name.as_str(), body.as_str())).collect();
    let models = project(&list);
    let mut states = States::default();
    states.set("ods_user_action", source(1..=365));
    let clock = std::time::Instant::now();
    let begins = begins(&models, &states, &starts(), None);
    let window = Window { from: None, to: day(365) };
    let all: BTreeSet<String> = models.iter().map(|model| model.name.clone()).collect();
    let wanted = wanted(&models, &all, window, &begins, &states);
    let plan = plan(&models, &wanted, &begins, &states, &Expected::default());
    assert_eq!(plan.partitions(), 60 * 365);
    build(&models, &wanted, &mut states, "r2");
    for model in models.iter() {
        assert!(stale(model, &wanted[&model.name], &states).is_empty());
    }
    // Unoptimised and with many tests beside it; optimised it is a few milliseconds.
    assert!(clock.elapsed().as_secs() < 20, "{:?}", clock.elapsed());
}
