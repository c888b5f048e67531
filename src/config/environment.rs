//! The process's environment: the one place that reads it.

use std::collections::BTreeMap;
use std::path::PathBuf;

/// A snapshot of the environment variables; those that are not UTF-8 are left out.
#[derive(Clone, Default)]
pub struct Environment(BTreeMap<String, String>);

impl Environment {
    /// Takes the snapshot.
    pub fn current() -> Self {
        let readable = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        Self(std::env::vars_os().filter_map(readable).collect())
    }

    /// A variable's value.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// Whether colour is unwanted (`NO_COLOR`, <https://no-color.org>) or impossible (`TERM=dumb`).
    pub fn plain(&self) -> bool {
        self.get("NO_COLOR").is_some_and(|v| !v.is_empty()) || self.get("TERM") == Some("dumb")
    }

    /// The project folder that `STRATA_PROJECT` names.
    pub fn project(&self) -> Option<PathBuf> {
        self.get("STRATA_PROJECT").filter(|v| !v.is_empty()).map(PathBuf::from)
    }

    /// The overrides it holds: `STRATA__LAKE__URL=…` is the setting `lake.url`. Gives variable, setting, value.
    pub(super) fn overrides(&self) -> impl Iterator<Item = (&str, String, &str)> {
        self.0.iter().filter_map(|(name, value)| {
            let key = name.strip_prefix("STRATA__")?;
            Some((name.as_str(), key.replace("__", ".").to_lowercase(), value.as_str()))
        })
    }
}

impl<const N: usize> From<[(&str, &str); N]> for Environment {
    fn from(pairs: [(&str, &str); N]) -> Self {
        Self(pairs.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
    }
}
