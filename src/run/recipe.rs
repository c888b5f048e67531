//! What the transform is told of a model.

use crate::check::{Check, Rule, Severity};
use crate::model::{CheckKind, Layer, Model};
use crate::transform::Recipe;

/// What the transform needs to know of a model.
pub fn recipe(model: &Model) -> Recipe {
    let grain = Rule::Unique(model.grain.clone());
    let mut checks = vec![Check { rule: grain, severity: Severity::Fail, origin: model.path.clone() }];
    checks.extend(model.checks.iter().map(|check| Check {
        rule: match check.kind {
            CheckKind::Row => Rule::Row(check.text.clone()),
            CheckKind::Query(_) => Rule::Query(check.text.clone()),
        },
        severity: match check.severity {
            crate::model::Severity::Fail => Severity::Fail,
            crate::model::Severity::Warn => Severity::Warn,
        },
        origin: format!("{}:{}", model.path, check.line),
    }));
    // What is exported has the grain as its primary key, which holds no NULL; rows of no day stay in the lake.
    let keyed = model.grain.iter().filter(|column| *column != "dt" && !model.export.is_empty());
    checks.extend(keyed.map(|column| Check {
        rule: Rule::Row(match model.covers_no_day() {
            true => format!("dt is null or {column} is not null"),
            false => format!("{column} is not null"),
        }),
        severity: Severity::Fail,
        origin: format!("{}, the grain of an export", model.path),
    }));
    let comments = model.columns.iter().filter_map(|c| Some((c.name.clone(), c.comment.clone()?)));
    Recipe {
        name: model.name.clone(),
        description: model.description.clone(),
        sql: model.sql.clone(),
        grain: model.grain.clone(),
        checks,
        comments: comments.collect(),
        by_day: model.uses_day,
        // A table that reads itself replaces whole days while it is read: each has its own files.
        partitioned: model.layer != Layer::App || model.reads_itself(),
        own_past: model.reads_itself(),
    }
}
