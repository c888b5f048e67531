//! `strata rejects`: the lines and rows that did not land.

use std::sync::Arc;

use anyhow::{Context, Result};
use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema};

use super::args::{DaySpan, Days, Results, Waiting};
use super::operations;
use super::output::write_to;
use super::render::{Style, write_batches};
use super::session::Session;
use crate::config::Config;
use crate::error::Exit;
use crate::ingest::replay::Wanted;
use crate::run::ReplayRequest;

/// Looks at rejected lines and rows, kept with their bytes, place and reason, and gives them a second chance
#[derive(clap::Args)]
#[command(after_help = "Examples:
  strata rejects ls
  strata rejects show --reason bad_type --limit 5
  strata rejects replay --reason unknown_act")]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Counts them by arrival date, source, file and reason
    #[command(after_help = "Example:\n  strata rejects ls --from 2026-01-01")]
    Ls(Filter),
    /// Shows them, with the raw bytes as far as they are text
    #[command(after_help = "Example:\n  strata rejects show --reason malformed_json --limit 5")]
    Show {
        #[command(flatten)]
        filter: Filter,
        /// How many to show
        #[arg(long, value_name = "N", default_value_t = 20)]
        limit: usize,
    },
    /// Judges them again by the rules of today, after a mistake in conf/sources was mended
    ///
    /// What is accepted now lands with its own file, place and arrival day, and leaves the rejects; the rest stays, with
    /// its reason of today. What landed before is left alone. A log's line is judged by the bytes kept of it; one of which
    /// only the beginning was kept, and an extract, which is read again whole, must still be there as it was taken.
    /// `strata run` then builds what became stale.
    #[command(after_help = "Examples:
  strata rejects replay --dry-run
  strata rejects replay --source user_action --reason unknown_act
  strata rejects replay --table ods_user_order --from 2026-01-01 --to 2026-01-05")]
    Replay(Replay),
}

#[derive(clap::Args)]
struct Replay {
    /// Only of this source
    #[arg(long, value_name = "NAME")]
    source: Option<String>,
    /// Only those that would land in this table, for instance ods_user_order
    #[arg(long, value_name = "TABLE")]
    table: Option<String>,
    /// Only for this reason; of an extract, all when it has some for this reason
    #[arg(long, value_name = "REASON")]
    reason: Option<String>,
    #[command(flatten)]
    days: Days,
    /// Only tells what would land
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    waiting: Waiting,
}

impl Replay {
    fn run(self, session: &Session, config: Config) -> Result<Exit> {
        // Today's arrivals count unless days are asked for.
        let days = if self.days.given() { self.days.resolve(&config, session.now_ms)? } else { DaySpan::default() };
        let table = self.table.map(|name| if name.starts_with("ods_") { name } else { format!("ods_{name}") });
        let wanted = Wanted { table, reason: self.reason, from: days.from, to: days.to, dry_run: self.dry_run };
        let (wait, command) = (self.waiting.patience(), session.command_line());
        operations::replay(session, config, &ReplayRequest { source: self.source, wanted, wait, command })
    }
}

#[derive(clap::Args)]
struct Filter {
    /// Only of this source
    #[arg(long, value_name = "NAME")]
    source: Option<String>,
    /// Only for this reason, for instance bad_type
    #[arg(long, value_name = "REASON")]
    reason: Option<String>,
    #[command(flatten)]
    days: Days,
    #[command(flatten)]
    results: Results,
}

impl Args {
    pub(super) fn run(self, session: &Session) -> Result<Exit> {
        let config = session.config()?;
        let (filter, sql) = match self.command {
            Command::Ls(filter) => {
                let wanted = filter.condition(&config, session.now_ms)?;
                let sql = format!(
                    "select dt as arrival_dt, source, table_name, file, reason, count(*) as rejects from ods_reject \
                     {wanted} group by dt, source, table_name, file, reason order by dt, source, file, reason"
                );
                (filter, sql)
            }
            Command::Show { filter, limit } => {
                let wanted = filter.condition(&config, session.now_ms)?;
                let sql = format!(
                    "select dt as arrival_dt, source, file, byte_offset, row_number, element, reason, detail, raw \
                     from ods_reject {wanted} order by dt, source, file, byte_offset, row_number, element limit {limit}"
                );
                (filter, sql)
            }
            Command::Replay(replay) => return replay.run(session, config),
        };
        let batches = operations::query(session, config, &sql, None)?;
        let batches = batches.iter().map(with_readable_bytes).collect::<Result<Vec<_>>>()?;
        let Results { format, output } = filter.results;
        let style = if output.is_some() { Style::Plain } else { session.style() };
        write_to(output.as_deref(), |out| write_batches(out, &batches, format, style))?;
        Ok(Exit::Done)
    }
}

impl Filter {
    /// The `where` clause; the days are arrival dates, and today's count unless days are asked for.
    fn condition(&self, config: &Config, now_ms: i64) -> Result<String> {
        let quoted = |text: &str| format!("'{}'", text.replace('\'', "''"));
        let mut wanted = Vec::new();
        if self.days.given() {
            let days = self.days.resolve(config, now_ms)?;
            wanted.extend(days.from.map(|day| format!("dt >= date '{day}'")));
            wanted.extend(days.to.map(|day| format!("dt <= date '{day}'")));
        }
        wanted.extend(self.source.as_deref().map(|name| format!("source = {}", quoted(name))));
        wanted.extend(self.reason.as_deref().map(|name| format!("reason = {}", quoted(name))));
        Ok(if wanted.is_empty() { String::new() } else { format!("where {}", wanted.join(" and ")) })
    }
}

/// Shows bytes as text; what is not UTF-8 becomes U+FFFD, in the display only.
fn with_readable_bytes(batch: &RecordBatch) -> Result<RecordBatch> {
    let mut fields = Vec::with_capacity(batch.num_columns());
    let mut columns = Vec::with_capacity(batch.num_columns());
    for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
        let is_bytes = matches!(field.data_type(), DataType::Binary | DataType::LargeBinary | DataType::BinaryView);
        if is_bytes {
            let bytes = cast(column, &DataType::Binary).context("read the raw bytes")?;
            let text = |bytes: Option<&[u8]>| bytes.map(|b| String::from_utf8_lossy(b).into_owned());
            let texts: StringArray = bytes.as_binary::<i32>().iter().map(text).collect();
            fields.push(Arc::new(Field::new(field.name(), texts.data_type().clone(), true)));
            columns.push(Arc::new(texts) as ArrayRef);
        } else {
            fields.push(Arc::clone(field));
            columns.push(Arc::clone(column));
        }
    }
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).context("show the raw bytes")
}

#[cfg(test)]
mod tests {
    use arrow::array::BinaryArray;

    use super::*;

    #[test]
    fn raw_bytes_are_shown_as_text_as_far_as_they_are() {
        let raw: ArrayRef = Arc::new(BinaryArray::from(vec![Some(&b"{\"a\":1"[..]), Some(b"\xff\xfe"), None]));
        let batch = RecordBatch::try_from_iter([("raw", raw)]).expect("a batch");
        let shown = with_readable_bytes(&batch).expect("shown");
        let texts: Vec<_> = shown.column(0).as_string::<i32>().iter().collect();
        assert_eq!(texts, [Some("{\"a\":1"), Some("\u{fffd}\u{fffd}"), None]);
    }
}
