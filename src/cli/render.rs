//! Writes a grid or a query's result as a table for people, CSV, JSON, Markdown or Parquet.
//!
//! CSV follows RFC 4180 with `\n` line ends: NULL is an empty field, an empty text is `""`. JSON is one object a line;
//! numbers keep their exact digits (a decimal is a JSON number with its trailing zeros), NaN and infinity are null.

use std::io::{self, Write};

use anyhow::{Context, Result};
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use unicode_width::UnicodeWidthStr;

use super::grid::{Cell, Column, Grid};

/// How results are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Aligned columns, for people
    #[default]
    Table,
    /// RFC 4180, with a header
    Csv,
    /// One JSON object a line
    Json,
    /// A table for a document
    Markdown,
    /// A Parquet file
    Parquet,
}

/// How the parts of a table for people stand out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// They do not.
    Plain,
    /// Bold names, dim NULLs.
    Coloured,
}

/// Writes a query's result: at least one batch, since its columns are told by it.
pub fn write_batches(
    out: &mut (dyn Write + Send),
    batches: &[RecordBatch],
    format: Format,
    style: Style,
) -> Result<()> {
    let schema = &batches.first().context("a result without columns")?.schema();
    if format == Format::Parquet {
        return write_parquet(out, schema, batches);
    }
    let mut grid = Grid::of_schema(schema);
    // A table must see all rows before it knows its widths; the others are written a batch at a time.
    let streams = matches!(format, Format::Csv | Format::Json);
    if streams {
        write_grid(out, &grid, format, style)?;
    }
    for batch in batches {
        grid.extend(batch)?;
        if streams {
            write_rows(out, &grid, format)?;
            grid.rows.clear();
        }
    }
    if streams { Ok(()) } else { write_grid(out, &grid, format, style) }
}

/// Writes a grid; a grid has no types, so that it cannot become Parquet.
pub fn write_grid(out: &mut dyn Write, grid: &Grid, format: Format, style: Style) -> Result<()> {
    match format {
        Format::Table => write_table(out, grid, style).context("write the table"),
        Format::Markdown => write_markdown(out, grid).context("write the table"),
        Format::Csv => {
            let names: Vec<String> = grid.columns.iter().map(|c| csv_text(&c.name)).collect();
            writeln!(out, "{}", names.join(",")).context("write the header")?;
            write_rows(out, grid, format)
        }
        Format::Json => write_rows(out, grid, format),
        Format::Parquet => anyhow::bail!("only a query's result can be written as Parquet"),
    }
}

fn write_rows(out: &mut dyn Write, grid: &Grid, format: Format) -> Result<()> {
    let names: Vec<String> = grid.columns.iter().map(|c| json_text(&c.name)).collect();
    for row in &grid.rows {
        let line = match format {
            Format::Csv => row.iter().map(csv_cell).collect::<Vec<_>>().join(","),
            _ => {
                let pairs = names.iter().zip(row).map(|(name, cell)| format!("{name}:{}", json_cell(cell)));
                format!("{{{}}}", pairs.collect::<Vec<_>>().join(","))
            }
        };
        writeln!(out, "{line}").context("write a row")?;
    }
    Ok(())
}

fn write_table(out: &mut dyn Write, grid: &Grid, style: Style) -> io::Result<()> {
    let shown: Vec<Vec<String>> =
        grid.rows.iter().map(|row| row.iter().map(|c| shown_cell(c, grid.null)).collect()).collect();
    let names: Vec<String> = grid.columns.iter().map(|c| printable(&c.name)).collect();
    let mut widths: Vec<usize> = names.iter().map(|name| name.width()).collect();
    for row in &shown {
        for (width, text) in widths.iter_mut().zip(row) {
            *width = (*width).max(text.width());
        }
    }
    let paint = |code: &str, text: String| match style {
        Style::Coloured => format!("\x1b[{code}m{text}\x1b[0m"),
        Style::Plain => text,
    };
    let line = |cells: &mut dyn Iterator<Item = String>| cells.collect::<Vec<_>>().join("  ").trim_end().to_owned();
    let aligned = |i: usize, text: &str| align(text, widths[i], &grid.columns[i]);

    writeln!(out, "{}", line(&mut names.iter().enumerate().map(|(i, name)| paint("1", aligned(i, name)))))?;
    writeln!(out, "{}", line(&mut widths.iter().map(|width| "-".repeat(*width))))?;
    for (row, cells) in shown.iter().zip(&grid.rows) {
        let text = |(i, text): (usize, &String)| match cells[i] {
            Cell::Null => paint("2", aligned(i, text)),
            _ => aligned(i, text),
        };
        writeln!(out, "{}", line(&mut row.iter().enumerate().map(text)))?;
    }
    Ok(())
}

fn write_markdown(out: &mut dyn Write, grid: &Grid) -> io::Result<()> {
    let cell = |text: &str| printable(text).replace('|', "\\|");
    let line = |cells: Vec<String>| format!("| {} |", cells.join(" | "));
    writeln!(out, "{}", line(grid.columns.iter().map(|c| cell(&c.name)).collect()))?;
    writeln!(out, "{}", line(grid.columns.iter().map(|c| if c.number { "---:" } else { "---" }.to_owned()).collect()))?;
    for row in &grid.rows {
        writeln!(out, "{}", line(row.iter().map(|c| cell(&shown_cell(c, grid.null))).collect()))?;
    }
    Ok(())
}

fn write_parquet(out: &mut (dyn Write + Send), schema: &SchemaRef, batches: &[RecordBatch]) -> Result<()> {
    let properties = WriterProperties::builder().set_compression(Compression::ZSTD(ZstdLevel::default())).build();
    let mut writer = ArrowWriter::try_new(out, schema.clone(), Some(properties)).context("begin the Parquet file")?;
    for batch in batches {
        writer.write(batch).context("write a batch of rows")?;
    }
    writer.close().context("end the Parquet file")?;
    Ok(())
}

fn align(text: &str, width: usize, column: &Column) -> String {
    let space = " ".repeat(width.saturating_sub(text.width()));
    if column.number { space + text } else { text.to_owned() + &space }
}

fn shown_cell(cell: &Cell, null: &str) -> String {
    match cell {
        Cell::Null => null.to_owned(),
        Cell::Text(text) | Cell::Bare(text) | Cell::Nested(text) => printable(text),
    }
}

/// Makes control characters visible: raw log lines may hold some that would move the cursor or break the table.
fn printable(text: &str) -> String {
    if !text.contains(char::is_control) {
        return text.to_owned();
    }
    text.chars().map(|c| if c.is_control() { c.escape_default().to_string() } else { c.to_string() }).collect()
}

fn csv_cell(cell: &Cell) -> String {
    match cell {
        Cell::Null => String::new(),
        Cell::Bare(text) => text.clone(),
        Cell::Text(text) | Cell::Nested(text) => csv_text(text),
    }
}

fn csv_text(text: &str) -> String {
    let plain = !text.is_empty() && !text.contains(['"', ',', '\n', '\r']);
    if plain { text.to_owned() } else { format!("\"{}\"", text.replace('"', "\"\"")) }
}

fn json_cell(cell: &Cell) -> String {
    match cell {
        Cell::Null => "null".to_owned(),
        Cell::Bare(text) if text.parse::<f64>().is_ok_and(|number| !number.is_finite()) => "null".to_owned(),
        Cell::Bare(text) | Cell::Nested(text) => text.clone(),
        Cell::Text(text) => json_text(text),
    }
}

fn json_text(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests;
