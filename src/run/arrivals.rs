//! What waits at the sources, for the plan: each is looked at as the ingest would, and left as it is.

use std::path::Path;

use anyhow::{Result, anyhow};

use super::RunRequest;
use super::project::{Context, Project};
use super::steps::is_wanted;
use crate::config::source::Source;
use crate::config::{Location, SourceConfig};
use crate::error::{Advice, Exit, render};
use crate::ingest::Waiting;
use crate::ingest::logs::{LogsIngest, waiting_logs};
use crate::ingest::orders::{OrdersIngest, Origin, waiting_orders};

/// What a look at one source showed.
pub struct Arrivals {
    /// The source.
    pub source: String,
    /// What waits, by table; only tables for which something does.
    pub waiting: Vec<Waiting>,
    /// What is to be said of it besides: that it is only asked when the run comes, or what is wrong with it.
    pub note: Option<String>,
}

/// Looks at the wanted sources. What is wrong with one is said with it, for the run will go on with the others.
///
/// # Errors
/// When a source is of a kind that cannot be read.
pub async fn arrivals(ctx: &Context, project: &Project, request: &RunRequest) -> Result<Vec<Arrivals>> {
    let mut all = Vec::new();
    let wanted = ctx.config.sources.iter().filter(|(name, s)| is_wanted(&request.sources, name, &s.source));
    for (name, source) in wanted {
        let mut seen = Arrivals { source: name.clone(), waiting: Vec::new(), note: None };
        match place_of(ctx, name, source)? {
            Place::Database => seen.note = Some(format!("{} is asked when the run comes", source.location)),
            Place::Missing(error) => seen.note = Some(render(&error)),
            Place::Folder(root) => match look(ctx, project, (name, source), root).await {
                Ok(waiting) => seen.waiting = waiting.into_iter().filter(|waiting| waiting.files > 0).collect(),
                Err(error) => seen.note = Some(render(&error)),
            },
        }
        all.push(seen);
    }
    Ok(all)
}

async fn look(
    ctx: &Context,
    project: &Project,
    (name, source): (&str, &SourceConfig),
    root: &Path,
) -> Result<Vec<Waiting>> {
    let (zone, run, now_ms) = (ctx.config.timezone, ctx.run.as_str(), ctx.now_ms);
    let (lake, threads, reporter) = (&project.lake, 1, &*ctx.reporter);
    match &source.source {
        Source::Log(log) => {
            let job = LogsIngest { lake, name, source: log, root, zone, run, now_ms, threads, reporter };
            Ok(vec![waiting_logs(&job).await?])
        }
        Source::Tables(tables) => {
            let origin = Origin::Folder(root);
            let job = OrdersIngest { lake, name, source: tables, origin, zone, run, now_ms, threads, reporter };
            waiting_orders(&job, root).await
        }
    }
}

/// Where the rows of a source are to be had.
pub enum Place<'a> {
    /// In files beneath a folder.
    Folder(&'a Path),
    /// In such a folder, which is not there.
    Missing(anyhow::Error),
    /// In a database.
    Database,
}

/// Where a source is.
///
/// # Errors
/// When it is of a kind that cannot be read yet.
pub fn place_of<'a>(ctx: &Context, name: &str, source: &'a SourceConfig) -> Result<Place<'a>> {
    match &source.location {
        Location::Local(root) if root.is_dir() => Ok(Place::Folder(root)),
        Location::Local(root) => {
            let what = anyhow!("source {name}: there is no folder {}", ctx.config.shown(root));
            let hint = format!("create it, or set sources.{name} in conf/warehouse.toml");
            Ok(Place::Missing(crate::error::with_hint(what, hint)))
        }
        Location::Mysql(_) => Ok(Place::Database),
        Location::Object(_) => {
            let what = anyhow!("source {name} at {}: only folders of this machine can be read yet", source.location);
            Err(what).exit(Exit::Usage)
        }
    }
}
