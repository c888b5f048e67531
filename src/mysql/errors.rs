//! What servers and networks say, in our words: what happened, why, what to do; and whether trying again may help.

use std::fmt;
use std::io::ErrorKind;
use std::time::Duration;

use anyhow::Error;
use mysql_async::{DriverError, IoError, ServerError};

use super::Peer;
use crate::config::{MysqlPlace, Tls};
use crate::error::{find, with_hint};

/// A failure of a server, or of the way to it.
#[derive(Clone, Debug)]
pub struct ServerFailure {
    /// What happened, without any secret.
    pub message: String,
    /// The server's own number for it.
    pub code: Option<u16>,
    /// Whether it may go well another time with nothing changed.
    pub transient: bool,
}

impl fmt::Display for ServerFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for ServerFailure {}

/// Whether an error is one of a server or network that may go well another time with nothing changed.
pub fn is_transient(error: &Error) -> bool {
    find::<ServerFailure>(error).is_some_and(|failure| failure.transient)
}

/// Whether an error is that of a server which takes no more connections, of anybody or of us.
pub fn is_one_too_many(error: &Error) -> bool {
    find::<ServerFailure>(error).is_some_and(|failure| matches!(failure.code, Some(1040 | 1203 | 1226)))
}

/// The library's error in our words.
pub fn explain(peer: &Peer, error: mysql_async::Error) -> Error {
    let place: &MysqlPlace = peer;
    let at = shown(place);
    let (message, code, transient, hint) = match error {
        mysql_async::Error::Server(error) => {
            let hint = advice(&error, peer);
            let message = format!("{at}: {}", message_of(&error));
            // Our own sessions of a moment ago may still count; a limit by the hour stays.
            let is_ours = error.code == 1226 && error.message.contains("'max_user_connections'");
            (message, Some(error.code), is_ours || transient_codes(error.code), hint)
        }
        mysql_async::Error::Io(error) => of_network(place, &at, &error),
        mysql_async::Error::Driver(error) => of_driver(&at, &error),
        mysql_async::Error::Other(error) => (format!("{at}: {error}"), None, false, None),
        // The URL is parsed by `config`; the library's own message may quote what is in it.
        mysql_async::Error::Url(_) => (format!("{at}: the address is not understood"), None, false, None),
    };
    let error = Error::new(ServerFailure { message, code, transient });
    hint.into_iter().fold(error, with_hint)
}

/// The error of a server that does not answer a login.
pub(super) fn no_answer(place: &MysqlPlace, waited: Duration) -> Error {
    let message = format!("{}: no answer within {} s", shown(place), waited.as_secs());
    with_hint(Error::new(ServerFailure { message, code: None, transient: true }), REACH)
}

/// The error of a server that says nothing where it should.
pub fn silence(place: &MysqlPlace, waited: Duration) -> Error {
    let seconds = waited.as_secs();
    let waited = match seconds {
        0..120 => format!("{seconds} s"),
        _ => format!("{} minutes", seconds / 60),
    };
    let message = format!("{}: no answer for {waited}", shown(place));
    let hint =
        "is the server at work on something (`show processlist`), or the way to it cut? `silence` sets the limit";
    with_hint(Error::new(ServerFailure { message, code: None, transient: true }), hint)
}

const FREE: &str = "free space on the server, where its data is and in its `tmpdir`, then run again";
const REACH: &str = "is the server running, is host and port right, and does a firewall let this machine through?";

fn shown(place: &MysqlPlace) -> String {
    match &place.socket {
        Some(socket) => format!("database {} at {}", place.database, socket.display()),
        None => format!("database {} at {}:{}", place.database, place.host, place.port),
    }
}

/// What the server says; where a value may be quoted, only what kind of thing happened.
fn message_of(error: &ServerError) -> String {
    let ServerError { code, message, .. } = error;
    match code {
        1045 => "wrong user or password".to_owned(),
        1040 => "the server has too many connections".to_owned(),
        1064 => format!("the server does not understand the SQL: {message}"),
        _ => format!("{message} (error {code})"),
    }
}

/// Lock wait time-out, deadlock, shut-down, lost or too many connections, a row or a table that changed under a snapshot.
fn transient_codes(code: u16) -> bool {
    matches!(
        code,
        1020 | 1040 | 1053 | 1077 | 1078 | 1152 | 1158
            ..=1161 | 1184 | 1203 | 1205 | 1213 | 1412 | 1927 | 2006 | 2013 | 4031
    )
}

fn advice(error: &ServerError, place: &Peer) -> Option<String> {
    let ServerError { code, message, .. } = error;
    let account = || place.account.clone().unwrap_or_else(|| account_in(message));
    let user = if place.user.is_empty() { "the anonymous user" } else { &place.user };
    Some(match code {
        1045 => {
            // The server does not say that it is for want of TLS.
            let tls = match place.tls {
                Tls::Off => "; if the server wants TLS of this user (REQUIRE SSL), write `tls = \"verify\"`",
                _ => "",
            };
            format!(
                "log in as {user} with the same password by hand; it comes from `password_file`, or else from the URL, \
                 where special characters are percent-encoded{tls}"
            )
        }
        1044 | 1698 => format!("GRANT SELECT ON `{}`.* TO {};", place.database, account()),
        1049 => "the database is named at the end of the URL".to_owned(),
        1142 | 1143 => {
            let privilege = message.split(" command denied").next().unwrap_or("SELECT");
            let table = quoted_after(message, "for table ").or_else(|| quoted_after(message, "in table "));
            let table = table.map_or_else(|| "*".to_owned(), |t| format!("`{}`", t.rsplit('.').next().unwrap_or(&t)));
            format!("GRANT {privilege} ON `{}`.{table} TO {};", place.database, account())
        }
        1227 => "ask for the privilege that the message names; `strata doctor` shows which are needed".to_owned(),
        1146 => "is the table's name right, and is it in this database?".to_owned(),
        1054 => "was the column renamed or dropped? `from` names a column of another name".to_owned(),
        1021 | 1030 | 1114 | 3675 => FREE.to_owned(),
        1153 | 1301 => "raise max_allowed_packet on the server".to_owned(),
        1205 | 1213 => "another session holds what is needed; run again when it is done".to_owned(),
        1040 | 1203 => "raise max_connections on the server, or lower `connections`".to_owned(),
        1226 => "the account has that limit: wait, or raise it by ALTER USER … WITH …".to_owned(),
        1290 | 1792 | 1836 => "the server takes no writes now; is it a replica?".to_owned(),
        3024 | 1969 => "the server ends long statements; allow this user longer ones".to_owned(),
        3159 => "the server wants TLS: `tls = \"verify\"`".to_owned(),
        _ if message.contains("No space left") => FREE.to_owned(),
        _ => return None,
    })
}

/// The account that a message names: that of a login is the one that GRANT wants, later ones name the host we come from.
fn account_in(message: &str) -> String {
    let account = message.split_once("to user ").or_else(|| message.split_once("for user ")).map(|(_, rest)| rest);
    account.and_then(|rest| rest.split_whitespace().next()).unwrap_or("'user'@'host'").to_owned()
}

/// The quoted name after a word: `` `mall`.`user` `` and `'user'` give `mall.user` and `user`.
fn quoted_after(message: &str, word: &str) -> Option<String> {
    let (_, rest) = message.split_once(word)?;
    Some(rest.split_whitespace().next()?.replace(['`', '\''], ""))
}

type Told = (String, Option<u16>, bool, Option<String>);

fn of_network(place: &MysqlPlace, at: &str, error: &IoError) -> Told {
    let IoError::Io(io) = error else { return of_tls(place, at, &error.to_string()) };
    if io.get_ref().is_some_and(|inner| inner.is::<rustls::Error>()) {
        return of_tls(place, at, &io.to_string());
    }
    let (what, hint) = match io.kind() {
        ErrorKind::ConnectionRefused => ("connection refused".to_owned(), Some(REACH)),
        ErrorKind::NotFound if place.socket.is_some() => ("there is no such socket".to_owned(), Some(REACH)),
        ErrorKind::TimedOut | ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable => {
            (format!("cannot be reached: {io}"), Some(REACH))
        }
        ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => {
            (format!("the connection broke: {io}"), None)
        }
        // What the codec says of a packet whose rest does not come.
        _ if io.to_string().contains("bytes remaining on stream") => ("the connection broke".to_owned(), None),
        _ if io.to_string().contains("lookup") => (format!("the host is not known: {io}"), Some(REACH)),
        _ => (io.to_string(), None),
    };
    (format!("{at}: {what}"), None, true, hint.map(str::to_owned))
}

fn of_tls(place: &MysqlPlace, at: &str, what: &str) -> Told {
    let hint = match place.tls {
        Tls::Verify if what.contains("UnknownIssuer") || what.contains("CaUsedAsEndEntity") => {
            "name the authority that signed the server's certificate: `tls_ca = \"FILE.pem\"`"
        }
        Tls::Verify if what.contains("NotValidForName") => {
            "the certificate is for another name: write the host in the URL as the certificate does"
        }
        Tls::Verify if what.contains("Expired") => "renew the server's certificate, or mend the clock of this machine",
        _ => "does the server speak TLS 1.2 or later?",
    };
    // A certificate stays wrong. A record that comes broken is a broken connection: it may come in the place of any answer.
    let stays = ["certificate", "incompatible", "HandshakeFailure", "ProtocolVersion"].iter().any(|m| what.contains(m));
    (format!("{at}: TLS failed: {what}"), None, !stays, Some(hint.to_owned()))
}

fn of_driver(at: &str, error: &DriverError) -> Told {
    let (what, transient, hint) = match error {
        DriverError::ConnectionClosed => ("the connection was closed", true, None),
        DriverError::NoClientSslFlagFromServer => {
            ("the server has no TLS", false, Some("give the server a certificate, or write `tls = \"off\"`"))
        }
        DriverError::PacketTooLarge => {
            ("a packet is larger than the server takes", false, Some("raise max_allowed_packet on the server"))
        }
        DriverError::PacketOutOfOrder | DriverError::UnexpectedPacket { .. } => {
            ("the connection is out of step", true, None)
        }
        DriverError::UnknownAuthPlugin { name } => {
            let what = format!("{at}: the user logs in by `{name}`, which is not supported");
            let hint = "let it log in by caching_sha2_password (MySQL) or mysql_native_password (MariaDB)";
            return (what, None, false, Some(hint.to_owned()));
        }
        // These quote rows and values.
        DriverError::FromValue { .. } | DriverError::FromRow { .. } => ("an answer of unexpected types", false, None),
        other => return (format!("{at}: {other}"), None, false, None),
    };
    (format!("{at}: {what}"), None, transient, hint.map(str::to_owned))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::render;

    fn peer() -> Peer {
        let place = MysqlPlace::parse("mysql://shop:s3cret@db/mall").expect("a place");
        Peer { place: place.into(), account: None }
    }

    fn told(code: u16, message: &str) -> String {
        let error = ServerError { code, message: message.to_owned(), state: "HY000".to_owned() };
        render(&explain(&peer(), error.into()))
    }

    #[test]
    fn a_missing_privilege_is_told_as_the_statement_that_grants_it() {
        for (code, message, hint) in [
            (
                1142,
                "SELECT command denied to user 'shop'@'10.0.0.7' for table `mall`.`user`",
                "GRANT SELECT ON `mall`.`user` TO 'shop'@'10.0.0.7';",
            ),
            (
                1142,
                "INSERT command denied to user 'shop'@'%' for table 'user'",
                "GRANT INSERT ON `mall`.`user` TO 'shop'@'%';",
            ),
            (1044, "Access denied for user 'shop'@'%' to database 'mall'", "GRANT SELECT ON `mall`.* TO 'shop'@'%';"),
        ] {
            assert!(told(code, message).contains(hint), "{}", told(code, message));
        }
    }

    #[test]
    fn whom_to_grant_to_is_whom_the_server_takes_us_for_and_not_where_we_come_from() {
        let peer = Peer { account: Some("'shop'@'%'".to_owned()), ..peer() };
        let message = "SELECT command denied to user 'shop'@'localhost' for table `mall`.`user`".to_owned();
        let error = explain(&peer, ServerError { code: 1142, message, state: String::new() }.into());
        assert!(render(&error).ends_with("GRANT SELECT ON `mall`.`user` TO 'shop'@'%';"), "{error:#}");
    }

    #[test]
    fn a_wrong_password_is_told_without_it() {
        let text = told(1045, "Access denied for user 'shop'@'db' (using password: YES)");
        assert!(text.starts_with("error: database mall at db:3306: wrong user or password\n hint: log in"), "{text}");
        assert!(!text.contains("s3cret"));
    }

    #[test]
    fn a_full_disk_of_the_server_is_told_as_what_to_free_also_that_of_its_temporary_files() {
        let full = "Error writing file '/tmp/MYfd=12' (Errcode: 28 \"No space left on device\")";
        for (code, message) in [(3, full), (1026, full), (1114, "The table 'user' is full")] {
            assert!(told(code, message).contains("hint: free space on the server"), "{}", told(code, message));
        }
    }

    #[test]
    fn a_packet_whose_rest_does_not_come_is_a_connection_that_broke() {
        let io = std::io::Error::other("bytes remaining on stream");
        let error = explain(&peer(), mysql_async::Error::Io(io.into()));
        assert!(render(&error).ends_with("at db:3306: the connection broke") && is_transient(&error), "{error:#}");
    }

    #[test]
    fn a_broken_record_of_tls_is_a_broken_connection_and_a_wrong_certificate_stays_wrong() {
        let transient = |error: rustls::Error| {
            let io = std::io::Error::new(ErrorKind::InvalidData, error);
            is_transient(&explain(&peer(), mysql_async::Error::Io(io.into())))
        };
        assert!(transient(rustls::Error::DecryptError));
        assert!(!transient(rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer)));
    }

    #[test]
    fn one_connection_too_many_is_known_whoever_counts_and_passes_unless_it_is_counted_by_the_hour() {
        let refused = |code, message: &str| {
            explain(&peer(), ServerError { code, message: message.to_owned(), state: String::new() }.into())
        };
        let ours = "User 'shop' has exceeded the 'max_user_connections' resource (current value: 1)";
        for error in [refused(1040, ""), refused(1203, ""), refused(1226, ours)] {
            assert!(is_one_too_many(&error) && is_transient(&error), "{error:#}");
        }
        let by_the_hour = refused(1226, "User 'shop' has exceeded the 'max_connections_per_hour' resource");
        assert!(is_one_too_many(&by_the_hour) && !is_transient(&by_the_hour));
        assert!(!is_one_too_many(&refused(1045, "")));
    }

    #[test]
    fn only_what_may_go_well_another_time_is_transient() {
        let transient = |code| {
            let error = ServerError { code, message: String::new(), state: String::new() };
            is_transient(&explain(&peer(), error.into()).context("more"))
        };
        assert!(transient(1213) && transient(1205) && transient(1020) && !transient(1146) && !transient(1045));
    }
}
