//! All models of a project: each loaded, then checked against the others, then put in the order they can be built in.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::{Mutex, PoisonError};

use datafusion::sql::sqlparser::ast::{ObjectName, Query, visit_relations};

use super::diagnostic::{Diagnostic, did_you_mean};
use super::load::{derive_reads, load_alone};
use super::relation::HasDt;
use super::sql::{table_place, table_text};
use super::{CheckKind, FIRST_LOADED_DAY, Layer, Model, Read};

/// Models are read by so many threads at most, each with a stack like a process's first one: SQL may be nested deeply.
const THREADS: usize = 8;
const STACK_BYTES: usize = 8 << 20;

/// The models of a project, each after everything it reads.
#[derive(Clone, Debug, Default)]
pub struct Models {
    list: Vec<Model>,
    sources: BTreeSet<String>,
    seeds: BTreeSet<String>,
}

impl Models {
    /// Loads models from the texts of their files, given the names of the source tables and of the seeds
    /// (`ods_user`, `seed_festival`). All mistakes are reported, in the order of the files.
    pub fn load<P: AsRef<str> + Sync, T: AsRef<str> + Sync>(
        files: impl IntoIterator<Item = (P, T)>,
        sources: &[impl AsRef<str>],
        seeds: &[impl AsRef<str>],
    ) -> Result<Self, Vec<Diagnostic>> {
        let mut models = Self {
            list: Vec::new(),
            sources: sources.iter().map(|name| name.as_ref().to_owned()).collect(),
            seeds: seeds.iter().map(|name| name.as_ref().to_owned()).collect(),
        };
        let mut wrong = Vec::new();
        let mut broken = BTreeSet::new();
        let files: Vec<(P, T)> = files.into_iter().collect();
        let loaded = side_by_side(files.iter().collect(), |(path, text)| load_alone(path.as_ref(), text.as_ref()));
        for ((path, _), loaded) in files.iter().zip(loaded) {
            match loaded {
                Ok(model) => wrong.extend(models.admit(model).err()),
                Err(diagnostic) => {
                    broken.insert(file_stem(path.as_ref()).to_owned());
                    wrong.push(diagnostic);
                }
            }
        }
        wrong.extend(models.derive());
        for model in &models.list {
            wrong.extend(models.mistakes(model, &broken));
        }
        if wrong.is_empty() {
            wrong.extend(models.sort().err());
        }
        if wrong.is_empty() {
            return Ok(models);
        }
        wrong.sort_by(|a, b| (&a.path, a.line, a.column).cmp(&(&b.path, b.line, b.column)));
        Err(wrong)
    }

    /// The models, each after everything it reads; the same order every time.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Model> + ExactSizeIterator {
        self.list.iter()
    }

    /// The model of a table.
    pub fn get(&self, name: &str) -> Option<&Model> {
        self.list.iter().find(|model| model.name == name)
    }

    /// The source tables: what ingest fills and models read.
    pub fn sources(&self) -> impl Iterator<Item = &str> {
        self.sources.iter().map(String::as_str)
    }

    /// The seeds: small tables that are files of the project.
    pub fn seeds(&self) -> impl Iterator<Item = &str> {
        self.seeds.iter().map(String::as_str)
    }

    /// Whether there is a table of the name: a model, a source or a seed.
    pub fn knows(&self, table: &str) -> bool {
        self.sources.contains(table) || self.seeds.contains(table) || self.get(table).is_some()
    }

    /// Every table's name.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.list.iter().map(|model| model.name.as_str()).chain(self.sources()).chain(self.seeds())
    }

    fn admit(&mut self, model: Model) -> Result<(), Diagnostic> {
        let whole_file = |message: String| Diagnostic::at(&model.path, "", (0, 0), message);
        if let Some(other) = self.get(&model.name) {
            return Err(whole_file(format!("`{}` is defined in {} as well", model.name, other.path)));
        }
        if self.sources.contains(&model.name) || self.seeds.contains(&model.name) {
            return Err(whole_file(format!("`{}` is a source table; a model cannot have its name", model.name)));
        }
        self.list.push(model);
        Ok(())
    }

    /// Derives the reads, now that it is known which tables have a `dt`.
    fn derive(&mut self) -> Vec<Diagnostic> {
        let mut known: BTreeMap<String, HasDt> = BTreeMap::new();
        known.extend(self.sources.iter().map(|name| (name.clone(), HasDt::Yes)));
        for model in &self.list {
            known.insert(model.name.clone(), if model.is_partitioned() { HasDt::Yes } else { HasDt::No });
        }
        let catalog = |table: &str| known.get(table).copied().unwrap_or(HasDt::Maybe);
        let derived = side_by_side(std::mem::take(&mut self.list), |mut model| {
            let wrong = derive_reads(&mut model, &catalog).err();
            (model, wrong)
        });
        let (list, wrong): (Vec<Model>, Vec<Option<Diagnostic>>) = derived.into_iter().unzip();
        self.list = list;
        wrong.into_iter().flatten().collect()
    }

    fn mistakes(&self, model: &Model, broken: &BTreeSet<String>) -> Vec<Diagnostic> {
        let mut wrong = Vec::new();
        for read in &model.reads {
            wrong.extend(self.mistake(model, read, &model.ast, broken));
        }
        for check in &model.checks {
            let CheckKind::Query(query) = &check.kind else { continue };
            for read in &check.reads {
                wrong.extend(self.mistake(model, read, query, broken));
            }
        }
        wrong
    }

    fn mistake(&self, model: &Model, read: &Read, query: &Query, broken: &BTreeSet<String>) -> Option<Diagnostic> {
        let table = read.table.as_str();
        let at = |message: String| Diagnostic::at(&model.path, &model.sql, found(query, table), message);
        if table == model.name {
            let past = model.uses_day && read.ranges.iter().all(super::DayRange::is_before_the_day);
            let hint = "limit it in the same SELECT, for instance `where dt < $dt`";
            return (!past).then(|| {
                at(format!("`{table}` reads itself, but not only the days before $dt")).with_hint(Some(hint.to_owned()))
            });
        }
        if table == FIRST_LOADED_DAY {
            return None;
        }
        if !self.knows(table) {
            // A table whose own file is wrong is not unknown; that mistake is reported already.
            if broken.contains(table) {
                return None;
            }
            let bare = table.rsplit('.').next().filter(|bare| *bare != table && self.knows(bare));
            let hint = match bare {
                Some(bare) => Some(format!("tables are named without their layer: `{bare}`")),
                None => did_you_mean(table, self.names()),
            };
            return Some(at(format!("unknown table `{table}`")).with_hint(hint));
        }
        let layer = if self.seeds.contains(table) { None } else { Layer::of_table(table) };
        match layer {
            Some(layer) if layer > model.layer => {
                let message = format!("a model of {} cannot read `{table}`, which is above it", model.layer);
                Some(at(message))
            }
            Some(Layer::Ods) if model.layer == Layer::App => {
                let hint = "read what dwd or dws make of it";
                Some(at(format!("an app model never reads ods, and `{table}` is")).with_hint(Some(hint.to_owned())))
            }
            _ => None,
        }
    }

    /// Orders the models so that each comes after its inputs: among those that can come next, by layer and name.
    fn sort(&mut self) -> Result<(), Diagnostic> {
        let mut waiting: BTreeMap<(Layer, String), (Model, BTreeSet<String>)> = BTreeMap::new();
        for model in std::mem::take(&mut self.list) {
            let tables = model.prerequisites().map(|read| read.table.clone());
            let needs = tables.filter(|table| Layer::of_table(table).is_some()).collect();
            waiting.insert((model.layer, model.name.clone()), (model, needs));
        }
        let names: BTreeSet<String> = waiting.keys().map(|(_, name)| name.clone()).collect();
        let mut done: BTreeSet<String> = BTreeSet::new();
        while !waiting.is_empty() {
            let is_ready = |needs: &BTreeSet<String>| needs.iter().all(|t| done.contains(t) || !names.contains(t));
            let next = waiting.iter().find(|(_, (_, needs))| is_ready(needs)).map(|(key, _)| key.clone());
            let Some((model, _)) = next.and_then(|key| waiting.remove(&key)) else {
                let rest: Vec<Model> = waiting.into_values().map(|(model, _)| model).collect();
                return Err(cycle(&rest));
            };
            done.insert(model.name.clone());
            self.list.push(model);
        }
        Ok(())
    }
}

/// What a function makes of each item, in their order, computed on several threads: every command begins by reading all models.
fn side_by_side<I: Send, O: Send>(items: Vec<I>, make: impl Fn(I) -> O + Sync) -> Vec<O> {
    let waiting = Mutex::new(items.into_iter().enumerate());
    let made = Mutex::new(Vec::new());
    let work = || {
        loop {
            let next = waiting.lock().unwrap_or_else(PoisonError::into_inner).next();
            let Some((place, item)) = next else { break };
            let one = make(item);
            made.lock().unwrap_or_else(PoisonError::into_inner).push((place, one));
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(THREADS);
    std::thread::scope(|scope| {
        for _ in 1..threads {
            // Where no thread can be had, the others do its part.
            drop(std::thread::Builder::new().stack_size(STACK_BYTES).spawn_scoped(scope, work));
        }
        work();
    });
    let mut made = made.into_inner().unwrap_or_else(PoisonError::into_inner);
    made.sort_by_key(|(place, _)| *place);
    made.into_iter().map(|(_, one)| one).collect()
}

/// The mistake of models that wait for one another, all of which are in a cycle or behind one.
fn cycle(rest: &[Model]) -> Diagnostic {
    let find = |name: &str| rest.iter().find(|model| model.name == name);
    let mut path: Vec<&str> = Vec::new();
    let mut at = rest.first();
    while let Some(model) = at {
        if let Some(start) = path.iter().position(|name| *name == model.name) {
            path.drain(..start);
            break;
        }
        path.push(&model.name);
        at = model.prerequisites().find_map(|read| find(&read.table));
    }
    let first = path.first().and_then(|name| find(name));
    let (file, sql) = first.map_or(("", ""), |model| (model.path.as_str(), model.sql.as_str()));
    let next = path.get(1).or(path.first()).copied().unwrap_or_default();
    let place = first.map_or((0, 0), |model| found(&model.ast, next));
    path.extend(path.first().copied());
    Diagnostic::at(file, sql, place, format!("models read one another in a circle: {}", path.join(" → ")))
}

/// Where a query first names a table.
fn found(query: &Query, table: &str) -> (usize, usize) {
    let place = visit_relations(query, |name: &ObjectName| {
        if table_text(name) == table { ControlFlow::Break(table_place(name)) } else { ControlFlow::Continue(()) }
    });
    place.break_value().unwrap_or((0, 0))
}

fn file_stem(path: &str) -> &str {
    let file = path.rsplit(['/', '\\']).next().unwrap_or(path);
    file.strip_suffix(".sql").unwrap_or(file)
}

#[cfg(test)]
mod tests;
