//! Strata: a layered batch warehouse for e-commerce, in one binary.
//!
//! Data flows one way: ingest → ODS → DWD → DWS → APP → export, and stages meet in the lake, never in memory. To read the
//! program: [`run`] tells the whole story of a night; [`plan`] says what is stale and why; [`model`] what an SQL file means;
//! [`transform`] how a partition is staged, checked and published; [`ingest`] and [`export`] are the two ends; [`engine`],
//! [`lake`] and [`mysql`] are DataFusion, Delta Lake and database servers as the rest sees them; [`cli`] is all that a person
//! meets.
//!
//! The engine knows layers, models and partitions, and nothing of goods or crashes: those are the project's content, SQL
//! files under `sql/` and declarations under `conf/`. Imports point one way, and `tests/tidy.rs` holds them to it.

pub mod check;
pub mod cli;
pub mod config;
pub mod date;
pub mod engine;
pub mod error;
pub mod export;
pub mod ingest;
pub mod lake;
pub mod model;
pub mod mysql;
pub mod plan;
pub mod progress;
pub mod run;
pub mod sample;
pub mod transform;
