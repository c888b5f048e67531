//! Targets as models, people and servers leave them: keys that come and go, grains that are not published yet, leftovers,
//! comments, a server's own settings, numbers at the edge.

#[path = "server/own.rs"]
mod own;
#[path = "server/proxy.rs"]
mod proxy;
mod server;
mod shop;
#[path = "server/warehouse.rs"]
mod warehouse;

use std::fs;
use std::thread;
use std::time::Duration;

use own::OwnServer;
use proxy::{At, Cut, Proxy};
use server::Database;
use warehouse::{Warehouse, models, state};

/// The columns of a table's primary key.
fn key_of(database: &Database, table: &str) -> String {
    let sql = format!(
        "select group_concat(column_name order by seq_in_index) from information_schema.statistics where table_schema = \
         database() and table_name = '{table}' and index_name = 'PRIMARY'"
    );
    database.root(&sql).trim().to_owned()
}

fn is_as_the_lake(warehouse: &Warehouse) {
    let said = warehouse.succeeds(&["export", "--verify"]);
    assert!(said.contains("all as in the lake"), "{said}");
}

/// Waits until SQL gives something.
fn until(database: &Database, sql: &str) -> String {
    let mut times = 0;
    loop {
        let said = database.root(sql);
        if !said.trim().is_empty() {
            return said.trim().to_owned();
        }
        times += 1;
        assert!(times < 2000, "never: {sql}");
        thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_column_that_leaves_the_key_and_the_model_stays_and_may_be_null() {
    let database = Database::new("leaves");
    let warehouse = Warehouse::of(1, &database.url());
    warehouse.succeeds(&["export"]);
    let [_, (_, visitor)] = models(1);
    let by_brand = visitor
        .replace("-- grain:  dt, visitor_id", "-- grain:  dt, brand")
        .replace("    visitor_id, -- the visitor's\n", "")
        .replace("max(brand) as brand", "coalesce(brand, '-') as brand")
        .replace("group by visitor_id", "group by coalesce(brand, '-')");
    warehouse.write_model("app_visitor", &by_brand);
    warehouse.succeeds(&["run"]);
    assert_eq!(key_of(&database, "app_visitor"), "dt,brand");
    assert_eq!(database.root("select count(visitor_id), count(*) > 0 from app_visitor").trim(), "0\t1");
    is_as_the_lake(&warehouse);
    // Every further export fills it again.
    warehouse.succeeds(&["export", "--force"]);
    is_as_the_lake(&warehouse);
}

#[test]
fn a_model_may_lose_its_days_and_get_them_back() {
    let database = Database::new("days");
    let warehouse = Warehouse::of(1, &database.url());
    warehouse.succeeds(&["export"]);
    let good = state(&database);
    let [(_, day), _] = models(1);
    let whole = day
        .replace("-- grain:  dt", "-- grain:  generation")
        .replace("    $dt as dt, -- business day\n", "")
        .replace("where dt = $dt\n", "");
    warehouse.write_model("app_day", &whole);
    warehouse.succeeds(&["run"]);
    assert_eq!(key_of(&database, "app_day"), "generation");
    assert_eq!(database.root("select count(*), count(dt), min(events) > 5 from app_day").trim(), "1\t0\t1");
    is_as_the_lake(&warehouse);
    warehouse.succeeds(&["export", "--force"]);
    warehouse.write_model("app_day", &day);
    warehouse.succeeds(&["run"]);
    is_as_the_lake(&warehouse);
    let rows = |text: &str| {
        text.split("# strata_table").next().unwrap_or_default().split("# strata_export").next().map(str::to_owned)
    };
    assert_eq!(rows(&state(&database)), rows(&good));
}

#[test]
fn a_grain_that_is_not_published_yet_leaves_the_key_as_it_is() {
    let database = Database::new("grain");
    let warehouse = Warehouse::of(1, &database.url());
    warehouse.export_to(&[("metrics", &database.url()), ("second", "sqlite:m.db")]);
    warehouse.succeeds(&["export"]);
    let good = state(&database);
    let [_, (_, visitor)] = models(1);
    let finer = visitor
        .replace("-- grain:  dt, visitor_id", "-- grain:  dt, visitor_id, page")
        .replace("-- check:  events > 0", "-- check:  events < 0")
        .replace("    count(*) as events,", "    'home' as page,\n    count(*) as events,");
    warehouse.write_model("app_visitor", &finer);
    let (code, said) = warehouse.runs(&["run"]);
    assert!(code == 1 && said.contains("events < 0"), "{said}");
    // The check forbids it; the targets are exported as they were published.
    let said = warehouse.succeeds(&["export", "--force"]);
    assert!(said.contains("metrics: 2 tables") && said.contains("second: 2 tables"), "{said}");
    assert_eq!((key_of(&database, "app_visitor").as_str(), state(&database) == good), ("dt,visitor_id", true));
    is_as_the_lake(&warehouse);
    // A target that has no table yet gets one all the same.
    let fresh = Database::new("grain_fresh");
    warehouse.export_to(&[("metrics", &fresh.url()), ("second", "sqlite:fresh.db")]);
    warehouse.succeeds(&["export"]);
    is_as_the_lake(&warehouse);
    warehouse.write_model("app_visitor", &finer.replace("events < 0", "events > 0"));
    warehouse.succeeds(&["run"]);
    assert_eq!(key_of(&fresh, "app_visitor"), "dt,visitor_id,page");
    is_as_the_lake(&warehouse);
}

#[test]
fn what_others_changed_beyond_what_the_lake_can_hold_is_seen() {
    let database = Database::new("beyond");
    let warehouse = Warehouse::of(1, &database.url());
    warehouse.succeeds(&["export"]);
    database.root("alter table app_visitor modify amount decimal(20,4)");
    is_as_the_lake(&warehouse);
    warehouse.succeeds(&["export", "--force"]);
    is_as_the_lake(&warehouse);
    database.root("update app_visitor set amount = amount + 0.0001 where dt = '2026-01-02' limit 1");
    let (code, said) = warehouse.runs(&["export", "--verify"]);
    assert!(code == 1 && said.contains("metrics: app_visitor dt=2026-01-02: "), "{said}");
    warehouse.succeeds(&["export", "--verify", "--repair"]);
    is_as_the_lake(&warehouse);
    database.root("alter table app_day modify dt datetime not null");
    let (code, said) = warehouse.runs(&["export"]);
    assert!(code == 1 && said.contains("app_day.dt is datetime in the target: a day is not found by it"), "{said}");
    assert!(said.contains("hint: `alter table app_day modify column dt date not null;` there"), "{said}");
    database.root("alter table app_day modify column dt date not null");
    is_as_the_lake(&warehouse);
}

#[test]
fn what_the_metadata_tells_is_compared_too() {
    let database = Database::new("told");
    let warehouse = Warehouse::of(1, &database.url());
    warehouse.export_to(&[("metrics", &database.url()), ("second", "sqlite:m.db")]);
    warehouse.succeeds(&["export"]);
    let good = state(&database);
    let tell = "update strata_export set rows = 7 where table_name = 'app_day' and dt = '2026-01-02';
                update strata_export set checksum = '0000000000000000' where table_name = 'app_visitor' and dt = '2026-01-03'";
    database.root(&tell.replace("set rows", "set `rows`"));
    let sqlite = rusqlite::Connection::open(warehouse.path().join("m.db")).expect("opens");
    sqlite.execute_batch(tell).expect("changes");
    let (code, said) = warehouse.runs(&["export", "--verify"]);
    assert_eq!(code, 1, "{said}");
    for export in ["metrics", "second"] {
        let told =
            format!("{export}: app_day dt=2026-01-02: the rows of the lake, but strata_export tells of 7 rows with");
        assert!(said.contains(&told), "{said}");
        assert!(said.contains(&format!("{export}: app_visitor dt=2026-01-03: the rows of the lake, but")), "{said}");
    }
    warehouse.succeeds(&["export", "--verify", "--repair"]);
    assert_eq!(state(&database), good);
    is_as_the_lake(&warehouse);
}

#[test]
fn only_our_own_leftovers_are_dropped_and_one_that_cannot_be_is_told() {
    let database = Database::new("leftovers");
    let warehouse = Warehouse::of(1, &database.url());
    warehouse.succeeds(&["export"]);
    let good = state(&database);
    database.root(
        "create table strata_old_prices (n int); create table strata_new_prices (n int);
         create table strata_old_app_day like app_day; create table strata_new_app_visitor like app_visitor;
         create table theirs (dt date, foreign key (dt) references strata_old_app_day (dt))",
    );
    let said = warehouse.succeeds(&["export"]);
    assert!(said.contains("strata_old_app_day is left over and cannot be dropped"), "{said}");
    let asides = database.root("select table_name from information_schema.tables where table_schema = database() and table_name regexp '^strata_(old|new)_' order by 1");
    assert_eq!(
        asides.split_whitespace().collect::<Vec<_>>(),
        ["strata_new_prices", "strata_old_app_day", "strata_old_prices"]
    );
    // Only what needs the name waits for it.
    database.root("alter table app_visitor drop primary key, add primary key (visitor_id, dt)");
    warehouse.succeeds(&["export"]);
    assert_eq!(state(&database), good);
    database.root("alter table app_day drop primary key, add primary key (dt, events)");
    let (code, said) = warehouse.runs(&["export"]);
    assert!(
        code == 1 && said.contains("strata_old_app_day is left over from an earlier export and cannot be"),
        "{said}"
    );
    assert!(said.contains("hint: does a foreign key of another table lead to it?"), "{said}");
    assert_eq!(state(&database), good);
    database.root("drop table theirs");
    warehouse.succeeds(&["export"]);
    assert_eq!((key_of(&database, "app_day").as_str(), state(&database) == good), ("dt", true));
}

#[test]
fn a_table_that_no_model_is_exported_to_any_more_is_told_in_every_kind_of_target() {
    let database = Database::new("behind");
    let warehouse = Warehouse::of(0, &database.url());
    // Two exports may share a database: what either of them has is no leftover of the other.
    warehouse.export_to(&[("metrics", &database.url()), ("file", "sqlite:m.db"), ("beside", &database.url())]);
    let [(first, open), (second, visitor)] = models(0);
    let everywhere = |sql: &str| sql.replace("export: metrics, second", "export: metrics, file");
    warehouse.write_model(first, &everywhere(&open));
    warehouse.write_model(second, &everywhere(&visitor));
    let left = |said: &str| said.matches("no model of this project is exported to").count();
    assert_eq!(left(&warehouse.succeeds(&["run"])), 0);
    warehouse.write_model(second, &visitor.replace("export: metrics, second", "export: beside"));
    let said = warehouse.succeeds(&["run"]);
    assert!(
        said.contains(&format!("export file: no model of this project is exported to {second} any more")),
        "{said}"
    );
    assert_eq!(left(&said), 1, "the database still has it from `beside`:\n{said}");
    fs::remove_file(warehouse.path().join(format!("sql/app/{second}.sql"))).expect("removes");
    let said = warehouse.succeeds(&["export"]);
    assert_eq!(left(&said), 3, "in each target, by each export:\n{said}");
    for table in ["strata_export", "strata_table", "strata_column"] {
        database.root(&format!("delete from {table} where table_name = '{second}'"));
    }
    assert_eq!(left(&warehouse.succeeds(&["export"])), 1, "in the file alone");
}

#[test]
fn comments_that_a_server_cannot_keep_are_not_written_again_and_again() {
    let database = Database::new("comments");
    let warehouse = Warehouse::of(1, &database.url());
    let [(_, day), _] = models(1);
    warehouse.write_model("app_day", &day.replace("-- its events", "-- its events 🛒 of the 店"));
    warehouse.succeeds(&["run"]);
    let comment = "select column_comment from information_schema.columns where table_schema = database() and table_name = \
                   'app_day' and column_name = 'events'";
    assert_eq!(database.root(comment).trim(), "its events \u{fffd} of the 店");
    assert!(
        database.root("select comment from strata_column").contains("its events 🛒 of the 店"),
        "rows hold all of it"
    );
    let proxy = Proxy::new(database.port(), At::Text("alter table"), Cut::Before, || ());
    warehouse.export_to(&[("metrics", &database.url_by(proxy.port))]);
    warehouse.succeeds(&["export"]);
    assert_eq!(proxy.cuts(), 0, "no table is altered");
}

#[test]
fn a_comment_waits_for_the_readers_of_its_table() {
    let database = Database::new("meaning");
    let warehouse = Warehouse::of(1, &database.url());
    warehouse.succeeds(&["export"]);
    let [(_, day), (_, visitor)] = models(1);
    warehouse.write_model("app_day", &day.replace("-- its events", "-- what it had of events"));
    warehouse.write_model("app_visitor", &visitor.replace("-- money", "-- yen"));
    let comments = "select column_comment from information_schema.columns where table_schema = database() and column_comment \
                    in ('what it had of events', 'yen') order by 1";
    thread::scope(|scope| {
        let reader = scope.spawn(|| database.root("start transaction; select min(dt) from app_day; select sleep(60)"));
        let sleeper =
            "select id from information_schema.processlist where info like 'select sleep(60)%' and db = database()";
        let session = until(&database, sleeper);
        let (code, said) = warehouse.runs(&["export"]);
        database.root(&format!("kill query {session}"));
        assert_eq!(code, 0, "{said}");
        assert!(said.contains("the comments of app_day stay as they are"), "{said}");
        let told = database.root("select count(*) from strata_column where comment = 'what it had of events'");
        assert_eq!((told.trim(), database.root(comments).as_str()), ("1", ""));
        let _ = reader.join();
    });
    warehouse.succeeds(&["export"]);
    assert_eq!(database.root(comments), "what it had of events\nyen\n");
}

#[test]
fn a_servers_own_settings_do_not_matter() {
    let server = OwnServer::start("");
    let (database, other) = (server.database("settings"), Database::new("settings"));
    database.root("set global sql_select_limit = 2; set global sql_safe_updates = 1; set global autocommit = 0");
    let (warehouse, usual) = (Warehouse::of(1, &database.url()), Warehouse::of(1, &other.url()));
    warehouse.succeeds(&["export"]);
    warehouse.succeeds(&["export", "--force"]);
    is_as_the_lake(&warehouse);
    database.root("set global sql_select_limit = default; set global sql_safe_updates = 0; set global autocommit = 1");
    usual.succeeds(&["export"]);
    assert_eq!(state(&database), state(&other));
}

#[test]
fn numbers_at_the_edge_go_in_either_way_and_come_back() {
    let database = Database::new("edge");
    let warehouse = Warehouse::of(1, &database.url());
    let [(_, day), _] = models(1);
    let mut columns = String::new();
    let edges =
        ["-0", "955681697806163.25", "100.000030517578125", "5e-324", "1.7976931348623157e308", "-1e15", "1e-15"];
    for (at, number) in edges.iter().enumerate() {
        columns.push_str(&format!("    cast('{number}' as double) as x{at},\n"));
    }
    warehouse
        .write_model("app_day", &day.replace("    count(*) as events,", &format!("{columns}    count(*) as events,")));
    warehouse.succeeds(&["run"]);
    is_as_the_lake(&warehouse);
    let loaded = state(&database);
    let proxy = Proxy::new(database.port(), At::Text("load data"), Cut::Before, || ());
    warehouse.export_to(&[("metrics", &format!("{}\"\nload_data = false #", database.url_by(proxy.port)))]);
    warehouse.succeeds(&["export", "--force"]);
    is_as_the_lake(&warehouse);
    assert_eq!((proxy.cuts(), state(&database) == loaded), (0, true));
    assert_eq!(
        database.root("select distinct x0, x1, x2 from app_day").trim(),
        "0\t955681697806163.2\t100.00003051757812"
    );
}
