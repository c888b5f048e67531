//! What a server is and what we may do there, by asking it: the differences between MySQL and MariaDB are facts, not
//! guesses from a name.

use anyhow::Result;

use super::{Session, literal};

/// Whose server it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flavor {
    /// MySQL.
    Mysql,
    /// MariaDB.
    MariaDb,
}

/// What a server says of itself.
#[derive(Clone, Debug)]
pub struct Facts {
    /// Whose it is.
    pub flavor: Flavor,
    /// Its version as it writes it.
    pub version: String,
    /// Major, minor and patch of it.
    pub number: (u16, u16, u16),
    /// Whether `LOAD DATA LOCAL` is allowed.
    pub local_infile: bool,
    /// The longest packet it takes, in bytes.
    pub max_allowed_packet: u64,
    /// Whether it writes a binary log.
    pub log_bin: bool,
    /// The account that we are, as GRANT writes it: `'shop'@'%'`.
    pub account: String,
}

impl Facts {
    /// Asks a server.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn ask(session: &mut Session) -> Result<Self> {
        let row = session
            .first("select version(), @@local_infile, @@max_allowed_packet, @@log_bin, current_user()")
            .await?
            .into_iter()
            .map(Option::unwrap_or_default)
            .collect::<Vec<_>>();
        let cell = |at: usize| row.get(at).map_or("", String::as_str);
        let version = cell(0).to_owned();
        let flavor = if version.contains("MariaDB") { Flavor::MariaDb } else { Flavor::Mysql };
        Ok(Self {
            flavor,
            number: number(&version),
            version,
            local_infile: cell(1) == "1",
            max_allowed_packet: cell(2).parse().unwrap_or(1 << 20),
            log_bin: cell(3) == "1",
            account: account(cell(4)),
        })
    }

    /// Its name and version, for people.
    pub fn shown(&self) -> String {
        let (major, minor, patch) = self.number;
        match self.flavor {
            Flavor::Mysql => format!("MySQL {major}.{minor}.{patch}"),
            Flavor::MariaDb => format!("MariaDB {major}.{minor}.{patch}"),
        }
    }
}

/// `5.5.5-10.11.14-MariaDB` and `8.0.36` → the number; a replication prefix of MariaDB is none.
fn number(version: &str) -> (u16, u16, u16) {
    let version = version.strip_prefix("5.5.5-").unwrap_or(version);
    let mut parts = version.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse().unwrap_or(0));
    let mut next = || parts.next().unwrap_or(0);
    (next(), next(), next())
}

/// An account as `current_user()` says it, `shop@%`, as GRANT writes it.
pub(super) fn account(user_at_host: &str) -> String {
    let (user, host) = user_at_host.rsplit_once('@').unwrap_or((user_at_host, "%"));
    format!("{}@{}", literal(user), literal(host))
}

/// What an export needs in its database.
pub const TO_WRITE: [&str; 7] = ["SELECT", "INSERT", "UPDATE", "DELETE", "CREATE", "ALTER", "DROP"];

/// What an account was granted.
#[derive(Clone, Debug, Default)]
pub struct Grants(Vec<Grant>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Grant {
    /// In capitals, without columns.
    privileges: Vec<String>,
    /// `*` or a pattern.
    database: String,
    /// `*` or a name.
    table: String,
}

impl Grants {
    /// Asks the server what we were granted.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn ask(session: &mut Session) -> Result<Self> {
        let rows = session.texts("show grants").await?;
        Ok(Self(rows.into_iter().flatten().flatten().filter_map(|line| parse(&line)).collect()))
    }

    /// What an export needs and was not granted on its database.
    pub fn missing(&self, database: &str) -> Vec<&'static str> {
        TO_WRITE.into_iter().filter(|privilege| !self.has(privilege, database, "*")).collect()
    }

    /// Whether a privilege is granted for a table; `*` as the table asks for all of a database, and as the database for
    /// all of them.
    pub fn has(&self, privilege: &str, database: &str, table: &str) -> bool {
        self.0.iter().any(|grant| {
            let covers = |own: &str, asked: &str| own == "*" || (asked != "*" && like(own, asked));
            let granted = |own: &String| own == privilege || own.starts_with("ALL");
            grant.privileges.iter().any(granted) && covers(&grant.database, database) && covers(&grant.table, table)
        })
    }
}

/// One line of `SHOW GRANTS`; `None` for those that grant roles.
fn parse(line: &str) -> Option<Grant> {
    let rest = line.strip_prefix("GRANT ")?;
    let (privileges, rest) = rest.split_once(" ON ")?;
    let (object, _) = rest.split_once(" TO ")?;
    let object = object.strip_prefix("TABLE ").unwrap_or(object);
    let (database, table) = split_object(object)?;
    let mut depth = 0;
    let between = |c: char| {
        depth += i32::from(c == '(') - i32::from(c == ')');
        c == ',' && depth == 0
    };
    // A privilege on some columns is none on the table.
    let whole = privileges.split(between).filter(|privilege| !privilege.contains('('));
    let privileges = whole.map(|privilege| privilege.trim().to_uppercase()).collect();
    Some(Grant { privileges, database, table })
}

fn split_object(object: &str) -> Option<(String, String)> {
    let at = if object.starts_with('`') { object.find("`.")? + 1 } else { object.find('.')? };
    let plain = |text: &str| text.trim_matches('`').replace("``", "`");
    Some((plain(&object[..at]), plain(&object[at + 1..])))
}

/// Whether a name fits a pattern of GRANT: `%` any text, `_` any character, a backslash before either takes it as it is.
fn like(pattern: &str, name: &str) -> bool {
    fn fits(pattern: &[char], name: &[char]) -> bool {
        match pattern {
            [] => name.is_empty(),
            ['%', rest @ ..] => (0..=name.len()).any(|skip| fits(rest, &name[skip..])),
            ['_', rest @ ..] => !name.is_empty() && fits(rest, &name[1..]),
            ['\\', c, rest @ ..] | [c, rest @ ..] => name.first() == Some(c) && fits(rest, &name[1..]),
        }
    }
    fits(&pattern.chars().collect::<Vec<_>>(), &name.chars().collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grants(lines: &[&str]) -> Grants {
        Grants(lines.iter().filter_map(|line| parse(line)).collect())
    }

    #[test]
    fn versions_of_both_are_read() {
        assert_eq!(number("10.11.14-MariaDB-0+deb12u2-log"), (10, 11, 14));
        assert_eq!(number("5.5.5-10.11.14-MariaDB"), (10, 11, 14));
        assert_eq!(number("8.4.3"), (8, 4, 3));
    }

    #[test]
    fn grants_are_read_as_the_server_means_them() {
        let some = grants(&[
            "GRANT RELOAD, BINLOG MONITOR ON *.* TO `shop`@`%` IDENTIFIED BY PASSWORD '*00'",
            "GRANT SELECT ON `mall`.* TO `shop`@`%`",
            "GRANT SELECT, INSERT ON `app\\_mall`.`t.x` TO `shop`@`%`",
            "GRANT SELECT (`a`, `b`), UPDATE ON `other`.`t` TO `shop`@`%`",
            "GRANT `reader`@`%` TO `shop`@`%`",
        ]);
        assert!(some.has("RELOAD", "*", "*") && some.has("BINLOG MONITOR", "*", "*") && !some.has("SUPER", "*", "*"));
        assert!(some.has("SELECT", "mall", "user") && some.has("SELECT", "mall", "*"));
        assert!(some.has("INSERT", "app_mall", "t.x") && !some.has("INSERT", "appxmall", "t.x"));
        assert!(!some.has("INSERT", "app_mall", "*"));
        assert!(!some.has("SELECT", "other", "t") && some.has("UPDATE", "other", "t"));
        assert!(grants(&["GRANT ALL PRIVILEGES ON *.* TO `root`@`localhost` WITH GRANT OPTION"]).has("DROP", "x", "y"));
    }
}
