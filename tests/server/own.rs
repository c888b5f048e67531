//! A server of one test's own, to be killed, started again, or starved of space.

#![allow(dead_code, reason = "each file of tests uses a part of it")]

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::server::Database;

/// A server; it ends with the test.
pub struct OwnServer {
    folder: TempDir,
    socket: String,
    /// Its port.
    pub port: u16,
    again: Mutex<Option<Child>>,
}

impl OwnServer {
    /// Starts a server with further options.
    pub fn start(options: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let said = script("start", folder.path(), options);
        let url = said.lines().find_map(|line| line.strip_prefix("export STRATA_TEST_MYSQL=")).expect("a URL");
        let url = url.replace(['\\', '\''], "");
        let place = strata::config::MysqlPlace::parse(&url).expect("a URL");
        let socket = place.socket.expect("a socket").to_string_lossy().into_owned();
        Self { folder, socket, port: place.port, again: Mutex::new(None) }
    }

    /// A database of it.
    pub fn database(&self, name: &str) -> Database {
        let database = Database::at(name, &self.socket, self.port);
        database.root(&format!("grant all on `{0}`.* to '{0}'@'%'", database.name));
        database
    }

    /// Kills it without warning, and starts it again on the same data; returns before it has recovered.
    pub fn crash(&self) {
        let mut again = self.again.lock().expect("a lock");
        match again.take() {
            Some(mut child) => {
                child.kill().expect("kills");
                child.wait().expect("ends");
            }
            None => {
                let pid = std::fs::read_to_string(self.folder.path().join("pid")).expect("a pid");
                assert!(Command::new("kill").args(["-9", pid.trim()]).status().expect("kill").success());
            }
        }
        let mut server = Command::new("mariadbd");
        server.env("PATH", format!("{}:/usr/sbin", std::env::var("PATH").unwrap_or_default()));
        server.args(["--no-defaults", "--user=root", "--bind-address=127.0.0.1", "--local-infile=1"]);
        server.arg(format!("--datadir={}", self.folder.path().join("data").display()));
        server.args([format!("--socket={}", self.socket), format!("--port={}", self.port)]);
        server.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        *again = Some(server.spawn().expect("mariadbd is installed"));
    }

    /// Waits until it answers.
    pub fn wait(&self) {
        let since = Instant::now();
        let answers = || {
            let mut client = Command::new("mariadb");
            client.args(["--no-defaults", "--user=root", "--execute=select 1", &format!("--socket={}", self.socket)]);
            client.stdin(Stdio::null()).output().is_ok_and(|done| done.status.success())
        };
        while !answers() {
            assert!(since.elapsed() < Duration::from_secs(60), "the server does not start again");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for OwnServer {
    fn drop(&mut self) {
        if let Some(mut child) = self.again.lock().ok().and_then(|mut again| again.take()) {
            let _ = (child.kill(), child.wait());
        }
        script("stop", self.folder.path(), "");
    }
}

fn script(verb: &str, folder: &Path, options: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let done = Command::new(root.join("scripts/mariadb"))
        .args([verb.as_ref(), folder.as_os_str()])
        .env("STRATA_MARIADB_OPTIONS", options)
        .stdin(Stdio::null())
        .output()
        .expect("bash");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).expect("UTF-8")
}
