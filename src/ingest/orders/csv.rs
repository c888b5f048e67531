//! Splits CSV into records, strictly by RFC 4180, streaming, and keeping what typing must know: was a field quoted?
//!
//! Fields, line numbers and byte offsets only; what a field means is not its business. Nothing in the bytes is an
//! error here: a record that is no CSV is handed out as [`Broken`], and reading goes on at the next physical line, so
//! that a quote that is never closed costs one row and not the rest of the file.

use std::io::{self, ErrorKind, Read};
use std::ops::Range;

/// How much is asked of the input at once.
const READ_BYTES: usize = 128 * 1024;
/// A record's end is looked for this far beyond its limit: `\r\n`.
const LINE_END_BYTES: usize = 2;

/// Why a record could not be split.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    /// A quote within an unquoted field, or text after a closing quote.
    StrayQuote,
    /// A quote that the file never closes.
    OpenQuote,
    /// More bytes than the limit without the record's end.
    TooLong,
}

/// One record: its place, its bytes and its fields.
pub struct Record<'a> {
    /// Where it begins in the stream.
    pub offset: u64,
    /// The physical line it begins on, from 1.
    pub line: u64,
    /// Its bytes without the line end; of a broken record its first physical line, cut at the splitter's limit.
    pub raw: &'a [u8],
    /// Its fields.
    pub fields: Result<Fields<'a>, Broken>,
}

/// The fields of a record.
#[derive(Clone, Copy)]
pub struct Fields<'a> {
    record: &'a [u8],
    unescaped: &'a [u8],
    places: &'a [Place],
    count: usize,
}

impl<'a> Fields<'a> {
    /// How many there are, also of those beyond the number that is kept.
    pub fn count(&self) -> usize {
        self.count
    }

    /// A field's content without its quotes, and whether it had any; an index beyond the kept ones reads as empty.
    pub fn get(&self, index: usize) -> (&'a [u8], bool) {
        match self.places.get(index) {
            Some(Place { range, form: Form::Bare }) => (&self.record[range.clone()], false),
            Some(Place { range, form: Form::Quoted }) => (&self.record[range.clone()], true),
            Some(Place { range, form: Form::Unescaped }) => (&self.unescaped[range.clone()], true),
            None => (b"", false),
        }
    }
}

#[derive(Clone)]
struct Place {
    range: Range<usize>,
    form: Form,
}

#[derive(Clone, Copy)]
enum Form {
    /// As it stands in the record.
    Bare,
    /// Within quotes, as it stands in the record.
    Quoted,
    /// Within quotes, its doubled quotes made single in a buffer of its own.
    Unescaped,
}

/// Reads records from a stream in bounded memory.
pub struct Splitter<R> {
    input: R,
    buffer: Vec<u8>,
    /// Where the record being read begins in the buffer, and how far the buffer is filled.
    head: usize,
    filled: usize,
    ended: bool,
    offset: u64,
    line: u64,
    /// What the record handed out last takes: left behind when the next is asked for.
    taken: usize,
    /// Bytes of it that were not even kept in the buffer.
    dropped: u64,
    lines_taken: u64,
    limit: usize,
    keep: usize,
    places: Vec<Place>,
    count: usize,
    unescaped: Vec<u8>,
}

/// Where the byte looked for is.
enum Found {
    At(usize),
    /// Nowhere: the input ends here.
    End(usize),
    /// Beyond the limit of a record.
    TooFar,
}

/// What follows a field.
enum Next {
    /// Another field, beginning here.
    Field(usize),
    /// Nothing: the record ends here, and with its line end takes so many bytes.
    Done { end: usize, taken: usize },
}

impl<R: Read> Splitter<R> {
    /// A splitter at the beginning of a stream, past its byte-order mark; records longer than `limit` bytes are broken.
    ///
    /// # Errors
    /// When the input cannot be read.
    pub fn new(input: R, limit: usize) -> io::Result<Self> {
        let mut splitter = Self {
            input,
            buffer: Vec::new(),
            head: 0,
            filled: 0,
            ended: false,
            offset: 0,
            line: 1,
            taken: 0,
            dropped: 0,
            lines_taken: 0,
            limit,
            keep: usize::MAX,
            places: Vec::new(),
            count: 0,
            unescaped: Vec::new(),
        };
        while splitter.filled < 3 && !splitter.ended {
            splitter.refill()?;
        }
        if splitter.buffer[..splitter.filled].starts_with(b"\xEF\xBB\xBF") {
            splitter.taken = 3;
        }
        Ok(splitter)
    }

    /// Keeps only the first `fields` of each record from now on; the others are counted.
    pub fn keep_fields(&mut self, fields: usize) {
        self.keep = fields;
    }

    /// The next record that is not a blank line; `None` at the end.
    ///
    /// # Errors
    /// When the input cannot be read.
    pub fn next_record(&mut self) -> io::Result<Option<Record<'_>>> {
        let split = loop {
            self.leave_taken();
            if self.byte(0)?.is_none() {
                return Ok(None);
            }
            match self.split()? {
                Ok(0) => {}
                split => break split,
            }
        };
        let length = match split {
            Ok(length) => length,
            Err(_) => self.first_line()?,
        };
        let raw = &self.buffer[self.head..self.head + length];
        let (unescaped, places, count) = (&self.unescaped[..], &self.places[..], self.count);
        let fields = split.map(|_| Fields { record: raw, unescaped, places, count });
        Ok(Some(Record { offset: self.offset, line: self.line, raw, fields }))
    }

    /// Splits the record at the head and returns its length without the line end, 0 for a blank line.
    fn split(&mut self) -> io::Result<Result<usize, Broken>> {
        self.places.clear();
        self.unescaped.clear();
        self.count = 0;
        self.lines_taken = 0;
        let mut at = 0;
        loop {
            let quoted = self.byte(at)? == Some(b'"');
            let field = if quoted { self.quoted_field(at)? } else { self.bare_field(at)? };
            let (place, next) = match field {
                Ok(field) => field,
                Err(broken) => return Ok(Err(broken)),
            };
            let blank = !quoted && place.range.is_empty() && self.count == 0;
            self.count += 1;
            if self.places.len() < self.keep {
                self.places.push(place);
            }
            match next {
                Next::Field(start) => at = start,
                Next::Done { end, taken } => {
                    self.taken = taken;
                    self.lines_taken += 1;
                    return Ok(match end {
                        _ if blank => Ok(0),
                        end if end > self.limit => Err(Broken::TooLong),
                        end => Ok(end),
                    });
                }
            }
        }
    }

    fn bare_field(&mut self, at: usize) -> io::Result<Result<(Place, Next), Broken>> {
        let end = match self.find(at, |bytes| memchr::memchr3(b',', b'\n', b'"', bytes))? {
            Found::TooFar => return Ok(Err(Broken::TooLong)),
            Found::At(end) | Found::End(end) => end,
        };
        let place = |end| Place { range: at..end, form: Form::Bare };
        Ok(match self.byte(end)? {
            Some(b'"') => Err(Broken::StrayQuote),
            Some(b',') => Ok((place(end), Next::Field(end + 1))),
            last => {
                let taken = end + usize::from(last.is_some());
                let end = if end > at && self.buffer[self.head + end - 1] == b'\r' { end - 1 } else { end };
                Ok((place(end), Next::Done { end, taken }))
            }
        })
    }

    fn quoted_field(&mut self, at: usize) -> io::Result<Result<(Place, Next), Broken>> {
        let start = self.unescaped.len();
        let (mut from, mut doubled) = (at + 1, false);
        let close = loop {
            let quote = match self.find(from, |bytes| memchr::memchr(b'"', bytes))? {
                Found::TooFar => return Ok(Err(Broken::TooLong)),
                Found::End(_) => return Ok(Err(Broken::OpenQuote)),
                Found::At(quote) => quote,
            };
            let is_doubled = self.byte(quote + 1)? == Some(b'"');
            let segment = &self.buffer[self.head + from..self.head + quote];
            self.lines_taken += memchr::memchr_iter(b'\n', segment).count() as u64;
            if is_doubled || doubled {
                self.unescaped.extend_from_slice(segment);
            }
            if !is_doubled {
                break quote;
            }
            self.unescaped.push(b'"');
            doubled = true;
            from = quote + 2;
        };
        let place = match doubled {
            true => Place { range: start..self.unescaped.len(), form: Form::Unescaped },
            false => Place { range: at + 1..close, form: Form::Quoted },
        };
        let end = close + 1;
        let next = match (self.byte(end)?, self.byte(end + 1)?) {
            (Some(b','), _) => Next::Field(end + 1),
            (None, _) => Next::Done { end, taken: end },
            (Some(b'\n'), _) | (Some(b'\r'), None) => Next::Done { end, taken: end + 1 },
            (Some(b'\r'), Some(b'\n')) => Next::Done { end, taken: end + 2 },
            _ => return Ok(Err(Broken::StrayQuote)),
        };
        Ok(Ok((place, next)))
    }

    /// Takes the physical line at the head, of any length, and returns how much of it is there to show.
    fn first_line(&mut self) -> io::Result<usize> {
        self.lines_taken = 1;
        let mut from = 0;
        loop {
            let seen = self.filled - self.head;
            if let Some(end) = memchr::memchr(b'\n', &self.buffer[self.head + from..self.filled]) {
                self.taken = from + end + 1;
                return Ok((from + end).min(self.limit));
            }
            if self.ended {
                self.taken = seen;
                return Ok(seen.min(self.limit));
            }
            from = seen;
            if seen > self.limit {
                // The rest of an endless line is dropped as it comes; its beginning stays, to be shown.
                self.dropped += (seen - self.limit) as u64;
                self.filled = self.head + self.limit;
                from = self.limit;
            }
            self.refill()?;
        }
    }

    /// The byte at a place of the record, `None` at the end of the input.
    fn byte(&mut self, at: usize) -> io::Result<Option<u8>> {
        while self.head + at >= self.filled {
            if self.ended {
                return Ok(None);
            }
            self.refill()?;
        }
        Ok(Some(self.buffer[self.head + at]))
    }

    /// Looks for a byte from a place of the record on.
    fn find(&mut self, from: usize, search: impl Fn(&[u8]) -> Option<usize>) -> io::Result<Found> {
        let mut from = from;
        loop {
            let seen = self.filled - self.head;
            if let Some(at) = self.buffer[..self.filled].get(self.head + from..).and_then(&search) {
                return Ok(Found::At(from + at));
            }
            if self.ended {
                return Ok(Found::End(seen.max(from)));
            }
            if seen > self.limit + LINE_END_BYTES {
                return Ok(Found::TooFar);
            }
            from = seen.max(from);
            self.refill()?;
        }
    }

    /// Reads more, behind what is there of the record at the head.
    fn refill(&mut self) -> io::Result<()> {
        if self.head > 0 {
            self.buffer.copy_within(self.head..self.filled, 0);
            self.filled -= self.head;
            self.head = 0;
        }
        if self.buffer.len() < self.filled + READ_BYTES {
            self.buffer.resize(self.filled + READ_BYTES, 0);
        }
        loop {
            match self.input.read(&mut self.buffer[self.filled..]) {
                Ok(bytes) => {
                    self.filled += bytes;
                    self.ended = bytes == 0;
                    return Ok(());
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn leave_taken(&mut self) {
        self.head += self.taken;
        self.offset += self.taken as u64 + self.dropped;
        self.line += self.lines_taken;
        (self.taken, self.dropped, self.lines_taken) = (0, 0, 0);
    }
}
