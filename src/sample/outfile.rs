//! One output file: buffered, counted, plain or compressed to the same bytes every time.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use flate2::write::GzEncoder;
use flate2::{Compression, GzBuilder};

use super::SampleSummary;

/// How a file is compressed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Pack {
    Plain,
    Gz,
    Zst,
}

/// Where the shop's software is untidy about files.
#[derive(Clone, Copy, Default)]
pub struct Quirks {
    /// It begins with a byte order mark.
    pub bom: bool,
    /// Its lines end in CR LF.
    pub crlf: bool,
    /// Its last line has no end.
    pub unterminated: bool,
    /// It consists of two compressed streams, one after the other.
    pub two_streams: bool,
}

/// A file being written; lines are appended to `buffer` and ended by [`OutFile::end_line`].
pub struct OutFile {
    pub buffer: Vec<u8>,
    path: PathBuf,
    sink: Sink,
    quirks: Quirks,
    bytes: u64,
}

enum Sink {
    Plain(File),
    Gz(GzEncoder<File>),
    Zst(zstd::Encoder<'static, File>),
}

/// How much is gathered before it is written.
const CHUNK_BYTES: usize = 256 * 1024;

/// Where a file of two streams is cut.
const FIRST_STREAM_BYTES: u64 = 16 * 1024;

impl OutFile {
    /// Creates `<folder>/<name>` with the suffix of its compression.
    pub fn create(folder: &Path, name: &str, pack: Pack, quirks: Quirks) -> Result<Self> {
        let suffix = match pack {
            Pack::Plain => "",
            Pack::Gz => ".gz",
            Pack::Zst => ".zst",
        };
        let path = folder.join(format!("{name}{suffix}"));
        fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
        let file = File::create(&path).with_context(|| format!("create {}", path.display()))?;
        let sink = Sink::new(file, pack).with_context(|| format!("create {}", path.display()))?;
        let mut buffer = Vec::with_capacity(CHUNK_BYTES + 4096);
        if quirks.bom {
            buffer.extend_from_slice("\u{feff}".as_bytes());
        }
        Ok(Self { buffer, path, sink, quirks, bytes: 0 })
    }

    /// Ends the line in the buffer.
    pub fn end_line(&mut self) -> Result<()> {
        let end: &[u8] = if self.quirks.crlf { b"\r\n" } else { b"\n" };
        self.buffer.extend_from_slice(end);
        let cut = self.quirks.two_streams && self.bytes + self.buffer.len() as u64 > FIRST_STREAM_BYTES;
        if cut {
            self.quirks.two_streams = false;
            self.flush()?;
            return self.begin_stream();
        }
        if self.buffer.len() >= CHUNK_BYTES { self.flush() } else { Ok(()) }
    }

    /// Writes what is left, closes the file and counts it.
    pub fn finish(mut self, summary: &mut SampleSummary) -> Result<()> {
        if self.quirks.unterminated && self.buffer.last() == Some(&b'\n') {
            self.buffer.pop();
        }
        self.flush()?;
        let Self { sink, path, bytes, .. } = self;
        let stored = sink.finish().and_then(|file| file.metadata());
        summary.stored_bytes += stored.with_context(|| format!("write {}", path.display()))?.len();
        summary.bytes += bytes;
        summary.files += 1;
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        let written = match &mut self.sink {
            Sink::Plain(file) => file.write_all(&self.buffer),
            Sink::Gz(encoder) => encoder.write_all(&self.buffer),
            Sink::Zst(encoder) => encoder.write_all(&self.buffer),
        };
        written.with_context(|| format!("write {}", self.path.display()))?;
        self.bytes += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    /// Ends the compressed stream and begins another in the same file, as appending log shippers do.
    fn begin_stream(&mut self) -> Result<()> {
        let context = || format!("write {}", self.path.display());
        match &mut self.sink {
            Sink::Plain(_) => {}
            Sink::Gz(encoder) => {
                encoder.try_finish().with_context(context)?;
                let file = encoder.get_ref().try_clone().with_context(context)?;
                self.sink = Sink::new(file, Pack::Gz).with_context(context)?;
            }
            Sink::Zst(encoder) => {
                encoder.do_finish().with_context(context)?;
                let file = encoder.get_ref().try_clone().with_context(context)?;
                self.sink = Sink::new(file, Pack::Zst).with_context(context)?;
            }
        }
        Ok(())
    }
}

impl Sink {
    fn new(file: File, pack: Pack) -> std::io::Result<Self> {
        Ok(match pack {
            Pack::Plain => Self::Plain(file),
            // No time in the header, so that the bytes depend on nothing but the contents.
            Pack::Gz => Self::Gz(GzBuilder::new().mtime(0).write(file, Compression::new(3))),
            Pack::Zst => Self::Zst(zstd::Encoder::new(file, 3)?),
        })
    }

    fn finish(self) -> std::io::Result<File> {
        match self {
            Self::Plain(file) => Ok(file),
            Self::Gz(encoder) => encoder.finish(),
            Self::Zst(encoder) => encoder.finish(),
        }
    }
}
