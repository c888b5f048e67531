//! What can go wrong between strata and a MySQL target, at every packet: cut connections, killed processes, a killed server,
//! locks, small packets, a full disk, wrong logins. Before the next run the target has its old or its new state, after it
//! the lake's.

#[path = "../server/garbler.rs"]
mod garbler;
#[path = "../server/own.rs"]
mod own;
#[path = "../server/proxy.rs"]
mod proxy;
mod refusals;
#[path = "../server/mod.rs"]
mod server;
#[path = "../shop/mod.rs"]
mod shop;
#[path = "../server/warehouse.rs"]
mod warehouse;

use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use garbler::Garbler;
use own::OwnServer;
use proxy::{At, Cut, Proxy};
use server::Database;
use warehouse::{MANY, Warehouse, said, state};

/// Every packet when time does not matter, a few of them otherwise.
fn packets(count: usize, few: usize) -> Vec<usize> {
    let step = if std::env::var_os("STRATA_TEST_LONG").is_some() { 1 } else { (count / few).max(1) };
    (1..=count).rev().step_by(step).collect()
}

/// The old and the new state of a target, the warehouses that make them, and the packets that going from one to the other
/// takes.
struct Change {
    old: Warehouse,
    new: Warehouse,
    old_state: String,
    new_state: String,
    packets: usize,
}

impl Change {
    fn of(database: &Database, port: u16) -> Self {
        let (old, new) = (Warehouse::of(1, &database.url()), Warehouse::of(2, &database.url()));
        old.succeeds(&["export"]);
        let old_state = state(database);
        let proxy = Proxy::new(port, At::Never, Cut::Before, || ());
        new.export_to(&[("metrics", &database.url_by(proxy.port))]);
        new.succeeds(&["export"]);
        let new_state = state(database);
        assert_ne!(old_state, new_state);
        Self { old, new, old_state, new_state, packets: proxy.seen() }
    }

    /// Brings the target back to the old state, and lets the new warehouse export through a proxy.
    fn rewind(&self, database: &Database, proxy: &Proxy) {
        self.old.succeeds(&["export"]);
        assert_eq!(state(database), self.old_state);
        self.new.export_to(&[("metrics", &database.url_by(proxy.port))]);
    }
}

#[test]
fn a_connection_cut_at_any_packet_is_made_anew_and_the_target_ends_as_the_lake() {
    let database = Database::new("cut");
    let change = Change::of(&database, database.port());
    assert!(change.packets > 20, "{}", change.packets);
    for (at, k) in packets(change.packets, 6).into_iter().enumerate() {
        let cut = if at % 2 == 0 { Cut::After } else { Cut::Before };
        let proxy = Proxy::new(database.port(), At::Packet(k), cut, || ());
        change.rewind(&database, &proxy);
        let (code, said) = change.new.runs(&["export"]);
        // A login that fails is no export that was interrupted: it is told at once.
        let before_login = said.contains("the connection broke") && k <= 12;
        assert!(code == 0 || before_login, "packet {k} {cut:?}: {said}");
        assert_eq!(
            state(&database),
            if code == 0 { &change.new_state } else { &change.old_state }.as_str(),
            "packet {k}"
        );
        assert_eq!(proxy.cuts(), 1, "packet {k}");
    }
    change.new.keeps_secrets();
}

#[test]
fn strata_killed_at_any_packet_leaves_the_old_or_the_new_state() {
    let database = Database::new("kill");
    let change = Change::of(&database, database.port());
    let mut seen = [0, 0];
    for (at, k) in packets(change.packets, 8).into_iter().enumerate() {
        let cut = if at % 2 == 0 { Cut::Before } else { Cut::After };
        let child: Arc<Mutex<Option<Child>>> = Arc::default();
        let victim = Arc::clone(&child);
        let proxy = Proxy::new(database.port(), At::Packet(k), cut, move || {
            if let Some(child) = victim.lock().expect("a lock").as_mut() {
                let _ = child.kill();
            }
        });
        change.rewind(&database, &proxy);
        let mut locked = child.lock().expect("a lock");
        *locked = Some(change.new.command(&["export", "--quiet"]).stderr(Stdio::null()).spawn().expect("starts"));
        drop(locked);
        while proxy.cuts() == 0 {
            thread::sleep(Duration::from_millis(5));
        }
        thread::sleep(Duration::from_millis(150));
        let mut victim = child.lock().expect("a lock").take().expect("it was started");
        let _ = victim.kill();
        victim.wait().expect("ends");
        let between = settled(&database);
        let is_new = between == change.new_state;
        assert!(is_new || between == change.old_state, "packet {k} {cut:?}\n{between}");
        seen[usize::from(is_new)] += 1;
        change.new.succeeds(&["export"]);
        assert_eq!(state(&database), change.new_state, "packet {k} {cut:?}");
    }
    assert!(seen[0] > 0, "the old state was met: {seen:?}");
}

/// The state once the server has noticed that the client is gone.
fn settled(database: &Database) -> String {
    let sessions = format!("select count(*) from information_schema.processlist where user = '{}'", database.name);
    for _ in 0..400 {
        if database.root(&sessions).trim() == "0" {
            break;
        }
        thread::sleep(Duration::from_millis(10));
    }
    state(database)
}

#[test]
fn a_first_export_killed_at_any_packet_shows_no_table_or_a_whole_one() {
    let database = Database::new("birth");
    let warehouse = Warehouse::of(1, &database.url());
    warehouse.succeeds(&["export"]);
    let whole = state(&database);
    let empty = || {
        let drop = database.root(
            "select concat('drop table ', table_name, ';') from information_schema.tables where table_schema = database()",
        );
        database.root(&drop);
    };
    empty();
    let counter = Proxy::new(database.port(), At::Never, Cut::Before, || ());
    warehouse.export_to(&[("metrics", &database.url_by(counter.port))]);
    warehouse.succeeds(&["export"]);
    for k in packets(counter.seen(), 6) {
        empty();
        let child: Arc<Mutex<Option<Child>>> = Arc::default();
        let victim = Arc::clone(&child);
        let proxy = Proxy::new(database.port(), At::Packet(k), Cut::Before, move || {
            if let Some(child) = victim.lock().expect("a lock").as_mut() {
                let _ = child.kill();
            }
        });
        warehouse.export_to(&[("metrics", &database.url_by(proxy.port))]);
        let mut locked = child.lock().expect("a lock");
        *locked = Some(warehouse.command(&["export", "--quiet"]).stderr(Stdio::null()).spawn().expect("starts"));
        drop(locked);
        while proxy.cuts() == 0 {
            thread::sleep(Duration::from_millis(5));
        }
        let mut victim = child.lock().expect("a lock").take().expect("it was started");
        let _ = victim.kill();
        victim.wait().expect("ends");
        let between = settled(&database);
        for table in ["# app_day\n", "# app_visitor\n"] {
            let part =
                |text: &str| text.split_once(table).map(|(_, rest)| rest.split('#').next().unwrap_or("").to_owned());
            assert!(part(&between).is_none_or(|rows| Some(rows) == part(&whole)), "packet {k}\n{between}");
        }
        assert_eq!(told_but_missing(&database), "", "packet {k}");
        warehouse.succeeds(&["export"]);
        assert_eq!(state(&database), whole, "packet {k}");
        assert_eq!(database.root("show tables like 'strata\\_new%'"), "", "packet {k}");
    }
}

/// The tables that the metadata tells of and that nobody can read.
fn told_but_missing(database: &Database) -> String {
    let there = "select table_name from information_schema.tables where table_schema = database()";
    if !database.root(there).lines().any(|name| name == "strata_export") {
        return String::new();
    }
    database.root(&format!("select distinct table_name from strata_export where table_name not in ({there})"))
}

#[test]
fn killed_before_its_tables_have_their_names_an_export_tells_of_none_and_any_other_finishes_it() {
    let database = Database::new("unnamed");
    let warehouse = Warehouse::of(1, &database.url());
    warehouse.succeeds(&["export"]);
    let whole = state(&database);
    database
        .root("drop table app_day, app_visitor, strata_export, strata_staged, strata_run, strata_table, strata_column");
    let child: Arc<Mutex<Option<Child>>> = Arc::default();
    let victim = Arc::clone(&child);
    let proxy = Proxy::new(database.port(), At::Text("\u{3}rename table"), Cut::Before, move || {
        if let Some(child) = victim.lock().expect("a lock").as_mut() {
            let _ = child.kill();
        }
    });
    warehouse.export_to(&[("metrics", &database.url_by(proxy.port))]);
    let mut locked = child.lock().expect("a lock");
    *locked = Some(warehouse.command(&["export", "--quiet"]).stderr(Stdio::null()).spawn().expect("starts"));
    drop(locked);
    while proxy.cuts() == 0 {
        thread::sleep(Duration::from_millis(5));
    }
    child.lock().expect("a lock").take().expect("it was started").wait().expect("ends");
    settled(&database);
    assert_eq!(database.root("select to_rename from strata_run").trim(), "app_day,app_visitor", "it is committed");
    assert_eq!(database.root("select count(*) from strata_export").trim(), "0");
    assert_eq!(told_but_missing(&database), "");
    // The export was given another name meanwhile.
    warehouse.export_to(&[("second", &database.url())]);
    let said = warehouse.succeeds(&["export"]);
    assert!(said.contains("nothing new"), "the rows are there already: {said}");
    assert_eq!(state(&database), whole);
    assert_eq!(database.root("select count(*) from strata_staged").trim(), "0");
    assert_eq!(database.root("show tables like 'strata\\_new%'"), "");
}

#[test]
fn while_a_reader_holds_a_table_that_is_made_anew_all_tells_of_the_old_one() {
    let database = Database::new("held");
    let change = Change::of(&database, database.port());
    let proxy = Proxy::new(database.port(), At::Never, Cut::Before, || ());
    change.rewind(&database, &proxy);
    database.root("alter table app_visitor drop primary key, add primary key (visitor_id, dt)");
    let told = "select distinct run from strata_export where table_name = 'app_visitor'";
    let run = database.root(told);
    let sleeper = "select id from information_schema.processlist where info like 'select sleep(60)%'";
    let until = |sql: &str| {
        for _ in 0..2000 {
            let said = database.root(sql);
            if !said.trim().is_empty() {
                return said.trim().to_owned();
            }
            thread::sleep(Duration::from_millis(10));
        }
        panic!("never: {sql}");
    };
    thread::scope(|scope| {
        let reader =
            scope.spawn(|| database.root("start transaction; select min(dt) from app_visitor; select sleep(60)"));
        let session = until(sleeper);
        let export = scope.spawn(|| change.new.runs(&["export"]));
        until("select run from strata_run where to_rename = 'app_day,app_visitor'");
        let (now, generation) = (database.root(told), database.root("select distinct generation from app_visitor"));
        assert_eq!((now, generation.trim()), (run, "1"), "the rows that can be read, and what is told of them");
        let other = database.root("select distinct generation from app_day");
        assert_eq!(other.trim(), "1", "all tables of the run change hands together");
        let told = database.root("select count(distinct run) from strata_export");
        assert_eq!(told.trim(), "1", "and are told of together");
        database.root(&format!("kill query {session}"));
        let (code, said) = export.join().expect("ends");
        assert_eq!(code, 0, "{said}");
        let _ = reader.join();
    });
    assert_eq!(state(&database), change.new_state);
}

#[test]
fn a_lost_answer_to_commit_is_looked_up_and_not_guessed() {
    let database = Database::new("commit");
    let change = Change::of(&database, database.port());
    for (cut, loads) in [(Cut::After, 1), (Cut::Before, 2)] {
        let proxy = Proxy::new(database.port(), At::Text("\u{3}commit"), cut, || ());
        change.rewind(&database, &proxy);
        database.root("set global general_log = 0; set global log_output = 'TABLE'; truncate mysql.general_log; set global general_log = 1");
        let said = change.new.succeeds(&["export"]);
        let count = "set global general_log = 0; select count(*) from mysql.general_log where command_type = 'Query' and argument like \
                     'load data%app\\_day%' and user_host like 't_commit%'";
        let count = database.root(count);
        assert_eq!((proxy.cuts(), count.trim()), (1, loads.to_string().as_str()), "{cut:?}: {said}");
        assert!(said.contains("again in 1 s"), "{said}");
        assert_eq!(state(&database), change.new_state);
    }
}

#[test]
fn an_answer_that_comes_garbled_through_tls_is_no_refusal() {
    let database = Database::new("garbled");
    let change = Change::of(&database, database.port());
    let through = |port: u16| {
        let url = format!("{}\"\ntls = \"encrypt\" #", database.url_by(port));
        change.new.export_to(&[("metrics", &url)]);
    };
    let counter = Garbler::new(database.port(), usize::MAX);
    change.old.succeeds(&["export"]);
    through(counter.port);
    change.new.succeeds(&["export"]);
    let records = counter.seen();
    assert!(records > 20, "{records}");
    // COMMIT is one of the last, and followed by a look for tables to rename and a good-bye.
    for k in records - 6..=records {
        let garbler = Garbler::new(database.port(), k);
        change.old.succeeds(&["export"]);
        through(garbler.port);
        let (code, said) = change.new.runs(&["export"]);
        assert_eq!(code, 0, "record {k}: {said}");
        assert_eq!(state(&database), change.new_state, "record {k}");
    }
}

#[test]
fn a_witness_that_is_cut_off_is_done_without_or_the_export_begins_anew() {
    let database = Database::new("witness");
    let warehouse = Warehouse::of(1, &database.url());
    warehouse.write_model("app_many", MANY);
    warehouse.succeeds(&["build", "app_many"]);
    for (text, is_told) in [("read uncommitted", false), ("select cast(dt as char), count(*)", true)] {
        let proxy = Proxy::new(database.port(), At::Text(text), Cut::Before, || ());
        warehouse.export_to(&[("metrics", &database.url_by(proxy.port))]);
        let said = warehouse.succeeds(&["export", "app_many", "--force"]);
        assert_eq!((proxy.cuts(), said.contains("again in 1 s")), (1, is_told), "{text}: {said}");
        assert!(warehouse.succeeds(&["export", "app_many", "--verify"]).contains("all as in the lake"), "{text}");
    }
}

#[test]
fn a_server_killed_at_any_moment_recovers_and_the_export_with_it() {
    let server = Arc::new(OwnServer::start(""));
    let database = server.database("crash");
    let change = Change::of(&database, server.port);
    for k in packets(change.packets, 3).into_iter().filter(|k| *k > 15) {
        // The proxy outlives the test: it may not keep the server.
        let (victim, crashed) = (Arc::downgrade(&server), Arc::new(AtomicBool::new(false)));
        let told = Arc::clone(&crashed);
        let proxy = Proxy::new(server.port, At::Packet(k), Cut::After, move || {
            victim.upgrade().expect("the test waits for it").crash();
            told.store(true, Ordering::SeqCst);
        });
        change.rewind(&database, &proxy);
        let (code, said) = change.new.runs(&["export"]);
        assert_eq!(code, 0, "packet {k}: {said}");
        while !crashed.load(Ordering::SeqCst) {
            thread::sleep(Duration::from_millis(5));
        }
        server.wait();
        assert_eq!(state(&database), change.new_state, "packet {k}");
    }
}

#[test]
fn a_server_that_starts_anew_before_the_login_is_waited_for() {
    let server = OwnServer::start("");
    let database = server.database("anew");
    let warehouse = Warehouse::of(1, &database.url());
    server.crash();
    let said = warehouse.succeeds(&["export"]);
    assert!(said.contains("connection refused; again in 1 s"), "{said}");
    assert!(warehouse.succeeds(&["export", "--verify"]).contains("all as in the lake"));
}

#[test]
fn locks_and_deadlocks_are_waited_out() {
    let database = Database::new("locks");
    let change = Change::of(&database, database.port());
    let proxy = Proxy::new(database.port(), At::Never, Cut::Before, || ());
    change.rewind(&database, &proxy);
    let said = thread::scope(|scope| {
        let hold = "start transaction; select count(*) from app_day for update; select sleep(7); rollback";
        scope.spawn(|| database.root(hold));
        thread::sleep(Duration::from_millis(300));
        change.new.succeeds(&["export"])
    });
    assert!(said.contains("Lock wait timeout exceeded") && said.contains("again in 1 s"), "{said}");
    assert_eq!(state(&database), change.new_state);

    change.rewind(&database, &proxy);
    // A table that no rollback touches counts the deadlocks that are still to come.
    database.root(
        "create table flag (n int) engine=MyISAM; insert into flag values (2);
         delimiter //
         create trigger dead before delete on app_visitor for each row
         begin
             if (select n from flag) > 0 then
                 update flag set n = n - 1;
                 signal sqlstate '40001' set mysql_errno = 1213, message_text = 'Deadlock found';
             end if;
         end//
         delimiter ;",
    );
    let said = change.new.succeeds(&["export"]);
    assert!(said.contains("Deadlock found") && said.contains("again in 2 s"), "{said}");
    assert_eq!(state(&database), change.new_state);
}

#[test]
fn a_server_that_stands_still_is_told_with_what_it_waits_for_and_given_up_after_its_silence() {
    let database = Database::new("still");
    let change = Change::of(&database, database.port());
    let proxy = Proxy::new(database.port(), At::Never, Cut::Before, || ());
    change.rewind(&database, &proxy);
    change.new.export_to(&[("metrics", &format!("{}\"\nsilence = \"1s\" #", database.url()))]);
    let said = thread::scope(|scope| {
        scope.spawn(|| database.root("lock tables app_day write; select sleep(7); unlock tables"));
        thread::sleep(Duration::from_millis(300));
        change.new.succeeds(&["export"])
    });
    assert!(
        said.contains("the server is silent (its session ") && said.contains("`Waiting for table metadata"),
        "{said}"
    );
    assert!(said.contains("no answer for 4 s") && said.contains("again in 1 s"), "{said}");
    assert_eq!(state(&database), change.new_state);
}

#[test]
fn another_exporter_is_told_with_what_its_session_is_at() {
    let database = Database::new("other");
    let warehouse = Warehouse::of(1, &database.url());
    database.root("grant process on *.* to 't_other'@'%'");
    let lock = format!("strata-export-{:016x}", xxhash_rust::xxh3::xxh3_64(database.name.as_bytes()));
    let (code, said) = thread::scope(|scope| {
        scope.spawn(|| database.root(&format!("select get_lock('{lock}', 0), sleep(33)")));
        thread::sleep(Duration::from_millis(300));
        warehouse.runs(&["export"])
    });
    assert!(code == 1 && said.contains("another export is writing to database t_other (its session "), "{said}");
    assert!(said.contains("s in the state `User sleep`)") && said.contains("hint: it ends by itself"), "{said}");
}
