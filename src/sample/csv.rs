//! One extract as CSV: rows are staged field by field, so that [`super::smudge`] can spoil one before it is written.

use std::path::Path;

use anyhow::Result;
use chrono::Datelike;

use super::SampleSummary;
use super::line::put_int;
use super::outfile::{OutFile, Pack, Quirks};
use super::smudge::Smudge;
use super::world::{Day, World};
use crate::date::BizDate;

/// An extract being written.
pub struct Csv<'a> {
    out: OutFile,
    fields: Vec<u8>,
    /// Where each staged field ends.
    ends: Vec<usize>,
    smudge: Option<(&'a mut Smudge, &'a World, u32)>,
}

impl<'a> Csv<'a> {
    /// Creates `<root>/<day>/<table>.csv` with its header.
    pub fn create(root: &Path, world: &'a World, day: &Day, smudge: &'a mut Smudge) -> Result<Self> {
        let folder = root.join(day.date.to_string());
        let table = smudge.table();
        let name = format!("{}.csv", table.name);
        let turn = day.index as usize + table.number;
        let is_dirty = world.dirt > 0;
        let pack = match turn % 3 {
            _ if !is_dirty || table.is_small => Pack::Plain,
            0 => Pack::Gz,
            _ => Pack::Zst,
        };
        let quirks = Quirks {
            bom: is_dirty && turn % 5 == 1,
            crlf: is_dirty && turn % 7 == 2,
            unterminated: is_dirty && turn % 9 == 4,
            two_streams: false,
        };
        let mut out = OutFile::create(&folder, &name, pack, quirks)?;
        out.buffer.extend_from_slice(table.columns.join(",").as_bytes());
        out.end_line()?;
        let smudge = is_dirty.then_some((smudge, world, day.index));
        Ok(Self { out, fields: Vec::new(), ends: Vec::new(), smudge })
    }

    /// Stages NULL.
    pub fn null(&mut self) -> &mut Self {
        self.ends.push(self.fields.len());
        self
    }

    /// Stages an integer.
    pub fn int(&mut self, value: i64) -> &mut Self {
        put_int(&mut self.fields, value);
        self.null()
    }

    /// Stages an amount of money, given in cents.
    pub fn money(&mut self, cents: i64) -> &mut Self {
        if cents < 0 {
            self.fields.push(b'-');
        }
        put_int(&mut self.fields, (cents / 100).abs());
        self.fields.push(b'.');
        self.put_two_digits((cents % 100).unsigned_abs() as u32);
        self.null()
    }

    /// Stages a text, quoted where it must be.
    pub fn text(&mut self, text: &str) -> &mut Self {
        if text.is_empty() || text.contains([',', '"', '\n', '\r']) {
            self.fields.push(b'"');
            self.fields.extend_from_slice(text.replace('"', "\"\"").as_bytes());
            self.fields.push(b'"');
        } else {
            self.fields.extend_from_slice(text.as_bytes());
        }
        self.null()
    }

    /// Stages a date without a time of day.
    pub fn date(&mut self, date: BizDate) -> &mut Self {
        self.put_date(date);
        self.null()
    }

    /// Stages a naive DATETIME, given in wall-clock seconds since 1970.
    pub fn datetime(&mut self, seconds: i64) -> &mut Self {
        let date = BizDate::from_days(seconds.div_euclid(86_400) as i32);
        self.put_date(date);
        let second = seconds.rem_euclid(86_400) as u32;
        for (mark, part) in [(b' ', second / 3600), (b':', second / 60 % 60), (b':', second % 60)] {
            self.fields.push(mark);
            self.put_two_digits(part);
        }
        self.null()
    }

    /// Writes the staged row.
    pub fn end_row(&mut self) -> Result<()> {
        if let Some((smudge, world, day)) = &mut self.smudge
            && world.is_dirty(smudge.draw())
        {
            let mut from = 0;
            let fields = self.ends.iter().map(|end| {
                let field = String::from_utf8_lossy(&self.fields[from..*end]).into_owned();
                from = *end;
                field
            });
            for row in smudge.spoil(fields.collect(), *day) {
                self.out.buffer.extend_from_slice(row.as_bytes());
                self.out.end_line()?;
            }
        } else {
            let mut from = 0;
            for (index, end) in self.ends.iter().enumerate() {
                if index > 0 {
                    self.out.buffer.push(b',');
                }
                self.out.buffer.extend_from_slice(&self.fields[from..*end]);
                from = *end;
            }
            self.out.end_line()?;
        }
        self.fields.clear();
        self.ends.clear();
        Ok(())
    }

    /// Adds the rows that were kept for today, closes the file and counts it.
    pub fn finish(mut self, summary: &mut SampleSummary) -> Result<()> {
        if let Some((smudge, _, day)) = &mut self.smudge {
            for row in smudge.due(*day) {
                self.out.buffer.extend_from_slice(row.as_bytes());
                self.out.end_line()?;
            }
        }
        self.out.finish(summary)
    }

    // Written by hand: a large shop has millions of dates, and formatting them took a tenth of the time.
    fn put_date(&mut self, date: BizDate) {
        let date = date.naive();
        let year = date.year().unsigned_abs();
        self.put_two_digits(year / 100);
        self.put_two_digits(year % 100);
        for part in [date.month(), date.day()] {
            self.fields.push(b'-');
            self.put_two_digits(part);
        }
    }

    fn put_two_digits(&mut self, value: u32) {
        self.fields.extend_from_slice(&[b'0' + (value / 10 % 10) as u8, b'0' + (value % 10) as u8]);
    }
}
