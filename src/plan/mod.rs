//! What has to be built and why: fingerprints, freshness, the partitions a selection needs, and the plan made of them.
//!
//! Pure: the recorded state comes in as values, the plan goes out as a value with two readers, the executor and the
//! printer. One rule: a partition is stale when the fingerprint recorded with it differs from today's.

mod begin;
mod fingerprint;
mod rows;
mod stale;
mod state;
mod steps;
mod wanted;

pub use begin::{Begins, SourceStart, begins, has_content, obsolete};
pub use fingerprint::{Fingerprint, fingerprint};
pub use rows::{Cost, PlanRow, aligned, folded, listing, merged};
pub use stale::{Change, ChangedInput, Reason, stale};
pub use state::{DayIndex, SlotState, States, TableState};
pub use steps::{Expected, Plan, PlanStep, plan};
pub use wanted::{Wanted, Window, wanted};

#[cfg(test)]
mod histories;
#[cfg(test)]
mod telling;
#[cfg(test)]
mod tests;
