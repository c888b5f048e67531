//! A SELECT turned round, as text: the queries for the rows of its sources, and for how many were left out.

use std::fmt::Write as _;

use datafusion::sql::sqlparser::ast::{Ident, SelectItem};

use super::expr::{conjuncts, has_query, names};
use super::factors::{Factor, Part};
use super::select::{Condition, Turned, column};

impl Turned<'_> {
    /// `FROM … WHERE …` of the SELECT, the WHERE without one of its conditions where so asked.
    fn from(&self, without: Option<usize>, and: &str) -> String {
        let from: Vec<String> = self.select.from.iter().map(ToString::to_string).collect();
        let conditions = self.select.selection.as_ref().map(conjuncts).unwrap_or_default();
        let mut parts: Vec<String> = conditions
            .iter()
            .enumerate()
            .filter(|(at, _)| Some(*at) != without)
            .map(|(_, condition)| format!("({condition})"))
            .collect();
        parts.extend((!and.is_empty()).then(|| and.to_owned()));
        let mut text = format!(" from {}", from.join(", "));
        if !parts.is_empty() {
            let _ = write!(text, " where {}", parts.join(" and "));
        }
        if !self.select.named_window.is_empty() {
            let windows: Vec<String> = self.select.named_window.iter().map(ToString::to_string).collect();
            let _ = write!(text, " window {}", windows.join(", "));
        }
        text
    }

    fn keys(&self) -> Vec<String> {
        self.keys.iter().enumerate().map(|(at, (expr, _))| format!("{expr} as key_{at}")).collect()
    }

    fn joined(&self) -> String {
        let on: Vec<String> = self
            .keys
            .iter()
            .enumerate()
            .map(|(at, (_, column))| format!("(made.key_{at} is not distinct from given.{})", quoted(column)))
            .collect();
        let given = if self.hidden.is_empty() { self.given.table.to_owned() } else { self.with_hidden() };
        match on.is_empty() {
            true => format!(" cross join {given} as given"),
            false => format!(" inner join {given} as given on {}", on.join(" and ")),
        }
    }

    /// The given rows with the keys that they do not show: those of the groups that give such rows.
    fn with_hidden(&self) -> String {
        let mut select = self.select.clone();
        let mut names: Vec<String> = self.output.iter().map(|name| quoted(name)).collect();
        for (key, name) in &self.hidden {
            let alias = Ident::with_quote('"', name);
            select.projection.push(SelectItem::ExprWithAlias { expr: key.clone(), alias });
            names.push(quoted(name));
        }
        let known = self.given.columns.iter().filter(|column| self.output.contains(column));
        let same: Vec<String> =
            known.map(|column| format!("(shown.{0} is not distinct from grouped.{0})", quoted(column))).collect();
        let hidden: Vec<String> = self.hidden.iter().map(|(_, name)| format!("grouped.{}", quoted(name))).collect();
        format!(
            "(select shown.*, {} from {} as shown inner join ({select}) as grouped ({}) on {})",
            hidden.join(", "),
            self.given.table,
            names.join(", "),
            same.join(" and ")
        )
    }

    /// The query for the rows of one source.
    pub(super) fn request(&self, factor: &Factor, kept: &[String]) -> String {
        let kept: Vec<&String> = kept.iter().filter(|column| factor.columns.contains(column)).collect();
        let mut list: Vec<String> =
            kept.iter().enumerate().map(|(at, name)| format!("{} as kept_{at}", column(factor, name))).collect();
        list.extend(self.keys());
        let mut counted = Vec::new();
        for (at, Condition { filter, arguments, attains }) in self.conditions.iter().enumerate() {
            let mut parts: Vec<String> = filter.iter().map(|filter| format!("({filter})")).collect();
            parts.extend(arguments.iter().map(|argument| format!("({argument}) is not null")));
            let all = if parts.is_empty() { "true".to_owned() } else { parts.join(" and ") };
            list.push(format!("coalesce({all}, false) as counts_{at}"));
            match (attains, arguments.first()) {
                (Some(column), Some(argument)) => {
                    list.push(format!("{argument} as attained_{at}"));
                    let column = quoted(column);
                    counted.push(format!(
                        "(made.counts_{at} and (made.attained_{at} is not distinct from given.{column}))"
                    ));
                }
                _ => counted.push(format!("made.counts_{at}")),
            }
        }
        let shown: Vec<String> =
            kept.iter().enumerate().map(|(at, name)| format!("made.kept_{at} as {}", quoted(name))).collect();
        let mut conditions = Vec::new();
        if !counted.is_empty() {
            conditions.push(format!("({})", counted.join(" or ")));
        }
        if factor.part == Part::Optional {
            // Where the outer join found no row.
            let nulls: Vec<String> = (0..kept.len()).map(|at| format!("made.kept_{at} is not null")).collect();
            conditions.push(format!("({})", nulls.join(" or ")));
        }
        let filter = if conditions.is_empty() { String::new() } else { format!(" where {}", conditions.join(" and ")) };
        let (shown, list, from, joined) = (shown.join(", "), list.join(", "), self.from(None, ""), self.joined());
        format!("select distinct {shown} from (select {list}{from}) as made{joined}{filter}")
    }

    /// What left rows out: the conditions of the WHERE but for those on the day, and those of the aggregates.
    pub(super) fn excluded(&self, is_grouped: bool) -> Vec<(String, String)> {
        let mut found = Vec::new();
        let keyed = is_grouped && !self.keys.is_empty();
        let count = |from: String| match keyed {
            true => format!(
                "select count(*) as rows from (select {}{from}) as made{}",
                self.keys().join(", "),
                self.joined()
            ),
            false => format!("select count(*) as rows{from}"),
        };
        let conditions = self.select.selection.as_ref().map(conjuncts).unwrap_or_default();
        for (at, condition) in conditions.iter().enumerate() {
            if has_query(condition) || names(condition).iter().any(|name| name.column == "dt") {
                continue;
            }
            let from = self.from(Some(at), &format!("({condition}) is not true"));
            found.push((format!("not ({condition})"), count(from)));
        }
        // With several aggregates a row may count for one and not for another.
        if let [Condition { filter, arguments, .. }] = self.conditions.as_slice() {
            let passes = filter.as_ref().map(|filter| format!("({filter})"));
            if let Some(passes) = &passes {
                let from = self.from(None, &format!("{passes} is not true"));
                found.push((format!("not {passes}"), count(from)));
            }
            for argument in arguments {
                let mut none = format!("({argument}) is null");
                if let Some(passes) = &passes {
                    let _ = write!(none, " and {passes}");
                }
                found.push((format!("no {argument}"), count(self.from(None, &none))));
            }
        }
        found
    }
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
