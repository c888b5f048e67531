//! The program as a shell sees it: exit codes, what goes to stdout and stderr, signals, closed pipes.

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

fn strata(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_strata"));
    command.current_dir(folder).env_clear().env("PATH", "/usr/bin:/bin");
    command
}

fn done(folder: &Path, args: &[&str]) -> Output {
    strata(folder).args(args).output().expect("it starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("UTF-8")
}

/// A new project in a folder of its own, without data.
fn project() -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let made = done(folder.path(), &["init", "shop"]);
    assert_eq!(made.status.code(), Some(0), "{}", text(&made.stderr));
    folder
}

#[test]
fn a_wrong_command_line_ends_with_2_and_says_so_on_stderr() {
    let folder = tempfile::tempdir().expect("a folder");
    for args in [&["nope"][..], &["run", "--nope"], &["run", "--memory", "lots"], &["run", "--set", "x"], &[]] {
        let done = done(folder.path(), args);
        assert_eq!(done.status.code(), Some(2), "{args:?}");
        assert!(done.stdout.is_empty() && !done.stderr.is_empty(), "{args:?}");
    }
}

#[test]
fn a_command_outside_of_a_project_says_how_to_get_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let done = done(folder.path(), &["run"]);
    assert_eq!(done.status.code(), Some(2));
    let expected = format!(
        "error: no project here: no conf/warehouse.toml in {} or above\n hint: go to a project, name one with \
         --project DIR, or make one with `strata init DIR`\n",
        folder.path().display()
    );
    assert_eq!(text(&done.stderr), expected);
}

#[test]
fn a_new_project_is_found_from_any_folder_within() {
    let folder = project();
    let inner = folder.path().join("shop/conf/sources");
    let found = done(&inner, &["doctor"]);
    assert!(text(&found.stdout).starts_with("ok "), "{}", text(&found.stdout));
    let named = done(folder.path(), &["doctor", "--project", "shop"]);
    let first_line = |output: &Output| text(&output.stdout).lines().next().map(str::to_owned);
    assert_eq!(first_line(&named), first_line(&found));
}

#[test]
fn a_project_is_not_made_where_there_is_something() {
    let folder = project();
    let again = done(folder.path(), &["init", "shop"]);
    assert_eq!(again.status.code(), Some(2));
    assert_eq!(text(&again.stderr), "error: shop is not empty\n hint: a new project needs a folder of its own\n");
}

#[test]
fn a_mistake_in_the_configuration_is_shown_with_its_line() {
    let folder = project();
    let file = folder.path().join("shop/conf/warehouse.toml");
    let good = std::fs::read_to_string(&file).expect("read");
    std::fs::write(&file, good.replace("[lake]", "[lakes]")).expect("written");
    let done = done(folder.path(), &["--project", "shop", "plan"]);
    assert_eq!(done.status.code(), Some(2));
    let said = text(&done.stderr);
    assert!(said.starts_with("error: conf/warehouse.toml:") && said.contains("unknown key `lakes`\n"), "{said}");
    assert!(said.ends_with("hint: did you mean `lake`?\n"), "{said}");
}

#[test]
fn a_secret_appears_in_no_output() {
    let folder = project();
    for url in ["mysql://shop:hunter2@db:3306/mall", "mysqll://shop:hunter2@db/mall"] {
        for log in ["text", "json"] {
            let set = format!("exports.metrics.url={url}");
            let done = done(folder.path(), &["--project", "shop", "doctor", "--log-format", log, "--set", &set]);
            let said = text(&done.stdout) + &text(&done.stderr);
            assert!(!said.contains("hunter2"), "{said}");
        }
    }
}

#[test]
fn a_sample_is_written_and_its_messages_are_json_when_asked_for() {
    let folder = tempfile::tempdir().expect("a folder");
    let sample = ["sample", "--out", "s", "--days", "2", "--devices", "20", "--events", "50", "--orders", "5"];
    let done = done(folder.path(), &[&sample[..], &["--log-format", "json"]].concat());
    assert_eq!(done.status.code(), Some(0), "{}", text(&done.stderr));
    assert!(done.stdout.is_empty());
    for line in text(&done.stderr).lines() {
        let object: serde_json::Value = serde_json::from_str(line).expect("a JSON object a line");
        assert!(object["time"].is_string() && object["level"].is_string() && object["message"].is_string(), "{line}");
    }
    assert!(folder.path().join("s/user_action").is_dir() && folder.path().join("s/orders").is_dir());
}

#[test]
fn quiet_says_nothing_when_nothing_is_wrong() {
    let folder = tempfile::tempdir().expect("a folder");
    let sample = ["sample", "--out", "s", "--days", "1", "--devices", "20", "--events", "50", "--orders", "5", "-q"];
    let done = done(folder.path(), &sample);
    assert_eq!((done.status.code(), text(&done.stdout), text(&done.stderr)), (Some(0), String::new(), String::new()));
}

#[test]
fn a_reader_that_has_seen_enough_ends_the_command_quietly() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut child = strata(folder.path())
        .args(["completions", "bash"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    // The reader goes away before anything is written, or at the latest with the pipe's buffer full.
    drop(child.stdout.take());
    let status = child.wait().expect("it ends");
    let mut said = String::new();
    child.stderr.take().expect("a pipe").read_to_string(&mut said).expect("read");
    assert_eq!((status.code(), said.as_str()), (Some(0), ""));
}

#[cfg(unix)]
#[test]
fn an_interrupted_command_says_that_it_is_safe_to_run_again() {
    for (signal, code, word) in [("-INT", 130, "interrupted"), ("-TERM", 143, "terminated")] {
        let folder = project();
        // A query that waits for its text is a command that is surely still at work.
        let mut child = strata(folder.path())
            .args(["--project", "shop", "query", "-"])
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it starts");
        let mut stdin = child.stdin.take().expect("a pipe");
        stdin.write_all(b"select 1").expect("written");
        wait_for_handler(child.id());
        let pid = child.id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().expect("kill").success());
        let ended = child.wait_with_output().expect("it ends");
        drop(stdin);
        let said = text(&ended.stderr);
        assert_eq!(ended.status.code(), Some(code), "{said}");
        assert!(said.contains(word) && said.contains("safe to run again"), "{said}");
    }
}

/// Waits until the process catches SIGINT and SIGTERM, as the kernel tells.
#[cfg(unix)]
fn wait_for_handler(pid: u32) {
    let caught = || {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let mask = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).map(str::trim).unwrap_or_default();
        u64::from_str_radix(mask, 16).is_ok_and(|mask| mask & (1 << 1) != 0 && mask & (1 << 14) != 0)
    };
    let patience = std::time::Instant::now() + std::time::Duration::from_secs(30);
    while !caught() {
        assert!(std::time::Instant::now() < patience, "the program never caught its signals");
        std::thread::yield_now();
    }
}

#[test]
fn a_mistake_in_a_query_is_shown_at_its_place_with_what_was_meant() {
    let folder = project();
    for (sql, said) in [
        (
            "select *\nfrom seed_order_statu",
            "query:2:6: there is no table `seed_order_statu`\n  2 | from seed_order_statu\n    |      \
             ^^^^^^^^^^^^^^^^\n hint: did you mean `seed_order_status`?",
        ),
        (
            "select s.lable from seed_order_status as s",
            "query:1:8: there is no column `s.lable`\n  1 | select s.lable from seed_order_status as s\n    |        \
             ^^^^^^^\n hint: did you mean `label`?",
        ),
        (
            "select cuont(*) from seed_order_status",
            "query:1:8: there is no function `cuont`\n  1 | select cuont(*) from seed_order_status\n    |        \
             ^^^^^\n hint: did you mean `count`?",
        ),
        ("select 1 +", "query:1:11: Expected: an expression, found: EOF\n  1 | select 1 +\n    |           ^"),
        (
            "select * from app_gmv",
            "query:1:15: `app_gmv` is not built yet\n  1 | select * from app_gmv\n    |               \
          ^^^^^^^\n hint: the lake is empty: `strata run` fills it",
        ),
        (
            "drop table app_gmv",
            "a query reads: DROP is not for it\n hint: it takes SELECT, EXPLAIN, SHOW TABLES, DESCRIBE",
        ),
    ] {
        let done = done(folder.path(), &["--project", "shop", "query", sql]);
        assert_eq!((done.status.code(), text(&done.stderr)), (Some(2), format!("error: {said}\n")), "{sql}");
    }
}

#[test]
fn a_broken_model_stops_no_question() {
    let folder = project();
    std::fs::write(folder.path().join("shop/sql/app/app_gmv.sql"), "select nonsense").expect("written");
    let count = "select count(*) > 0 as some from seed_order_status";
    let answer = done(folder.path(), &["--project", "shop", "query", count, "--format", "csv"]);
    assert_eq!((text(&answer.stdout), text(&answer.stderr)), ("some\ntrue\n".to_owned(), String::new()));
    let tables = done(folder.path(), &["--project", "shop", "query", "show tables", "--format", "csv"]);
    assert_eq!(text(&tables.stdout), "layer,table\nseed,seed_order_status\n");
}

#[test]
fn a_model_is_shown_with_its_types_before_it_is_built() {
    let folder = project();
    let shown = text(&done(folder.path(), &["--project", "shop", "show", "app_gmv"]).stdout);
    assert!(shown.contains("gmv               DECIMAL(18,2)  sum of order_money\n"), "{shown}");
}

#[test]
fn a_command_that_is_announced_is_told_apart_from_a_misspelled_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let lineage = done(folder.path(), &["lineage"]);
    assert_eq!(lineage.status.code(), Some(2));
    assert!(text(&lineage.stderr).starts_with("error: the command `lineage` is not there yet\n hint: `strata show"));
    assert!(text(&done(folder.path(), &["shwo"]).stderr).contains("similar"), "a misspelled one has a suggestion");
}
