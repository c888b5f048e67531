//! How the plan speaks: of what waits at the sources, of changed inputs, and as a table.

use std::collections::{BTreeMap, BTreeSet};

use super::tests::{built, day, shop, slot, starts, want};
use super::*;
use crate::date::Slot;

#[test]
fn what_waits_for_a_new_day_is_built_like_any_other_new_day() {
    let models = shop();
    let all: Vec<&str> = models.iter().map(|model| model.name.as_str()).collect();
    let (_, states, _) = built();
    let waits = |table: &str, n: i32| (table.to_owned(), BTreeSet::from([Some(day(n))]));
    let shown = |states: &States, arriving: BTreeMap<String, BTreeSet<Slot>>| {
        let expected = Expected { arriving, ..Expected::default() };
        let landed = expected.landed(states);
        let wanted = want(&all, None, 13, &landed);
        let begins = begins(&models, &landed, &starts(), None);
        let rows = plan(&models, &wanted, &begins, states, &expected).rows(|_, _| Cost::default());
        rows.iter().map(|row| format!("{} {} {}\n", row.model, row.days(), row.reason)).collect::<String>()
    };
    let new_day = shown(&states, BTreeMap::from([waits("ods_user_action", 13)]));
    for model in ["dwd_event", "dws_visitor_day", "app_active"] {
        assert!(new_day.contains(&format!("{model} 2026-01-13 never built\n")), "{new_day}");
    }
    let late = shown(&states, BTreeMap::from([waits("ods_user_action", 5)]));
    assert!(late.contains("dwd_event 2026-01-05 new at the source: ods_user_action\n"), "{late}");
    assert!(late.contains("dws_visitor_day 2026-01-05 if dwd_event changes\n"), "{late}");
    let first = shown(&States::default(), BTreeMap::from([waits("ods_user_action", 12)]));
    assert!(first.contains("dwd_event 2026-01-12 never built\n") && first.contains("app_active 2026-01-12"), "{first}");
}

#[test]
fn a_plan_is_a_table_that_fits_and_says_what_it_does_not_know() {
    let row = |model: &str, cost: Cost, reason: &str| PlanRow {
        model: model.to_owned(),
        layer: crate::model::Layer::Dws,
        whole: false,
        from: Some(day(1)),
        to: Some(day(12)),
        partitions: 12,
        cost,
        reason: reason.to_owned(),
        certain: true,
    };
    let known = Cost { rows: 12_000, bytes: 3 << 20, partial: false, seconds: Some(1.26) };
    let more = Cost { partial: true, seconds: None, ..known };
    let nothing = Cost { rows: 0, bytes: 0, partial: true, seconds: None };
    let long = "input dwd_event 2026-01-01..2026-01-12 changed by run 20260105T010203123-04711: 1,000 → 1,013 rows";
    let text =
        listing(&[row("dws_a", known, long), row("dws_b", more, "never built"), row("dws_c", nothing, "forced")]);
    let expected = "\
model  days                    parts     rows   bytes    time  why
dws_a  2026-01-01..2026-01-12     12   12,000   3 MiB   1.3 s
    input dwd_event 2026-01-01..2026-01-12 changed by run 20260105T010203123-04711: 1,000 → 1,013 rows
dws_b  2026-01-01..2026-01-12     12  12,000+  3 MiB+       ?  never built
dws_c  2026-01-01..2026-01-12     12        ?       ?       ?  forced
total                             36  24,000+  6 MiB+  1.3 s+
";
    assert_eq!(text, expected);
    assert!(text.lines().all(|line| line.chars().count() <= 120));
}

#[test]
fn alike_models_of_a_layer_are_one_row_where_they_would_fill_a_screen() {
    let row = |n: usize, reason: &str| PlanRow {
        model: format!("dws_{n}"),
        layer: crate::model::Layer::Dws,
        whole: false,
        from: Some(day(1)),
        to: Some(day(2)),
        partitions: 2,
        cost: Cost { rows: 5, ..Cost::default() },
        reason: reason.to_owned(),
        certain: true,
    };
    let few: Vec<PlanRow> = (0..10).map(|n| row(n, "never built")).collect();
    assert_eq!(merged(&few), few);
    let mut many: Vec<PlanRow> = (0..40).map(|n| row(n, if n == 7 { "forced" } else { "never built" })).collect();
    for (n, from) in [(40, 2), (40, 5), (41, 3)] {
        let days = PlanRow { from: Some(day(from)), to: Some(day(from)), partitions: 1, ..row(n, "") };
        many.push(PlanRow { certain: false, reason: format!("if dwd_{from} changes"), ..days });
    }
    let said: Vec<String> = merged(&many)
        .iter()
        .map(|row| format!("{} {} {} {} {}", row.model, row.days(), row.partitions, row.cost.rows, row.reason))
        .collect();
    let expected = [
        "39 dws models 2026-01-01..2026-01-02 78 195 never built",
        "dws_7 2026-01-01..2026-01-02 2 5 forced",
        "2 dws models 2026-01-02..2026-01-05 3 15 if what they read changes",
    ];
    assert_eq!(said, expected);
}

#[test]
fn a_changed_input_is_told_with_its_run_and_its_rows() {
    let (models, states, wanted) = built();
    let model = models.get("dwd_event").expect("a model");
    let told = |changed: &[(i32, &str, Option<u64>, u64)]| {
        let mut states = states.clone();
        for &(n, run, rows_before, rows) in changed {
            states.set_slot("ods_user_action", Some(day(n)), SlotState { rows_before, rows, ..slot(2, run) });
        }
        let reasons: Vec<Reason> = stale(model, &wanted["dwd_event"], &states).into_iter().map(|(_, r)| r).collect();
        let first = reasons.first().cloned().expect("a reason");
        reasons.iter().fold(first, |all, reason| all.joined(reason).expect("alike")).to_string()
    };
    let input = "input ods_user_action";
    assert_eq!(told(&[(5, "r3", Some(10), 1_013)]), format!("{input} 2026-01-05 changed by run r3: 10 → 1,013 rows"));
    assert_eq!(
        told(&[(5, "r3", Some(10), 10)]),
        format!("{input} 2026-01-05 changed by run r3: other content in 10 rows")
    );
    assert_eq!(told(&[(5, "r3", Some(0), 1)]), format!("{input} 2026-01-05 changed by run r3: 1 row, the first"));
    assert_eq!(told(&[(5, "r3", None, 1)]), format!("{input} 2026-01-05 changed by run r3"));
    let two = told(&[(5, "r4", Some(10), 13), (6, "r3", Some(10), 11)]);
    assert_eq!(two, format!("{input} 2026-01-05..2026-01-06 changed by several runs up to r4: 20 → 24 rows"));
}

#[test]
fn what_a_rebuild_took_in_that_came_to_the_same_is_not_told_again() {
    let (models, mut states, _) = built();
    let model = models.get("dws_week").expect("a model");
    states.set_slot("dws_visitor_day", Some(day(5)), slot(2, "r3"));
    let made = fingerprint(model, Some(day(10)), &states);
    let same = SlotState { fingerprint: Some(made), confirmed: Some("r3".to_owned()), ..slot(1, "r2") };
    states.set_slot("dws_week", Some(day(10)), same);
    assert!(stale(model, &[Some(day(10))], &states).is_empty());
    states.set_slot("dws_visitor_day", Some(day(6)), slot(2, "r4"));
    let said: Vec<String> = stale(model, &[Some(day(10))], &states).iter().map(|(_, r)| r.to_string()).collect();
    assert_eq!(said, ["input dws_visitor_day 2026-01-06 changed by run r4"]);
}
