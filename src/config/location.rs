//! Where things are: a source, the lake and an export, each named by a path or a URL; and how much memory there is.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Error, Result, bail};

use super::{MysqlPlace, Secret};
use crate::error::{Advice, nearest, with_hint};

/// Schemes of object stores.
const OBJECT_STORES: [&str; 9] = ["s3", "s3a", "gs", "az", "abfs", "abfss", "hdfs", "http", "https"];

/// Where a source or the lake is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// A folder of this machine, absolute.
    Local(PathBuf),
    /// A folder of an object store, for instance `s3://bucket/path`.
    Object(Secret),
    /// A MySQL database, read directly.
    Mysql(Box<MysqlPlace>),
}

impl Location {
    /// Reads a path or a URL; relative paths are relative to the project's root.
    pub(super) fn parse(text: &str, root: &Path) -> Result<Self> {
        match text.split_once("://") {
            _ if text.is_empty() => bail!("the location is empty"),
            _ if is_mistyped(text) => Err(mistyped()),
            None => Ok(Self::Local(root.join(text))),
            Some(("file", path)) if path.starts_with('/') => Ok(Self::Local(PathBuf::from(path))),
            Some(("file", _)) => bail!("a file URL has three slashes: `file:///folder`"),
            Some(("mysql", _)) => Ok(Self::Mysql(Box::new(MysqlPlace::parse(text)?))),
            Some((scheme, _)) if OBJECT_STORES.contains(&scheme) => Ok(Self::Object(Secret::new(text))),
            Some((scheme, _)) => unknown_scheme(scheme, &["mysql", "file", "s3", "gs", "az", "hdfs"]),
        }
    }

    /// The folder, when it is one of this machine.
    pub fn local(&self) -> Option<&Path> {
        match self {
            Self::Local(path) => Some(path),
            Self::Object(_) | Self::Mysql(_) => None,
        }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local(path) => write!(f, "{}", path.display()),
            Self::Object(url) => write!(f, "{url}"),
            Self::Mysql(place) => write!(f, "{}", place.url),
        }
    }
}

/// Where an export goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExportTarget {
    /// A database file of SQLite, absolute.
    Sqlite(PathBuf),
    /// A MySQL database.
    Mysql(Box<MysqlPlace>),
}

impl ExportTarget {
    /// Whether it is the same database, whoever logs in to it and however.
    pub fn is_same_database(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Sqlite(one), Self::Sqlite(other)) => one == other,
            (Self::Mysql(one), Self::Mysql(other)) => {
                let place = |place: &MysqlPlace| (place.host.clone(), place.port, place.database.clone());
                one.socket == other.socket && place(one) == place(other)
            }
            _ => false,
        }
    }

    /// Reads `sqlite:PATH` or `mysql://…`; relative paths are relative to the project's root.
    pub(super) fn parse(text: &str, root: &Path) -> Result<Self> {
        if let Some(path) = text.strip_prefix("sqlite:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            if path.is_empty() || path.ends_with('/') {
                bail!("`{text}` names no database file");
            }
            return Ok(Self::Sqlite(root.join(path)));
        }
        match text.split_once("://") {
            Some(("mysql", _)) => Ok(Self::Mysql(Box::new(MysqlPlace::parse(text)?))),
            _ if is_mistyped(text) => Err(mistyped()),
            Some((scheme, _)) => unknown_scheme(scheme, &["sqlite", "mysql"]),
            None => Err(Error::msg("an export goes to `sqlite:FILE` or to `mysql://…`"))
                .hint(format!("for a database file write `sqlite:{text}`")),
        }
    }
}

impl fmt::Display for ExportTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => write!(f, "sqlite:{}", path.display()),
            Self::Mysql(place) => write!(f, "{}", place.url),
        }
    }
}

/// Whether a text is no path and no URL but meant to be the URL of a database, as `mysql:/user:password@host/mall`: taken
/// for a folder, it would be shown with its password.
fn is_mistyped(text: &str) -> bool {
    let small = text.to_ascii_lowercase();
    let before = text.split_once("://").map_or(text, |(scheme, _)| scheme);
    let may_be_secret = before.find(':').zip(before.rfind('@')).is_some_and(|(colon, at)| colon < at);
    let almost = ["mysql:", "mysql//", "mariadb:", "mariadb//"].iter().any(|start| small.starts_with(start));
    let is_path = text.starts_with(['/', '.']);
    (almost && !small.starts_with("mysql://") && !small.starts_with("mariadb://")) || (may_be_secret && !is_path)
}

fn mistyped() -> Error {
    with_hint(
        Error::msg("this is neither a path nor a URL"),
        "did you mean `mysql://`? a folder of such a name begins with `./`",
    )
}

fn unknown_scheme<T>(scheme: &str, known: &[&str]) -> Result<T> {
    let error = Error::msg(format!("unknown kind of URL `{scheme}://`"));
    match nearest(scheme, known.iter().copied()) {
        Some(near) => Err(error).hint(format!("did you mean `{near}`?")),
        None => Err(error).hint(format!("known are: {}", known.join(", "))),
    }
}

/// An amount of memory or of disk, in bytes; reads `2GiB`, `512 MiB`, `1500MB` or plain bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

impl FromStr for ByteSize {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        let factor: Option<u64> = match unit.trim().to_ascii_lowercase().as_str() {
            "" | "b" => Some(1),
            "kib" | "k" => Some(1 << 10),
            "mib" | "m" => Some(1 << 20),
            "gib" | "g" => Some(1 << 30),
            "tib" | "t" => Some(1 << 40),
            "kb" => Some(1_000),
            "mb" => Some(1_000_000),
            "gb" => Some(1_000_000_000),
            "tb" => Some(1_000_000_000_000),
            _ => None,
        };
        let bytes = number.parse::<u64>().ok().zip(factor).and_then(|(n, f)| n.checked_mul(f));
        match bytes {
            Some(bytes) => Ok(Self(bytes)),
            None => {
                Err(Error::msg(format!("`{text}` is not an amount of memory"))).hint("write it like 2GiB or 512MiB")
            }
        }
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
        let step = (0..UNITS.len() - 1).rev().find(|&i| self.0 >> (10 * (i + 1)) > 0).map_or(0, |i| i + 1);
        let whole = 1_u64 << (10 * step);
        // Tenths, rounded half up, are exact enough for people and need no float.
        let tenths = (u128::from(self.0) * 10 + u128::from(whole) / 2) / u128::from(whole);
        match tenths % 10 {
            0 => write!(f, "{} {}", tenths / 10, UNITS[step]),
            tenth => write!(f, "{}.{tenth} {}", tenths / 10, UNITS[step]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::render;

    #[test]
    fn relative_paths_are_relative_to_the_project() {
        let root = Path::new("/shop");
        let local = |text| Location::parse(text, root).expect("a location").local().map(Path::to_path_buf);
        assert_eq!(local("warehouse/lake"), Some(PathBuf::from("/shop/warehouse/lake")));
        assert_eq!(local("/data/lake"), Some(PathBuf::from("/data/lake")));
        assert_eq!(local("file:///data/lake"), Some(PathBuf::from("/data/lake")));
        assert_eq!(local("s3://bucket/lake"), None);
        let sqlite = |text| ExportTarget::parse(text, root).expect("a target").to_string();
        assert_eq!(sqlite("sqlite:w/m.db"), "sqlite:/shop/w/m.db");
        assert_eq!(sqlite("sqlite:///m.db"), "sqlite:/m.db");
    }

    const MISTYPED: &str = "error: this is neither a path nor a URL\n hint: did you mean `mysql://`? a folder of such a name \
                            begins with `./`";

    #[test]
    fn a_location_that_is_none_says_what_it_should_be() {
        let root = Path::new("/shop");
        for (text, expected) in [
            ("mysqll://u:p@h/d", "error: unknown kind of URL `mysqll://`\n hint: did you mean `mysql`?"),
            (
                "mysql://u:p@h",
                "error: the URL names no database\n hint: the form is mysql://user:${MYSQL_PASSWORD}@host:3306/mall",
            ),
            ("file://x", "error: a file URL has three slashes: `file:///folder`"),
            ("", "error: the location is empty"),
            ("mysql:/u:p@h/d", MISTYPED),
            ("mysql//u:p@h/d", MISTYPED),
            ("mysql:u:p@h:33/d", MISTYPED),
            ("Mysql:/h/d", MISTYPED),
            ("msql:/u:p@h/d", MISTYPED),
        ] {
            let error = Location::parse(text, root).expect_err(text);
            assert_eq!(render(&error), expected, "{text}");
        }
        let error = ExportTarget::parse("mysql:/u:p@h/d", root).expect_err("mistyped");
        assert_eq!(render(&error), MISTYPED);
        let error = ExportTarget::parse("metrics.db", root).expect_err("no scheme");
        let expected = "error: an export goes to `sqlite:FILE` or to `mysql://…`\n \
                        hint: for a database file write `sqlite:metrics.db`";
        assert_eq!(render(&error), expected);
    }

    #[test]
    fn sizes_are_read_and_shown_in_binary_units() {
        for (text, bytes) in [("2GiB", 2 << 30), ("512 MiB", 512 << 20), ("64kb", 64_000), ("7", 7)] {
            assert_eq!(text.parse::<ByteSize>().expect(text), ByteSize(bytes));
        }
        for bad in ["", "GiB", "2 gigs", "-1", "1.5GiB", "99999999999999999999", "99999999TiB"] {
            assert!(bad.parse::<ByteSize>().is_err(), "{bad}");
        }
        for (bytes, text) in
            [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (2 << 30, "2 GiB"), (u64::MAX, "16777216 TiB")]
        {
            assert_eq!(ByteSize(bytes).to_string(), text);
        }
    }
}
