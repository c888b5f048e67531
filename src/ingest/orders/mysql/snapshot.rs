//! Sessions that all see one moment of a database, and where in its log that moment is.
//!
//! Every session opens a consistent snapshot of its own. That several are of the same moment is proven: on MariaDB by the
//! position in the binary log that each snapshot knows, where every commit moves it; elsewhere by a short global read
//! lock where we may take one. Where neither can be had, one session reads alone. A writer that keeps its own commits out
//! of the log (`sql_log_bin = 0`) cannot be seen by the position: such writers need the lock, or one connection.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use chrono::NaiveDateTime;
use futures::future::{join_all, try_join_all};
use serde::{Deserialize, Serialize};
use tokio::time::timeout;

use crate::mysql::{Facts, Flavor, Grants, Server, Session, UNHURRIED, is_one_too_many, silence};

/// How often snapshots are opened anew until all are of the same moment; a busy shop commits between two of them.
const ATTEMPTS: usize = 200;
/// How long others may make us wait for the global read lock, and how long it takes at most to open the snapshots under
/// it: a lock that waits stops the shop's writers as one that is held does.
const LOCK_WAIT_S: u64 = 3;
/// After how long the server ends by itself a session that holds the lock and says nothing.
const LOCK_IDLE_S: u64 = 10;

const BEGIN: &str = "start transaction with consistent snapshot, read only";

/// A moment of a database.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moment {
    /// What the server is, `MariaDB 10.11.14`.
    pub server: String,
    /// When, by the server's clock shown in the business zone.
    pub at: String,
    /// The file and the position in its binary log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub binlog: Option<String>,
    /// The transactions that it holds, by their global ids.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gtid: Option<String>,
}

/// Sessions that see one moment.
pub struct Snapshot {
    /// At least one.
    pub sessions: Vec<Session>,
    /// The moment.
    pub moment: Moment,
    /// Its time, microseconds on the business zone's clock.
    pub now_micros: i64,
    /// Why there are fewer sessions than wanted.
    pub note: Option<String>,
    /// Whose server it is.
    pub flavor: Flavor,
    /// Which database it is.
    pub database: Database,
}

/// Which database was read, whatever way led there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Database {
    /// Its name as the server says it.
    pub name: String,
    /// What the server is told apart by; MariaDB has nothing that lasts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<String>,
}

/// Logs in so many times and opens the snapshot.
///
/// # Errors
/// When the server cannot be reached, or refuses.
pub async fn open(server: &Server, wanted: usize) -> Result<Snapshot> {
    let mut first = server.connect().await?;
    let facts = Facts::ask(&mut first).await?;
    let mut sessions = vec![first];
    let mut note = None;
    let mut by_position = false;
    if wanted > 1 {
        by_position =
            facts.flavor == Flavor::MariaDb && facts.log_bin && every_commit_is_logged(&mut sessions[0]).await?;
        let may_lock = by_position || Grants::ask(&mut sessions[0]).await?.has("RELOAD", "*", "*");
        if may_lock {
            let mut refused = None;
            for more in join_all((1..wanted).map(|_| server.connect())).await {
                match more {
                    Ok(session) => sessions.push(session),
                    Err(error) if is_one_too_many(&error) => refused = Some(error),
                    Err(error) => return Err(error),
                }
            }
            let had = sessions.len();
            note = refused.map(|error| format!("{had} of {wanted} connections, more are refused: {error:#}"));
        } else {
            let account = &facts.account;
            note = Some(format!(
                "{}: one connection reads alone; several need GRANT RELOAD ON *.* TO {account}; or a binary log of \
                 MariaDB that holds every commit and GRANT BINLOG MONITOR ON *.* TO {account};",
                facts.shown()
            ));
        }
    }
    let aligned = match (sessions.len(), by_position) {
        (1, _) => begin(&mut sessions).await.map(|()| true)?,
        (_, true) => by_positions(&mut sessions).await?,
        (_, false) => by_lock(&mut sessions).await?,
    };
    if !aligned {
        for extra in sessions.drain(1..) {
            extra.close().await;
        }
        begin(&mut sessions).await?;
        note = Some("one connection reads alone: no moment could be had that several see".to_owned());
    }
    let (moment, now_micros) = moment(&mut sessions[0], &facts).await?;
    let database = database(&mut sessions[0], facts.flavor).await?;
    Ok(Snapshot { sessions, moment, now_micros, note, flavor: facts.flavor, database })
}

async fn begin(sessions: &mut [Session]) -> Result<()> {
    try_join_all(sessions.iter_mut().map(|session| session.execute(BEGIN))).await.map(drop)
}

/// Whether every commit moves the position of the binary log, as far as we may know: not those that a replica or a node
/// of a cluster takes over without logging them, and not those of databases that the log leaves out.
async fn every_commit_is_logged(session: &mut Session) -> Result<bool> {
    let row = session.first("select @@global.log_slave_updates, @@global.gtid_slave_pos").await?;
    let logs_updates = row[0].as_deref() == Some("1");
    let mut takes_over = row[1].as_deref().is_some_and(|position| !position.is_empty());
    let cluster = session.texts("show global variables like 'wsrep_on'").await?;
    takes_over |= cluster.iter().any(|row| row[1].as_deref().is_some_and(|on| on.eq_ignore_ascii_case("on")));
    // A replica of MariaDB has a position above even where we may not ask this.
    takes_over |= session.texts("show all slaves status").await.is_ok_and(|rows| !rows.is_empty());
    if takes_over && !logs_updates {
        return Ok(false);
    }
    // Which databases are left out is told to whom it is granted; else we do not know, and do not hope.
    let Ok(status) = session.texts("show master status").await else { return Ok(false) };
    let is_empty = |cell: Option<&Option<String>>| cell.is_some_and(|cell| cell.as_deref().is_none_or(str::is_empty));
    Ok(status.first().is_some_and(|row| is_empty(row.get(2)) && is_empty(row.get(3))))
}

/// Opens snapshots until all are at the same position of the binary log.
async fn by_positions(sessions: &mut [Session]) -> Result<bool> {
    for _ in 0..ATTEMPTS {
        begin(sessions).await?;
        if are_at_one_position(sessions).await? {
            return Ok(true);
        }
        try_join_all(sessions.iter_mut().map(|session| session.execute("rollback"))).await?;
    }
    Ok(false)
}

/// Whether all snapshots are at one position. Asked one after another, and twice: the server answers through a variable
/// that all its sessions share, so that two which ask at the same time may both be told the position of one.
async fn are_at_one_position(sessions: &mut [Session]) -> Result<bool> {
    let mut first = None;
    for _ in 0..2 {
        for session in sessions.iter_mut() {
            let Some(position) = position(session).await? else { return Ok(false) };
            if *first.get_or_insert_with(|| position.clone()) != position {
                return Ok(false);
            }
        }
    }
    Ok(true)
}

/// The position of a session's snapshot, where the server knows it.
async fn position(session: &mut Session) -> Result<Option<String>> {
    let rows = session.texts("show status like 'binlog\\_snapshot\\_%'").await?;
    let value = |name: &str| {
        let row = rows.iter().find(|row| row[0].as_deref().is_some_and(|n| n.eq_ignore_ascii_case(name)));
        row.and_then(|row| row[1].clone()).filter(|text| !text.is_empty())
    };
    let (file, position) = (value("binlog_snapshot_file"), value("binlog_snapshot_position"));
    Ok(file.zip(position).map(|(file, position)| format!("{file}:{position}")))
}

/// Opens all snapshots while nobody may write.
///
/// Whatever happens, the shop's writers come first: where an answer is missing, the session that holds the lock is closed,
/// and should the server not hear of that, it ends the session by itself.
async fn by_lock(sessions: &mut Vec<Session>) -> Result<bool> {
    let limits = format!("set session lock_wait_timeout = {LOCK_WAIT_S}, wait_timeout = {LOCK_IDLE_S}");
    sessions[0].execute(limits).await?;
    let wait = Duration::from_secs(2 * LOCK_WAIT_S);
    let locked = match timeout(wait, sessions[0].execute("flush tables with read lock")).await {
        // Somebody else holds what the lock needs.
        Ok(Err(_)) => return Ok(false),
        Ok(Ok(())) => timeout(Duration::from_secs(LOCK_WAIT_S), under_lock(sessions)).await,
        Err(elapsed) => Err(elapsed),
    };
    let Ok(begun) = locked else {
        let place = Arc::clone(sessions[0].place());
        join_all(sessions.drain(..).map(Session::close)).await;
        return Err(
            silence(&place, Duration::from_secs(LOCK_WAIT_S)).context("open snapshots under a global read lock")
        );
    };
    begun?;
    for setting in [UNHURRIED, "set session lock_wait_timeout = default"] {
        sessions[0].execute(setting).await?;
    }
    Ok(true)
}

async fn under_lock(sessions: &mut [Session]) -> Result<()> {
    let begun = begin(sessions).await;
    sessions[0].execute("unlock tables").await?;
    begun
}

async fn database(session: &mut Session, flavor: Flavor) -> Result<Database> {
    let asked = match flavor {
        Flavor::Mysql => "select database(), @@server_uuid",
        Flavor::MariaDb => "select database(), null",
    };
    let mut row = session.first(asked).await?.into_iter();
    Ok(Database { name: row.next().flatten().unwrap_or_default(), server: row.next().flatten() })
}

async fn moment(session: &mut Session, facts: &Facts) -> Result<(Moment, i64)> {
    let now = session.first("select now(6)").await?.into_iter().next().flatten().unwrap_or_default();
    let now =
        NaiveDateTime::parse_from_str(&now, "%Y-%m-%d %H:%M:%S%.f").with_context(|| format!("the time `{now}`"))?;
    let now_micros = session.zone().on_business_clock(now.and_utc().timestamp_micros());
    let binlog = position(session).await.unwrap_or_default();
    // Some of these need privileges that nobody should have to give; a moment without a name is a moment.
    let gtid = match (facts.flavor, &binlog) {
        (Flavor::MariaDb, Some(binlog)) => {
            let (file, position) = binlog.split_once(':').unwrap_or((binlog, "0"));
            let asked = format!("select binlog_gtid_pos({}, {position})", crate::mysql::literal(file));
            session.first(asked).await.ok()
        }
        (Flavor::MariaDb, None) => None,
        (Flavor::Mysql, _) => session.first("select @@global.gtid_executed").await.ok(),
    };
    let gtid = gtid.and_then(|row| row.into_iter().next().flatten()).filter(|text| !text.is_empty());
    Ok((Moment { server: facts.shown(), at: super::clock(now_micros), binlog, gtid }, now_micros))
}
