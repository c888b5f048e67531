//! dbt's selection grammar: `app_gmv`, `+app_gmv`, `2+x+1`, `layer:dws` or `dws`, `tag:orders`, globs; unions by space,
//! intersections by comma.

use std::collections::BTreeSet;

use anyhow::{Result, anyhow, bail};

use super::lineage::{downstream, upstream};
use super::{Layer, Models, did_you_mean};

/// The names of the models that are selected and not excluded; all of them when nothing is selected.
///
/// # Errors
/// When a name, a layer or a tag does not exist, or a pattern matches nothing; the message has a hint on a second line.
pub fn select(models: &Models, selected: &[String], excluded: &[String]) -> Result<BTreeSet<String>> {
    let is_model = |name: &String| models.get(name).is_some();
    let mut chosen = match unions(selected).next() {
        None => models.iter().map(|model| model.name.clone()).collect(),
        Some(_) => union(models, selected)?,
    };
    chosen.retain(is_model);
    let without = union(models, excluded)?;
    chosen.retain(|name| !without.contains(name));
    Ok(chosen)
}

fn unions(arguments: &[String]) -> impl Iterator<Item = &str> {
    arguments.iter().flat_map(|argument| argument.split_whitespace())
}

fn union(models: &Models, arguments: &[String]) -> Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    for part in unions(arguments) {
        found.extend(intersection(models, part)?);
    }
    Ok(found)
}

fn intersection(models: &Models, text: &str) -> Result<BTreeSet<String>> {
    let mut found: Option<BTreeSet<String>> = None;
    for part in text.split(',') {
        let more = reach(models, part)?;
        found = Some(match found {
            Some(so_far) => so_far.intersection(&more).cloned().collect(),
            None => more,
        });
    }
    Ok(found.unwrap_or_default())
}

/// A name or method with `+` on either side, and how far each reaches.
fn reach(models: &Models, text: &str) -> Result<BTreeSet<String>> {
    let (above, rest) = match text.split_once('+') {
        Some((steps, rest)) if steps.is_empty() || is_number(steps) => (Some(number(text, steps)?), rest),
        _ => (None, text),
    };
    let (below, name) = match rest.rsplit_once('+') {
        Some((name, steps)) if steps.is_empty() || is_number(steps) => (Some(number(text, steps)?), name),
        _ => (None, rest),
    };
    let named = named(models, name, text)?;
    let mut found = named.clone();
    for table in &named {
        if let Some(steps) = above {
            found.extend(upstream(models, table, steps));
        }
        if let Some(steps) = below {
            found.extend(downstream(models, table, steps));
        }
    }
    if above.is_none() && below.is_none() && named.iter().all(|table| models.get(table).is_none()) {
        bail!("`{text}` is not built by a model\n hint: select what is made from it with `{text}+`");
    }
    Ok(found)
}

fn is_number(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_digit())
}

fn number(text: &str, steps: &str) -> Result<Option<usize>> {
    if steps.is_empty() {
        return Ok(None);
    }
    let steps = steps.parse().map_err(|_| anyhow!("`{text}`: {steps} steps are too many"))?;
    Ok(Some(steps))
}

/// The tables that a name, a pattern or a method means, sources and seeds included.
fn named(models: &Models, name: &str, text: &str) -> Result<BTreeSet<String>> {
    let all = || models.names().map(str::to_owned);
    let (method, value) = name.split_once(':').unwrap_or(("", name));
    let found: BTreeSet<String> = match method {
        "" if value.is_empty() => bail!("`{text}` selects nothing: a name is missing"),
        "" if value.contains(['*', '?']) => all().filter(|table| matches(value, table)).collect(),
        "" => match (models.knows(value), value.parse::<Layer>()) {
            (true, _) => BTreeSet::from([value.to_owned()]),
            (false, Ok(layer)) => of_layer(models, layer),
            (false, Err(_)) => {
                let known = models.names().chain(Layer::ALL.iter().map(|layer| layer.name()));
                return Err(unknown("model", value, known));
            }
        },
        "layer" => match value.parse::<Layer>() {
            Ok(layer) => of_layer(models, layer),
            Err(_) => return Err(unknown("layer", value, Layer::ALL.iter().map(|layer| layer.name()))),
        },
        "tag" => {
            let tagged: BTreeSet<String> = models
                .iter()
                .filter(|model| model.tags.iter().any(|tag| matches(value, tag)))
                .map(|model| model.name.clone())
                .collect();
            if tagged.is_empty() {
                return Err(unknown("tag", value, models.iter().flat_map(|m| m.tags.iter().map(String::as_str))));
            }
            tagged
        }
        _ => return Err(unknown("selection method", method, ["layer", "tag"].into_iter())),
    };
    if found.is_empty() {
        bail!("`{text}` matches no model\n hint: `strata ls` lists them");
    }
    Ok(found)
}

fn of_layer(models: &Models, layer: Layer) -> BTreeSet<String> {
    let seeds: BTreeSet<&str> = models.seeds().collect();
    let inside = |table: &&str| Layer::of_table(table) == Some(layer) && !seeds.contains(*table);
    models.names().filter(inside).map(str::to_owned).collect()
}

fn unknown<'a>(what: &str, word: &str, known: impl Iterator<Item = &'a str>) -> anyhow::Error {
    match did_you_mean(word, known) {
        Some(hint) => anyhow!("unknown {what} `{word}`\n hint: {hint}"),
        None => anyhow!("unknown {what} `{word}`\n hint: `strata ls` lists what there is"),
    }
}

/// Whether a text is like a pattern, in which `*` stands for any characters and `?` for one.
fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    // The set of places in the pattern that the text so far can have reached, advanced a character at a time.
    let past_stars = |mut at: Vec<bool>| {
        for i in 0..pattern.len() {
            if at[i] && pattern[i] == '*' {
                at[i + 1] = true;
            }
        }
        at
    };
    let mut at = vec![false; pattern.len() + 1];
    at[0] = true;
    at = past_stars(at);
    for c in text {
        let mut next = vec![false; pattern.len() + 1];
        for i in 0..pattern.len() {
            if at[i] && pattern[i] == '*' {
                next[i] = true;
            } else if at[i] && (pattern[i] == c || pattern[i] == '?') {
                next[i + 1] = true;
            }
        }
        at = past_stars(next);
    }
    at[pattern.len()]
}
