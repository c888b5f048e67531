//! A privilege that is missing, told with all that are: one GRANT on the database, whatever table was the first to be refused.

use anyhow::Error;

use super::code;
use crate::error::{find, with_hint};
use crate::mysql::{Grants, ServerFailure, Session, TO_WRITE, quoted};

/// The server's words for a refused database, command and column.
const DENIED: [u16; 3] = [1044, 1142, 1143];

/// The failure of a session with what it lacks, if that is what failed.
pub async fn told(session: &mut Session, account: &str, error: Error) -> Error {
    if !code(&error).is_some_and(|code| DENIED.contains(&code)) {
        return error;
    }
    let database = session.place().database.clone();
    let missing = Grants::ask(session).await.map(|grants| grants.missing(&database)).unwrap_or_default();
    granting(error, &missing, &database, account)
}

/// The failure of a login: a database of which nothing was granted.
pub fn at_login(database: &str, error: Error) -> Error {
    let message = error.to_string();
    let account = message.split_once("for user ").and_then(|(_, rest)| rest.split_once(" to database"));
    match account {
        Some((account, _)) if code(&error) == Some(1044) => granting(error, &[], database, account),
        _ => error,
    }
}

/// The error without the advice that it had, which is about one table.
fn granting(error: Error, missing: &[&str], database: &str, account: &str) -> Error {
    let missing = if missing.is_empty() { &TO_WRITE } else { missing };
    let hint = format!("GRANT {} ON {}.* TO {account};", missing.join(", "), quoted(database));
    let failure = find::<ServerFailure>(&error).cloned();
    let message = format!("{error:#}");
    with_hint(failure.map_or(error, |failure| ServerFailure { message, ..failure }.into()), hint)
}
