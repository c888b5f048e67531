//! What a run says while it works: events for whoever watches, and how they count things. Only `cli` prints them;
//! everything else reports here.

use std::time::Duration;

use crate::date::Slot;

/// Something worth telling the person at the keyboard, the log of cron, or the run's record.
#[derive(Clone, Debug)]
pub enum Event {
    /// A long step begins; `total` is in the step's unit (bytes, rows), 0 when unknown.
    StepStarted {
        /// What is being done, for instance `ingest user_action`.
        step: String,
        /// How much there is to do.
        total: u64,
    },
    /// The running step has come this far.
    StepAdvanced {
        /// The step's name, as it was started.
        step: String,
        /// How much is done, in the unit of the total.
        done: u64,
    },
    /// A step is over; the line is its result for people.
    StepFinished {
        /// The step's name, as it was started.
        step: String,
        /// What came of it.
        line: String,
    },
    /// Partitions of a model were built (one event a batch).
    ModelBuilt {
        /// The model.
        model: String,
        /// Whether it is made by the day, and not in one go.
        by_day: bool,
        /// The first and the last of the partitions.
        slots: (Slot, Slot),
        /// How many of them there are, and how many of these changed.
        partitions: usize,
        /// How many of them differ from what was there.
        changed: usize,
        /// Rows staged.
        rows: u64,
        /// How long it took.
        elapsed: Duration,
    },
    /// Something is odd but not wrong; the run goes on, and `--strict` makes it an exit code.
    Warning(String),
    /// Something failed; the run goes on with what does not depend on it.
    Failure(String),
    /// Plain talk.
    Note(String),
}

/// Receives events; must be cheap and may be called from any thread.
pub trait Reporter: Send + Sync {
    /// Takes one event.
    fn report(&self, event: Event);
}

/// Drops every event.
pub struct Silent;

impl Reporter for Silent {
    fn report(&self, _: Event) {}
}

/// A count with its thousands set apart: `41,203`.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A count and its noun: `1 row`, `41,203 rows`.
pub fn counted(number: u64, noun: &str) -> String {
    format!("{} {noun}{}", count(number), if number == 1 { "" } else { "s" })
}
