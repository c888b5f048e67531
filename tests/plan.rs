//! `strata plan` through the binary: it foresees what a run does, says why, and touches nothing.

mod shop;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::Stdio;

use serde_json::Value;
use shop::Shop;

const SMALL: [&str; 8] = ["--days", "3", "--devices", "20", "--events", "40", "--orders", "5"];

/// Every file of a folder with its size and time.
fn listing(folder: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let (path, meta) = (entry.path(), entry.metadata().expect("a file"));
        if meta.is_dir() {
            found.extend(listing(&path));
        } else {
            found.insert(format!("{} {} {:?}", path.display(), meta.len(), meta.modified().expect("a time")));
        }
    }
    found
}

/// The rows of a plan, as programs get them.
fn planned(shop: &Shop, more: &[&str]) -> Vec<Value> {
    let said = shop.command(&[&["plan", "--format", "json"], more].concat()).output().expect("starts");
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    let text = String::from_utf8(said.stdout).expect("UTF-8");
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

/// The models that a plan builds, with how many partitions of each.
fn partitions(plan: &[Value], certain: bool) -> BTreeMap<String, u64> {
    let mut all = BTreeMap::new();
    for row in plan.iter().filter(|row| row["step"] == "build" && (!certain || row["certain"] == true)) {
        let model = row["name"].as_str().expect("a name").to_owned();
        // How many partitions a table has that is made in one go is known afterwards.
        let whole = if certain { 0 } else { 1_000 };
        let known = || row["partitions"].as_u64().expect("a number");
        *all.entry(model).or_default() += if row["from"].is_null() { whole } else { known() };
    }
    all
}

/// What the newest run built, by its own record.
fn built(shop: &Shop) -> BTreeMap<String, u64> {
    let runs = fs::read_dir(shop.path("target/runs")).expect("runs");
    let newest = runs.flatten().map(|entry| entry.path()).max().expect("a run");
    let record: Value = serde_json::from_slice(&fs::read(newest.join("run.json")).expect("a record")).expect("JSON");
    let models = record["models"].as_array().expect("models").iter();
    let built =
        models.map(|m| (m["model"].as_str().expect("a name").to_owned(), m["built"].as_u64().expect("a number")));
    built.filter(|(_, built)| *built > 0).collect()
}

fn row<'a>(plan: &'a [Value], step: &str, name: &str) -> &'a Value {
    plan.iter().find(|row| row["step"] == step && row["name"] == name).unwrap_or(&Value::Null)
}

#[test]
fn a_new_warehouse_and_a_late_event_are_foreseen_and_nothing_is_touched() {
    let shop = Shop::sample(&SMALL);
    let before = listing(Path::new(&shop.path("")));
    let plan = planned(&shop, &[]);
    assert_eq!(listing(Path::new(&shop.path(""))), before, "a plan writes nothing");
    assert_eq!(row(&plan, "ingest", "ods_user_action")["from"], "2026-01-01");
    assert_eq!(row(&plan, "build", "app_gmv")["reason"], "never built");
    shop.succeeds(&["run", "--quiet"]);
    let built_first = built(&shop);
    for (model, count) in &built_first {
        let foreseen = partitions(&plan, false).get(model).copied().unwrap_or(0);
        assert!(foreseen >= *count, "{model}: {foreseen} foreseen, {count} built");
    }
    let fresh = shop.succeeds(&["plan"]);
    assert!(fresh.contains("nothing to build: all is fresh"), "{fresh}");

    // 2026-01-02 12:00 in Shanghai, delivered a day later.
    let line = r#"{"act":1,"acttime":1767326400000,"xaid":"late-device","platform":1,"net":1,"ad_status":1}"#;
    fs::write(shop.path("in/user_action/2026-01-03/late.log"), format!("{line}\n")).expect("writes");
    let before = listing(Path::new(&shop.path("")));
    let plan = planned(&shop, &[]);
    let text = shop.succeeds(&["plan"]);
    assert_eq!(listing(Path::new(&shop.path(""))), before, "a plan writes nothing");
    let waits = row(&plan, "ingest", "ods_user_action");
    assert_eq!(
        (&waits["from"], &waits["to"], &waits["files"]),
        (&"2026-01-02".into(), &"2026-01-02".into(), &1.into())
    );
    let waits = text.lines().find(|line| line.starts_with("ods_user_action")).expect("a line").split_whitespace();
    assert_eq!(waits.take(3).collect::<Vec<_>>(), ["ods_user_action", "2026-01-02", "1"], "{text}");
    let event = row(&plan, "build", "dwd_event");
    assert_eq!((&event["from"], &event["partitions"]), (&"2026-01-02".into(), &1.into()));
    assert_eq!(event["reason"], "new at the source: ods_user_action");
    assert!(event["rows"].as_u64().expect("a number") > 10 && event["bytes"].as_u64().expect("a number") > 1_000);
    assert!(event["seconds"].as_f64().expect("a time") > 0.0, "the first run took some");
    assert!(row(&plan, "build", "app_gmv").is_null(), "orders are untouched");
    assert!(text.lines().all(|line| line.chars().count() <= 120), "it fits:\n{text}");

    // Taken in, it is the same plan, with the run and the rows.
    shop.succeeds(&["ingest", "--quiet"]);
    let landed = planned(&shop, &[]);
    assert_eq!(partitions(&landed, false), partitions(&plan, false));
    let reason = row(&landed, "build", "dwd_event")["reason"].as_str().expect("a reason").to_owned();
    let rows = event["rows"].as_u64().expect("a number");
    assert!(reason.starts_with("input ods_user_action 2026-01-02 changed by run 20"), "{reason}");
    assert!(reason.ends_with(&format!(": {rows} → {} rows", rows + 1)), "{reason}");

    let explained = shop.succeeds(&["plan", "--explain", "dwd_event", "2026-01-02"]);
    assert!(explained.contains("state    stale: input ods_user_action 2026-01-02 changed by run"), "{explained}");
    assert!(explained.contains("today: CHANGED"), "{explained}");

    // The run says the same and does no more.
    let said = shop.succeeds(&["run"]);
    assert!(said.contains(&reason), "{said}");
    for (model, count) in built(&shop) {
        assert!(partitions(&landed, false).get(&model).is_some_and(|planned| *planned >= count), "{model}");
    }
    for (model, count) in partitions(&landed, true) {
        assert!(built(&shop).get(&model).is_some_and(|built| *built >= count), "{model} was certain");
    }
    let explained = shop.succeeds(&["plan", "--explain", "dwd_event", "2026-01-02"]);
    assert!(explained.contains("state    fresh") && explained.contains(&format!("({rows} in the version before)")));
    let (code, said) = shop.runs(&["plan", "--explain", "dwd_event"]);
    assert!(code == 2 && said.contains("say which"), "{said}");
}

#[test]
fn an_edit_is_told_by_its_line_and_a_failure_by_its_run() {
    let shop = Shop::sample(&SMALL);
    shop.succeeds(&["run", "--quiet"]);
    let line = |text: &str| 1 + text.lines().position(|line| line.contains("select opens from")).expect("a line");
    let number = line(&fs::read_to_string(shop.path("sql/app/app_open.sql")).expect("a model"));
    shop.edit("sql/app/app_open.sql", "select opens from", "-- A remark.\n    select opens from");
    assert!(shop.succeeds(&["plan"]).contains("all is fresh"), "a comment means nothing");
    shop.edit("sql/app/app_open.sql", "select opens from", "select opens + 0 as opens from");
    let said = shop.succeeds(&["plan"]);
    assert!(said.contains(&format!("SQL changed at line {}", number + 1)), "{number}: {said}");
    // A part is built: the others still know what they were made by.
    shop.succeeds(&["build", "app_open", "--date", "2026-01-02", "--quiet"]);
    let plan = planned(&shop, &["app_open"]);
    assert!(
        plan.iter()
            .any(|row| row["from"] == "2026-01-01" && row["reason"] == format!("SQL changed at line {}", number + 1)),
        "{plan:?}"
    );
    assert!(plan.iter().all(|row| row["from"] != "2026-01-02"), "{plan:?}");
    shop.succeeds(&["run", "--quiet"]);
    assert!(shop.succeeds(&["plan"]).contains("all is fresh"));

    shop.edit("sql/app/app_open.sql", "-- grain:", "-- check:  opens < 0\n-- grain:");
    let said = shop.succeeds(&["plan", "app_open"]);
    assert!(said.contains("check changed at line"), "{said}");
    let (code, _) = shop.runs(&["run", "--quiet"]);
    assert_eq!(code, 1);
    let said = shop.succeeds(&["plan", "app_open"]);
    assert!(said.contains("check changed at line") && said.contains("; failed in run 20"), "{said}");
}

#[test]
fn a_schema_check_builds_nothing_and_finds_every_model_that_does_not_fit() {
    let shop = Shop::sample(&["--days", "1", "--devices", "5", "--events", "10", "--orders", "2"]);
    let said = shop.succeeds(&["build", "--empty"]);
    assert!(said.contains("fit their inputs; nothing was read or built"), "{said}");
    assert!(!Path::new(&shop.path("warehouse/lake")).exists(), "no lake is needed");
    shop.edit("sql/app/app_open.sql", "select opens from", "select openz from");
    shop.edit(
        "sql/dws/dws_order_line.sql",
        "-- grain:",
        "-- check:  select 1 from dws_order_line where unitz > 1\n-- grain:",
    );
    let (code, said) = shop.runs(&["build", "--empty"]);
    assert_eq!(code, 1, "{said}");
    for part in ["sql/app/app_open.sql:", "openz", "unitz", "dws_order_line"] {
        assert!(said.contains(part), "`{part}` in:\n{said}");
    }
    assert!(!Path::new(&shop.path("warehouse/lake")).exists());
}

#[test]
fn a_build_of_what_was_never_ingested_says_what_to_run() {
    let shop = Shop::sample(&["--days", "1", "--devices", "5", "--events", "10", "--orders", "2"]);
    let (code, said) = shop.runs(&["build"]);
    assert!(code == 2 && said.contains("nothing was ever ingested into") && said.contains("`strata run`"), "{said}");
    shop.succeeds(&["ingest", "logs", "--quiet"]);
    let (code, said) = shop.runs(&["build", "app_open", "app_gmv", "--quiet"]);
    let expected = "app_gmv skipped: nothing was ever ingested from orders (`strata ingest orders`)";
    assert!(code == 1 && said.contains(expected), "{said}");
    assert!(built(&shop).contains_key("app_open"), "logs are there");
}

#[test]
fn a_backfill_tells_how_far_it_is_and_goes_on_after_an_interruption() {
    let options = ["--days", "70", "--devices", "3", "--events", "3", "--orders", "1"];
    let shop = Shop::sample(&options);
    shop.succeeds(&["ingest", "--quiet"]);
    let mut child = shop.command(&["build", "dwd_event"]).stderr(Stdio::piped()).spawn().expect("starts");
    let mut said = BufReader::new(child.stderr.take().expect("a pipe"));
    let mut line = String::new();
    while !line.contains("dwd_event: 31 of 70 partitions published") {
        line.clear();
        assert!(said.read_line(&mut line).expect("reads") > 0, "it told how far it is");
    }
    let interrupted = std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    assert!(interrupted.expect("kill is there").success());
    let mut rest = String::new();
    said.read_to_string(&mut rest).expect("reads");
    assert_eq!(child.wait().expect("ends").code(), Some(130), "{rest}");
    let left = partitions(&planned(&shop, &["dwd_event"]), true)["dwd_event"];
    assert!(left <= 39, "what was published stays: {left} left");
    shop.succeeds(&["build", "dwd_event", "--quiet"]);
    assert_eq!(built(&shop)["dwd_event"], left, "the rest, and no more");
    let days = "select dt, count(*) as events, sum(copies) as copies from dwd_event group by dt order by dt";
    let resumed = shop.succeeds(&["query", days, "--format", "csv"]);
    assert_eq!(resumed.lines().count(), 71);
    shop.succeeds(&["build", "dwd_event", "--force", "--quiet"]);
    assert_eq!(shop.succeeds(&["query", days, "--format", "csv"]), resumed);
    assert_eq!(built(&shop)["dwd_event"], 70);
    // What a day is made from is not what was asked for: `dws_visitor_first` reads each day before.
    shop.succeeds(&["build", "dws_visitor_first", "--quiet"]);
    let forced = ["build", "dwd_event", "dws_visitor_day", "dws_visitor_first", "--date", "2026-03-11", "--force"];
    shop.succeeds(&forced);
    assert!(built(&shop).values().all(|days| *days == 1), "{:?}", built(&shop));
    assert_eq!(built(&shop).len(), 3);
}

#[test]
fn sql_of_every_kind_reads_no_column_that_it_is_not_known_to_see() {
    let shop = Shop::sample(&["--days", "2", "--devices", "12", "--events", "40", "--orders", "6"]);
    let day = "dt = $dt";
    let models = [
        format!(
            "with recursive step as (select 1 as n union all select n + 1 from step where n < 3),
             event as (select visitor_id from dwd_event where {day})
             select $dt as dt, n as k, count(*) as v from step cross join event group by n"
        ),
        format!(
            "select $dt as dt, visitor_id as k, row_number() over (order by events desc, visitor_id) as v
             from dws_visitor_day where {day} qualify row_number() over (order by visitor_id) <= 5"
        ),
        format!(
            "select $dt as dt, platform as k, count(distinct visitor_id) as v from dwd_event as e where {day} and exists
             (select 1 from dws_visitor_day as d where d.{day} and d.visitor_id = e.visitor_id) group by platform"
        ),
        format!(
            "select $dt as dt, coalesce(platform, 'all') as k, sum(events) as v from dws_visitor_day where {day}
             group by grouping sets ((platform), ())"
        ),
        format!(
            "select $dt as dt, x.visitor_id as k, x.opens as v
             from (select visitor_id, opens from dws_visitor_day where {day}) as x
             natural join (select visitor_id from dws_visitor_platform_day where {day} intersect
                           select visitor_id from dwd_event where {day}) as y"
        ),
        format!(
            "select $dt as dt, k, v from (
                select visitor_id as k, views as v from dws_visitor_day where {day} union
                select platform, (select max(events) from dws_visitor_day where {day}) from dwd_event where {day}
             ) as parts"
        ),
        format!(
            "with day (a, b, c, d, e, f, g, h, i, j, k, l) as (select * from dws_visitor_day where {day})
             select $dt as dt, b as k, i as v from day"
        ),
        format!(
            "select $dt as dt, y.model as k, count(*) as v
             from (dws_visitor_day as a join seed_order_status as s on a.events = s.code) as y where y.{day} group by y.model"
        ),
    ];
    for (at, sql) in models.iter().enumerate() {
        let text = format!("-- Rows.\n--\n-- grain: dt, k\n\n{sql}\n");
        fs::write(shop.path(&format!("sql/dws/dws_kind_{at}.sql")), text).expect("a model");
    }
    let last = shop.succeeds(&["run"]).lines().last().unwrap_or_default().to_owned();
    assert!(last.contains("done"), "{last}");
    for at in 0..models.len() {
        let rows = shop.succeeds(&["query", "--format", "csv", &format!("select count(*) from dws_kind_{at}")]);
        assert!(at == 7 || !rows.trim_end().ends_with("\n0"), "{at}: {rows}");
    }
}
