//! The export to a MySQL server: what tables look like, that they equal the `SQLite` export, several exports side by side,
//! migrations, comparing and mending. `scripts/test` starts the server.

mod server;
mod shop;
#[path = "server/warehouse.rs"]
mod warehouse;

use std::collections::BTreeMap;

use server::{CANARY, Database, leaks};
use shop::Shop;
use warehouse::{DAYS, MANY, Warehouse, state};

/// The rows of a table of a target, by column, as text that is the same for both kinds of target.
type Rows = Vec<BTreeMap<String, String>>;

#[test]
fn every_table_equals_the_sqlite_export_cell_by_cell() {
    let database = Database::new("cells");
    let shop = Shop::sample(&["--days", "4", "--devices", "30", "--events", "60", "--orders", "8"]);
    shop.succeeds(&["run", "--quiet"]);
    let url = format!("exports.metrics.url={}", database.url());
    let (code, said) = shop.runs(&["export", "--set", &url]);
    assert!(code == 0 && !leaks(&said), "{said}");
    let sqlite = rusqlite::Connection::open(shop.path("warehouse/metrics.db")).expect("opens");
    let mut statement = sqlite.prepare("select distinct table_name from strata_export order by 1").expect("a table");
    let tables: Vec<String> =
        statement.query_map([], |row| row.get(0)).expect("rows").collect::<Result<_, _>>().expect("names");
    assert!(tables.len() >= 25, "{tables:?}");
    let mut cells = 0;
    for table in &tables {
        let (here, there) = (rows_of_sqlite(&sqlite, table), rows_of_mysql(&database, table));
        assert_eq!(here.len(), there.len(), "{table}");
        for (here, there) in here.iter().zip(&there) {
            assert_eq!(here, there, "{table}");
            cells += here.len();
        }
    }
    assert!(cells > 1000, "{cells}");
    let (code, said) = shop.runs(&["export", "--set", &url]);
    assert!(code == 0 && said.contains("nothing new"), "a second export has nothing to do: {said}");
    let (code, said) = shop.runs(&["export", "--verify", "--set", &url]);
    assert!(code == 0 && said.contains("all as in the lake"), "{said}");
    let (code, said) = shop.runs(&["export", "--verify"]);
    assert!(code == 0 && said.contains("all as in the lake"), "the same for SQLite: {said}");
}

/// Numbers without zeros at their ends, times without an empty fraction.
fn plain(text: &str, kind: &str) -> String {
    match kind {
        _ if kind.starts_with("decimal") && text.contains('.') => {
            text.trim_end_matches('0').trim_end_matches('.').to_owned()
        }
        "double" => text.parse::<f64>().map_or_else(|_| text.to_owned(), |number| format!("{number:e}")),
        _ if kind.starts_with("datetime") => text.trim_end_matches(".000000").to_owned(),
        _ => text.to_owned(),
    }
}

fn columns_of(database: &Database, table: &str) -> Vec<(String, String)> {
    let sql = format!(
        "select column_name, column_type from information_schema.columns where table_schema = database() and \
         table_name = '{table}' order by ordinal_position"
    );
    let said = database.root(&sql);
    said.lines().filter_map(|line| line.split_once('\t')).map(|(a, b)| (a.to_owned(), b.to_owned())).collect()
}

fn key_of(sqlite: &rusqlite::Connection, table: &str) -> String {
    let sql = format!(
        "select group_concat(name, ', ') from (select name from pragma_table_info('{table}') where pk > 0 order by pk)"
    );
    sqlite.query_row(&sql, [], |row| row.get(0)).expect("a key")
}

fn rows_of_sqlite(sqlite: &rusqlite::Connection, table: &str) -> Rows {
    let order = key_of(sqlite, table);
    let mut statement = sqlite.prepare("select name, lower(type) from pragma_table_info(?1)").expect("a pragma");
    let names: Vec<(String, String)> = statement
        .query_map([table], |row| Ok((row.get(0)?, row.get(1)?)))
        .expect("columns")
        .collect::<Result<_, _>>()
        .expect("names");
    let mut statement = sqlite.prepare(&format!("select * from {table} order by {order}")).expect("a table");
    let mut rows = statement.query([]).expect("rows");
    let mut all = Rows::new();
    while let Some(row) = rows.next().expect("a row") {
        let cell = |(at, (name, kind)): (usize, &(String, String))| {
            use rusqlite::types::ValueRef;
            let text = match row.get_ref(at).expect("a cell") {
                ValueRef::Null => "NULL".to_owned(),
                ValueRef::Integer(number) => number.to_string(),
                ValueRef::Real(number) if kind.starts_with("decimal") => number.to_string(),
                ValueRef::Real(number) => format!("{number:e}"),
                ValueRef::Text(text) | ValueRef::Blob(text) => String::from_utf8_lossy(text).into_owned(),
            };
            (name.clone(), plain(&text, kind))
        };
        all.push(names.iter().enumerate().map(cell).collect());
    }
    all
}

fn rows_of_mysql(database: &Database, table: &str) -> Rows {
    let columns = columns_of(database, table);
    let key = database.root(&format!(
        "select group_concat(column_name order by seq_in_index) from information_schema.statistics where table_schema = \
         database() and table_name = '{table}' and index_name = 'PRIMARY'"
    ));
    let said = database.root(&format!("select * from {table} order by {}", key.trim()));
    let cells = |line: &str| {
        let cells = line.split('\t').zip(&columns);
        cells
            .map(|(cell, (name, kind))| {
                (name.clone(), if cell == "NULL" { cell.to_owned() } else { plain(cell, kind) })
            })
            .collect()
    };
    said.lines().map(cells).collect()
}

#[test]
fn tables_have_exact_types_their_key_and_what_they_mean() {
    let database = Database::new("shape");
    let warehouse = Warehouse::of(1, &database.url());
    warehouse.succeeds(&["export"]);
    let made = database.root("show create table app_visitor").replace("\\n", "\n");
    let expected = "CREATE TABLE `app_visitor` (
  `dt` date NOT NULL COMMENT 'business day',
  `visitor_id` varchar(255) NOT NULL COMMENT 'the visitor\\'s',
  `events` bigint(20) DEFAULT NULL COMMENT 'events',
  `generation` bigint(20) DEFAULT NULL COMMENT 'of the test',
  `brand` varchar(255) DEFAULT NULL COMMENT 'a text',
  `amount` decimal(18,2) DEFAULT NULL COMMENT 'money',
  `loading` double DEFAULT NULL COMMENT 'a double',
  `nothing` varchar(255) DEFAULT NULL COMMENT 'always NULL',
  PRIMARY KEY (`dt`,`visitor_id`)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_nopad_bin COMMENT=";
    assert!(made.replace("\\\\'", "\\'").replace("''", "\\'").contains(expected), "{made}");
    let told = database.root("select comment from strata_table where table_name = 'app_visitor'");
    assert!(told.contains("Visitors of the day: 'quoted'"), "{told}");
    let days = database.root(
        "select count(*), min(checks_passed), count(distinct run) from strata_export where table_name = 'app_day'",
    );
    assert_eq!(days.trim(), format!("{DAYS}\t1\t1"));
    let rows = database.root(
        "select sum(`rows`) = (select count(*) from app_visitor) from strata_export where table_name = 'app_visitor'",
    );
    assert_eq!(rows.trim(), "1");
    let (code, said) = warehouse.runs(&["export"]);
    assert!(code == 0 && said.contains("nothing new"), "{said}");
    warehouse.keeps_secrets();
}

#[test]
fn inserts_give_the_same_tables_as_load_data() {
    let (loaded, inserted) = (Database::new("loaded"), Database::new("inserted"));
    Warehouse::of(1, &loaded.url()).succeeds(&["export"]);
    // What a server that allows no LOAD DATA LOCAL would make of it.
    inserted.root("set global local_infile = 0");
    let done = Warehouse::of(1, &inserted.url()).runs(&["export"]);
    inserted.root("set global local_infile = 1");
    assert_eq!(done.0, 0, "{}", done.1);
    assert_eq!(state(&loaded), state(&inserted));
}

#[test]
fn exports_stand_side_by_side_and_one_that_fails_does_not_stop_the_others() {
    let (first, second) = (Database::new("first"), Database::new("second"));
    let warehouse = Warehouse::of(1, &first.url());
    let nowhere = first.url_of(&format!("nobody:{CANARY}-wrong"), "127.0.0.1");
    warehouse.export_to(&[("metrics", &nowhere), ("second", &second.url())]);
    let (code, said) = warehouse.runs(&["export"]);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("wrong user or password") && said.contains("export second"), "{said}");
    warehouse.export_to(&[("metrics", &first.url()), ("second", &second.url())]);
    warehouse.succeeds(&["export"]);
    assert_eq!(state(&first), state(&second));
    warehouse.export_to(&[("metrics", "sqlite:m.db"), ("second", &second.url())]);
    let said = warehouse.succeeds(&["export"]);
    assert!(said.contains("metrics: 2 tables") && !said.contains("second: 2 tables"), "{said}");
    warehouse.keeps_secrets();
}

#[test]
fn a_null_in_the_grain_fails_its_check_and_never_reaches_a_target() {
    let database = Database::new("nulls");
    let warehouse = Warehouse::of(1, &database.url());
    let sql = "-- No brand.\n--\n-- grain:  dt, brand\n-- check:  n > 0\n-- export: metrics\n\nselect\n    $dt as dt, -- \
               business day\n    nullif(max(brand), max(brand)) as brand, -- none\n    count(*) as n -- events\nfrom dwd_event\n\
               where dt = $dt\n";
    warehouse.write_model("app_nulls", sql);
    let (code, said) = warehouse.runs(&["build", "app_nulls"]);
    let told = "sql/app/app_nulls.sql, the grain of an export: 5 rows violate `brand is not null`";
    assert!(code == 1 && said.contains(told) && said.contains("| 2026-01-01 |"), "{said}");
    std::fs::remove_file(warehouse.path().join("sql/app/app_nulls.sql")).expect("removes");
    // A lake that was built before: `nothing`, always NULL, was no part of the grain then.
    let file = warehouse.path().join("sql/app/app_visitor.sql");
    let sql = std::fs::read_to_string(&file).expect("a file");
    std::fs::write(&file, sql.replace("grain:  dt, visitor_id", "grain:  dt, visitor_id, nothing")).expect("writes");
    for url in [&database.url(), "sqlite:m.db"] {
        warehouse.export_to(&[("metrics", url)]);
        let (code, said) = warehouse.runs(&["export"]);
        let told = "dt=2026-01-01: nothing is NULL in some rows, and part of the key (dt, visitor_id, nothing)";
        assert!(code == 1 && said.contains("export app_visitor\n") && said.contains(told), "{said}");
    }
}

#[test]
fn what_differs_is_told_and_mended() {
    let database = Database::new("verify");
    let warehouse = Warehouse::of(1, &database.url());
    warehouse.succeeds(&["export"]);
    let good = state(&database);
    assert!(warehouse.succeeds(&["export", "--verify"]).contains("all as in the lake"));
    database.root(
        "update app_day set events = events + 1 where dt = '2026-01-02';
         delete from app_day where dt = '2026-01-03';
         insert into app_day values ('2025-12-31', 1, 1);
         update app_visitor set brand = 'x' where dt = '2026-01-01' limit 1;
         update strata_export set version = 'old' where table_name = 'app_day' and dt = '2026-01-05'",
    );
    let (code, said) = warehouse.runs(&["export", "--verify"]);
    assert_eq!(code, 1, "{said}");
    for line in [
        "metrics: app_day dt=2025-12-31: 1 row that the lake has not",
        "metrics: app_day dt=2026-01-02: 1 row, but not as in the lake",
        "metrics: app_day dt=2026-01-03: missing, the lake has 1 row",
        "metrics: app_day dt=2026-01-05: the rows of the lake, recorded as another version",
        "metrics: app_visitor dt=2026-01-01: ",
        "5 partitions of the target differ from the lake",
    ] {
        assert!(said.contains(line), "{line}\n{said}");
    }
    warehouse.succeeds(&["export", "--verify", "--repair"]);
    assert_eq!(state(&database), good);
    assert!(warehouse.succeeds(&["export", "--verify"]).contains("all as in the lake"));
}

#[test]
fn a_sqlite_target_is_compared_and_mended_too() {
    let warehouse = Warehouse::of(1, "sqlite:m.db");
    warehouse.succeeds(&["export"]);
    let sqlite = rusqlite::Connection::open(warehouse.path().join("m.db")).expect("opens");
    sqlite
        .execute_batch("update app_day set events = 0 where dt = '2026-01-02'; delete from app_visitor where dt = '2026-01-03'; insert into app_day values ('2025-12-31', 1, 1)")
        .expect("changes");
    let (code, said) = warehouse.runs(&["export", "--verify"]);
    assert!(code == 1 && said.contains("3 partitions of the target differ"), "{said}");
    warehouse.succeeds(&["export", "--verify", "--repair"]);
    assert!(warehouse.succeeds(&["export", "--verify"]).contains("all as in the lake"));
}

#[test]
fn tables_are_migrated_and_never_narrowed() {
    let database = Database::new("migrate");
    let warehouse = Warehouse::of(1, &database.url());
    warehouse.succeeds(&["export"]);
    let good = state(&database);
    // An older strata, or an operator, may have left it otherwise.
    database.root(
        "alter table app_visitor drop column loading, modify events int, modify amount decimal(20,4), \
         modify brand varchar(20) character set latin1 comment 'old', add column ours varchar(9)",
    );
    warehouse.succeeds(&["export"]);
    let columns = columns_of(&database, "app_visitor");
    let kind = |name: &str| columns.iter().find(|(column, _)| column == name).map(|(_, kind)| kind.clone());
    assert_eq!(kind("events").as_deref(), Some("bigint(20)"));
    assert_eq!(kind("amount").as_deref(), Some("decimal(20,4)"), "wider than needed: stays");
    assert_eq!((kind("brand").as_deref(), kind("loading").as_deref()), (Some("varchar(255)"), Some("double")));
    assert_eq!(columns.last().map(|(name, _)| name.as_str()), Some("loading"), "appended");
    assert!(warehouse.succeeds(&["export", "--verify"]).contains("all as in the lake"));
    // Another key: the table is made anew, beside the old one.
    database
        .root("alter table app_visitor drop primary key, add primary key (visitor_id, dt), add index by_brand (brand)");
    warehouse.succeeds(&["export"]);
    let made = database.root("show create table app_visitor");
    for kept in
        ["PRIMARY KEY (`dt`,`visitor_id`)", "`ours` varchar(9)", "KEY `by_brand` (`brand`)", "`amount` decimal(18,2)"]
    {
        assert!(made.contains(kept), "{kept}: {made}");
    }
    database.root("alter table app_visitor drop column ours");
    assert_eq!(state(&database), good);
    assert_eq!(database.root("show tables like 'strata\\_new%'"), "");
    database.root("create table strata_old_app_day like app_day");
    warehouse.succeeds(&["export"]);
    assert_eq!(database.root("show tables like 'strata\\_old%'"), "", "what a killed export had replaced");
    // No type holds both.
    database.root("alter table app_day modify events varchar(20)");
    let (code, said) = warehouse.runs(&["export", "--force"]);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("app_day.events is varchar(20) in the target and bigint in the lake"), "{said}");
    assert!(said.contains("alter table app_day modify column events bigint;"), "{said}");
    assert!(said.contains("drop table app_day;"), "{said}");
    let (code, said) = warehouse.runs(&["export", "--verify"]);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("app_day: column events is varchar(20) in the target and bigint in the lake"), "{said}");
    assert!(said.contains("1 column of the target differs from the lake"), "{said}");
}

#[test]
fn a_table_that_is_not_by_strata_is_left_alone() {
    let database = Database::new("foreign");
    database.root(
        "create table app_day (id bigint primary key, paid decimal(9,2)); insert into app_day values (7, 1.50);
         create table app_visitor (dt date, visitor_id varchar(255), primary key (dt, visitor_id));
         insert into app_visitor values ('2026-01-01', 'theirs')",
    );
    let warehouse = Warehouse::of(1, &database.url());
    for table in ["app_day", "app_visitor"] {
        let (code, said) = warehouse.runs(&["export"]);
        let told = format!("table {table} is in the target and is not by strata");
        assert!(code == 1 && said.contains(&told) && said.contains("hint: drop it or rename it there"), "{said}");
        assert_eq!(database.root("select * from app_visitor").trim(), "2026-01-01\ttheirs");
        if table == "app_day" {
            assert_eq!(database.root("select * from app_day").trim(), "7\t1.50");
            database.root("rename table app_day to their_day");
        }
    }
    database.root("drop table app_visitor");
    warehouse.succeeds(&["export"]);
    assert_eq!(database.root("select * from their_day").trim(), "7\t1.50");
    assert!(warehouse.succeeds(&["export", "--verify"]).contains("all as in the lake"));
}

#[test]
fn a_long_text_makes_its_column_wider_and_a_long_key_is_refused() {
    let database = Database::new("long");
    let warehouse = Warehouse::of(1, &database.url());
    warehouse.succeeds(&["export"]);
    let file = warehouse.path().join("sql/app/app_visitor.sql");
    let sql = std::fs::read_to_string(&file).expect("a file");
    std::fs::write(&file, sql.replace("max(brand) as brand", "repeat('ä', 300) as brand")).expect("writes");
    warehouse.succeeds(&["run"]);
    let brand = |database: &Database| {
        let columns = columns_of(database, "app_visitor");
        columns.into_iter().find(|(name, _)| name == "brand").map(|(_, kind)| kind)
    };
    assert_eq!(brand(&database).as_deref(), Some("text"));
    assert_eq!(database.root("select distinct char_length(brand) from app_visitor").trim(), "300");
    let before = state(&database);
    std::fs::write(&file, sql.replace("    visitor_id, --", "    visitor_id || repeat('x', 300) as visitor_id, --"))
        .expect("writes");
    let (code, said) = warehouse.runs(&["run"]);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("a text of column visitor_id has 3"), "{said}");
    assert!(said.contains("hint: visitor_id is part of the key, whose texts hold 255 characters at most"), "{said}");
    assert_eq!(state(&database), before);
}

#[test]
fn a_large_table_is_verified_while_it_is_written() {
    let database = Database::new("large");
    let warehouse = Warehouse::of(1, &database.url());
    // Portions of three days each: each is summed up by a second session while the next is written.
    warehouse.write_model("app_many", MANY);
    warehouse.succeeds(&["build", "app_many"]);
    warehouse.succeeds(&["export", "app_many"]);
    let counted = database.root("select count(*), count(distinct dt), max(n) from app_many");
    assert_eq!(counted.trim(), format!("{}\t{DAYS}\t65535", 65_536 * DAYS));
    // A trigger that bends one row of the first portion: nothing is committed.
    database.root(
        "create trigger bend before insert on app_many for each row \
         set new.text = if(new.dt = '2026-01-01' and new.n = 7, 'bent', new.text)",
    );
    let (code, said) = warehouse.runs(&["export", "app_many", "--force"]);
    assert!(code == 1 && said.contains("dt=2026-01-01: the server has 65536 rows (checksum"), "{said}");
    database.root("drop trigger bend");
    assert!(warehouse.succeeds(&["export", "app_many", "--verify"]).contains("all as in the lake"));
}

#[test]
fn the_doctor_tests_every_privilege_and_shows_the_grant_that_is_missing() {
    let database = Database::without_grants("doctor");
    let warehouse = Warehouse::of(1, &database.url());
    let doctor = |code: i32, told: &[&str]| {
        let (ended, said) = warehouse.runs(&["doctor"]);
        assert_eq!(ended, code, "{said}");
        told.iter().for_each(|told| assert!(said.contains(told), "{told}\n{said}"));
    };
    doctor(1, &["FAIL  export metrics", "Access denied", "GRANT SELECT ON `t_doctor`.* TO 't_doctor'@'%';"]);
    database.root("grant select, insert, update on t_doctor.* to 't_doctor'@'%'");
    doctor(
        1,
        &[
            "mysql://t_doctor:***@127.0.0.1",
            "MariaDB 10.",
            "not granted on the database: DELETE, CREATE, ALTER, DROP",
            "GRANT DELETE, CREATE, ALTER, DROP ON `t_doctor`.* TO 't_doctor'@'%';",
        ],
    );
    database.root("grant delete, create, alter, drop on t_doctor.* to 't_doctor'@'%'");
    doctor(0, &["granted: SELECT, INSERT, UPDATE, DELETE, CREATE, ALTER, DROP"]);
    warehouse.succeeds(&["export"]);
    warehouse.export_to(&[("metrics", &database.url_of(&format!("t_doctor:{CANARY}-no"), "127.0.0.1"))]);
    doctor(1, &["wrong user or password"]);
    warehouse.keeps_secrets();
}
