//! A project in a temporary folder, one thing wrong with it at a time, and what the person is told.

use std::path::Path;

use tempfile::TempDir;

use super::*;
use crate::error::{exit_of, render};

mod mistakes;

const WAREHOUSE: &str = r#"timezone = "Asia/Shanghai"
[lake]
url = "warehouse/lake"
[sources.user_action]
path = "sample-logs/user_action"
[sources.orders]
url = "sample-logs/orders"
[exports.metrics]
url = "sqlite:warehouse/metrics.db"
[resources]
memory = "2GiB"
threads = 0
"#;

const LOG: &str = r#"kind = "log"
table = "ods_user_action"
[event]
id = "event_id"
kind = "act"
kinds = [1, 2]
time = "acttime"
visitor = ["xaid"]
envelope = "data"
[[field]]
name = "event_id"
type = "string"
[[field]]
name = "act"
type = "i32"
[[field]]
name = "acttime"
type = "i64"
seconds_to_ms = true
[[field]]
name = "xaid"
type = "string"
trim = true
"#;

const TABLES: &str = r#"kind = "tables"
first_day = "dwd_order"
[[table]]
name = "user"
kind = "snapshot"
key = ["user_id"]
column = [{ name = "user_id", type = "i64" }, { name = "mobile", type = "i64", mask = "phone" }]
[[table]]
name = "user_order"
kind = "changes"
key = ["order_id"]
day = "order_date"
column = [{ name = "order_id", type = "i64" }, { name = "order_date", type = "datetime" }]
"#;

struct Project(TempDir);

impl Project {
    fn new() -> Self {
        let project = Self(tempfile::tempdir().expect("a folder"));
        project.write("conf/warehouse.toml", WAREHOUSE);
        project.write("conf/sources/user_action.toml", LOG);
        project.write("conf/sources/orders.toml", TABLES);
        project
    }

    fn write(&self, file: &str, text: &str) {
        let path = self.0.path().join(file);
        fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        fs::write(path, text).expect("written");
    }

    fn load<const N: usize>(&self, set: &[(&str, &str)], environment: [(&str, &str); N]) -> Result<Config> {
        let overrides: Vec<_> = set.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Config::load_in(self.0.path(), &overrides, &Environment::from(environment))
    }
}

fn loaded(set: &[(&str, &str)]) -> Config {
    Project::new().load(set, []).expect("a good project")
}

#[test]
fn a_good_project_loads_with_paths_under_its_root() {
    let project = Project::new();
    let config = project.load(&[], []).expect("a good project");
    let root = project.0.path();
    assert_eq!(config.timezone.to_string(), "Asia/Shanghai");
    assert_eq!(config.start, None);
    assert_eq!(config.lake.local(), Some(root.join("warehouse/lake").as_path()));
    assert_eq!(config.exports["metrics"], ExportTarget::Sqlite(root.join("warehouse/metrics.db")));
    assert_eq!(config.sources.keys().collect::<Vec<_>>(), ["orders", "user_action"]);
    assert_eq!(config.resources.memory, ByteSize(2 << 30));
    assert!(config.resources.threads() >= 1);
    assert_eq!(config.shown(&root.join("sql/app/x.sql")).to_string(), "sql/app/x.sql");
}

#[test]
fn the_flag_overrides_the_environment_and_the_environment_the_file() {
    let project = Project::new();
    let environment = [("STRATA__LAKE__URL", "from-env"), ("STRATA__RESOURCES__THREADS", "3"), ("STRATA_PROJECT", "x")];
    let config = project.load(&[("lake.url", "from-flag")], environment).expect("a good project");
    assert_eq!(config.lake.local(), Some(project.0.path().join("from-flag").as_path()));
    assert_eq!(config.resources.threads(), 3);
}

#[test]
fn an_override_may_add_what_the_file_does_not_have() {
    let config = loaded(&[("start", "2026-01-02"), ("exports.second.url", "mysql://u:p@h:3306/app_mall")]);
    assert_eq!(config.start.map(|d| d.to_string()).as_deref(), Some("2026-01-02"));
    assert_eq!(config.exports["second"].to_string(), "mysql://u:***@h:3306/app_mall");
}

#[test]
fn a_configuration_shown_for_debugging_shows_no_password() {
    let shown = format!("{:?}", loaded(&[("sources.orders.url", "mysql://u:hunter2@h/mall")]));
    assert!(shown.contains("mysql://u:***@h/mall") && !shown.contains("hunter2"), "{shown}");
}

#[test]
fn an_export_has_only_the_keys_of_its_kind_and_one_password() {
    let refused = |url: &str, key: &str| {
        let project = Project::new();
        let export = format!("[exports.metrics]\nurl = \"{url}\"\n{key}\n");
        let text = WAREHOUSE.replace("[exports.metrics]\nurl = \"sqlite:warehouse/metrics.db\"\n", &export);
        assert!(text.contains(key), "{text}");
        project.write("conf/warehouse.toml", &text);
        render(&project.load(&[], []).expect_err("refused"))
    };
    for key in [
        "tls = \"verify\"",
        "tls_ca = \"ca.pem\"",
        "password_file = \"secret\"",
        "load_data = false",
        "silence = \"4m\"",
    ] {
        let said = refused("sqlite:m.db", key);
        let name = key.split(' ').next().unwrap_or_default();
        assert!(said.contains(&format!("`{name}` is for a server, and this export is a file")), "{said}");
    }
    let said = refused("mysql://u:hunter2@h/mall", "password_file = \"secret\"");
    assert!(said.contains("two passwords") && !said.contains("hunter2"), "{said}");
}

#[test]
fn a_date_may_be_written_with_and_without_quotes() {
    for start in ["start = 2026-01-02\n[lake]", "start = \"2026-01-02\"\n[lake]"] {
        let project = Project::new();
        project.write("conf/warehouse.toml", &WAREHOUSE.replace("[lake]", start));
        let config = project.load(&[], []).expect("a good project");
        assert_eq!(config.start.map(|d| d.to_string()).as_deref(), Some("2026-01-02"));
    }
}

#[test]
fn variables_are_filled_in_from_the_environment_or_their_default() {
    let project = Project::new();
    let url = r#"mysql://${DB_USER:-shop}:${DB_PASSWORD}@db/$${mall}"#;
    project.write("conf/warehouse.toml", &WAREHOUSE.replace("sqlite:warehouse/metrics.db", url));
    let config = project.load(&[], [("DB_PASSWORD", "a${b}c")]).expect("a good project");
    let ExportTarget::Mysql(place) = &config.exports["metrics"] else { panic!("not MySQL") };
    assert_eq!(place.url.reveal(), "mysql://shop:a${b}c@db/${mall}");
}

#[test]
fn variables_in_an_override_are_filled_in_as_in_the_file() {
    let project = Project::new();
    let set = [("lake.url", "/data/${LAKE:-lake}")];
    assert_eq!(project.load(&set, []).expect("a good project").lake.to_string(), "/data/lake");
    assert_eq!(project.load(&set, [("LAKE", "other")]).expect("a good project").lake.to_string(), "/data/other");
    let error = project.load(&[("lake.url", "${LAKE}")], []).expect_err("not set");
    assert!(render(&error).starts_with("error: --set lake.url\n"), "{error:#}");
}

#[test]
fn an_unset_variable_does_not_matter_when_its_value_is_overridden() {
    let project = Project::new();
    project.write("conf/warehouse.toml", &WAREHOUSE.replace("warehouse/lake", "${LAKE}"));
    assert!(project.load(&[("lake.url", "x")], []).is_ok());
}

#[test]
fn a_folder_without_a_project_is_a_usage_error() {
    let folder = tempfile::tempdir().expect("a folder");
    let error = Config::load(folder.path(), &[]).expect_err("nothing there");
    let said = render(&error).replace(&folder.path().display().to_string(), "ROOT");
    assert_eq!(exit_of(&error).code(), 2);
    let expected = "error: read ROOT/conf/warehouse.toml\n  caused by: No such file or directory (os error 2)\n \
                    hint: a project has this file; `strata init DIR` makes a new project";
    assert_eq!(said, expected);
}

#[test]
fn the_project_is_the_one_named_first() {
    let environment = Environment::from([("STRATA_PROJECT", "/from/environment")]);
    let found = |named: Option<&str>| find_root(named.map(Path::new), &environment).expect("named");
    assert_eq!(found(Some("/from/flag")), Path::new("/from/flag"));
    assert_eq!(found(None), Path::new("/from/environment"));
}
