//! The past through the binary: the warehouse as it was after a run, back to before one, and what changed when.

mod shop;

use std::fs;
use std::process::Stdio;

use shop::{Shop, exports};

/// A shop whose days arrive when a test says so.
fn waiting_shop() -> Shop {
    let shop = Shop::sample(&["--days", "3", "--devices", "10", "--events", "20", "--orders", "5"]);
    fs::rename(shop.path("in"), shop.path("waiting")).expect("moves");
    for source in ["user_action", "orders"] {
        fs::create_dir_all(shop.path(&format!("in/{source}"))).expect("a folder");
    }
    shop
}

fn arrive(shop: &Shop, days: &[&str]) {
    for day in days {
        for source in ["user_action", "orders"] {
            let (from, to) = (format!("waiting/{source}/{day}"), format!("in/{source}/{day}"));
            fs::rename(shop.path(&from), shop.path(&to)).expect("moves");
        }
        // Something to be rejected.
        fs::write(shop.path(&format!("in/user_action/{day}/odd.log")), "not an event\n").expect("writes");
    }
}

/// A late extract: the first order of a day turns out to be of 1,000.00 more.
fn correct_late(shop: &Shop, of_day: &str, arrival: &str) {
    let text = fs::read_to_string(shop.path(&format!("in/orders/{of_day}/user_order.csv"))).expect("an extract");
    let (header, row) = text.split_once('\n').expect("a header");
    let mut cells: Vec<String> = row.lines().next().expect("a row").split(',').map(str::to_owned).collect();
    let place = |name: &str| header.split(',').position(|column| column == name).expect("a column");
    let money: f64 = cells[place("order_money")].parse().expect("money");
    cells[place("order_money")] = format!("{:.2}", money + 1000.0);
    cells[place("update_time")] = format!("{arrival} 20:00:00");
    fs::create_dir_all(shop.path(&format!("in/orders/{arrival}"))).expect("a folder");
    let file = shop.path(&format!("in/orders/{arrival}/user_order.csv"));
    fs::write(file, format!("{header}\n{}\n", cells.join(","))).expect("writes");
}

/// The runs that left a record, oldest first.
fn runs(shop: &Shop) -> Vec<String> {
    let names = fs::read_dir(shop.path("target/runs")).expect("runs").flatten();
    let mut names: Vec<String> = names.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

fn last(shop: &Shop) -> String {
    runs(shop).pop().expect("a run")
}

/// The questions that every state answers: of each layer, down to the rejects.
const TABLES: [&str; 6] = ["app_gmv", "app_buyer_mix", "dws_buyer_day", "dwd_order", "ods_user_order", "ods_reject"];

fn asked(shop: &Shop, as_of: Option<&str>) -> String {
    let mut text = String::new();
    for table in TABLES {
        let sql = format!("select * from {table}");
        let mut arguments = vec!["query", "--quiet", "--format", "csv", sql.as_str()];
        arguments.extend(as_of.map(|run| ["--as-of", run]).into_iter().flatten());
        let said = shop.succeeds(&arguments);
        let mut lines: Vec<&str> = said.lines().collect();
        lines[1..].sort_unstable();
        text.push_str(&format!("# {table}\n{}\n", lines.join("\n")));
    }
    text
}

/// Both what can be asked and what is exported.
fn state(shop: &Shop) -> (String, String) {
    shop.succeeds(&["export", "--verify", "--quiet"]);
    (asked(shop, None), exports(shop))
}

#[test]
fn every_run_is_a_moment_to_be_asked_undone_and_had_back() {
    let shop = waiting_shop();
    arrive(&shop, &["2026-01-01", "2026-01-02"]);
    shop.succeeds(&["run", "--quiet"]);
    let first = (last(&shop), state(&shop));
    let begun: String = first.0.chars().filter(char::is_ascii_digit).take(17).collect();
    arrive(&shop, &["2026-01-03"]);
    shop.succeeds(&["run", "--quiet"]);
    let second = (last(&shop), state(&shop));
    correct_late(&shop, "2026-01-02", "2026-01-03");
    // The extract of the 3rd is replaced, as when a file is delivered again: its rows leave, the correction comes.
    shop.succeeds(&["run", "--quiet"]);
    let third = (last(&shop), state(&shop));
    assert_ne!(second.1, third.1);

    // As of each run, by its name, the beginning of it, or a time.
    for (run, (answers, _)) in [&first, &second, &third] {
        assert_eq!(&asked(&shop, Some(run)), answers, "as of {run}");
    }
    let part = |from: usize, to: usize| begun.get(from..to).expect("digits");
    let time = format!(
        "{}-{}-{}T{}:{}:{}.{}Z",
        part(0, 4),
        part(4, 6),
        part(6, 8),
        part(8, 10),
        part(10, 12),
        part(12, 14),
        part(14, 17)
    );
    assert_eq!(asked(&shop, Some(&time)), first.1.0, "as of {time}");
    let (code, said) = shop.runs(&["query", "select 1", "--as-of", "2020-01-01 03:00"]);
    assert_eq!(code, 2, "{said}");
    assert!(said.contains("no run had begun by 2020-01-01 03:00") && said.contains(&first.0), "{said}");
    let wrong = format!("{}x", first.0);
    let (code, said) = shop.runs(&["query", "select 1", "--as-of", &wrong]);
    assert!(code == 2 && said.contains(&format!("did you mean `{}`", first.0)), "{said}");

    // What is told beforehand changes nothing.
    let told = shop.succeeds(&["undo", &third.0, "--dry-run"]);
    for part in ["app_gmv ", "dwd_order ", "2026-01-03", "the next `strata run` takes in again"] {
        assert!(told.contains(part), "`{part}` in:\n{told}");
    }
    assert_eq!(state(&shop), third.1);

    // Undone: the answers and the exports of before. Readers meanwhile see one or the other.
    let sql = "select sum(gmv) as gmv from app_gmv";
    let gmv = |as_of: &str| shop.succeeds(&["query", sql, "--as-of", as_of, "--quiet", "--format", "csv"]);
    let (before, after) = (gmv(&second.0[..18]), gmv(&third.0));
    assert_ne!(before, after);
    let mut undo = shop.command(&["undo", &third.0, "--quiet"]);
    let mut undo = undo.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("starts");
    while undo.try_wait().expect("is asked").is_none() {
        let seen = shop.succeeds(&["query", sql, "--quiet", "--format", "csv"]);
        assert!(seen == before || seen == after, "{seen}");
    }
    assert!(undo.wait().expect("ends").success());
    let undone = last(&shop);
    assert_eq!(state(&shop), second.1);
    let said = shop.succeeds(&["undo", &third.0]);
    assert!(said.contains("nothing to undo"), "{said}");

    // The undo is a moment as well, and can itself be undone.
    shop.succeeds(&["undo", &undone, "--quiet"]);
    assert_eq!(state(&shop), third.1, "the undo is undone");
    assert_eq!(asked(&shop, Some(&undone)), second.1.0);

    // All the way back: tables that did not exist are empty and count as never built, and a run takes all in again.
    let told = shop.succeeds(&["undo", &first.0]);
    assert!(told.contains("undone with it") && told.contains(&second.0) && told.contains(&undone), "{told}");
    let rows = shop.succeeds(&["query", "select count(*) as n from ods_user_action", "--format", "csv", "--quiet"]);
    assert_eq!(rows, "n\n0\n");
    let said = shop.succeeds(&["run"]);
    assert!(said.contains("ods_user_order: 3 files"), "{said}");
    assert_eq!(state(&shop), third.1, "what was undone comes again");
}

#[test]
fn an_undo_that_broke_off_is_finished_by_itself_or_by_a_run() {
    let shop = waiting_shop();
    arrive(&shop, &["2026-01-01", "2026-01-02"]);
    shop.succeeds(&["run", "--quiet"]);
    let before = state(&shop);
    arrive(&shop, &["2026-01-03"]);
    shop.succeeds(&["run", "--quiet"]);
    let (run, after) = (last(&shop), state(&shop));

    // Somebody's commit is in the way of the undo's to one table, when it has brought back all that is made from it.
    let log = shop.path("warehouse/lake/ods/ods_user_order/_delta_log");
    let versions =
        fs::read_dir(&log).expect("a log").flatten().filter(|e| e.path().extension() == Some("json".as_ref()));
    let in_the_way = format!("{log}/{:020}.json", versions.count());
    fs::create_dir(&in_the_way).expect("a folder");
    let (code, said) = shop.runs(&["undo", &run]);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("bring back ods_user_order") && said.contains("`strata undo "), "{said}");
    assert_ne!(asked(&shop, None), after.0, "a part of it is done");
    assert_ne!(asked(&shop, None), before.0, "and a part is not");
    fs::remove_dir(&in_the_way).expect("goes");

    shop.succeeds(&["undo", &run, "--quiet"]);
    let finishing = last(&shop);
    assert_eq!(state(&shop), before, "undone to the end");
    // Back to where it broke off, and there a run.
    shop.succeeds(&["undo", &finishing, "--quiet"]);
    assert_ne!(asked(&shop, None), after.0);
    shop.succeeds(&["run", "--quiet"]);
    assert_eq!(state(&shop), after, "a run leaves what is right");
}

#[test]
fn an_undo_brings_back_columns_and_is_refused_when_files_are_gone() {
    let shop = waiting_shop();
    arrive(&shop, &["2026-01-01", "2026-01-02", "2026-01-03"]);
    shop.succeeds(&["run", "--quiet"]);
    let (first, before) = (last(&shop), state(&shop));
    shop.edit(
        "sql/app/app_gmv.sql",
        "money_ratio(placed_total.gmv, placed_total.orders) as aov",
        "1 as one, -- One.\n    placed_total.orders + 1 as aov",
    );
    shop.succeeds(&["run", "--quiet"]);
    let (second, after) = (last(&shop), state(&shop));
    assert!(after.0.contains(",one,aov\n"), "{}", after.0);

    let said = shop.succeeds(&["diff", &first, &second, "--format", "csv"]);
    assert!(said.contains("app_gmv,3,2026-01-01..2026-01-03,0,0,3,+one ~aov"), "{said}");
    let said = shop.succeeds(&["bisect", "app_gmv", "dt=2026-01-02", "aov", "--format", "csv", "--quiet"]);
    assert!(said.lines().count() == 3 && said.contains("first built") && said.contains("SQL changed"), "{said}");

    let told = shop.succeeds(&["undo", &second]);
    assert!(told.contains("columns as they were"), "{told}");
    assert_eq!(state(&shop), before);
    shop.succeeds(&["run", "--quiet"]);
    assert_eq!(state(&shop), after, "the model is what it is");

    // The files of the first run are vacuumed: nothing changes, and what is missing is said.
    let folder = shop.path("warehouse/lake/app/app_gmv");
    for file in fs::read_dir(&folder).expect("a table").flatten() {
        if file.file_name().to_string_lossy().starts_with(&first) {
            fs::remove_file(file.path()).expect("goes");
        }
    }
    let (code, said) = shop.runs(&["undo", &second]);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("app_gmv: 1 file of what was there before is gone"), "{said}");
    assert_eq!(state(&shop), after);
}

#[test]
fn a_late_order_that_corrects_the_sales_is_seen_by_diff_and_bisect() {
    let shop = waiting_shop();
    arrive(&shop, &["2026-01-01", "2026-01-02"]);
    shop.succeeds(&["run", "--quiet"]);
    let first = last(&shop);
    correct_late(&shop, "2026-01-01", "2026-01-03");
    shop.succeeds(&["run", "--quiet"]);
    let second = last(&shop);

    let text = fs::read_to_string(shop.path("in/orders/2026-01-03/user_order.csv")).expect("an extract");
    let row = text.lines().nth(1).expect("a row");
    let (order, day) = (row.split(',').next().expect("an order"), row.split(',').nth(1).expect("a time"));
    let day = &day[..10];
    let cell = |sql: &str, run: &str| {
        let said = shop.succeeds(&["query", sql, "--as-of", run, "--quiet", "--format", "csv"]);
        said.lines().nth(1).expect("a row").to_owned()
    };
    let money = format!("select order_money from dwd_order where order_id = {order}");
    let gmv = format!("select gmv from app_gmv where dt = date '{day}'");
    let (money, gmv) = ([cell(&money, &first), cell(&money, &second)], [cell(&gmv, &first), cell(&gmv, &second)]);
    assert_ne!(gmv[0], gmv[1]);

    let said = shop.succeeds(&["diff", &first, &second, "dwd_order", "app_gmv", "--format", "csv", "--quiet"]);
    for line in [
        format!("dwd_order,order_id={order},changed,order_money,{},{}", money[0], money[1]),
        format!("app_gmv,dt={day},changed,gmv,{},{}", gmv[0], gmv[1]),
    ] {
        assert!(said.lines().any(|said| said == line), "`{line}` in:\n{said}");
    }
    let said = shop.succeeds(&["diff", &second, &first, "app_gmv", "--limit", "1", "--format", "csv"]);
    assert!(said.contains(&format!("{},{}", gmv[1], gmv[0])) || said.contains("removed"), "{said}");
    assert!(said.contains("`--limit 0` shows all"), "{said}");
    let said = shop.succeeds(&["diff", &first, &second, "--format", "csv", "--quiet"]);
    assert!(said.lines().any(|line| line.starts_with(&format!("ods_user_order,1,{day},1,0,0"))), "{said}");
    assert!(!said.contains("ods_user_action"), "what is the same is not told:\n{said}");
    let said = shop.succeeds(&["diff", &first, &first]);
    assert!(said.contains("nothing differs"), "{said}");

    let said = shop.succeeds(&["bisect", "app_gmv", &format!("dt={day}"), "gmv", "--format", "csv", "--quiet"]);
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines.len(), 3, "{said}");
    assert!(lines[1].starts_with(&first) && lines[1].contains(&format!("no row,{},first built", gmv[0])), "{said}");
    assert!(lines[2].starts_with(&second) && lines[2].contains(&format!("{},{}", gmv[0], gmv[1])), "{said}");
    assert!(lines[2].contains(&format!("input dwd_order {day}")), "{said}");
    let key = format!("order_id={order}");
    let said = shop.succeeds(&["bisect", "dwd_order", &key, "order_money", "--format", "csv", "--quiet"]);
    assert!(said.lines().count() == 3 && said.contains(&format!("{},{}", money[0], money[1])), "{said}");

    for (arguments, expected) in [
        (&["bisect", "app_gmv", "dt=2026-01-01", "gnv"][..], "did you mean `gmv`?"),
        (&["bisect", "app_gmw", "dt=2026-01-01", "gmv"], "did you mean `app_gmv`?"),
        (&["bisect", "app_gmv", "2026-01-01", "gmv"], "is not a key"),
        (&["bisect", "app_gmv_period", "dt=2026-01-01", "gmv"], "its rows are told by dt, period"),
        (&["bisect", "dwd_order", "order_id=x", "order_money"], "`order_id` is never `x`"),
        (&["diff", &first, &second, "app_gmw"], "did you mean `app_gmv`?"),
        (&["diff", &first, "nope"], "there is no run `nope`"),
        (&["undo", "nope"], "there is no run `nope`"),
    ] {
        let (code, said) = shop.runs(arguments);
        assert!(code == 2 && said.contains(expected), "{arguments:?}: {code}\n{said}");
    }
}
