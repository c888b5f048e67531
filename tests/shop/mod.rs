//! A project in a folder of its own with a small simulated shop, driven through the binary.

#![allow(dead_code, reason = "each file of tests uses a part of it")]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use tempfile::TempDir;

/// A project with its inputs under `in/`.
pub struct Shop {
    folder: TempDir,
}

impl Shop {
    /// A new project whose inputs are a simulated shop; the same options make the same inputs.
    pub fn sample(options: &[&str]) -> Self {
        let shop = Self::bare();
        let mut arguments = vec!["sample", "--quiet", "--out", "in"];
        for usual in [["--goods", "30"], ["--seed", "3"], ["--start", "2026-01-01"]] {
            if !options.contains(&usual[0]) {
                arguments.extend(usual);
            }
        }
        arguments.extend(options);
        shop.succeeds(&arguments);
        shop
    }

    /// A new project whose inputs are copies of those in a folder.
    pub fn of(inputs: &Path) -> Self {
        let shop = Self::bare();
        copy(inputs, &shop.folder.path().join("in"));
        shop
    }

    fn bare() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let shop = Self { folder };
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        for part in ["sql", "conf", "tests/models"] {
            copy(&root.join(part), &shop.folder.path().join(part));
        }
        shop.edit("conf/warehouse.toml", "sample-logs/user_action", "in/user_action");
        shop.edit("conf/warehouse.toml", "sample-logs/orders", "in/orders");
        shop
    }

    /// A path within the project.
    pub fn path(&self, inside: &str) -> String {
        self.folder.path().join(inside).to_string_lossy().into_owned()
    }

    /// The program, about to run in the project.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_strata"));
        command.args(arguments).current_dir(self.folder.path()).env("NO_COLOR", "1");
        command
    }

    /// Runs the program; its exit code and what it said on both streams.
    pub fn runs(&self, arguments: &[&str]) -> (i32, String) {
        let done = self.command(arguments).output().expect("starts");
        let said = format!("{}{}", String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
        (done.status.code().expect("ends by itself"), said)
    }

    /// Runs the program, which must end with 0; what it said.
    pub fn succeeds(&self, arguments: &[&str]) -> String {
        let (code, said) = self.runs(arguments);
        assert_eq!(code, 0, "strata {}\n{said}", arguments.join(" "));
        said
    }

    /// Replaces the first occurrence of a text in a file of the project.
    pub fn edit(&self, file: &str, from: &str, to: &str) {
        let path = self.folder.path().join(file);
        let text = fs::read_to_string(&path).expect("a file");
        assert!(text.contains(from), "{file} has `{from}`");
        fs::write(&path, text.replacen(from, to, 1)).expect("writes");
    }

    /// Takes away all that was made.
    pub fn empty_warehouse(&self) {
        let _ = fs::remove_dir_all(self.folder.path().join("warehouse"));
    }
}

/// Every exported table of a shop as text, with what tables and columns mean, without the metadata that names runs.
pub fn exports(shop: &Shop) -> String {
    let done = Command::new("sqlite3")
        .arg(shop.path("warehouse/metrics.db"))
        .arg("select name from sqlite_master where type = 'table' and name <> 'strata_export' order by name")
        .output()
        .expect("the sqlite3 client is installed");
    let names = String::from_utf8(done.stdout).expect("UTF-8");
    let mut text = String::new();
    for name in names.lines() {
        let key =
            "select group_concat(name, ', ') from (select name from pragma_table_info(?) where pk > 0 order by pk)";
        let key = sqlite(shop, &key.replace('?', &format!("'{name}'")));
        text.push_str(&format!("# {name}\n{}", sqlite(shop, &format!("select * from {name} order by {}", key.trim()))));
    }
    text
}

/// What a question to the exported database gives.
pub fn sqlite(shop: &Shop, sql: &str) -> String {
    let done = Command::new("sqlite3").arg(shop.path("warehouse/metrics.db")).arg(sql).output().expect("starts");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).expect("UTF-8")
}

/// Runs a script of the second implementation.
pub fn python(arguments: &[&str]) -> Output {
    let python =
        std::env::var("STRATA_TEST_PYTHON").expect("scripts/test installs Python packages and names them here");
    Command::new(python).args(arguments).current_dir(env!("CARGO_MANIFEST_DIR")).output().expect("Python starts")
}

/// Copies a folder with all that is in it.
pub fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    assert!(from.is_dir(), "{} is a folder", from.display());
    for entry in fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).expect("copies");
        }
    }
}
