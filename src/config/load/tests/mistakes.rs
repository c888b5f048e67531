//! One thing wrong with a file at a time, and what the person is told, to the letter.

use super::*;

/// What is said when one text in one file is replaced by another.
fn complaint(file: &str, old: &str, new: &str) -> String {
    let project = Project::new();
    let good = match file {
        "warehouse.toml" => WAREHOUSE,
        "sources/user_action.toml" => LOG,
        _ => TABLES,
    };
    assert_eq!(good.matches(old).count(), 1, "`{old}` must be there once");
    project.write(&format!("conf/{file}"), &good.replace(old, new));
    match project.load(&[], []) {
        Ok(_) => "nothing".to_owned(),
        Err(error) => render(&error).replace(&project.0.path().display().to_string(), "ROOT"),
    }
}

#[track_caller]
fn says(file: &str, old: &str, new: &str, expected: &str) {
    assert_eq!(complaint(file, old, new), expected);
}

#[test]
fn an_unset_variable_is_named_with_its_place() {
    says(
        "warehouse.toml",
        "sqlite:warehouse/metrics.db",
        "mysql://u:${DB_PASSWORD}@h/d",
        "error: conf/warehouse.toml:9:7: the environment variable `DB_PASSWORD` is not set\n  \
           9 | url = \"mysql://u:${DB_PASSWORD}@h/d\"\n    \
             |       ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^\n \
         hint: set it, or write `${DB_PASSWORD:-default}`",
    );
}

#[test]
fn an_unknown_key_is_shown_with_what_was_meant() {
    says(
        "warehouse.toml",
        "url = \"warehouse/lake\"",
        "ulr = \"warehouse/lake\"",
        "error: conf/warehouse.toml:3:1: unknown key `ulr`\n  \
           3 | ulr = \"warehouse/lake\"\n    \
             | ^^^\n \
         hint: did you mean `url`?",
    );
    says(
        "warehouse.toml",
        "threads = 0",
        "cores = 0",
        "error: conf/warehouse.toml:12:1: unknown key `cores`\n  \
           12 | cores = 0\n     \
              | ^^^^^\n \
         hint: known here: memory, threads",
    );
    says(
        "sources/user_action.toml",
        "trim = true",
        "trimm = true",
        "error: conf/sources/user_action.toml:23:1: unknown key `trimm`\n  \
           23 | trimm = true\n     \
              | ^^^^^\n \
         hint: did you mean `trim`?",
    );
}

#[test]
fn a_wrong_override_is_named_as_it_was_given() {
    let project = Project::new();
    let said = |set: &[(&str, &str)], environment| match project.load(set, environment) {
        Ok(_) => "nothing".to_owned(),
        Err(error) => render(&error),
    };
    let none = [("HOME", "/root")];
    assert_eq!(
        said(&[("lake.ulr", "x")], none),
        "error: --set lake.ulr: unknown key `ulr`\n hint: did you mean `url`?"
    );
    assert_eq!(
        said(&[], [("STRATA__RESOURCES__THREADS", "many")]),
        "error: STRATA__RESOURCES__THREADS: `many` is not a number of threads\n hint: 0 to 1024; 0 is all there are"
    );
    assert_eq!(
        said(&[("lake.url.x", "1")], none),
        "error: --set lake.url.x: `url` is a value and has no settings of its own"
    );
    assert_eq!(
        said(&[("lake.", "1")], none),
        "error: --set lake.: `lake.` is not a setting; one is written like `lake.url`"
    );
}

#[test]
fn a_value_of_the_wrong_type_is_shown_without_being_repeated() {
    says(
        "warehouse.toml",
        "\"warehouse/lake\"",
        "7",
        "error: conf/warehouse.toml:3:7: expected a string, found 7\n  3 | url = 7\n    |       ^",
    );
    says(
        "warehouse.toml",
        "memory = \"2GiB\"",
        "memory = \"lots\"",
        "error: conf/warehouse.toml:11:10: `lots` is not an amount of memory\n  \
           11 | memory = \"lots\"\n     \
              |          ^^^^^^\n \
         hint: write it like 2GiB or 512MiB",
    );
    says(
        "sources/user_action.toml",
        "kinds = [1, 2]",
        "kinds = [1, \"two\"]",
        "error: conf/sources/user_action.toml:6:13: expected an integer, found a string\n  \
           6 | kinds = [1, \"two\"]\n    \
             |             ^^^^^",
    );
    says(
        "sources/user_action.toml",
        "type = \"i64\"",
        "type = \"int64\"",
        "error: conf/sources/user_action.toml:18:8: unknown value `int64`\n  \
           18 | type = \"int64\"\n     \
              |        ^^^^^^^\n \
         hint: known here: i32, i64, string",
    );
}

#[test]
fn a_missing_key_is_named_with_the_table_it_belongs_to() {
    says(
        "warehouse.toml",
        "[lake]\nurl = \"warehouse/lake\"\n",
        "",
        "error: conf/warehouse.toml:1:1: the key `lake` is missing\n  \
           1 | timezone = \"Asia/Shanghai\"\n    \
             | ^^^^^^^^^^^^^^^^^^^^^^^^^^",
    );
    says(
        "warehouse.toml",
        "url = \"warehouse/lake\"\n",
        "",
        "error: conf/warehouse.toml:2:1: the key `url` is missing\n  2 | [lake]\n    | ^^^^^^",
    );
}

#[test]
fn what_is_not_toml_is_shown_where_it_stops_being_so() {
    says(
        "warehouse.toml",
        "[lake]",
        "[lake",
        "error: conf/warehouse.toml:2:6: not valid TOML: unclosed table, expected `]`\n  \
           2 | [lake\n    \
             |      ^",
    );
}

#[test]
fn a_zone_that_is_none_is_shown_with_the_nearest() {
    says(
        "warehouse.toml",
        "Asia/Shanghai",
        "Asia/Shangai",
        "error: conf/warehouse.toml:1:12: `Asia/Shangai` is not a time zone of the IANA database\n  \
           1 | timezone = \"Asia/Shangai\"\n    \
             |            ^^^^^^^^^^^^^^\n \
         hint: did you mean `Asia/Shanghai`?",
    );
}

#[test]
fn a_source_and_its_file_must_both_be_there() {
    says(
        "warehouse.toml",
        "[sources.orders]",
        "[sources.order]",
        "error: conf/warehouse.toml:6:1: the source `order` has no conf/sources/order.toml\n  \
           6 | [sources.order]\n    \
             | ^^^^^^^^^^^^^^^\n \
         hint: did you mean `orders`?",
    );
    says(
        "warehouse.toml",
        "[sources.orders]\nurl = \"sample-logs/orders\"\n",
        "",
        "error: conf/sources/orders.toml: conf/warehouse.toml does not say where `orders` is\n \
         hint: add [sources.orders] with a path or a url there, or remove the file",
    );
    says(
        "warehouse.toml",
        "url = \"sample-logs/orders\"\n",
        "",
        "error: conf/warehouse.toml:6:1: the source `orders` has no place\n  \
           6 | [sources.orders]\n    \
             | ^^^^^^^^^^^^^^^^\n \
         hint: add `path = \"FOLDER\"` or `url = \"…\"`",
    );
}

#[test]
fn a_log_cannot_come_from_a_database() {
    says(
        "warehouse.toml",
        "\"sample-logs/user_action\"",
        "\"mysql://u:secret@h/d\"",
        "error: conf/warehouse.toml:5:8: a log is read from files, not from a database\n  \
           5 | path = \"mysql://u:***@h/d\"\n    \
             |        ^^^^^^^^^^^^^^^^^^^^^^",
    );
}

#[test]
fn mistakes_of_a_log_source_name_file_and_line() {
    for (old, new, expected) in [
        ("kind = \"log\"\n", "", "1:1: the key `kind` is missing"),
        ("kind = \"log\"", "kind = \"logs\"", "1:8: unknown kind of source `logs`"),
        ("\"ods_user_action\"", "\"user_action\"", "2:9: `user_action` is not the name of an ODS table"),
        ("\"ods_user_action\"", "\"ods_deleted\"", "2:9: `ods_deleted` is a table of the warehouse's own"),
        ("name = \"act\"", "name = \"xaid\"", "21:8: the field `xaid` is declared twice"),
        ("name = \"act\"", "name = \"dt\"", "14:8: the field `dt` clashes with one of the warehouse's own"),
        ("name = \"act\"", "name = \"data\"", "14:8: `data` is the envelope and cannot be a field"),
        ("name = \"act\"", "name = \"a b\"", "14:8: `a b` is not a name for a field: only letters, digits and `_`"),
        ("time = \"acttime\"", "time = \"actime\"", "7:8: no field `actime` is declared"),
        ("time = \"acttime\"", "time = \"act\"", "7:8: the field `act` must be i64"),
        ("kind = \"act\"", "kind = \"xaid\"", "5:8: the field `xaid` must be an integer"),
        ("[\"xaid\"]", "[\"xaid\", \"uid\"]", "8:20: no field `uid` is declared"),
        ("visitor = [\"xaid\"]", "visitor = []", "8:11: no field tells the visitor"),
        ("kinds = [1, 2]", "kinds = []", "6:9: there are no kinds of events"),
        ("trim = true", "zero_is_null = true", "20:1: `zero_is_null` is for integers; `xaid` is a string"),
        ("[event]", "[limits]\njson_depth = 999\n[event]", "4:14: `json_depth` must be between 1 and 128"),
    ] {
        let said = complaint("sources/user_action.toml", old, new);
        let first = said.lines().next().unwrap_or_default();
        assert_eq!(first, format!("error: conf/sources/user_action.toml:{expected}"), "{new}");
    }
}

#[test]
fn mistakes_of_an_order_source_name_file_and_line() {
    for (old, new, expected) in [
        ("key = [\"user_id\"]", "key = [\"userid\"]", "6:8: no column `userid` is declared"),
        ("key = [\"user_id\"]", "key = []", "6:7: the table `user` has no key"),
        (
            "key = [\"order_id\"]",
            "key = [\"order_id\", \"order_id\"]",
            "11:20: the column `order_id` is in the key twice",
        ),
        ("name = \"user_order\"", "name = \"user\"", "9:8: the table `user` is declared twice"),
        (
            "name = \"user_order\"",
            "name = \"reject\"",
            "9:8: the table `reject` clashes with one of the warehouse's own",
        ),
        ("day = \"order_date\"\n", "", "8:1: the table `user_order` comes as changes and has no `day`"),
        ("day = \"order_date\"", "day = \"order_id\"", "12:7: the column `order_id` is not a datetime"),
        (
            "kind = \"changes\"",
            "kind = \"snapshot\"",
            "12:7: the table `user_order` is a snapshot: its day is its folder's",
        ),
        ("\"mobile\"", "\"file\"", "7:56: the column `file` clashes with one of the warehouse's own (table `user`)"),
        (
            "key = [\"user_id\"]",
            "key = [\"user_id\"]\ndeletes = true",
            "7:11: the table `user` is a snapshot: what is deleted is not in the next one",
        ),
        (
            "key = [\"order_id\"]",
            "key = [\"order_id\"]\ndeletes_at_most = 0.9",
            "12:19: the table `user_order` does not look for deleted rows",
        ),
        (
            "key = [\"order_id\"]",
            "key = [\"order_id\"]\ndeletes = true\ndeletes_at_most = 1.5",
            "13:19: the share of `user_order` must be between 0 and 1",
        ),
        (
            "name = \"order_id\", type = \"i64\"",
            "name = \"order_id\", type = \"i64\", mask = \"name\"",
            "13:53: `order_id` belongs to the key and cannot be masked (table `user_order`)",
        ),
    ] {
        let said = complaint("sources/orders.toml", old, new);
        let first = said.lines().next().unwrap_or_default();
        assert_eq!(first, format!("error: conf/sources/orders.toml:{expected}"), "{new}");
    }
}

#[test]
fn keys_of_a_database_are_refused_elsewhere() {
    let orders = "url = \"sample-logs/orders\"";
    for (key, value) in [("tls", "\"verify\""), ("overlap", "\"1h\""), ("connections", "2"), ("password_file", "\"x\"")]
    {
        let said = complaint("warehouse.toml", orders, &format!("{orders}\n{key} = {value}"));
        assert!(said.contains(&format!("`{key}` is for a database, and the source `orders` is none")), "{said}");
    }
}

#[test]
fn a_database_has_one_password_and_one_way_there() {
    for (keys, expected) in [
        ("url = \"mysql://u:s3cret@h/d\"\npassword_file = \"x\"", "a password in its URL and a password_file"),
        ("url = \"mysql://u@h/d?socket=/x\"\ntls = \"encrypt\"", "a socket of this machine is not encrypted"),
        ("url = \"mysql:/u:s3cret@h/d\"", "did you mean `mysql://`?"),
        ("url = \"mysql://u:s3cret/d\"", "is not a port"),
    ] {
        let said = complaint("warehouse.toml", "url = \"sample-logs/orders\"", keys);
        assert!(said.contains(expected) && !said.contains("s3cret"), "{said}");
    }
}
