//! A look at the extracts of a folder: which are new or say something else, by the rules of the ingest that will take
//! them. Nothing is written.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::Result;
use tokio::runtime::{Handle, RuntimeFlavor};

use super::batch::{Standing, is_unchanged, standing};
use super::extract::{Meter, read_extract};
use super::intake::Part;
use super::layout::Layout;
use super::record::{self, FileRecord};
use super::tally::Tally;
use super::{OrdersIngest, by_table};
use crate::config::source::Delivery;
use crate::ingest::files::InputFile;
use crate::ingest::waiting::{Allowance, Waiting};
use crate::progress::Silent;

/// Tells which extracts wait beneath a folder, for each declared table.
///
/// A snapshot is for the day it arrived; the days of changes are known by reading small files.
///
/// # Errors
/// When the folder or the lake cannot be read.
pub async fn waiting_orders(job: &OrdersIngest<'_>, root: &Path) -> Result<Vec<Waiting>> {
    let layouts = job.source.tables.iter().map(Layout::new).collect::<Result<Vec<_>>>()?;
    let mut files = by_table(job, root, &layouts)?;
    let mut allowance = Allowance::new();
    let mut all = Vec::new();
    for layout in &layouts {
        let records = record::files(&job.lake.records(&layout.table).await?)?;
        let files = files.remove(&layout.name).unwrap_or_default();
        let look = || look(job, layout, &files, records, &mut allowance);
        all.push(match Handle::current().runtime_flavor() {
            RuntimeFlavor::MultiThread => tokio::task::block_in_place(look),
            _ => look(),
        });
    }
    Ok(all)
}

fn look(
    job: &OrdersIngest<'_>,
    layout: &Layout,
    files: &[InputFile],
    mut known: BTreeMap<String, FileRecord>,
    allowance: &mut Allowance,
) -> Waiting {
    let mut waiting = Waiting::new(&layout.table);
    let mut loaded = BTreeSet::new();
    for file in files {
        if is_unchanged(file, known.get(&file.relative)) {
            continue;
        }
        let by_arrival = layout.delivery == Delivery::Snapshot;
        let may_be_read = allowance.grants(file.size);
        // What is too large to be read stands for itself.
        let new = !may_be_read
            || match standing(file, &known, |path| loaded.contains(path)) {
                Ok(Standing::Unchanged | Standing::Touched) => false,
                // Rows leave that it brought before, if it did.
                Ok(Standing::CopyOf(_)) => known.contains_key(&file.relative),
                Ok(Standing::New { .. }) | Err(_) => true,
            };
        if !new {
            continue;
        }
        waiting.add(file.arrival, file.size);
        let replaces = known.contains_key(&file.relative);
        if by_arrival {
            waiting.slots.insert(Some(file.arrival));
        }
        if !may_be_read {
            if !by_arrival {
                waiting.suppose(file.arrival);
            }
            continue;
        }
        let mut slots = BTreeSet::new();
        let mut sink = |part: Part| {
            if let Part::Rows { parts, .. } = part {
                slots.extend(parts.into_iter().map(|(slot, _)| slot));
            }
            Ok(())
        };
        // What cannot be read is told by the run; it brings nothing.
        let Ok(extract) = read_extract(job.name, layout, file, &Meter::new(&Silent, ""), &mut sink) else { continue };
        // Where rows leave that a file brought before, their days are in the lake.
        waiting.at_least |= replaces && !by_arrival;
        waiting.slots.extend(slots);
        let InputFile { relative, arrival, size, mtime_ms, .. } = file.clone();
        loaded.insert(relative.clone());
        let (path, run) = (relative.clone(), job.run.to_owned());
        let (hash, tally) = (extract.hash, Tally::default());
        known.insert(relative, FileRecord { path, size, mtime_ms, arrival, hash, tally, same_as: None, run });
    }
    waiting
}
