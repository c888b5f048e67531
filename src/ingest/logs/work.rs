//! What a worker does with a segment: decode it, and encode the days that have enough of it for a file of their own.

use std::sync::Arc;
use std::sync::mpsc::Sender;

use anyhow::{Context, Result, bail};
use arrow::array::RecordBatch;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema};

use super::decode::{Counts, DayBatch, Decoded, Decoder, FileContext};
use super::reader::{Part, Reached, Segment};
use crate::config::source::LogSource;
use crate::date::{BizDate, Zone};
use crate::lake::{EncodedFile, encode_parquet};

/// A day with at least as many rows in a segment gets a file for them; fewer wait for those of other segments.
const FILE_ROWS: usize = 25_000;
/// Rejects, which hold their lines, also get a file when they take as much memory.
const FILE_REJECT_BYTES: usize = 16 << 20;

/// Events of one day from one segment.
pub struct DayRows {
    /// The day.
    pub day: BizDate,
    /// How many there are.
    pub count: u64,
    /// The events.
    pub rows: Rows,
    /// Their files, by place in the plan.
    pub files: Vec<usize>,
}

/// Rows of a partition, as a file when they are many.
pub enum Rows {
    /// A Parquet file.
    File(EncodedFile),
    /// Batches.
    Few(Vec<RecordBatch>),
}

/// A decoded segment.
pub struct Done {
    /// Its place in the order.
    pub number: usize,
    /// Its events by day.
    pub days: Vec<DayRows>,
    /// Its rejects by arrival date.
    pub rejects: Vec<(BizDate, Rows)>,
    /// What became of the events of its files.
    pub counts: Vec<(usize, Counts)>,
    /// How far its files were read.
    pub reached: Vec<Reached>,
    /// What is odd about them.
    pub warnings: Vec<String>,
    /// Decompressed bytes taken.
    pub bytes: u64,
    /// Stored bytes of the files read so far, about.
    pub stored: u64,
}

/// What all workers share.
pub struct Work<'a> {
    /// The source's name.
    pub name: &'a str,
    /// Its declaration.
    pub source: &'a LogSource,
    /// The warehouse's zone.
    pub zone: Zone,
    /// The planned files, as the decoder knows them.
    pub files: Vec<FileContext>,
}

impl Work<'_> {
    /// Decodes a segment; its buffer is given back to be read into again as soon as its lines are columns.
    ///
    /// # Errors
    /// When rows are lost or made on the way, or cannot be encoded; either is a mistake of the program.
    pub fn decode(&self, segment: Segment, give_back: &Sender<Vec<u8>>) -> Result<Done> {
        let (begun, segment, decoded) = self.decoded(segment, give_back)?;
        let Segment { number, reached, warnings, bytes, stored, .. } = segment;
        let Decoded { days, rejects, files, .. } = decoded;
        let counts = begun.iter().copied().zip(files.into_iter().map(|(_, counts)| counts)).collect();
        let days = by_day(days, &begun)?;
        let rejects = rejects.into_iter().map(|(day, batch)| Ok((day, reject_rows(batch)?)));
        let rejects = rejects.collect::<Result<_>>()?;
        Ok(Done { number, days, rejects, counts, reached, warnings, bytes, stored })
    }

    /// The days of which a segment has events, without making files of them.
    ///
    /// # Errors
    /// As of [`Self::decode`].
    pub fn days(&self, segment: Segment, give_back: &Sender<Vec<u8>>) -> Result<Vec<BizDate>> {
        let (_, _, decoded) = self.decoded(segment, give_back)?;
        Ok(decoded.days.iter().map(|batch| batch.day).collect())
    }

    /// The columns of a segment, whose buffer is given back, and the files it has lines of, by place in the plan.
    fn decoded(&self, mut segment: Segment, give_back: &Sender<Vec<u8>>) -> Result<(Vec<usize>, Segment, Decoded)> {
        let mut decoder = Decoder::new(self.name, self.source, self.zone)?;
        let mut begun: Vec<usize> = Vec::new();
        for part in &segment.parts {
            let (Part::Lines { file, .. } | Part::TooLong { file, .. }) = part;
            if begun.last() != Some(file) {
                begun.push(*file);
                decoder.begin_file(self.files[*file].clone());
            }
            match part {
                Part::Lines { start, end, offset, .. } => decoder.push(&segment.buffer[*start..*end], *offset)?,
                Part::TooLong { head, offset, .. } => decoder.push_too_long(head, *offset),
            }
        }
        let decoded = decoder.finish()?;
        // At the end of the input nobody reads into it any more.
        let _ = give_back.send(std::mem::take(&mut segment.buffer));
        check(&decoded).with_context(|| format!("segment {} of {}", segment.number, self.name))?;
        Ok((begun, segment, decoded))
    }
}

/// Checks that all events read are there, as rows or as rejects.
fn check(decoded: &Decoded) -> Result<()> {
    let sum = |count: fn(&Counts) -> u64| decoded.files.iter().map(|(_, counts)| count(counts)).sum::<u64>();
    let rows: usize = decoded.days.iter().map(|day| day.batch.num_rows()).sum();
    let rejects: usize = decoded.rejects.iter().map(|(_, batch)| batch.num_rows()).sum();
    let (landed, rejected) = (sum(|c| c.landed), sum(|c| c.rejected.iter().sum()));
    if landed != rows as u64 || rejected != rejects as u64 + decoded.rejects_dropped {
        bail!("{landed} events landed as {rows} rows, {rejected} were rejected as {rejects} rows");
    }
    Ok(())
}

fn by_day(batches: Vec<DayBatch>, begun: &[usize]) -> Result<Vec<DayRows>> {
    let mut days: Vec<(BizDate, Vec<RecordBatch>, Vec<usize>)> = Vec::new();
    for DayBatch { day, batch, files } in batches {
        let files = files.into_iter().map(|file| begun[file]);
        match days.last_mut() {
            Some((last, batches, all)) if *last == day => {
                batches.push(batch);
                all.extend(files);
            }
            _ => days.push((day, vec![batch], files.collect())),
        }
    }
    days.into_iter().map(|(day, batches, files)| day_rows(day, batches, files)).collect()
}

fn day_rows(day: BizDate, batches: Vec<RecordBatch>, files: Vec<usize>) -> Result<DayRows> {
    let count: usize = batches.iter().map(RecordBatch::num_rows).sum();
    let rows = if count >= FILE_ROWS {
        Rows::File(encode_parquet(&batches[0].schema(), &batches)?)
    } else {
        Rows::Few(batches.iter().map(plain).collect::<Result<_>>()?)
    };
    Ok(DayRows { day, count: count as u64, rows, files })
}

fn reject_rows(batch: RecordBatch) -> Result<Rows> {
    let many = batch.num_rows() >= FILE_ROWS || batch.get_array_memory_size() >= FILE_REJECT_BYTES;
    Ok(if many { Rows::File(encode_parquet(&batch.schema(), &[batch])?) } else { Rows::Few(vec![batch]) })
}

/// The batch without dictionaries: few rows need not carry the values of all others.
///
/// # Errors
/// When Arrow refuses the columns, which would be a mistake of this module.
pub fn plain(batch: &RecordBatch) -> Result<RecordBatch> {
    let kind = |field: &Field| match field.data_type() {
        DataType::Dictionary(_, value) => value.as_ref().clone(),
        other => other.clone(),
    };
    let fields: Vec<Field> =
        batch.schema().fields().iter().map(|field| field.as_ref().clone().with_data_type(kind(field))).collect();
    let columns = batch.columns().iter().zip(&fields).map(|(column, field)| cast(column, field.data_type()));
    let columns = columns.collect::<Result<Vec<_>, _>>()?;
    let schema = Schema::new_with_metadata(fields, batch.schema_ref().metadata().clone());
    Ok(RecordBatch::try_new(Arc::new(schema), columns)?)
}
