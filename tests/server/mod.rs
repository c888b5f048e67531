//! The private MariaDB that `scripts/test` starts: databases and users of a test's own, and SQL as its root.

#![allow(dead_code, reason = "each file of tests uses a part of it")]

pub mod mall;

use std::io::Write;
use std::process::{Command, Stdio};

use strata::config::MysqlPlace;

/// What the passwords of all tests begin with, with what ends a word in it; nothing that strata writes may contain any of it.
pub const CANARY: &str = "s3cr3t' canary";

/// Whether a part of a password is in what was said or written, however it is spelled.
pub fn leaks(said: impl AsRef<[u8]>) -> bool {
    ["s3cr3t", "canary"].iter().any(|part| memchr::memmem::find(said.as_ref(), part.as_bytes()).is_some())
}

/// A database of a test's own, with a user who may do anything in it and nothing beside; gone with the test.
pub struct Database {
    /// Its name, and its user's.
    pub name: String,
    /// Its user's password.
    pub password: String,
    socket: String,
    port: u16,
}

impl Database {
    /// A new database; `name` is unlike that of every other test.
    pub fn new(name: &str) -> Self {
        let database = Self::without_grants(name);
        let name = &database.name;
        database.root(&format!("grant all on `{name}`.* to '{name}'@'%'"));
        database
    }

    /// A new database whose user has no privilege yet.
    pub fn without_grants(name: &str) -> Self {
        let url = std::env::var("STRATA_TEST_MYSQL")
            .expect("scripts/test starts a server; by hand: eval \"$(scripts/mariadb start target/test-mariadb)\"");
        Self::of_url(&url, name)
    }

    /// A new database of the server that a URL names with its socket, whose user has no privilege yet.
    pub fn of_url(url: &str, name: &str) -> Self {
        let place = MysqlPlace::parse(url).expect("a URL");
        let socket = place.socket.expect("the URL names a socket").to_string_lossy().into_owned();
        Self::at(name, &socket, place.port)
    }

    /// A new database of a server, whose user has no privilege yet.
    pub fn at(name: &str, socket: &str, port: u16) -> Self {
        let name = format!("t_{name}");
        let password = format!("{CANARY}-{name}");
        let database = Self { name, password, socket: socket.to_owned(), port };
        let (name, password) = (&database.name, &database.password);
        database.root(&format!(
            "drop database if exists `{name}`; create database `{name}` character set utf8mb4;
             create or replace user '{name}'@'%' identified by '{}'",
            password.replace('\'', "''")
        ));
        database
    }

    /// The URL for its user over TCP.
    pub fn url(&self) -> String {
        format!("mysql://{}:{}@127.0.0.1:{}/{}", self.name, self.password, self.port, self.name)
    }

    /// The URL as the driver reads it, which is stricter with its signs than strata.
    pub fn strict_url(&self) -> String {
        self.url().replace('\'', "%27").replace(' ', "%20")
    }

    /// The URL for its user through another port.
    pub fn url_by(&self, port: u16) -> String {
        format!("mysql://{}:{}@127.0.0.1:{port}/{}", self.name, self.password, self.name)
    }

    /// The URL without a password, with another host if need be.
    pub fn url_of(&self, login: &str, host: &str) -> String {
        format!("mysql://{login}@{host}:{}/{}", self.port, self.name)
    }

    /// The URL of the server's root, in this database.
    pub fn root_url(&self) -> String {
        format!("mysql://root@localhost/{}?socket={}", self.name, self.socket)
    }

    /// The server's socket.
    pub fn socket(&self) -> &str {
        &self.socket
    }

    /// The server's port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Executes SQL as the server's root, in this database where it exists; what it gives, tab-separated.
    pub fn root(&self, sql: &str) -> String {
        let mut client = Command::new("mariadb")
            .args(["--no-defaults", "--batch", "--skip-column-names", "--local-infile=1", "--user=root"])
            .args([format!("--socket={}", self.socket), "--default-character-set=utf8mb4".to_owned()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the client of MariaDB is installed");
        let into = format!("create database if not exists `{0}`; use `{0}`;\n{sql};\n", self.name);
        client.stdin.take().expect("piped").write_all(into.as_bytes()).expect("writes");
        let done = client.wait_with_output().expect("ends");
        assert!(done.status.success(), "{sql}\n{}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8(done.stdout).expect("UTF-8")
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.root(&format!("drop database `{0}`; drop user if exists '{0}'@'%'", self.name));
        }
    }
}
