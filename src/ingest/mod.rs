//! Ingest: what comes in (client logs, order extracts) becomes rows of ODS tables, landed or rejected, never lost.
//!
//! Each source commits its rows together with the record of what it read, so that nothing is read twice or forgotten.

pub mod files;
pub mod logs;
pub mod orders;
pub mod rejects;
