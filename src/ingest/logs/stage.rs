//! Where events wait, a thousand at a time, before they become columns: rows are written by field, columns read by row.

use super::fields::Fields;
use super::scan::{Row, State};

/// How many events the stage holds.
pub const STAGE_ROWS: usize = 1024;
/// The distance between two columns: not a power of two, or all would share a few cache lines.
const STRIDE: usize = STAGE_ROWS + 8;

/// Where an event came from, and what was derived of it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Origin {
    /// The index of its day's columns.
    pub day: u32,
    /// The index of its file.
    pub file: i32,
    /// The day its file arrived, in days since 1970-01-01.
    pub arrival: i32,
    /// The index within an envelope.
    pub element: i32,
    /// The beginning of its line.
    pub byte_offset: i64,
    /// The hash of its identity.
    pub event_hash: i64,
    /// The place of its unknown fields in the arena, if it has any.
    pub extra: Option<i64>,
}

/// Events by row.
pub struct Stage {
    columns: usize,
    values: Vec<i64>,
    states: Vec<State>,
    origins: Vec<Origin>,
}

impl Stage {
    /// An empty stage.
    pub fn new(fields: &Fields) -> Self {
        let columns = fields.columns.len();
        Self {
            columns,
            values: vec![0; columns * STRIDE],
            states: vec![State::Absent; columns * STAGE_ROWS],
            origins: Vec::with_capacity(STAGE_ROWS),
        }
    }

    /// How many events wait.
    pub fn rows(&self) -> usize {
        self.origins.len()
    }

    /// The row that the next event is written to, empty. The stage must not be full.
    #[inline(always)]
    pub fn next_row(&mut self) -> Row<'_> {
        let row = self.origins.len();
        let states = &mut self.states[row * self.columns..(row + 1) * self.columns];
        states.fill(State::Absent);
        Row { values: &mut self.values[row..], stride: STRIDE, states }
    }

    /// The states of the row that is being written.
    #[inline(always)]
    pub fn next_states(&self) -> &[State] {
        let row = self.origins.len();
        &self.states[row * self.columns..(row + 1) * self.columns]
    }

    /// A value of the row that is being written.
    #[inline(always)]
    pub fn next_value(&self, column: usize) -> i64 {
        self.values[self.origins.len() + column * STRIDE]
    }

    /// Sets a field of the row that is being written.
    pub fn set(&mut self, column: usize, state: State, value: i64) {
        let row = self.origins.len();
        self.states[row * self.columns + column] = state;
        self.values[row + column * STRIDE] = value;
    }

    /// Makes the row that was written an event.
    #[inline(always)]
    pub fn push(&mut self, origin: Origin) {
        self.origins.push(origin);
    }

    /// Where the events came from.
    pub fn origins(&self) -> &[Origin] {
        &self.origins
    }

    /// The values of a column.
    pub fn values(&self, column: usize) -> &[i64] {
        &self.values[column * STRIDE..column * STRIDE + self.rows()]
    }

    /// Whether the column of a row has a value.
    #[inline(always)]
    pub fn is_present(&self, row: usize, column: usize) -> bool {
        self.states[row * self.columns + column] == State::Present
    }

    /// Forgets all events.
    pub fn clear(&mut self) {
        self.origins.clear();
    }
}
