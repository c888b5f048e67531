//! What a target database is and holds: its tables, what is recorded of their partitions, which run was the last.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Error, Result, anyhow};

use super::ddl::{Present, PresentColumn, REPLACED, STAGED, aside};
use super::types::Type;
use super::watch::shown;
use super::{LOCKED, code};
use crate::error::{Advice, with_hint};
use crate::export::{COLUMNS_TABLE, ExportRun, METADATA_TABLE, TABLES_TABLE};
use crate::mysql::{Facts, Flavor, ServerFailure, Session, is_transient, literal, quoted};

/// The table that says which run changed the database last, by export, and which tables it has yet to rename.
pub const RUN_TABLE: &str = "strata_run";

/// What is to be recorded of the tables that wait to be renamed: as [`METADATA_TABLE`], which tells only what can be seen.
pub const STAGED_TABLE: &str = "strata_staged";

/// Seconds to wait for another exporter.
const LOCK_S: u32 = 30;

/// Seconds to wait for rows and tables that others hold.
const WAIT_S: u32 = 5;

/// A session that writes: it holds the lock of the target's exporters.
pub struct Target {
    /// The session.
    pub session: Session,
    /// Its number there.
    pub number: String,
    /// What the server is.
    pub facts: Facts,
    /// The collation of text: binary, where trailing spaces matter.
    pub collation: String,
}

impl Target {
    /// Makes a session the exporter of its database. `mark` is the name of a lock that nobody but this export takes: who
    /// holds it, by whatever number, is our own session that was lost. As long as that one is there, its transaction is
    /// neither committed nor rolled back.
    ///
    /// # Errors
    /// When another exporter is at work, or the server is not fit for it.
    pub async fn lock(mut session: Session, mark: &str) -> Result<Self> {
        let settings = format!("set session innodb_lock_wait_timeout = {WAIT_S}, lock_wait_timeout = {WAIT_S}");
        session.execute(settings).await?;
        let about = session.first("select database(), @@lower_case_table_names, connection_id()").await?;
        let [database, folds, number] = cells(about);
        let (mark, name) = (literal(mark), literal(&lock_name(&database, folds != "0")));
        if let Some(lost) = holder(&mut session, &mark).await? {
            // A session may end another one of its own user. It may have ended by itself meanwhile.
            let _ = session.execute(format!("kill {lost}")).await;
        }
        if let Some(holder) = wait_for(&mut session, &mark).await? {
            // Whether its COMMIT took effect is not known before it has ended.
            let (shown, advice) = shown(&mut session, &holder).await;
            let message = format!("a session of this export was lost and has not ended on the server yet ({shown})");
            let error = Error::new(ServerFailure { message, code: None, transient: true });
            return Err(advice.into_iter().fold(error, with_hint));
        }
        if let Some(holder) = wait_for(&mut session, &name).await? {
            let (shown, advice) = shown(&mut session, &holder).await;
            let error = anyhow!("another export is writing to database {database} ({shown})");
            return Err(error).hint(advice.unwrap_or("it ends by itself; `show processlist` on the server shows it"));
        }
        let facts = Facts::ask(&mut session).await?;
        let collation = collation(&mut session, &facts).await?;
        Ok(Self { session, number, facts, collation })
    }

    /// Creates the tables beside the data where they are missing.
    ///
    /// # Errors
    /// When they cannot be created.
    pub async fn create_metadata(&mut self) -> Result<()> {
        let names = [METADATA_TABLE, STAGED_TABLE, TABLES_TABLE, COLUMNS_TABLE, RUN_TABLE];
        let present = present(&mut self.session, &names.map(str::to_owned)).await?;
        for name in names.iter().filter(|name| !present.contains_key(**name)) {
            let columns = match *name {
                METADATA_TABLE | STAGED_TABLE => {
                    "table_name varchar(64) not null, dt varchar(10) not null, `rows` bigint not null, \
                     checksum varchar(16) not null, version varchar(16) not null, run varchar(64) not null, \
                     data_as_of varchar(10) not null, checks_passed boolean not null, exported_at varchar(20) not null, \
                     primary key (table_name, dt)"
                }
                TABLES_TABLE => "table_name varchar(64) not null primary key, comment text not null",
                COLUMNS_TABLE => {
                    "table_name varchar(64) not null, position bigint not null, column_name varchar(64) not null, \
                     type varchar(64) not null, comment text not null, primary key (table_name, position)"
                }
                _ => {
                    "export varchar(64) not null primary key, run varchar(64) not null, exported_at varchar(20) not null, \
                     to_rename mediumtext not null"
                }
            };
            let collation = &self.collation;
            let sql = format!(
                "create table if not exists {name} ({columns}) engine=InnoDB default charset=utf8mb4 collate={collation}"
            );
            self.session.execute(sql).await?;
        }
        Ok(())
    }

    /// The run of an export that changed the database last, if there was one.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn last_run(&mut self, export: &str) -> Result<Option<String>> {
        if present(&mut self.session, &[RUN_TABLE.to_owned()]).await?.is_empty() {
            return Ok(None);
        }
        let sql = format!("select run from {RUN_TABLE} where export = {}", literal(export));
        Ok(self.session.texts(sql).await?.into_iter().flatten().flatten().next())
    }

    /// Gives tables that were filled under another name their own, all at once and for every export; readers see the old
    /// ones until then, and what is recorded of the new ones is told after it.
    ///
    /// # Errors
    /// When the server refuses; the next export tries again.
    pub async fn finish_renames(&mut self) -> Result<()> {
        let rows = self.session.texts(format!("select to_rename, '' from {RUN_TABLE} where to_rename <> ''")).await?;
        let waiting: BTreeSet<String> = rows.into_iter().flat_map(|row| listed(&cells::<2>(row)[0])).collect();
        if waiting.is_empty() {
            return Ok(());
        }
        let staged: Vec<String> = waiting.iter().map(|name| aside(STAGED, name)).collect();
        let names: Vec<String> = staged.iter().chain(&waiting).cloned().collect();
        let present = present(&mut self.session, &names).await?;
        let mut pairs = Vec::new();
        for (name, staged) in waiting.iter().zip(&staged).filter(|(_, staged)| present.contains_key(*staged)) {
            if present.contains_key(name) {
                let replaced = aside(REPLACED, name);
                let dropped = self.session.execute(format!("drop table if exists {}", quoted(&replaced))).await;
                dropped.with_context(|| format!("drop {replaced}, which is left over from an earlier export"))?;
                pairs.push(format!("{} to {}", quoted(name), quoted(&replaced)));
            }
            pairs.push(format!("{} to {}", quoted(staged), quoted(name)));
        }
        if !pairs.is_empty() {
            let renamed = self.session.execute(format!("rename table {}", pairs.join(", "))).await;
            renamed.map_err(|error| match code(&error) {
                Some(LOCKED) => error.context("a reader still holds a table whose name a new one is to get"),
                _ => error.context("give new tables their names"),
            })?;
        }
        self.tell_staged(&waiting).await?;
        for name in &waiting {
            // All is told; should this fail, the next export takes it away with the leftovers.
            let _ = self.session.execute(format!("drop table if exists {}", quoted(&aside(REPLACED, name)))).await;
        }
        Ok(())
    }

    /// Records what is in tables that have got their names, which nobody could see before.
    async fn tell_staged(&mut self, names: &BTreeSet<String>) -> Result<()> {
        let names = names.iter().map(|name| literal(name)).collect::<Vec<_>>().join(", ");
        for sql in [
            "start transaction".to_owned(),
            format!("delete from {METADATA_TABLE} where table_name in ({names})"),
            format!("insert into {METADATA_TABLE} select * from {STAGED_TABLE} where table_name in ({names})"),
            format!("delete from {STAGED_TABLE} where table_name in ({names})"),
            format!("update {RUN_TABLE} set to_rename = '' where to_rename <> ''"),
            "commit".to_owned(),
        ] {
            self.session.execute(sql).await?;
        }
        Ok(())
    }

    /// Takes away tables that an interrupted export began to fill or had replaced, of these tables and of those that are
    /// recorded here, and no table of others that is named alike; when this is asked, none waits to be renamed any more.
    /// Gives those that the server does not drop, and why.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn drop_leftovers(&mut self, tables: &[&str]) -> Result<Vec<(String, String)>> {
        let recorded =
            [METADATA_TABLE, TABLES_TABLE, STAGED_TABLE].map(|from| format!("select table_name from {from}"));
        let recorded = self.session.texts(recorded.join(" union ")).await?.into_iter().flatten().flatten();
        let ours: BTreeSet<String> = recorded.chain(tables.iter().map(|table| (*table).to_owned())).collect();
        let asides = ours.iter().flat_map(|table| [STAGED, REPLACED].map(|prefix| aside(prefix, table)));
        let asides: Vec<String> = asides.collect();
        let mut stuck = Vec::new();
        for name in present(&mut self.session, &asides).await?.into_keys().filter(|name| asides.contains(name)) {
            match self.session.execute(format!("drop table {}", quoted(&name))).await {
                Err(error) if is_transient(&error) => return Err(error),
                Err(error) => stuck.push((name, format!("{error:#}"))),
                Ok(()) => {}
            }
        }
        Ok(stuck)
    }
}

/// The tables of these names that there are.
///
/// # Errors
/// When the server does not answer.
pub async fn present(session: &mut Session, names: &[String]) -> Result<BTreeMap<String, Present>> {
    let names = names.iter().map(|name| literal(name)).collect::<Vec<_>>().join(", ");
    if names.is_empty() {
        return Ok(BTreeMap::new());
    }
    let here = format!("table_schema = database() and table_name in ({names})");
    let tables = session
        .texts(format!("select table_name, engine, table_comment from information_schema.tables where {here}"))
        .await?;
    let mut present: BTreeMap<String, Present> = BTreeMap::new();
    for row in tables {
        let [name, engine, comment] = cells(row);
        present.insert(name, Present { engine, comment, ..Present::default() });
    }
    let columns = format!(
        "select table_name, column_name, column_type, collation_name, column_comment from information_schema.columns \
         where {here} order by table_name, ordinal_position"
    );
    for row in session.texts(columns).await? {
        let [table, name, kind, collation, comment] = cells(row);
        if let Some(table) = present.get_mut(&table) {
            table.columns.push(PresentColumn { name, kind: Type::parse(&kind), declared: kind, collation, comment });
        }
    }
    let keys = format!(
        "select table_name, column_name, index_name = 'PRIMARY', seq_in_index from information_schema.statistics where {here} \
         order by table_name, index_name, seq_in_index"
    );
    for row in session.texts(keys).await? {
        let [table, column, is_key, place] = cells(row);
        let Some(table) = present.get_mut(&table) else { continue };
        match (is_key.as_str(), place.as_str()) {
            ("1", _) => table.key.push(column),
            (_, "1") => drop(table.indexed.insert(column.to_lowercase())),
            _ => {}
        }
    }
    Ok(present)
}

/// The recorded version of every exported partition, by table.
///
/// # Errors
/// When the server does not answer.
pub async fn recorded(session: &mut Session) -> Result<BTreeMap<String, BTreeMap<String, String>>> {
    let mut recorded: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    for row in session.texts(format!("select table_name, dt, version from {METADATA_TABLE}")).await? {
        let [table, day, version] = cells(row);
        recorded.entry(table).or_default().insert(day, version);
    }
    Ok(recorded)
}

/// The tables that the dictionary of the target describes.
///
/// # Errors
/// When the server does not answer.
pub async fn described(session: &mut Session) -> Result<BTreeSet<String>> {
    let rows = session.texts(format!("select table_name from {TABLES_TABLE}")).await?;
    Ok(rows.into_iter().flatten().flatten().collect())
}

/// Waits for a lock; the session that still holds it, where that takes too long.
async fn wait_for(session: &mut Session, lock: &str) -> Result<Option<String>> {
    let got = session.first(format!("select get_lock({lock}, {LOCK_S})")).await?;
    if got.into_iter().next().flatten().as_deref() == Some("1") {
        return Ok(None);
    }
    Ok(Some(holder(session, lock).await?.unwrap_or_else(|| "unknown".to_owned())))
}

/// The number of the session that holds a lock.
async fn holder(session: &mut Session, lock: &str) -> Result<Option<String>> {
    Ok(session.first(format!("select is_used_lock({lock})")).await?.into_iter().next().flatten())
}

/// The name of the lock of a database's exporters: server-wide, of at most 64 characters. A server that `folds` names means
/// the same database by `Mall` and `mall`.
fn lock_name(database: &str, folds: bool) -> String {
    let name = if folds { database.to_lowercase() } else { database.to_owned() };
    format!("strata-export-{:016x}", xxhash_rust::xxh3::xxh3_64(name.as_bytes()))
}

/// The name of the lock by which the sessions of one export know each other, and nobody else's: one of this process and run.
pub fn mark(run: &ExportRun) -> String {
    let who = format!("{} {} {}", run.run, run.export, std::process::id());
    format!("strata-session-{:016x}", xxhash_rust::xxh3::xxh3_64(who.as_bytes()))
}

/// The server's binary collation that does not pad: what keys need that differ by case or by spaces at their end.
async fn collation(session: &mut Session, facts: &Facts) -> Result<String> {
    // Later MariaDBs know the other one's name too.
    let name = match facts.flavor {
        Flavor::MariaDb => "utf8mb4_nopad_bin",
        Flavor::Mysql => "utf8mb4_0900_bin",
    };
    let sql = format!("select collation_name from information_schema.collations where collation_name = '{name}'");
    let found = session.texts(sql).await?.into_iter().flatten().flatten().next();
    found
        .ok_or_else(|| anyhow!("{} has no binary collation of utf8mb4 without padding", facts.shown()))
        .hint("MySQL 8.0.17 and MariaDB 10.2 and later have one")
}

/// The names that a list joined by commas has.
fn listed(names: &str) -> Vec<String> {
    names.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

/// The cells of a row of known width; NULL is the empty text.
pub fn cells<const N: usize>(row: Vec<Option<String>>) -> [String; N] {
    let mut row = row.into_iter().map(Option::unwrap_or_default);
    std::array::from_fn(|_| row.next().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exporters_of_one_database_share_a_lock_however_its_name_is_spelled() {
        assert_eq!(lock_name("Mall", true), lock_name("mall", true));
        assert_ne!(lock_name("Mall", false), lock_name("mall", false));
        assert!(lock_name(&"x".repeat(64), true).len() <= 64);
    }

    #[test]
    fn only_the_sessions_of_one_export_of_one_run_have_the_same_mark() {
        let run = |export: &str, run: &str| ExportRun {
            export: export.to_owned(),
            run: run.to_owned(),
            now_ms: 0,
            data_as_of: String::new(),
        };
        assert_eq!(mark(&run("a", "1")), mark(&run("a", "1")));
        assert_ne!(mark(&run("a", "1")), mark(&run("a", "2")));
        assert_ne!(mark(&run("a", "1")), mark(&run("b", "1")));
    }
}
