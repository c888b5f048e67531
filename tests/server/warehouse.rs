//! A small warehouse that is built once and copied for every test: days of events, two tables to export, in generations
//! that differ in every row.

#![allow(dead_code, reason = "each file of tests uses a part of it")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use tempfile::TempDir;

use crate::server::{CANARY, Database};
use crate::shop::copy;

/// Days that the warehouse has.
pub const DAYS: usize = 5;

/// A project with a built lake and an export `metrics` to a database.
pub struct Warehouse {
    folder: TempDir,
}

impl Warehouse {
    /// The warehouse of a generation, exporting to a URL.
    pub fn of(generation: usize, url: &str) -> Self {
        static BUILT: [OnceLock<PathBuf>; 3] = [const { OnceLock::new() }; 3];
        let built = BUILT[generation].get_or_init(|| build(generation));
        let folder = tempfile::tempdir().expect("a folder");
        copy(built, folder.path());
        let warehouse = Self { folder };
        warehouse.export_to(&[("metrics", url)]);
        warehouse
    }

    /// Sets the exports.
    pub fn export_to(&self, exports: &[(&str, &str)]) {
        let exports: Vec<String> =
            exports.iter().map(|(name, url)| format!("[exports.{name}]\nurl = \"{url}\"\n")).collect();
        let conf = format!(
            "timezone = \"Asia/Shanghai\"\n[lake]\nurl = \"lake\"\n[sources.user_action]\npath = \"in\"\n{}",
            exports.concat()
        );
        fs::write(self.path().join("conf/warehouse.toml"), conf).expect("writes");
    }

    /// Writes a model of the APP layer.
    pub fn write_model(&self, name: &str, sql: &str) {
        fs::write(self.path().join(format!("sql/app/{name}.sql")), sql).expect("writes");
    }

    /// Its folder.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The program, about to run.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_strata"));
        command.args(arguments).current_dir(self.path()).env("NO_COLOR", "1");
        command
    }

    /// Runs the program; its exit code and what it said, which has no secret in it.
    pub fn runs(&self, arguments: &[&str]) -> (i32, String) {
        let done = self.command(arguments).output().expect("starts");
        (done.status.code().expect("ends by itself"), said(&done))
    }

    /// Runs the program, which must end with 0; what it said.
    pub fn succeeds(&self, arguments: &[&str]) -> String {
        let (code, said) = self.runs(arguments);
        assert_eq!(code, 0, "strata {}\n{said}", arguments.join(" "));
        said
    }

    /// No file of the project but its configuration has a secret in it.
    pub fn keeps_secrets(&self) {
        let mut folders = vec![self.path().to_path_buf()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).expect("a folder").flatten() {
                let path = entry.path();
                if path.is_dir() {
                    folders.push(path);
                } else if !path.ends_with("conf/warehouse.toml") {
                    let bytes = fs::read(&path).expect("a file");
                    assert!(!bytes.windows(CANARY.len()).any(|w| w == CANARY.as_bytes()), "{}", path.display());
                }
            }
        }
    }
}

/// What a run of the program said on both streams; checked for secrets.
pub fn said(done: &Output) -> String {
    let said = format!("{}{}", String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    assert!(!said.contains(CANARY), "{said}");
    said
}

fn build(generation: usize) -> PathBuf {
    let folder = tempfile::tempdir().expect("a folder");
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for part in ["sql/dwd/dwd_event.sql", "conf/sources/user_action.toml"] {
        fs::create_dir_all(folder.path().join(part).parent().expect("a folder")).expect("a folder");
        fs::copy(root.join(part), folder.path().join(part)).expect("copies");
    }
    copy(&root.join("conf/seeds"), &folder.path().join("conf/seeds"));
    fs::create_dir_all(folder.path().join("sql/app")).expect("a folder");
    for (name, sql) in models(generation) {
        fs::write(folder.path().join(format!("sql/app/{name}.sql")), sql).expect("writes");
    }
    let warehouse = Warehouse { folder };
    warehouse.export_to(&[]);
    let days = DAYS.to_string();
    let sample = ["sample", "--quiet", "--out", "all", "--seed", "3", "--start", "2026-01-01", "--days", &days];
    warehouse.succeeds(&[&sample[..], &["--devices", "20", "--events", "40", "--orders", "2"]].concat());
    fs::rename(warehouse.path().join("all/user_action"), warehouse.path().join("in")).expect("renames");
    fs::remove_dir_all(warehouse.path().join("all")).expect("removes");
    warehouse.succeeds(&["run", "--quiet"]);
    // A place that the next run of the tests uses again: what lives as long as the process is not taken away.
    let program = std::env::current_exe().expect("a program");
    let name = program.file_name().expect("a name").to_string_lossy().into_owned();
    let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{generation}"));
    let _ = fs::remove_dir_all(&kept);
    copy(warehouse.path(), &kept);
    kept
}

/// One row a day, and one a visitor and day with texts, numbers, times and NULLs; every row names its generation.
pub fn models(generation: usize) -> [(&'static str, String); 2] {
    let day = format!(
        "-- Events of the day.\n--\n-- grain:  dt\n-- check:  events >= 0\n-- export: metrics, second\n\nselect\n    \
         $dt as dt, -- business day\n    count(*) as events, -- its events\n    {generation} as generation -- of the \
         test\nfrom dwd_event\nwhere dt = $dt\n"
    );
    let visitor = format!(
        "-- Visitors of the day: 'quoted' \\\\ and \"so\".\n--\n-- grain:  dt, visitor_id\n-- check:  events > 0\n-- \
         export: metrics, second\n\nselect\n    $dt as dt, -- business day\n    visitor_id, -- the visitor's\n    \
         count(*) as events, -- events\n    {generation} as generation, -- of the test\n    max(brand) as brand, -- a \
         text\n    cast(count(*) as decimal(18, 2)) as amount, -- money\n    cast(avg(loading_time) as double) as loading, -- a \
         double\n    cast(null as varchar) as nothing -- always NULL\nfrom dwd_event\nwhere dt = $dt\ngroup by \
         visitor_id\n"
    );
    [("app_day", day), ("app_visitor", visitor)]
}

/// Numbers of the day, sixty-five thousand of them: five days are more than an export writes at once.
pub const MANY: &str = "-- Numbers of the day.\n--\n-- grain:  dt, n\n-- check:  n >= 0\n-- export: metrics\n\nwith some as \
(\n    select row_number() over (order by file, byte_offset, element) - 1 as n\n    from dwd_event\n    where dt = $dt\n    \
limit 20\n),\n\nsixteen as (\n    select n from some where n < 16\n)\n\nselect\n    $dt as dt, -- business day\n    a.n + 16 * \
b.n + 256 * c.n + 4096 * d.n as n, -- a number\n    'some text' as text -- a text\nfrom sixteen as a\ncross join sixteen as \
b\ncross join sixteen as c\ncross join sixteen as d\n";

/// Everything that readers see of the two tables, and what is recorded of them, but when.
pub fn state(database: &Database) -> String {
    let exists = "select count(*) from information_schema.tables where table_schema = database() and table_name = ";
    let mut text = String::new();
    for (name, columns, order) in [
        ("app_day", "*", "dt"),
        ("app_visitor", "*", "dt, visitor_id"),
        ("strata_export", "table_name, dt, `rows`, checksum, version", "table_name, dt"),
        ("strata_table", "*", "table_name"),
        ("strata_column", "*", "table_name, position"),
    ] {
        if database.root(&format!("{exists}'{name}'")).trim() == "1" {
            text.push_str(&format!(
                "# {name}\n{}",
                database.root(&format!("select {columns} from {name} order by {order}"))
            ));
        }
    }
    text
}
