//! What a session of the server is at, asked over another one: why nothing moves, for those who wait for it.
//!
//! Only the state that the server names is told, never the text of a statement, which may hold data.

use std::convert::Infallible;
use std::fmt;
use std::time::Duration;

use super::Job;
use crate::mysql::Session;
use crate::progress::Event;

/// How long one statement may take before it is told what the server does.
const SILENT: Duration = Duration::from_secs(60);

/// What a session is at.
pub struct Doing {
    session: u64,
    state: String,
    seconds: u64,
    is_idle: bool,
}

impl Doing {
    /// Asks what a session of our own user is at; nothing where it has ended or the server does not say.
    pub async fn of(asking: &mut Session, session: &str) -> Option<Self> {
        let session: u64 = session.parse().ok()?;
        let sql = format!("select state, time, command from information_schema.processlist where id = {session}");
        let [state, time, command] = super::target::cells(asking.first(sql).await.ok()?);
        Some(Self { session, state, seconds: time.parse().unwrap_or(0), is_idle: command == "Sleep" })
    }

    /// What to do about it, where the state says so.
    pub fn advice(&self) -> Option<&'static str> {
        let state = self.state.to_lowercase();
        let is_full = state.contains("free space") || state.contains("disk space");
        is_full.then_some(
            "the server's disk is full, perhaps under its binary log: free space there (`purge binary logs`), and it goes on",
        )
    }
}

impl fmt::Display for Doing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { session, state, seconds, is_idle } = self;
        match (is_idle, state.as_str()) {
            (true, _) => write!(f, "its session {session}, idle for {seconds} s"),
            (false, "") => write!(f, "its session {session}, at one statement for {seconds} s"),
            (false, state) => write!(f, "its session {session}, for {seconds} s in the state `{state}`"),
        }
    }
}

/// A session, and what it is at if that is known.
pub async fn shown(asking: &mut Session, session: &str) -> (String, Option<&'static str>) {
    match Doing::of(asking, session).await {
        Some(doing) => (doing.to_string(), doing.advice()),
        None => (format!("its session {session}"), None),
    }
}

/// Tells whenever the server is at one statement of a session for long, and at what.
pub async fn watch(job: &Job<'_>, session: &str, patience: Duration) -> Infallible {
    let often = SILENT.min(patience);
    let mut told = String::new();
    loop {
        tokio::time::sleep(often).await;
        let Ok(mut asking) = job.server.connect().await else { continue };
        let doing = Doing::of(&mut asking, session).await;
        asking.close().await;
        let Some(doing) = doing.filter(|doing| !doing.is_idle && doing.seconds >= often.as_secs()) else { continue };
        if doing.state != told {
            let advice = doing.advice().map(|advice| format!("; {advice}")).unwrap_or_default();
            let text = format!("export {}: the server is silent ({doing}){advice}", job.run.export);
            job.reporter.report(Event::Note(text));
            told.clone_from(&doing.state);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_under_the_binary_log_is_told_with_what_to_do() {
        let of = |state: &str| Doing { session: 8, state: state.to_owned(), seconds: 95, is_idle: false };
        let full = of("Waiting for someone to free space");
        assert_eq!(full.to_string(), "its session 8, for 95 s in the state `Waiting for someone to free space`");
        assert!(full.advice().is_some_and(|advice| advice.contains("free space")));
        assert!(of("Waiting for table metadata lock").advice().is_none());
        assert_eq!(of("").to_string(), "its session 8, at one statement for 95 s");
    }
}
