//! Reads a project's configuration from its files, the environment and the command line, in this order of rising rank.

use std::collections::BTreeMap;
use std::fs;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Error, Result};
use chrono_tz::TZ_VARIANTS;
use serde::Deserialize;
use toml::Spanned;

use super::document::{Document, Text, filled_in};
use super::source::Source;
use super::validate;
use super::{
    ByteSize, Config, EXPORT_SILENCE, Environment, ExportTarget, Location, MysqlPlace, Reading, Resources,
    SourceConfig, Tls, WAREHOUSE_FILE,
};
use crate::date::{BizDate, Zone};
use crate::error::{Advice, Exit, nearest};

/// No file of a person's configuration comes near it.
const FILE_LIMIT: u64 = 4 << 20;

/// The keys of `conf/warehouse.toml`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Warehouse {
    timezone: Option<Spanned<String>>,
    start: Option<Spanned<Text>>,
    lake: Lake,
    #[serde(default)]
    sources: BTreeMap<String, Place>,
    #[serde(default)]
    exports: BTreeMap<String, Export>,
    #[serde(default)]
    resources: Limits,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Lake {
    url: Spanned<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Place {
    path: Option<Spanned<String>>,
    url: Option<Spanned<String>>,
    password_file: Option<String>,
    tls: Option<Tls>,
    tls_ca: Option<Spanned<String>>,
    connections: Option<Spanned<Text>>,
    rows_per_second: Option<Spanned<Text>>,
    overlap: Option<Spanned<String>>,
    silence: Option<Spanned<String>>,
}

impl Place {
    /// The first of its keys that only a database has a use for.
    fn first_of_databases(&self) -> Option<&'static str> {
        let keys = [
            ("password_file", self.password_file.is_some()),
            ("tls", self.tls.is_some()),
            ("tls_ca", self.tls_ca.is_some()),
            ("connections", self.connections.is_some()),
            ("rows_per_second", self.rows_per_second.is_some()),
            ("overlap", self.overlap.is_some()),
            ("silence", self.silence.is_some()),
        ];
        keys.into_iter().find(|(_, is_there)| *is_there).map(|(key, _)| key)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Export {
    url: Spanned<String>,
    password_file: Option<String>,
    tls: Option<Tls>,
    tls_ca: Option<Spanned<String>>,
    load_data: Option<Spanned<Text>>,
    silence: Option<Spanned<String>>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Limits {
    memory: Option<Spanned<Text>>,
    threads: Option<Spanned<Text>>,
}

impl Config {
    /// Loads the project in a folder; `overrides` are settings and values as `--set` gives them.
    ///
    /// Fails, with [`Exit::Usage`], on the first thing wrong in any of the files.
    pub fn load(root: &Path, overrides: &[(String, String)]) -> Result<Self> {
        Self::load_in(root, overrides, &Environment::current()).exit(Exit::Usage)
    }

    fn load_in(root: &Path, overrides: &[(String, String)], environment: &Environment) -> Result<Self> {
        let root = std::path::absolute(root).with_context(|| format!("find {}", root.display()))?;
        let text =
            read_text(&root, WAREHOUSE_FILE).hint("a project has this file; `strata init DIR` makes a new project")?;
        let mut document = Document::parse(WAREHOUSE_FILE, &text)?;
        for (name, key, value) in environment.overrides() {
            document.set(name, &key, value)?;
        }
        for (key, value) in overrides {
            let name = format!("--set {key}");
            // Filled in here and not by the shell, a secret stays out of the list of processes.
            let filled = filled_in(value, environment).with_context(|| name.clone())?;
            document.set(&name, key, &filled)?;
        }
        document.expand(environment)?;
        let warehouse: Warehouse = document.read()?;

        let declared = load_sources(&root)?;
        Ok(Self {
            timezone: match &warehouse.timezone {
                Some(name) => document.parsed(name, |name| parse_zone(name))?,
                None => parse_zone("Asia/Shanghai")?,
            },
            start: warehouse.start.map(|t| document.parsed(&t, |t| t.0.parse::<BizDate>())).transpose()?,
            lake: document.parsed(&warehouse.lake.url, |url| lake_location(url, &root))?,
            sources: join_sources(&document, warehouse.sources, declared, &root)?,
            exports: (warehouse.exports.into_iter())
                .map(|(name, export)| Ok((name, export_target(&document, &export, &root)?)))
                .collect::<Result<_>>()?,
            resources: Resources {
                memory: match &warehouse.resources.memory {
                    Some(size) => document.parsed(size, |t| parse_memory(&t.0))?,
                    None => ByteSize(2 << 30),
                },
                threads: match &warehouse.resources.threads {
                    Some(number) => document.parsed(number, |t| parse_threads(&t.0))?,
                    None => None,
                },
            },
            root,
        })
    }
}

impl Document<'_> {
    /// Reads one value further; what is wrong with it is said with its place.
    fn parsed<V, T>(&self, value: &Spanned<V>, parse: impl FnOnce(&V) -> Result<T>) -> Result<T> {
        parse(value.get_ref()).or_else(|e| self.fail(&value.span(), e))
    }
}

/// Finds the project: the folder named, or the one of `STRATA_PROJECT`, or the nearest one around the current folder.
pub fn find_root(named: Option<&Path>, environment: &Environment) -> Result<PathBuf> {
    if let Some(root) = named.map(Path::to_path_buf).or_else(|| environment.project()) {
        return std::path::absolute(&root).with_context(|| format!("find {}", root.display()));
    }
    let here = std::env::current_dir().context("find the current folder")?;
    match here.ancestors().find(|folder| folder.join(WAREHOUSE_FILE).is_file()) {
        Some(root) => Ok(root.to_path_buf()),
        None => Err(Error::msg(format!("no project here: no {WAREHOUSE_FILE} in {} or above", here.display())))
            .hint("go to a project, name one with --project DIR, or make one with `strata init DIR`")
            .exit(Exit::Usage),
    }
}

fn read_text(root: &Path, file: &str) -> Result<String> {
    let path = root.join(file);
    let size = fs::metadata(&path).with_context(|| format!("read {}", path.display()))?.len();
    if size > FILE_LIMIT {
        return Err(Error::msg(format!("{} is too large for a configuration: {}", path.display(), ByteSize(size))));
    }
    fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))
}

/// The sources that `conf/sources/*.toml` declare, by name.
fn load_sources(root: &Path) -> Result<BTreeMap<String, Source>> {
    let folder = root.join("conf/sources");
    let mut sources = BTreeMap::new();
    let entries = match fs::read_dir(&folder) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(sources),
        entries => entries.with_context(|| format!("read {}", folder.display()))?,
    };
    for entry in entries {
        let file_name = entry.with_context(|| format!("read {}", folder.display()))?.file_name();
        let file_name = file_name.to_string_lossy();
        if let Some(name) = file_name.strip_suffix(".toml").filter(|name| !name.starts_with('.')) {
            sources.insert(name.to_owned(), load_source(root, &format!("conf/sources/{file_name}"))?);
        }
    }
    Ok(sources)
}

fn load_source(root: &Path, file: &str) -> Result<Source> {
    let text = read_text(root, file)?;
    let mut document = Document::parse(file, &text)?;
    // Serde's tagged enums forget where values stand, hence the kind is looked at by hand.
    let Some((span, kind)) = document.take_text("kind")? else {
        let error = Error::msg("the key `kind` is missing");
        return document.fail(&(0..0), error).hint("write `kind = \"log\"` or `kind = \"tables\"`");
    };
    match kind.as_str() {
        "log" => {
            let log = document.read()?;
            validate::log(&document, &log)?;
            Ok(Source::Log(log))
        }
        "tables" => {
            let tables = document.read()?;
            validate::tables(&document, &tables)?;
            Ok(Source::Tables(tables))
        }
        _ => document.fail(&span, Error::msg(format!("unknown kind of source `{kind}`"))).hint("known: log, tables"),
    }
}

/// Brings together where the sources are and what is in them; both must name the same.
fn join_sources(
    document: &Document<'_>,
    places: BTreeMap<String, Place>,
    mut declared: BTreeMap<String, Source>,
    root: &Path,
) -> Result<BTreeMap<String, SourceConfig>> {
    let mut sources = BTreeMap::new();
    for (name, place) in places {
        let span = document.span_of(&["sources", &name]);
        let Some(source) = declared.remove(&name) else {
            let near = nearest(&name, declared.keys().map(String::as_str));
            let error = Error::msg(format!("the source `{name}` has no conf/sources/{name}.toml"));
            return document.fail(&span, error).hint(match near {
                Some(near) => format!("did you mean `{near}`?"),
                None => "that file declares its fields and types".to_owned(),
            });
        };
        let written = match (place.path.clone(), place.url.clone()) {
            (Some(text), None) | (None, Some(text)) => text,
            (Some(_), Some(url)) => {
                return document
                    .fail(&url.span(), Error::msg(format!("the source `{name}` has both a path and a url")));
            }
            (None, None) => {
                let error = Error::msg(format!("the source `{name}` has no place"));
                return document.fail(&span, error).hint("add `path = \"FOLDER\"` or `url = \"…\"`");
            }
        };
        let mut location = document.parsed(&written, |text| Location::parse(text, root))?;
        let key_span = |key: &str| document.span_of(&["sources", &name, key]);
        if !matches!(location, Location::Mysql(_))
            && let Some(key) = place.first_of_databases()
        {
            let error = Error::msg(format!("`{key}` is for a database, and the source `{name}` is none"));
            return document.fail(&key_span(key), error).hint(format!("take `{key}` away"));
        }
        if let Location::Mysql(database) = location {
            if database.password.is_some() && place.password_file.is_some() {
                let error = Error::msg(format!("the source `{name}` has a password in its URL and a password_file"));
                return document.fail(&key_span("password_file"), error).hint("take one of them away");
            }
            let guards = (place.password_file.as_deref(), place.tls, place.tls_ca.as_ref());
            location = Location::Mysql(Box::new(guarded(document, *database, root, guards)?));
        }
        let reading = reading(document, &place)?;
        if let (Location::Mysql(_), Source::Log(_)) = (&location, &source) {
            return document.fail(&written.span(), Error::msg("a log is read from files, not from a database"));
        }
        sources.insert(name, SourceConfig { location, source, reading });
    }
    match declared.keys().next() {
        None => Ok(sources),
        Some(name) => {
            let error =
                Error::msg(format!("conf/sources/{name}.toml: {WAREHOUSE_FILE} does not say where `{name}` is"));
            Err(error).hint(format!("add [sources.{name}] with a path or a url there, or remove the file"))
        }
    }
}

fn export_target(document: &Document<'_>, export: &Export, root: &Path) -> Result<ExportTarget> {
    match document.parsed(&export.url, |url| ExportTarget::parse(url, root))? {
        ExportTarget::Mysql(database) => {
            let guards = (export.password_file.as_deref(), export.tls, export.tls_ca.as_ref());
            let place = guarded(document, *database, root, guards)?;
            let load_data = export.load_data.as_ref().map(|text| document.parsed(text, |text| parse_truth(&text.0)));
            let load_data = load_data.transpose()?.unwrap_or(true);
            let silence = silence(document, export.silence.as_ref())?.unwrap_or(EXPORT_SILENCE);
            Ok(ExportTarget::Mysql(Box::new(MysqlPlace { load_data, silence, ..place })))
        }
        file => {
            let given = [
                ("password_file", export.password_file.is_some()),
                ("tls", export.tls.is_some()),
                ("tls_ca", export.tls_ca.is_some()),
                ("load_data", export.load_data.is_some()),
                ("silence", export.silence.is_some()),
            ];
            match given.into_iter().find(|(_, is_given)| *is_given) {
                None => Ok(file),
                Some((key, _)) => document
                    .fail(&export.url.span(), Error::msg(format!("`{key}` is for a server, and this export is a file")))
                    .hint("remove it, or write `url = \"mysql://…\"`"),
            }
        }
    }
}

fn guarded(
    document: &Document<'_>,
    database: MysqlPlace,
    root: &Path,
    (password_file, tls, tls_ca): (Option<&str>, Option<Tls>, Option<&Spanned<String>>),
) -> Result<MysqlPlace> {
    let ca = tls_ca.map(|ca| ca.get_ref().as_str());
    let place = database.guarded(root, password_file, tls, ca);
    place.or_else(|e| document.fail(&tls_ca.map_or(0..0, Spanned::span), e))
}

fn reading(document: &Document<'_>, place: &Place) -> Result<Reading> {
    let mut reading = Reading::default();
    if let Some(text) = &place.connections {
        reading.connections = document.parsed(text, |text| parse_count(&text.0, 1, 64))?;
    }
    if let Some(text) = &place.rows_per_second {
        reading.rows_per_second = NonZeroUsize::new(document.parsed(text, |text| parse_count(&text.0, 0, 1 << 30))?);
    }
    if let Some(text) = &place.overlap {
        reading.overlap = document.parsed(text, |text| parse_duration(text))?;
    }
    if let Some(silence) = silence(document, place.silence.as_ref())? {
        reading.silence = silence;
    }
    Ok(reading)
}

fn silence(document: &Document<'_>, text: Option<&Spanned<String>>) -> Result<Option<Duration>> {
    let parsed = text.map(|text| document.parsed(text, |text| parse_duration(text)));
    Ok(parsed.transpose()?.map(|silence| silence.max(Duration::from_secs(1))))
}

fn parse_truth(text: &str) -> Result<bool> {
    text.parse().map_err(|_| Error::msg(format!("`{text}` is neither true nor false")))
}

fn parse_count(text: &str, least: usize, most: usize) -> Result<usize> {
    match text.parse::<usize>() {
        Ok(number) if (least..=most).contains(&number) => Ok(number),
        _ => Err(Error::msg(format!("`{text}` is not a number between {least} and {most}"))),
    }
}

/// A time of at most a month: `45s`, `10m`, `2h`, `1d`.
fn parse_duration(text: &str) -> Result<Duration> {
    let seconds = text.split_at_checked(text.len().saturating_sub(1)).and_then(|(number, unit)| {
        let factor = match unit {
            "s" => 1,
            "m" => 60,
            "h" => 3_600,
            "d" => 86_400,
            _ => return None,
        };
        number.parse::<u64>().ok()?.checked_mul(factor)
    });
    match seconds {
        Some(seconds) if seconds <= 31 * 86_400 => Ok(Duration::from_secs(seconds)),
        _ => Err(Error::msg(format!("`{text}` is not a time of at most a month")))
            .hint("write it like 45s, 10m, 2h or 1d"),
    }
}

fn lake_location(text: &str, root: &Path) -> Result<Location> {
    match Location::parse(text, root)? {
        Location::Mysql(_) => Err(Error::msg("a lake is a folder, not a database")),
        location => Ok(location),
    }
}

fn parse_zone(name: &str) -> Result<Zone> {
    let zone = name.parse::<Zone>();
    let candidates = TZ_VARIANTS.iter().map(|tz| tz.name());
    match nearest(name, candidates).filter(|_| zone.is_err()) {
        Some(near) => zone.hint(format!("did you mean `{near}`?")),
        None => zone,
    }
}

fn parse_memory(text: &str) -> Result<ByteSize> {
    let memory: ByteSize = text.parse()?;
    match memory {
        ByteSize(bytes) if bytes < 64 << 20 => {
            Err(Error::msg(format!("{memory} is too little memory"))).hint("at least 64MiB")
        }
        _ => Ok(memory),
    }
}

fn parse_threads(text: &str) -> Result<Option<NonZeroUsize>> {
    match text.parse::<usize>() {
        Ok(number) if number <= 1024 => Ok(NonZeroUsize::new(number)),
        _ => Err(Error::msg(format!("`{text}` is not a number of threads"))).hint("0 to 1024; 0 is all there are"),
    }
}

#[cfg(test)]
mod tests;
