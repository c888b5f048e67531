//! Sessions with a MySQL or MariaDB server: logging in, how the session is set, and what goes wrong, in words.
//!
//! Used by ingest (reading a source) and by export (writing a target). Knows nothing of tables, days or lakes. The
//! password is revealed to the library that logs in and appears in no message.

mod errors;
mod facts;
mod login;
mod zone;

use std::future::Future;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Row, Value};
use tokio::runtime::Handle;

use errors::explain;
pub use errors::{ServerFailure, is_one_too_many, is_transient, silence};
pub use facts::{Facts, Flavor, Grants, TO_WRITE};
pub use zone::SessionZone;

use crate::config::MysqlPlace;
use crate::config::source::SourceTable;
use crate::date::Zone;

/// How long a server may take to answer a login and set the session.
const LOGIN_TIMEOUT: Duration = Duration::from_secs(20);

/// How long a good-bye may take.
const FAREWELL: Duration = Duration::from_secs(5);

/// What every session is set to; the server's own defaults differ from one to the next.
const SETTINGS: [&str; 5] = [
    "set names utf8mb4",
    "set session transaction isolation level repeatable read",
    // Strict: what does not fit is an error and never a shortened value.
    "set session sql_mode = 'STRICT_ALL_TABLES,NO_ZERO_IN_DATE,NO_ZERO_DATE,ERROR_FOR_DIVISION_BY_ZERO,\
     NO_ENGINE_SUBSTITUTION'",
    UNHURRIED,
    // Numbers, not `default`, which is what the server's own settings are.
    "set session sql_select_limit = 18446744073709551615, sql_safe_updates = 0, autocommit = 1",
];

/// We read as fast as we can encode, and write as fast as we compute; neither is a reason to be cut off.
pub const UNHURRIED: &str = "set session net_write_timeout = 3600, net_read_timeout = 3600, wait_timeout = 28800";

/// How long a server may be silent before a session with it counts as lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// Between rows of an answer.
    pub rows: Duration,
    /// Before an answer that the server has to work for: counts, checksums, the first row in an order, a statement.
    pub work: Duration,
}

impl From<Duration> for Patience {
    fn from(silence: Duration) -> Self {
        Self { rows: silence, work: silence.saturating_mul(4) }
    }
}

/// A server that sessions can be had with: where it is, and on which zone's clock it shall answer.
#[derive(Clone, Debug)]
pub struct Server {
    place: Arc<MysqlPlace>,
    zone: Zone,
    patience: Patience,
}

impl Server {
    /// The server of a place, for a warehouse of a zone.
    pub fn new(place: &MysqlPlace, zone: Zone) -> Self {
        Self { place: Arc::new(place.clone()), zone, patience: Patience::from(place.silence) }
    }

    /// The server, which may be silent for so long.
    pub fn patiently(self, silence: Duration) -> Self {
        Self { patience: Patience::from(silence), ..self }
    }

    /// Where it is.
    pub fn place(&self) -> &MysqlPlace {
        &self.place
    }

    /// Logs in and sets the session.
    ///
    /// # Errors
    /// When the password file cannot be used, the server cannot be reached, or it refuses; each with its cause.
    pub async fn connect(&self) -> Result<Session> {
        let limit = LOGIN_TIMEOUT.min(self.patience.work);
        let login = tokio::time::timeout(limit, self.log_in()).await;
        login.unwrap_or_else(|_| Err(errors::no_answer(&self.place, limit)))
    }

    async fn log_in(&self) -> Result<Session> {
        let peer = Peer { place: Arc::clone(&self.place), account: None };
        let conn = Conn::new(login::options(&self.place)?).await.map_err(|error| explain(&peer, error))?;
        let (place, patience) = (Arc::new(peer), self.patience);
        let mut session = Session { conn: Some(conn), place, patience, zone: SessionZone::Named };
        for setting in SETTINGS {
            session.execute(setting).await?;
        }
        let account = session.first("select current_user()").await?.into_iter().next().flatten();
        session.place =
            Arc::new(Peer { place: Arc::clone(&self.place), account: account.as_deref().map(facts::account) });
        session.zone = zone::set(&mut session, self.zone).await?;
        Ok(session)
    }
}

/// Who answers a session: a place, and whom it takes us for.
#[derive(Clone, Debug)]
pub struct Peer {
    place: Arc<MysqlPlace>,
    /// The account that we are, as GRANT writes it; messages name us by where we come from, which may be none.
    account: Option<String>,
}

impl Deref for Peer {
    type Target = MysqlPlace;

    fn deref(&self) -> &MysqlPlace {
        &self.place
    }
}

/// What a server answers, unless it is silent for longer than it may be.
///
/// # Errors
/// What the server says, in our words; or that it says nothing.
pub async fn within<T>(
    place: &Peer,
    limit: Duration,
    answer: impl Future<Output = mysql_async::Result<T>>,
) -> Result<T> {
    match tokio::time::timeout(limit, answer).await {
        Ok(answer) => answer.map_err(|error| explain(place, error)),
        Err(_) => Err(silence(place, limit)),
    }
}

/// A session: logged in, strict, in utf8mb4, at repeatable read, on the business zone's clock.
///
/// One that is dropped is closed without waiting for what the server may still have to say: the locks that it holds there
/// are nobody's any more.
pub struct Session {
    conn: Option<Conn>,
    place: Arc<Peer>,
    patience: Patience,
    zone: SessionZone,
}

impl Drop for Session {
    fn drop(&mut self) {
        if let (Some(conn), Ok(runtime), false) = (self.conn.take(), Handle::try_current(), std::thread::panicking()) {
            runtime.spawn(tokio::time::timeout(FAREWELL, conn.disconnect()));
        }
    }
}

impl Session {
    /// The connection, for what this module has no word for; its answers go through [`within`].
    pub fn conn(&mut self) -> &mut Conn {
        self.conn.as_mut().expect("a session has its connection until it is closed")
    }

    /// Where it leads.
    pub fn place(&self) -> &Arc<Peer> {
        &self.place
    }

    /// How long the server may be silent.
    pub fn patience(&self) -> Patience {
        self.patience
    }

    /// On which clock TIMESTAMPs come.
    pub fn zone(&self) -> SessionZone {
        self.zone
    }

    /// Executes a statement that gives no rows.
    ///
    /// # Errors
    /// What the server says, in our words.
    pub async fn execute(&mut self, sql: impl AsRef<str>) -> Result<()> {
        let (place, limit) = (Arc::clone(&self.place), self.patience.work);
        within(&place, limit, self.conn().query_drop(sql.as_ref())).await
    }

    /// Executes a question; its rows as text, NULL as `None`. For answers of a few rows.
    ///
    /// # Errors
    /// What the server says, in our words.
    pub async fn texts(&mut self, sql: impl AsRef<str>) -> Result<Vec<Vec<Option<String>>>> {
        let (place, limit) = (Arc::clone(&self.place), self.patience.work);
        let rows: Vec<Row> = within(&place, limit, self.conn().query(sql.as_ref())).await?;
        Ok(rows.into_iter().map(|row| row.unwrap_raw().into_iter().map(|v| v.and_then(text)).collect()).collect())
    }

    /// The first row of an answer, as text.
    ///
    /// # Errors
    /// What the server says, in our words; or when there is no row.
    pub async fn first(&mut self, sql: impl AsRef<str>) -> Result<Vec<Option<String>>> {
        let rows = self.texts(sql.as_ref()).await?;
        rows.into_iter().next().with_context(|| format!("the server gives no answer to `{}`", sql.as_ref()))
    }

    /// Says good-bye; a session that is dropped is closed as well, without waiting for it.
    pub async fn close(mut self) {
        let Some(conn) = self.conn.take() else { return };
        // The server notices a closed connection by itself.
        let _ = tokio::time::timeout(FAREWELL, conn.disconnect()).await;
    }
}

fn text(value: Value) -> Option<String> {
    match value {
        Value::NULL => None,
        Value::Bytes(bytes) => Some(String::from_utf8_lossy(&bytes).into_owned()),
        // The text protocol gives bytes only; what else there may be is written as SQL writes it.
        other => Some(other.as_sql(true).trim_matches('\'').to_owned()),
    }
}

/// A name as SQL quotes it.
pub fn quoted(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

/// What a declared table's rows are asked of: the table, or the SELECT that stands in its place.
pub fn relation(table: &SourceTable) -> String {
    let name = quoted(&table.name);
    // The new line ends a comment that the SELECT may end with.
    table.select.as_ref().map_or_else(|| name.clone(), |select| format!("({}\n) as {name}", select.trim()))
}

/// A text as SQL quotes it.
pub fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_texts_are_quoted() {
        assert_eq!(quoted("a`b"), "`a``b`");
        assert_eq!(literal("it's \\"), "'it''s \\\\'");
    }
}
