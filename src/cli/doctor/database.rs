//! A MySQL or MariaDB server under examination: is it reached, by whom, and may it be read or written as strata needs?

use anyhow::{Context, Result};

use super::{Finding, Grade};
use crate::config::source::{Source, TableSource};
use crate::config::{Config, ExportTarget, Location, MysqlPlace, Tls};
use crate::ingest::orders::examine_table;
use crate::mysql::{Facts, Flavor, Grants, Server, Session, TO_WRITE, quoted};

/// Examines every database that is read or written.
pub async fn examine(config: &Config) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (name, source) in &config.sources {
        if let (Location::Mysql(place), Source::Tables(tables)) = (&source.location, &source.source) {
            findings.extend(to_read(config, &format!("source {name}"), place, tables).await);
        }
    }
    for (name, target) in &config.exports {
        if let ExportTarget::Mysql(place) = target {
            findings.extend(to_write(config, &format!("export {name}"), place).await);
        }
    }
    findings
}

/// A server that was asked who it is and what we may do there.
struct Known {
    session: Session,
    facts: Facts,
    grants: Grants,
}

async fn known(config: &Config, place: &MysqlPlace) -> Result<Known> {
    let mut session = Server::new(place, config.timezone).connect().await?;
    let facts = Facts::ask(&mut session).await?;
    let grants = Grants::ask(&mut session).await?;
    Ok(Known { session, facts, grants })
}

/// Who and what was reached, and how the way there is guarded.
fn reached(subject: &str, place: &MysqlPlace, facts: &Facts) -> Finding {
    let way = match place.tls {
        Tls::Verify => ", over TLS, its certificate verified",
        Tls::Encrypt => ", over TLS, its certificate not verified",
        Tls::Off => "",
    };
    let text = format!("{}: {} as {}{way}", place.url, facts.shown(), facts.account);
    let is_here = place.socket.is_some() || ["localhost", "127.0.0.1", "::1"].contains(&place.host.as_str());
    match place.tls {
        Tls::Off if !is_here => Finding::odd(subject, format!("{text}, in clear"), "write `tls = \"verify\"`"),
        Tls::Encrypt => Finding::odd(subject, text, "`tls = \"verify\"` also asks who the server is"),
        _ => Finding::fine(subject, text),
    }
}

async fn to_write(config: &Config, subject: &str, place: &MysqlPlace) -> Vec<Finding> {
    let Known { mut session, facts, grants } = match known(config, place).await {
        Ok(known) => known,
        Err(e) => return vec![Finding::failed(subject, &e)],
    };
    let mut findings = vec![reached(subject, place, &facts)];
    findings.push(privileges(subject, place, &facts, &grants));
    match session.first("select @@read_only").await {
        Ok(row) if row.first().and_then(Option::as_deref) == Some("1") => {
            findings.push(Finding::wrong(subject, "the server is read-only", "is it a replica? Export to its primary"));
        }
        Ok(_) => {}
        Err(e) => findings.push(Finding::failed(subject, &e)),
    }
    if !facts.local_infile {
        let text = "LOAD DATA LOCAL is off: rows are written by INSERT, which takes longer";
        findings.push(Finding::odd(subject, text, "set global local_infile = 1;"));
    }
    session.close().await;
    findings
}

fn privileges(subject: &str, place: &MysqlPlace, facts: &Facts, grants: &Grants) -> Finding {
    let missing = grants.missing(&place.database);
    if missing.is_empty() {
        return Finding::fine(subject, format!("granted: {}", TO_WRITE.join(", ")));
    }
    let missing = missing.join(", ");
    let grant = format!("GRANT {missing} ON {}.* TO {};", quoted(&place.database), facts.account);
    Finding::wrong(subject, format!("not granted on the database: {missing}"), grant)
}

async fn to_read(config: &Config, subject: &str, place: &MysqlPlace, tables: &TableSource) -> Vec<Finding> {
    let Known { mut session, facts, grants } = match known(config, place).await {
        Ok(known) => known,
        Err(e) => return vec![Finding::failed(subject, &e)],
    };
    let mut findings = vec![reached(subject, place, &facts)];
    let since = findings.len();
    for table in &tables.tables {
        // The run's own question: this also tells a table or a column that is not there.
        let asked = examine_table(&mut session, table).await.with_context(|| format!("table `{}`", table.name));
        findings.extend(asked.err().map(|e| Finding::failed(subject, &e)));
    }
    if findings[since..].iter().all(|finding| finding.grade == Grade::Fine) {
        findings.push(Finding::fine(subject, format!("granted: SELECT on all {} tables", tables.tables.len())));
    }
    if let Some((text, hint)) = session.zone().oddity(facts.flavor) {
        findings.push(Finding::odd(subject, text, hint));
    }
    let position = match facts.flavor {
        Flavor::MariaDb => "BINLOG MONITOR",
        Flavor::Mysql => "REPLICATION CLIENT",
    };
    let told = [position, "RELOAD"].map(|privilege| match grants.has(privilege, "*", "*") {
        true => format!("{privilege} granted"),
        false => format!("{privilege} not granted"),
    });
    findings.push(Finding::fine(subject, format!("not required: {}", told.join(", "))));
    session.close().await;
    findings
}
