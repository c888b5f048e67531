//! Envelopes: one object with the fields that many events share, and an array of what is their own.

use anyhow::{Result, bail};

use super::super::extra::{self, Unknown};
use super::super::json::{Cursor, Fault, Span, unescape};
use super::super::rejects::Reason;
use super::super::scan::{State, place, text_at};
use super::super::stage::STAGE_ROWS;
use super::{Decoder, Line};

/// What the unknown fields of one line's events may take together; an envelope repeats its header's for every element.
const LINE_EXTRA_BYTES: usize = 64 << 20;

/// The typed fields of an envelope's header.
pub(super) struct Header {
    pub(super) values: Vec<i64>,
    pub(super) states: Vec<State>,
    pub(super) unknown: Vec<Unknown>,
    /// The canonical text of the unknown fields once it was needed.
    pub(super) extra: Option<i64>,
}

impl Header {
    /// A header of so many columns, without values.
    pub(super) fn new(columns: usize) -> Self {
        Self { values: vec![0; columns], states: vec![State::Absent; columns], unknown: Vec::new(), extra: None }
    }
}

impl Decoder {
    /// Unfolds an envelope, of which the row just scanned is the header.
    #[inline(never)]
    pub(super) fn unfold(&mut self, line: Line<'_>, data: Span) -> Result<()> {
        self.take_header();
        let mut text = Vec::new();
        let (bytes, array) = match line.bytes[data.start] {
            b'"' => {
                unescape(&line.bytes[data.start + 1..data.end - 1], &mut text);
                let array = Span { start: 0, end: text.len() };
                text.push(0);
                let mut cursor = Cursor::new(&text, array, self.limits.json_depth);
                if let Err(fault) = cursor.value().and_then(|_| cursor.finish()) {
                    let detail = format!("`{}` is a string that is not JSON: {fault}", self.envelope);
                    self.reject(line, 0, Reason::BadType, detail);
                    return Ok(());
                }
                (text.as_slice(), array)
            }
            _ => (line.bytes, data),
        };
        let mut cursor = Cursor::within(bytes, array, self.limits.json_depth);
        if cursor.next_token() != b'[' {
            let detail = format!("`{}` is not an array", self.envelope);
            self.reject(line, 0, Reason::BadType, detail);
            return Ok(());
        }
        if let Err(fault) = self.elements(line, &mut cursor)? {
            bail!("a text that was checked turned out malformed: {fault}");
        }
        Ok(())
    }

    /// Takes the elements of an envelope one by one; the cursor is at the bracket.
    fn elements(&mut self, line: Line<'_>, cursor: &mut Cursor<'_>) -> Result<Result<(), Fault>> {
        let mut element = 0;
        let mut failed = Ok(());
        let done = cursor.elements(|cursor| {
            if failed.is_err() {
                return cursor.value().map(drop);
            }
            if self.stage.rows() == STAGE_ROWS {
                failed = self.flush();
            }
            if cursor.peek() == b'{' {
                self.scan(cursor, true)?;
                self.inherit();
                self.event(line, cursor.bytes(), element, true);
            } else {
                cursor.value()?;
                self.reject(line, element, Reason::NotAnObject, String::new());
            }
            element += 1;
            Ok(())
        });
        failed?;
        if done.is_ok() && element == 0 {
            let detail = format!("`{}` is empty", self.envelope);
            self.reject(line, 0, Reason::MissingKind, detail);
        }
        Ok(done)
    }

    /// Makes the row just scanned the header of the elements to come.
    fn take_header(&mut self) {
        self.header.states.copy_from_slice(self.stage.next_states());
        for (column, value) in self.header.values.iter_mut().enumerate() {
            *value = self.stage.next_value(column);
        }
        std::mem::swap(&mut self.header.unknown, &mut self.unknown);
        self.header.extra = None;
        self.line_extra_bytes = 0;
        // The event's identity is its own: the header's names the delivery.
        self.header.states[self.fields.id] = State::Absent;
    }

    /// Gives the row just scanned the header's values where it has none.
    fn inherit(&mut self) {
        for column in 0..self.fields.columns.len() {
            let state = self.header.states[column];
            if self.stage.next_states()[column] == State::Absent && state != State::Absent {
                self.stage.set(column, state, self.header.values[column]);
                self.doubtful |= state == State::Bad;
            }
        }
    }

    /// Writes the unknown fields of the row just scanned, and its header's, to the arena.
    #[inline(never)]
    pub(super) fn extra(&mut self, line: Line<'_>, bytes: &[u8], inherits: bool) -> Result<i64, String> {
        let own = extra::Fields { text: bytes, unknown: &self.unknown };
        let header = if inherits { self.header.unknown.as_slice() } else { &[] };
        let header = extra::Fields { text: line.bytes, unknown: header };
        let (only_header, only_own) = (own.unknown.is_empty(), header.unknown.is_empty());
        let written = match self.header.extra {
            Some(written) if only_header => written,
            _ => {
                let start = self.arena.len();
                let depth = self.limits.json_depth;
                extra::write(header, own, depth, &mut self.arena).map_err(|fault| fault.to_string())?;
                place(start, self.arena.len() - start)
            }
        };
        if only_own {
            return Ok(written);
        }
        if only_header {
            self.header.extra = Some(written);
        }
        self.line_extra_bytes += text_at(&self.arena, written).len();
        if self.line_extra_bytes > LINE_EXTRA_BYTES {
            return Err(format!("unknown fields of the line's events take more than {LINE_EXTRA_BYTES} bytes"));
        }
        Ok(written)
    }
}
