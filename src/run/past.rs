//! What the records of past runs tell the plan: how long models took, and which failed when they were last tried.
//!
//! `run.json` is a by-product: what is missing or unreadable only leaves the plan with less to say.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

/// How many of the newest runs are looked through.
const RUNS: usize = 30;

/// How many of them a model's time is the mean of.
const TURNS: usize = 5;

#[derive(Deserialize)]
struct RunRecord {
    #[serde(default)]
    models: Vec<ModelRecord>,
}

#[derive(Deserialize)]
struct ModelRecord {
    model: String,
    result: String,
    #[serde(default)]
    built: u64,
    #[serde(default)]
    seconds: f64,
}

/// What is known of one model.
#[derive(Default)]
struct Known {
    turns: usize,
    partitions: u64,
    seconds: f64,
    /// The newest run that tried it, if it failed there.
    failed: Option<String>,
    is_tried: bool,
}

/// What is known of past runs.
#[derive(Default)]
pub struct Past {
    models: BTreeMap<String, Known>,
}

/// Looks through the newest runs in a folder.
pub fn past(runs: &Path) -> Past {
    let mut past = Past::default();
    let mut names: Vec<String> = std::fs::read_dir(runs)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort_unstable_by(|a, b| b.cmp(a));
    let records = names.into_iter().filter_map(|name| {
        let text = std::fs::read(runs.join(&name).join("run.json")).ok()?;
        Some((name, serde_json::from_slice(&text).ok()?))
    });
    for (run, record) in records.take(RUNS) {
        past.add(&run, record);
    }
    past
}

impl Past {
    /// Takes in a run that is older than the ones before.
    fn add(&mut self, run: &str, record: RunRecord) {
        for model in record.models {
            let known = self.models.entry(model.model).or_default();
            let failed = matches!(model.result.as_str(), "failed" | "checks_failed");
            if !known.is_tried && model.result != "skipped" {
                known.is_tried = true;
                known.failed = failed.then(|| run.to_owned());
            }
            if !failed && model.built > 0 && known.turns < TURNS {
                known.turns += 1;
                known.partitions += model.built;
                known.seconds += model.seconds;
            }
        }
    }

    /// The run in which a model failed, when that was the last one to try.
    pub fn failed(&self, model: &str) -> Option<&str> {
        self.models.get(model)?.failed.as_deref()
    }

    /// How long a partition of a model took in the mean; all of it, when it is made in one go.
    #[expect(clippy::cast_precision_loss, reason = "a mean of a few seconds")]
    pub fn seconds(&self, model: &str, whole: bool) -> Option<f64> {
        let known = self.models.get(model).filter(|known| known.turns > 0)?;
        Some(known.seconds / if whole { known.turns as f64 } else { known.partitions as f64 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn past_of(runs: &[(&str, &str)]) -> Past {
        let folder = tempfile::tempdir().expect("a folder");
        for (run, text) in runs {
            std::fs::create_dir(folder.path().join(run)).expect("a folder");
            std::fs::write(folder.path().join(run).join("run.json"), text).expect("writes");
        }
        past(folder.path())
    }

    fn record(result: &str, built: u64, seconds: f64) -> String {
        format!(r#"{{"models": [{{"model": "m", "result": "{result}", "built": {built}, "seconds": {seconds}}}]}}"#)
    }

    #[test]
    fn the_time_of_a_partition_is_the_mean_of_the_newest_runs_that_built_the_model() {
        let (old, new, idle) = (record("published", 10, 4.0), record("published", 6, 4.0), record("published", 0, 9.0));
        let past = past_of(&[("r1", &old), ("r2", &new), ("r3", &idle), ("r4", "{broken"), ("r5", "{}")]);
        assert_eq!(past.seconds("m", false), Some(0.5));
        assert_eq!(past.seconds("m", true), Some(4.0));
        assert_eq!(past.seconds("other", false), None);
    }

    #[test]
    fn a_failure_counts_until_the_model_was_built_again() {
        let (failed, skipped, built) =
            (record("failed", 0, 1.0), record("skipped", 0, 0.0), record("published", 1, 1.0));
        assert_eq!(past_of(&[("r1", &built), ("r2", &failed), ("r3", &skipped)]).failed("m"), Some("r2"));
        assert_eq!(past_of(&[("r1", &failed), ("r2", &built)]).failed("m"), None);
        assert_eq!(past_of(&[]).failed("m"), None);
    }
}
