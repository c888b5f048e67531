//! A deterministic shop: writes the client logs and order extracts of a shop that never was, in the exact formats of the
//! sources, at any scale and as dirty as wanted.
//!
//! Not part of the warehouse: nothing but the CLI's `sample` command uses it. The same options give the same bytes.
//! Everything about a device, a session or an order is derived from a hash of the seed and its number, so memory is
//! bounded by one day's sessions (32 bytes each) and the orders still under way. Reading order: `world` (when and how
//! much), `device` (who), `plan` (a day's sessions), `session` (a session's events), `logs` (their files), `orders` (what is
//! bought), `changes` and `snapshots` (the extracts); `dirt`, `envelope` and `smudge` make it messy.

mod changes;
mod csv;
mod device;
mod dirt;
mod draw;
mod envelope;
mod goods;
mod line;
mod logs;
mod orders;
mod outfile;
mod plan;
mod session;
mod smudge;
mod snapshots;
#[cfg(test)]
mod tests;
mod users;
mod world;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::date::{BizDate, Zone};
use world::World;

/// What to simulate.
#[derive(Clone, Debug)]
pub struct SampleOptions {
    /// The folder that `user_action/` and `orders/` are written to.
    pub out: PathBuf,
    /// How many business days.
    pub days: u32,
    /// How many devices there are in all; a quarter or so is active on a day.
    pub devices: u64,
    /// Client events a day, on average over a week.
    pub events: u64,
    /// Orders a day, on average over a week.
    pub orders: u64,
    /// How many goods the shop has.
    pub goods: u64,
    /// Another seed is another shop.
    pub seed: u64,
    /// The first business day.
    pub start: BizDate,
    /// The share of dirt, 0 to 1. At 0 the only lines that do not land are those of PC visitors who are not logged in.
    pub messy: f64,
    /// The zone of the shop's days and of its daily curve.
    pub zone: Zone,
}

/// What was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SampleSummary {
    /// Files of both sources.
    pub files: u64,
    /// Their size before compression.
    pub bytes: u64,
    /// Their size on disk.
    pub stored_bytes: u64,
    /// Client events simulated and sent, retransmissions not counted.
    pub events: u64,
    /// Events among them that were sent in a way real logs are dirty, and retransmissions.
    pub dirty: u64,
    /// Orders placed.
    pub orders: u64,
}

/// Simulates the shop and writes both sources under `out`, calling `progress` with (days done, days in all).
///
/// # Errors
/// Options out of range, folders that already hold something, and whatever the file system says.
pub fn write_sample(options: &SampleOptions, progress: &mut dyn FnMut(u64, u64)) -> Result<SampleSummary> {
    let world = World::new(options)?;
    let logs_root = empty_folder(&options.out, "user_action")?;
    let orders_root = empty_folder(&options.out, "orders")?;
    let mut summary = SampleSummary::default();
    let mut logs = logs::LogWriter::new(&world, logs_root);
    let mut changes = changes::ChangeWriter::new(&world, orders_root.clone());
    let mut snapshots = snapshots::SnapshotWriter::new(&world, orders_root);
    for day in &world.days {
        let sessions = plan::sessions(&world, day);
        let placed = orders::placed(&world, day, &sessions);
        logs.write_day(day, sessions, &mut summary)?;
        snapshots.write_day(day, &mut summary)?;
        changes.write_day(day, placed, &mut summary)?;
        progress(u64::from(day.index) + 1, world.days.len() as u64);
    }
    Ok(summary)
}

/// Makes the folder, or finds it empty: a sample is never mixed with what was there.
fn empty_folder(out: &Path, name: &str) -> Result<PathBuf> {
    let folder = out.join(name);
    fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
    let mut entries = fs::read_dir(&folder).with_context(|| format!("read {}", folder.display()))?;
    if entries.next().is_some() {
        bail!("{} is not empty; give another --out, or remove it first", folder.display());
    }
    Ok(folder)
}
