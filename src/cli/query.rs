//! `strata query`: read-only SQL over every layer.

use std::io::{IsTerminal, Read};

use anyhow::{Context, Error, Result};

use super::args::Results;
use super::operations;
use super::output::write_to;
use super::render::{Format, Style, write_batches};
use super::session::Session;
use crate::error::{Advice, Exit};

/// No query that a person or a tool writes comes near it.
const SQL_LIMIT: u64 = 4 << 20;

/// Asks the tables of all layers in SQL
///
/// Reads what is published at this moment; never waits for a run, and never disturbs one. Decimals come with their
/// exact digits. `show tables` lists what there is, `describe app_gmv` its columns and what they mean. JSON is one
/// object a line; CSV writes NULL as nothing and an empty text as \"\".
#[derive(clap::Args)]
#[command(after_help = "Examples:
  strata query \"select * from app_gmv order by dt\"
  strata query \"select * from app_gmv\" --format csv --output gmv.csv
  strata query \"select * from app_gmv\" --as-of \"2026-01-05 03:00\"
  strata query - < report.sql")]
pub struct Args {
    /// One SELECT; `-` reads it from stdin
    #[arg(value_name = "SQL")]
    sql: String,
    /// Asks the tables as they were after a run (its name or the beginning of it), or at a time: 2026-01-05T03:00:00Z, or
    /// "2026-01-05 03:00" on the warehouse's clock, which mean the last run begun by then; seeds are today's
    #[arg(long, value_name = "RUN|TIME")]
    as_of: Option<String>,
    #[command(flatten)]
    results: Results,
}

impl Args {
    pub(super) fn run(self, session: &Session) -> Result<Exit> {
        let Results { format, output } = self.results;
        if format == Format::Parquet && output.is_none() && std::io::stdout().is_terminal() {
            let error = Error::msg("Parquet is not text and would upset the terminal");
            return Err(error).hint("write it to a file with --output FILE, or into a pipe").exit(Exit::Usage);
        }
        let sql = if self.sql == "-" { read_sql()? } else { self.sql };
        let batches = operations::query(session, session.config()?, &sql, self.as_of.as_deref())?;
        let style = if output.is_some() { Style::Plain } else { session.style() };
        write_to(output.as_deref(), |out| write_batches(out, &batches, format, style))?;
        Ok(Exit::Done)
    }
}

fn read_sql() -> Result<String> {
    let mut sql = String::new();
    std::io::stdin().lock().take(SQL_LIMIT).read_to_string(&mut sql).context("read the query from stdin")?;
    Ok(sql)
}
