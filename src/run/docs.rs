//! The handbook of a warehouse: every table with its columns, their types, meanings and formulas, as a page of Markdown.
//!
//! The page is derived from the project alone: no date, no path of a machine and no number of rows is in it, so that it
//! changes when the models do and can be kept beside them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use anyhow::Result;
use arrow::datatypes::SchemaRef;

use super::blueprint::schemas;
use super::project::{Context, Project};
use crate::engine::sql_type;
use crate::error::{Advice, Exit};
use crate::model::{CheckKind, Layer, Model, Severity, downstream, select, upstream};

/// The length from which on a formula is cut.
const FORMULA_CHARS: usize = 160;

/// The layers in the order of the page, from what dashboards read down, and what each holds.
const LAYERS: [(Layer, &str); 4] = [
    (Layer::App, "APP: metrics, as they are published"),
    (Layer::Dws, "DWS: joined and summed for many uses"),
    (Layer::Dwd, "DWD: cleaned, one row an event or an entity"),
    (Layer::Ods, "ODS: as it came"),
];

/// The handbook of the selected models.
///
/// # Errors
/// When the project is wrong or a model does not plan.
pub async fn docs(ctx: &Context, selected: &[String], excluded: &[String]) -> Result<String> {
    let project = Project::open(ctx)?;
    let selected = select(&project.models, selected, excluded).exit(Exit::Usage)?;
    let schemas = schemas(ctx, &project, &selected).await?;
    let sources = ctx.config.sources.keys().map(ToString::to_string).zip(project.starts.iter().map(|s| &s.tables));
    let page = Page { project: &project, selected, schemas, sources: sources.collect() };
    Ok(page.text()?)
}

struct Page<'a> {
    project: &'a Project,
    selected: BTreeSet<String>,
    schemas: BTreeMap<String, SchemaRef>,
    /// The tables of each source.
    sources: Vec<(String, &'a BTreeSet<String>)>,
}

impl Page<'_> {
    fn text(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::from(
            "# Metrics and tables\n\n\
             The metrics that dashboards read, then the tables that they are made of. `strata docs` writes this page from \
             the models;\nchange those and not the page. A formula is the expression that computes a column, over the \
             columns of its table's inputs.\n",
        );
        for (layer, title) in LAYERS {
            let models = self.models(layer);
            if models.is_empty() {
                continue;
            }
            write!(text, "\n**{title}**\n\n| table | what it holds |\n|---|---|\n")?;
            for model in models {
                writeln!(text, "| {} | {} |", self.link(&model.name), prose(&model.description))?;
            }
        }
        for (layer, title) in LAYERS {
            let models = self.models(layer);
            if !models.is_empty() {
                write!(text, "\n## {title}\n")?;
            }
            for model in models {
                self.model(&mut text, model)?;
            }
        }
        Ok(text)
    }

    /// The selected models of a layer by name.
    fn models(&self, layer: Layer) -> Vec<&Model> {
        let chosen = |model: &&Model| model.layer == layer && self.selected.contains(&model.name);
        let mut models: Vec<&Model> = self.project.models.iter().filter(chosen).collect();
        models.sort_by(|a, b| a.name.cmp(&b.name));
        models
    }

    fn model(&self, text: &mut String, model: &Model) -> std::fmt::Result {
        write!(text, "\n### {}\n\n{}\n\n", model.name, prose(&model.description))?;
        for paragraph in model.notes.lines() {
            write!(text, "{}\n\n", prose(paragraph))?;
        }
        writeln!(text, "- one row for each {}", codes(&model.grain))?;
        writeln!(text, "- built {}", self.built(model))?;
        if !model.export.is_empty() {
            writeln!(text, "- exported to {}", codes(&model.export))?;
        }
        if !model.tags.is_empty() {
            writeln!(text, "- tagged {}", codes(&model.tags))?;
        }
        writeln!(text, "- written in {}", code(&model.path))?;
        self.columns(text, model)?;
        checks(text, model)?;
        self.lineage(text, model)
    }

    /// How a model is built, and from which day on where that follows from what it is.
    fn built(&self, model: &Model) -> String {
        if !model.uses_day {
            return "in one go".to_owned();
        }
        if model.layer != Layer::App {
            return "a day at a time, from the first day of its inputs".to_owned();
        }
        let above = upstream(&self.project.models, &model.name, None);
        let sources =
            self.sources.iter().filter(|(_, tables)| !tables.is_disjoint(&above)).map(|(name, _)| name.clone());
        match sources.collect::<Vec<_>>().as_slice() {
            [] => "a day at a time".to_owned(),
            [one] => format!("a day at a time, from the first loaded day of {}", code(one)),
            several => format!("a day at a time, from the earliest first loaded day of {}", codes(several)),
        }
    }

    fn columns(&self, text: &mut String, model: &Model) -> std::fmt::Result {
        write!(text, "\n| column | type | meaning | formula |\n|---|---|---|---|\n")?;
        let schema = self.schemas.get(&model.name);
        let mut formulas = model.formulas().into_iter();
        for column in &model.columns {
            let formula = formulas.next().flatten();
            let field = schema.and_then(|schema| schema.field_with_name(&column.name).ok());
            let kind = field.map(|field| sql_type(field.data_type())).unwrap_or_default();
            let meaning = prose(column.comment.as_deref().unwrap_or_default());
            let formula = formula.as_deref().map(|text| code(&cut(text)).replace('|', "\\|")).unwrap_or_default();
            writeln!(text, "| {} | {kind} | {meaning} | {formula} |", code(&column.name))?;
        }
        Ok(())
    }

    fn lineage(&self, text: &mut String, model: &Model) -> std::fmt::Result {
        text.push_str("\nReads, to build a partition:\n\n");
        for line in model.reads_in_words() {
            match line.split_once(": ") {
                Some((table, days)) => writeln!(text, "- {}: {days}", self.link(table))?,
                None => writeln!(text, "- {line}")?,
            }
        }
        let models = &self.project.models;
        let above = upstream(models, &model.name, None);
        let of_layer = |layer: Option<Layer>| {
            let here = above.iter().filter(|table| **table != model.name && Layer::of_table(table) == layer);
            here.map(|table| self.link(table)).collect::<Vec<_>>().join(", ")
        };
        let chain = [Some(Layer::App), Some(Layer::Dws), Some(Layer::Dwd), Some(Layer::Ods), None].map(of_layer);
        let chain: Vec<String> = chain.into_iter().filter(|tables| !tables.is_empty()).collect();
        if !chain.is_empty() {
            write!(text, "\nComes from {}.\n", chain.join(" ← "))?;
        }
        let readers = downstream(models, &model.name, Some(1));
        let readers: Vec<String> =
            readers.iter().filter(|name| **name != model.name).map(|name| self.link(name)).collect();
        if !readers.is_empty() {
            write!(text, "\nRead by {}.\n", readers.join(", "))?;
        }
        Ok(())
    }

    /// A table's name, leading to its section when there is one.
    fn link(&self, table: &str) -> String {
        match self.selected.contains(table) {
            true => format!("[{table}](#{table})"),
            false if self.project.models.knows(table) => code(table),
            false => table.to_owned(),
        }
    }
}

fn checks(text: &mut String, model: &Model) -> std::fmt::Result {
    text.push_str("\nChecked before it is published:\n\n");
    let unique = if model.grain.len() == 1 { "is unique" } else { "are unique together" };
    writeln!(text, "- {} {unique}", codes(&model.grain))?;
    for check in &model.checks {
        let severity = if check.severity == Severity::Warn { "only told: " } else { "" };
        let kind = if matches!(check.kind, CheckKind::Query(_)) { "nothing is found by " } else { "" };
        writeln!(text, "- {severity}{kind}{}", code(&check.text))?;
    }
    Ok(())
}

/// Text with what Markdown would take for its own set off.
fn prose(text: &str) -> String {
    text.replace('|', "\\|").replace('*', "\\*").replace('<', "\\<")
}

fn code(text: &str) -> String {
    format!("`{text}`")
}

fn codes(words: &[String]) -> String {
    words.iter().map(|word| code(word)).collect::<Vec<_>>().join(", ")
}

/// A formula of a length that a table bears.
fn cut(text: &str) -> String {
    match text.char_indices().nth(FORMULA_CHARS) {
        Some((end, _)) => format!("{} …", text[..end].trim_end()),
        None => text.to_owned(),
    }
}
