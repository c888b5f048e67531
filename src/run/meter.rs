//! How far a build has come, in partitions, for a bar or a log; from any thread.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::plan::Plan;
use crate::progress::{Event, Reporter, count, counted};

const STEP: &str = "build";

/// Counts partitions against those that were planned. A partition that turns out fresh counts when its model is done.
pub struct Meter {
    reporter: Arc<dyn Reporter>,
    planned: BTreeMap<String, usize>,
    done: Mutex<BTreeMap<String, usize>>,
}

impl Meter {
    /// A meter for what is planned; it says so when there is anything.
    pub fn start(reporter: &Arc<dyn Reporter>, plan: &Plan) -> Arc<Self> {
        let steps = plan.steps.iter().filter(|step| !step.slots.is_empty());
        let planned: BTreeMap<String, usize> = steps.map(|step| (step.model.clone(), step.slots.len())).collect();
        let meter = Self { reporter: Arc::clone(reporter), planned, done: Mutex::default() };
        let total = meter.total();
        if total > 0 {
            meter.reporter.report(Event::StepStarted { step: STEP.to_owned(), total });
        }
        Arc::new(meter)
    }

    fn total(&self) -> u64 {
        self.planned.values().sum::<usize>() as u64
    }

    /// Counts a partition of a model that was staged.
    pub fn staged(&self, model: &str) {
        self.note(model, |done, planned| (done + 1).min(planned));
    }

    /// Tells that so many partitions of a model are published by now, where there are more to come.
    pub fn published(&self, model: &str, partitions: usize) {
        let planned = self.planned.get(model).copied().unwrap_or(0);
        if partitions < planned {
            let text = format!("{model}: {partitions} of {} published", counted(planned as u64, "partition"));
            self.reporter.report(Event::Note(text));
        }
    }

    /// Counts all of a model, whatever became of it.
    pub fn over(&self, model: &str) {
        self.note(model, |_, planned| planned);
    }

    fn note(&self, model: &str, counts: impl Fn(usize, usize) -> usize) {
        let Some(planned) = self.planned.get(model) else { return };
        let mut all = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        let done = all.entry(model.to_owned()).or_default();
        *done = counts(*done, *planned);
        let done = all.values().sum::<usize>() as u64;
        self.reporter.report(Event::StepAdvanced { step: STEP.to_owned(), done });
    }

    /// Says what came of it, by the partitions that were built of each model.
    pub fn finish<'a>(&self, built: impl Iterator<Item = (&'a str, usize)> + Clone) {
        let total = self.total();
        if total > 0 {
            // A table that is built as a whole is planned as one, however many days it turns out to have.
            let planned = |model: &str| self.planned.get(model).copied().unwrap_or(0);
            let is_beyond = built.clone().any(|(model, built)| built > planned(model));
            let sum: u64 = built.map(|(_, built)| built as u64).sum();
            let built = counted(sum, "partition");
            let line = if is_beyond || sum > total { built } else { format!("{built} of {} planned", count(total)) };
            self.reporter.report(Event::StepFinished { step: STEP.to_owned(), line });
        }
    }
}
