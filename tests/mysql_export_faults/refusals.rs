//! What a server does not take: rows that it would bend or leave out, large packets, a full disk, missing rights.

use crate::*;

#[test]
fn rows_that_a_server_bends_or_leaves_out_are_not_committed() {
    let database = Database::new("bent");
    let change = Change::of(&database, database.port());
    let proxy = Proxy::new(database.port(), At::Never, Cut::Before, || ());
    for (bend, mend, told) in [
        (
            "create trigger bend before insert on app_day for each row set new.events = new.events + 1",
            "drop trigger bend",
            "the server has 1 rows (checksum",
        ),
        (
            "alter table app_day add constraint old_only check (generation < 2)",
            "alter table app_day drop constraint old_only",
            "the server took 0 of 5 rows with 5 warnings: CONSTRAINT `old_only` failed",
        ),
    ] {
        change.rewind(&database, &proxy);
        database.root(bend);
        let (code, said) = change.new.runs(&["export"]);
        database.root(mend);
        assert!(code == 1 && said.contains(told), "{said}");
        assert_eq!(state(&database), change.old_state);
    }
}

#[test]
fn small_packets_are_filled_and_a_row_beyond_them_is_told() {
    let server = OwnServer::start("--max-allowed-packet=16384 --local-infile=0");
    let (database, other) = (server.database("packet"), Database::new("packet"));
    let warehouse = Warehouse::of(1, &database.url());
    warehouse.succeeds(&["export"]);
    Warehouse::of(1, &other.url()).succeeds(&["export"]);
    assert_eq!(state(&database), state(&other));
    let file = warehouse.path().join("sql/app/app_visitor.sql");
    let sql = std::fs::read_to_string(&file).expect("a file");
    std::fs::write(&file, sql.replace("max(brand) as brand", "repeat('x', 20000) as brand")).expect("writes");
    let (code, said) = warehouse.runs(&["run"]);
    assert!(code == 1 && said.contains("hint: raise max_allowed_packet on the server"), "{said}");
    assert_eq!(database.root("select count(*) from app_day").trim(), "5");
}

#[test]
fn a_full_disk_is_told_and_the_old_state_stays() {
    let options = "--innodb-file-per-table=0 --innodb-data-file-path=ibdata1:12M:autoextend:max:24M";
    let server = OwnServer::start(options);
    let database = server.database("full");
    let (old, new) = (Warehouse::of(1, &database.url()), Warehouse::of(2, &database.url()));
    old.succeeds(&["export"]);
    let before = state(&database);
    // All the space there is, then a table that wants a page of its own for every row.
    database.root("create table filler (x longblob)");
    for size in [4_000_000, 1_000_000, 200_000, 40_000, 12_000, 4_000, 500, 50] {
        for _ in 0..40 {
            let sql = format!("insert ignore into filler values (repeat('x', {size}))");
            if !full(&database, &sql) {
                break;
            }
        }
    }
    let file = new.path().join("sql/app/app_visitor.sql");
    let sql = std::fs::read_to_string(&file).expect("a file");
    std::fs::write(&file, sql.replace("max(brand) as brand", "repeat('x', 60000) as brand")).expect("writes");
    let (code, said) = new.runs(&["run"]);
    assert!(code == 1 && said.contains("is full") && said.contains("hint: free space on the server"), "{said}");
    let after = state(&database);
    let rows = |text: &str| text.split("# strata_table").next().map(str::to_owned);
    assert_eq!(rows(&after), rows(&before));
    // Where no space is left nothing can be dropped; it goes with its server.
    std::mem::forget(database);
}

fn full(database: &Database, sql: &str) -> bool {
    let mut client = std::process::Command::new("mariadb");
    client.args(["--no-defaults", "--user=root", "--batch", &format!("--socket={}", database.socket())]);
    client.args([&database.name, "--execute", sql]).stdin(Stdio::null());
    client.output().is_ok_and(|done| done.status.success())
}

#[test]
fn what_stands_in_the_way_is_told_in_one_message() {
    let database = Database::without_grants("refused");
    let warehouse = Warehouse::of(1, &database.url());
    let grant = |privileges: &str| {
        let name = &database.name;
        database.root(&format!("grant {privileges} on `{name}`.* to '{name}'@'%'"));
    };
    let fails = |url: &str, told: &str| {
        warehouse.export_to(&[("metrics", url)]);
        let done = warehouse.command(&["export"]).output().expect("starts");
        let said = said(&done);
        assert_eq!(done.status.code(), Some(1), "{said}");
        assert!(said.contains(told), "{told}\n{said}");
        assert_eq!(said.matches(" error ").count(), 1, "one message: {said}");
    };
    let all = "GRANT SELECT, INSERT, UPDATE, DELETE, CREATE, ALTER, DROP ON `t_refused`.* TO 't_refused'@'%';";
    fails(&database.url(), all);
    grant("select, insert, delete");
    fails(&database.url(), "GRANT UPDATE, CREATE, ALTER, DROP ON `t_refused`.* TO 't_refused'@'%';");
    let wrong = format!("t_refused:{}-no", server::CANARY);
    fails(&database.url_of(&wrong, "127.0.0.1"), "wrong user or password");
    fails(&database.url_of(&wrong, "nowhere.invalid"), "the host is not known");
    fails("mysql://t_refused:s3cr3t-canary-no@127.0.0.1:1/x", "connection refused");
    grant("update, alter, drop, create");
    warehouse.export_to(&[("metrics", &database.url())]);
    warehouse.succeeds(&["export"]);
    warehouse.keeps_secrets();
}
