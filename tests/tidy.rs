//! The house rules that a compiler does not know: imports point one way, only `cli` prints, files have one subject.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// What each module may import besides the ones everybody may use and itself.
const ARROWS: &[(&str, &[&str])] = &[
    ("cli", &["run", "sample", "model", "plan", "check", "engine", "lake", "ingest", "export", "transform", "mysql"]),
    ("run", &["ingest", "transform", "export", "plan", "model", "check", "engine", "lake", "mysql"]),
    ("ingest", &["lake", "mysql"]),
    ("transform", &["check", "engine", "lake"]),
    ("export", &["engine", "lake", "mysql"]),
    ("check", &["engine"]),
    ("engine", &["lake"]),
    ("lake", &[]),
    ("mysql", &[]),
    ("plan", &["model"]),
    ("model", &[]),
    ("sample", &[]),
    ("config", &[]),
    ("error", &[]),
    ("date", &[]),
    ("progress", &[]),
    ("main", &["cli", "strata"]),
    ("lib", &[]),
];

/// What everybody may use.
const COMMON: &[&str] = &["config", "error", "date", "progress"];

fn sources() -> Vec<(String, PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a source folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let inside = path.strip_prefix(&root).expect("beneath src");
                let module = inside.iter().next().expect("a name").to_string_lossy().trim_end_matches(".rs").to_owned();
                let text = fs::read_to_string(&path).expect("a source file");
                found.push((module, path, text));
            }
        }
    }
    assert!(found.len() > 20, "the walk found the sources");
    found
}

/// The part of a file before its tests, without comments.
fn code(text: &str) -> String {
    let body = text.split("#[cfg(test)]").next().unwrap_or_default();
    body.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

#[test]
fn imports_point_one_way() {
    let arrows: BTreeMap<&str, &[&str]> = ARROWS.iter().copied().collect();
    let mut wrong = Vec::new();
    for (module, path, text) in sources() {
        let allowed =
            arrows.get(module.as_str()).unwrap_or_else(|| panic!("src/{module} has no arrows in tests/tidy.rs"));
        for piece in code(&text).split("crate::").skip(1) {
            let target: String = piece.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            let known = arrows.contains_key(target.as_str());
            if known && target != module && !COMMON.contains(&target.as_str()) && !allowed.contains(&target.as_str()) {
                wrong.push(format!("{} imports {target}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn only_cli_prints_and_reads_the_clock_and_only_config_reads_the_environment() {
    let rules: &[(&[&str], &[&str])] = &[
        (&["println!(", "print!(", "eprintln!(", "eprint!(", "dbg!("], &["cli", "main"]),
        (&["SystemTime::now", "Utc::now", "Local::now"], &["cli"]),
        (&["env::var", "env::vars"], &["config"]),
    ];
    let mut wrong = Vec::new();
    for (module, path, text) in sources() {
        let code = code(&text);
        for (marks, allowed) in rules {
            for mark in *marks {
                if code.contains(mark) && !allowed.contains(&module.as_str()) {
                    wrong.push(format!("{}: {mark}", path.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn no_unwrap_and_no_stub_outside_tests() {
    let mut wrong = Vec::new();
    for (_, path, text) in sources() {
        if path.file_name().is_some_and(|n| n == "tests.rs") || path.components().any(|c| c.as_os_str() == "tests") {
            continue;
        }
        for mark in [".unwrap()", "todo!(", "unimplemented!(", "FIXME"] {
            if code(&text).contains(mark) {
                wrong.push(format!("{}: {mark}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_file_has_one_subject_and_says_which() {
    let mut wrong = Vec::new();
    for (_, path, text) in sources() {
        let lines = text.lines().count();
        if lines > 500 {
            wrong.push(format!("{}: {lines} lines, asking to be two files", path.display()));
        }
        if !text.trim_start().starts_with("//!") && !path.ends_with("tests.rs") {
            wrong.push(format!("{}: no module documentation", path.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
