//! Logging in to a server: what works, and what a person is told when it does not.

mod server;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use server::{CANARY, Database, leaks};
use strata::config::{MysqlPlace, Tls};
use strata::date::Zone;
use strata::error::render;
use strata::mysql::{Facts, Flavor, Grants, Server, Session, SessionZone, is_transient};

fn place(url: &str) -> MysqlPlace {
    MysqlPlace::parse(url).expect("a URL")
}

fn zone() -> Zone {
    "Asia/Shanghai".parse().expect("a zone")
}

async fn session(place: &MysqlPlace) -> Session {
    Server::new(place, zone()).connect().await.expect("logs in")
}

async fn refusal(place: &MysqlPlace) -> String {
    let error = Server::new(place, zone()).connect().await.err().expect("is refused");
    let text = render(&error);
    assert!(!leaks(&text), "{text}");
    text
}

#[tokio::test]
async fn a_session_is_strict_and_knows_its_server() {
    let database = Database::new("connection");
    let mut session = session(&place(&database.url())).await;
    let facts = Facts::ask(&mut session).await.expect("answers");
    assert_eq!((facts.flavor, facts.log_bin), (Flavor::MariaDb, true));
    assert!(facts.number >= (10, 11, 0) && facts.shown().starts_with("MariaDB 10."), "{facts:?}");
    assert_eq!(facts.account, "'t_connection'@'%'");
    let set = session.first("select @@sql_mode, @@tx_isolation, @@character_set_results").await.expect("answers");
    let set: Vec<String> = set.into_iter().flatten().collect();
    assert!(set[0].contains("STRICT_ALL_TABLES") && set[1] == "REPEATABLE-READ" && set[2] == "utf8mb4", "{set:?}");
    let grants = Grants::ask(&mut session).await.expect("answers");
    assert!(grants.has("SELECT", "t_connection", "x") && !grants.has("RELOAD", "*", "*"));
    session.close().await;
}

#[tokio::test]
async fn the_sessions_clock_is_the_business_zones_also_without_tables_of_zones() {
    let database = Database::new("clock");
    let mut session = session(&place(&database.url())).await;
    // The private server has none.
    assert_eq!(session.zone(), SessionZone::Fixed { east_s: 28_800, zone: zone() });
    let row = session.first("select timestampdiff(minute, utc_timestamp(), now())").await.expect("answers");
    assert_eq!(row[0].as_deref(), Some("480"));
}

#[tokio::test]
async fn a_wrong_password_a_missing_database_and_a_closed_door_are_told_apart() {
    let database = Database::new("refused");
    let wrong = place(&database.url_of(&format!("t_refused:{CANARY}-wrong"), "127.0.0.1"));
    let text = refusal(&wrong).await;
    assert!(text.contains("wrong user or password") && text.contains("password_file"), "{text}");
    let foreign = MysqlPlace { database: "mysql".to_owned(), ..place(&database.url()) };
    let text = refusal(&foreign).await;
    assert!(text.contains("hint: GRANT SELECT ON `mysql`.* TO 't_refused'@'%';"), "{text}");
    let root = place(&database.root_url().replace("/t_refused", "/nowhere"));
    assert!(refusal(&root).await.contains("Unknown database 'nowhere'"));
    let closed = place(&format!("mysql://u:{CANARY}@127.0.0.1:1/x"));
    let error = Server::new(&closed, zone()).connect().await.err().expect("nobody listens");
    assert!(is_transient(&error));
    assert!(render(&error).starts_with("error: database x at 127.0.0.1:1: connection refused\n hint: is the server"));
    let text = refusal(&place("mysql://u@h/x?socket=/nowhere/x.sock")).await;
    assert!(text.contains("database x at /nowhere/x.sock: there is no such socket"), "{text}");
    let text = refusal(&place("mysql://u@no-such-host.invalid/x")).await;
    assert!(text.contains("the host is not known"), "{text}");
}

#[tokio::test]
async fn tls_is_verified_when_asked_for() {
    let database = Database::new("tls");
    let authority = std::env::var("STRATA_TEST_MYSQL_CA").map(PathBuf::from).expect("scripts/mariadb names it");
    let guarded = |tls, tls_ca: Option<&PathBuf>| MysqlPlace { tls, tls_ca: tls_ca.cloned(), ..place(&database.url()) };
    let cipher = |mut session: Session| async move {
        let row = session.first("show session status like 'Ssl_cipher'").await.expect("answers");
        row[1].clone().unwrap_or_default()
    };
    assert_eq!(cipher(session(&guarded(Tls::Off, None)).await).await, "");
    assert_ne!(cipher(session(&guarded(Tls::Encrypt, None)).await).await, "");
    assert_ne!(cipher(session(&guarded(Tls::Verify, Some(&authority))).await).await, "");
    // Nobody we know has signed it, or it is for another name.
    let text = refusal(&guarded(Tls::Verify, None)).await;
    assert!(text.contains("TLS failed") && text.contains("tls_ca"), "{text}");
    // A file that is no certificate is the file's fault, and not the server's.
    let folder = tempfile::tempdir().expect("a folder");
    for (name, text) in
        [("notes.pem", "not a certificate"), ("cut.pem", "-----BEGIN CERTIFICATE-----\nMIIB"), ("empty.pem", "")]
    {
        let file = folder.path().join(name);
        fs::write(&file, text).expect("writes");
        let text = refusal(&guarded(Tls::Verify, Some(&file))).await;
        assert!(text.contains(&format!("{name} is no certificate\n hint: it is a PEM file")), "{text}");
    }
    // Who must use TLS and does not is refused as one with a wrong password is.
    database.root("alter user 't_tls'@'%' require ssl");
    let text = refusal(&guarded(Tls::Off, None)).await;
    assert!(
        text.contains("wrong user or password") && text.contains("REQUIRE SSL), write `tls = \"verify\"`"),
        "{text}"
    );
    database.root("alter user 't_tls'@'%' require none");
    let other = MysqlPlace { host: "127.0.0.2".to_owned(), ..guarded(Tls::Verify, Some(&authority)) };
    let text = refusal(&other).await;
    assert!(text.contains("connection refused") || text.contains("for another name"), "{text}");
}

#[tokio::test]
async fn a_password_file_must_be_its_owners_alone() {
    let database = Database::new("file");
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("password");
    fs::write(&path, format!("{}\n", database.password)).expect("writes");
    // The file goes before the URL.
    let url = database.url_of("t_file:wrong", "127.0.0.1");
    let place = MysqlPlace { password_file: Some(path.clone()), ..place(&url) };
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("sets");
    let text = refusal(&place).await;
    assert!(text.contains("may be read by others (mode 0644)\n hint: chmod 600 "), "{text}");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).expect("sets");
    session(&place).await.close().await;
    fs::remove_file(&path).expect("removes");
    assert!(refusal(&place).await.contains("read the password file"));
}
