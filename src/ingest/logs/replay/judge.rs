//! What becomes of rejected events under today's rules: their lines are decoded again, and the outcome is compared with
//! what was there.
//!
//! A line that was rejected as a whole may turn out to be an envelope of many events; of one whose events were rejected
//! one by one, the others landed before and are left alone.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use anyhow::{Context, Result};
use arrow::array::{Array, AsArray, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::Int32Type;

use super::super::LogsIngest;
use super::super::decode::{Decoded, Decoder, FileContext};
use super::super::record::FileRecord;
use super::super::work::plain;
use super::lines::{Lines, is_whole};
use super::{LinePlace, Place, each_place};
use crate::date::BizDate;
use crate::ingest::replay::Wanted;

/// How many bytes of lines are decoded at once.
const DECODE_BYTES: usize = 64 << 20;

/// What is known when rejects are judged.
pub struct Judge<'a> {
    pub job: &'a LogsIngest<'a>,
    pub wanted: &'a Wanted,
    /// The files of the source.
    pub files: &'a BTreeMap<String, FileRecord>,
    /// All rejected events of the arrival day, wanted or not.
    pub rejected: &'a HashMap<LinePlace, Vec<i32>>,
}

/// What becomes of the rejects in one file of `ods_reject`.
#[derive(Default)]
pub struct Ruling {
    /// Those that leave it.
    pub gone: HashSet<Place>,
    /// How many leave, by file of the source and reason.
    pub gone_reasons: BTreeMap<(String, String), u64>,
    /// The wanted ones that stay as they are, by reason.
    pub stayed: BTreeMap<String, u64>,
    /// Rejects that come in their place.
    pub rejects: Vec<RecordBatch>,
    /// How many come, by file of the source and reason.
    pub new_reasons: BTreeMap<(String, String), u64>,
    /// Events that land, by day.
    pub landed: Vec<(BizDate, RecordBatch)>,
}

impl Ruling {
    /// Whether nothing changes.
    pub fn is_as_before(&self) -> bool {
        self.gone.is_empty() && self.rejects.is_empty() && self.landed.is_empty()
    }
}

/// A reject that is judged: why it was one, and which batch and row of the file it is.
struct Old {
    reason: String,
    detail: String,
}

/// The rejects that are judged, and where the bytes of their lines are.
#[derive(Default)]
struct Docket {
    old: HashMap<Place, Old>,
    /// Batch and row of the first reject of each line.
    lines: BTreeMap<LinePlace, (usize, usize)>,
    /// Lines of which nothing landed: they were rejected as a whole for certain.
    whole: HashSet<LinePlace>,
}

impl Judge<'_> {
    /// Judges the rejects in the batches of one file; `landed` tells which events of some lines are in the lake.
    ///
    /// # Errors
    /// When a line cannot be decoded for a mistake of the program, or the lake cannot be read.
    pub fn rule(
        &self,
        batches: &[RecordBatch],
        lines: &mut Lines<'_>,
        landed: &dyn Fn(&HashSet<LinePlace>) -> Result<HashSet<Place>>,
    ) -> Result<Ruling> {
        let docket = self.docket(batches, lines)?;
        let again = self.read_again(&docket, batches, lines)?;
        let mut ruling = Ruling::default();
        let mut some: Vec<(&LinePlace, &[u8])> = Vec::new();
        let mut bytes = 0;
        for (place, at) in &docket.lines {
            let line = match again.get(place) {
                Some(Some(line)) => line.as_slice(),
                Some(None) => continue,
                None => raw_of(batches, *at)?,
            };
            bytes += line.len();
            some.push((place, line));
            if bytes >= DECODE_BYTES {
                self.decide(&docket, std::mem::take(&mut some), landed, &mut ruling)?;
                bytes = 0;
            }
        }
        self.decide(&docket, some, landed, &mut ruling)?;
        for (place, old) in &docket.old {
            if ruling.gone.contains(place) {
                *ruling.gone_reasons.entry((place.0.to_string(), old.reason.clone())).or_default() += 1;
            } else {
                *ruling.stayed.entry(old.reason.clone()).or_default() += 1;
            }
        }
        Ok(ruling)
    }

    /// The wanted rejects of the table.
    fn docket(&self, batches: &[RecordBatch], lines: &mut Lines<'_>) -> Result<Docket> {
        let mut docket = Docket::default();
        for (number, batch) in batches.iter().enumerate() {
            let text = |name: &str| -> Result<_> { Ok(column(batch, name)?.as_string::<i32>().clone()) };
            let (tables, reasons, details) = (text("table_name")?, text("reason")?, text("detail")?);
            each_place(batch, |row, place| {
                let reason = reasons.value(row);
                if tables.value(row) != self.job.source.table || !self.wanted.reason(reason) {
                    return;
                }
                let line = (Arc::clone(&place.0), place.1);
                let taken = self.files.get(&*place.0).map_or(0, |file| file.print.consumed);
                let old = Old { reason: reason.to_owned(), detail: details.value(row).to_owned() };
                docket.old.insert(place, old);
                if line.1.unsigned_abs() >= taken {
                    lines.give_up(&line, "an interrupted ingest is to be finished first, by `strata run`");
                    return;
                }
                if matches!(reason, "malformed_json" | "not_utf8") {
                    docket.whole.insert(line.clone());
                }
                docket.lines.entry(line).or_insert((number, row));
            })?;
        }
        Ok(docket)
    }

    /// The lines of which only the beginning was kept, read again; `None` for those that cannot be had, or are too long
    /// still.
    fn read_again(
        &self,
        docket: &Docket,
        batches: &[RecordBatch],
        lines: &mut Lines<'_>,
    ) -> Result<HashMap<LinePlace, Option<Vec<u8>>>> {
        let limits = &self.job.source.limits;
        let mut needed: BTreeMap<Arc<str>, BTreeSet<u64>> = BTreeMap::new();
        for (place, at) in &docket.lines {
            let reason = column(&batches[at.0], "reason")?.as_string::<i32>().value(at.1);
            if !is_whole(raw_of(batches, *at)?, reason, limits) {
                needed.entry(Arc::clone(&place.0)).or_default().insert(place.1.unsigned_abs());
            }
        }
        let mut all = HashMap::new();
        for (file, offsets) in needed {
            let record = self.files.get(&*file).context("a line was chosen of a file that is known")?;
            let found = lines.of_file(record, &offsets)?;
            for offset in offsets {
                let place = (Arc::clone(&file), i64::try_from(offset)?);
                let line = match &found {
                    Ok(found) => found.get(&offset).filter(|line| line.len() <= limits.line_bytes).cloned(),
                    Err(why) => {
                        lines.give_up(&place, why);
                        None
                    }
                };
                all.insert(place, line);
            }
        }
        Ok(all)
    }

    /// Decodes lines and adds what becomes of their rejects to the ruling.
    fn decide(
        &self,
        docket: &Docket,
        lines: Vec<(&LinePlace, &[u8])>,
        landed: &dyn Fn(&HashSet<LinePlace>) -> Result<HashSet<Place>>,
        ruling: &mut Ruling,
    ) -> Result<()> {
        let Decoded { days, rejects, .. } = self.decode(lines)?;
        let days = days.into_iter().map(|day| Ok((day.day, plain(&day.batch)?))).collect::<Result<Vec<_>>>()?;
        let mut unsure = HashSet::new();
        for batch in days.iter().map(|(_, batch)| batch).chain(rejects.iter().map(|(_, batch)| batch)) {
            each_place(batch, |_, place| {
                let line = (Arc::clone(&place.0), place.1);
                if !self.was_rejected(&place) && !docket.whole.contains(&line) {
                    unsure.insert(line);
                }
            })?;
        }
        let before = if unsure.is_empty() { HashSet::new() } else { landed(&unsure)? };
        // An event is new unless it landed before, or is a reject that is not judged now.
        let is_new =
            |place: &Place| docket.old.contains_key(place) || (!self.was_rejected(place) && !before.contains(place));
        for (day, batch) in days {
            let mut lands = vec![false; batch.num_rows()];
            each_place(&batch, |row, place| {
                lands[row] = is_new(&place);
                if docket.old.contains_key(&place) {
                    ruling.gone.insert(place);
                }
            })?;
            let batch = filter_record_batch(&batch, &BooleanArray::from(lands))?;
            if batch.num_rows() > 0 {
                ruling.landed.push((day, batch));
            }
        }
        for (_, batch) in rejects {
            let text = |name: &str| -> Result<_> { Ok(column(&batch, name)?.as_string::<i32>().clone()) };
            let (reasons, details) = (text("reason")?, text("detail")?);
            let mut comes = vec![false; batch.num_rows()];
            each_place(&batch, |row, place| {
                let (reason, detail) = (reasons.value(row), details.value(row));
                let old = docket.old.get(&place);
                let is_same = old.is_some_and(|old| old.reason == reason && old.detail == detail);
                comes[row] = is_new(&place) && !is_same;
                if comes[row] {
                    *ruling.new_reasons.entry((place.0.to_string(), reason.to_owned())).or_default() += 1;
                    if old.is_some() {
                        ruling.gone.insert(place);
                    }
                }
            })?;
            let batch = filter_record_batch(&batch, &BooleanArray::from(comes))?;
            if batch.num_rows() > 0 {
                ruling.rejects.push(batch);
            }
        }
        Ok(())
    }

    fn was_rejected(&self, place: &Place) -> bool {
        let elements = self.rejected.get(&(Arc::clone(&place.0), place.1));
        elements.is_some_and(|elements| elements.contains(&place.2))
    }

    /// Decodes lines, which are in the order of their files.
    fn decode(&self, lines: Vec<(&LinePlace, &[u8])>) -> Result<Decoded> {
        let mut decoder = Decoder::new(self.job.name, self.job.source, self.job.zone)?;
        let mut begun: Option<&Arc<str>> = None;
        let mut text = Vec::new();
        for ((file, offset), line) in lines {
            if begun != Some(file) {
                begun = Some(file);
                let arrival = self.files.get(&**file).context("a file that is known")?.arrival;
                decoder.begin_file(FileContext { name: Arc::clone(file), arrival, rejects_from: 0 });
            }
            text.clear();
            text.extend_from_slice(line);
            text.push(b'\n');
            decoder.push(&text, offset.unsigned_abs())?;
        }
        decoder.finish()
    }
}

fn column<'b>(batch: &'b RecordBatch, name: &str) -> Result<&'b arrow::array::ArrayRef> {
    batch.column_by_name(name).with_context(|| format!("a file of the rejects has no column {name}"))
}

/// What was kept of the line of a reject.
fn raw_of(batches: &[RecordBatch], (number, row): (usize, usize)) -> Result<&[u8]> {
    let raw = column(&batches[number], "raw")?.as_dictionary::<Int32Type>();
    let line = raw.keys().value(row);
    Ok(if raw.is_null(row) { &[] } else { raw.values().as_binary::<i32>().value(usize::try_from(line)?) })
}
