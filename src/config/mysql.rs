//! Where a MySQL or MariaDB database is, who logs in, and how the way there is guarded.
//!
//! The URL is `mysql://USER:PASSWORD@HOST:PORT/DATABASE`, or with `?socket=/path` for a socket of this machine. User and
//! password may be percent-encoded. The password is the URL's or a file's, not both; the file is read when it is needed.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Error, Result, bail};
use serde::Deserialize;

use super::secret::Password;
use super::{DEFAULT_SILENCE, Secret};
use crate::error::{Advice, nearest, with_hint};

/// Where MySQL listens unless the URL says otherwise.
const PORT: u16 = 3306;
/// The parameters that a URL may have.
const PARAMETERS: [&str; 1] = ["socket"];
const FORM: &str = "the form is mysql://user:${MYSQL_PASSWORD}@host:3306/mall";

/// How the connection is guarded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tls {
    /// Not at all: for this machine and for networks that are trusted.
    #[default]
    Off,
    /// Encrypted, without asking who the server is.
    Encrypt,
    /// Encrypted, and the server must show a certificate for its name by a known authority.
    Verify,
}

/// A database to log in to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MysqlPlace {
    /// The URL as configured; shows without its password.
    pub url: Secret,
    /// The server's host.
    pub host: String,
    /// The server's port.
    pub port: u16,
    /// The socket of a server of this machine; goes before host and port.
    pub socket: Option<PathBuf>,
    /// Who logs in.
    pub user: String,
    /// The URL's password.
    pub password: Option<Password>,
    /// The database.
    pub database: String,
    /// `password_file`: a file that holds the password, readable by its owner alone.
    pub password_file: Option<PathBuf>,
    /// `tls`: how the connection is guarded.
    pub tls: Tls,
    /// `tls_ca`: the authority that the server's certificate must be by, a PEM file.
    pub tls_ca: Option<PathBuf>,
    /// `load_data`: whether LOAD DATA LOCAL may be tried; otherwise rows go by INSERTs.
    pub load_data: bool,
    /// `silence`: how long the server may say nothing between rows; four times that while it works on a statement.
    pub silence: Duration,
}

impl MysqlPlace {
    /// Reads a URL.
    ///
    /// # Errors
    /// When it is not of the form; never repeats what may be a password.
    pub fn parse(url: &str) -> Result<Self> {
        let rest = url.strip_prefix("mysql://").unwrap_or(url);
        // A socket's path may have an `@`, too.
        let (rest, tail) = rest.split_at(rest.rfind("?socket=").unwrap_or(rest.len()));
        no_forgotten_at(rest)?;
        // The last `@`: a password with an unescaped one is taken as it is meant.
        let (login, place) = rest.rsplit_once('@').unwrap_or(("", rest));
        let (user, password) = match login.split_once(':') {
            Some((user, password)) => (user, Some(password)),
            None => (login, None),
        };
        let (place, parameters) = place.split_once('?').unwrap_or((place, tail.strip_prefix('?').unwrap_or(tail)));
        let socket = socket(parameters)?;
        let (address, database) = place.split_once('/').unwrap_or((place, ""));
        if database.is_empty() || (address.is_empty() && socket.is_none()) {
            return Err(Error::msg("the URL names no database")).hint(FORM);
        }
        let (host, port) = match address.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => match port.parse::<u16>() {
                Ok(port) if port > 0 => (host, port),
                _ => return Err(not_a_port()),
            },
            _ => (address, PORT),
        };
        let host = host.trim_start_matches('[').trim_end_matches(']');
        Ok(Self {
            url: Secret::new(url),
            host: if host.is_empty() { "localhost".to_owned() } else { host.to_owned() },
            port,
            socket,
            user: decoded(user),
            password: password.map(|text| Password::new(decoded(text))),
            database: decoded(database),
            password_file: None,
            tls: Tls::Off,
            tls_ca: None,
            load_data: true,
            silence: DEFAULT_SILENCE,
        })
    }

    /// The database with what else the configuration says of the way there.
    pub(super) fn guarded(self, root: &Path, file: Option<&str>, tls: Option<Tls>, ca: Option<&str>) -> Result<Self> {
        let tls = tls.unwrap_or_default();
        if self.socket.is_some() && tls != Tls::Off {
            return Err(Error::msg("a socket of this machine is not encrypted, and `tls` asks for it"))
                .hint("leave `tls` away, or name host and port instead of the socket");
        }
        if ca.is_some() && tls != Tls::Verify {
            return Err(Error::msg("`tls_ca` names who to trust, and nobody is asked"))
                .hint("write `tls = \"verify\"`");
        }
        if file.is_some() && self.password.is_some() {
            return Err(Error::msg("two passwords: one in the URL and one in `password_file`"))
                .hint("remove one of them; a file is the safer place");
        }
        let (password_file, tls_ca) = (file.map(|file| root.join(file)), ca.map(|file| root.join(file)));
        Ok(Self { password_file, tls, tls_ca, ..self })
    }
}

/// A URL without `@` has no password; what stands in the place of its port may be one all the same.
fn no_forgotten_at(rest: &str) -> Result<()> {
    let authority = &rest[..rest.find(['/', '?']).unwrap_or(rest.len())];
    let is_port = |text: &str| text.ends_with(']') || text.parse::<u16>().is_ok_and(|port| port > 0);
    match authority.rsplit_once(':') {
        Some((_, port)) if !rest.contains('@') && !is_port(port) => Err(not_a_port()),
        _ => Ok(()),
    }
}

/// Says so without repeating what is there: it may be a password whose `@` is missing.
fn not_a_port() -> Error {
    with_hint(Error::msg("what follows the last `:` before the database is not a port"), FORM)
}

fn socket(parameters: &str) -> Result<Option<PathBuf>> {
    let mut socket = None;
    for parameter in parameters.split('&').filter(|p| !p.is_empty()) {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        match name {
            "socket" if value.starts_with('/') || value.starts_with("%2F") => {
                socket = Some(PathBuf::from(decoded(value)));
            }
            "socket" => bail!("`socket` is the absolute path of a socket"),
            _ => {
                let error = Error::msg(format!("unknown parameter `{name}` in the URL"));
                return Err(error).hint(match nearest(name, PARAMETERS) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => "known here: socket; TLS is told by the key `tls`".to_owned(),
                });
            }
        }
    }
    Ok(socket)
}

/// Percent-decoded; a `%` that begins no code stands for itself.
fn decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let code = bytes.get(at + 1..at + 3).filter(|_| bytes[at] == b'%');
        let code = code.and_then(|hex| std::str::from_utf8(hex).ok()).and_then(|hex| u8::from_str_radix(hex, 16).ok());
        out.push(code.unwrap_or(bytes[at]));
        at += if code.is_some() { 3 } else { 1 };
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::render;

    fn place(url: &str) -> MysqlPlace {
        MysqlPlace::parse(url).expect(url)
    }

    #[test]
    fn a_url_says_who_where_and_which_database() {
        let found = place("mysql://shop:p%40ss%2Fword@db.example:3307/mall");
        assert_eq!((found.user.as_str(), found.host.as_str(), found.port), ("shop", "db.example", 3307));
        assert_eq!(found.password.map(|p| p.reveal().to_owned()).as_deref(), Some("p@ss/word"));
        assert_eq!((found.database.as_str(), found.tls), ("mall", Tls::Off));
        let found = place("mysql://u:a@b/c?d:e@[::1]:33/x");
        assert_eq!((found.host.as_str(), found.port, found.database.as_str()), ("::1", 33, "x"));
        assert_eq!(found.password.map(|p| p.reveal().to_owned()).as_deref(), Some("a@b/c?d:e"));
        let found = place("mysql://root@localhost/mall?socket=/run/mysqld/m.sock");
        assert_eq!((found.socket, found.password), (Some(PathBuf::from("/run/mysqld/m.sock")), None));
        let found = place("mysql://shop:p@ss@localhost/mall?socket=/run/a@b/m.sock");
        assert_eq!((found.user.as_str(), found.database.as_str()), ("shop", "mall"));
        assert_eq!(found.socket, Some(PathBuf::from("/run/a@b/m.sock")));
        assert_eq!(place("mysql://u:100%@h/x").password.map(|p| p.reveal().to_owned()).as_deref(), Some("100%"));
    }

    #[test]
    fn a_url_that_is_none_says_what_it_should_be_without_the_password() {
        for (url, expected) in [
            ("mysql://u:s3cret@h", "the URL names no database"),
            ("mysql://u:s3cret@h:x/d", "is not a port"),
            ("mysql://u:s3cret/mall", "is not a port"),
            ("mysql://u:s3cret", "is not a port"),
            ("mysql://u:a?s3cret/mall", "is not a port"),
            ("mysql://u:s3cret@h/d?sockt=/x", "did you mean `socket`?"),
            ("mysql://u:s3cret@h/d?ssl=1", "TLS is told by the key `tls`"),
        ] {
            let error = render(&MysqlPlace::parse(url).expect_err(url));
            assert!(error.contains(expected) && !error.contains("s3cret"), "{error}");
        }
    }

    #[test]
    fn debug_output_keeps_the_password() {
        let shown = format!("{:?}", place("mysql://u:s3cret@h/d"));
        assert!(!shown.contains("s3cret"), "{shown}");
    }
}
