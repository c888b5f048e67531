//! Random histories of a warehouse, rebuilt by the planner's rules, against one built from nothing.
//!
//! A table's content is simulated: a number made from exactly the partitions that a query with the model's reads could
//! see, of models only the column `a`: all queries read it, and none reads `b`. It is coarse, so that rebuilt partitions
//! often come out as they were, whole or in that column, and the early cut-off has work to do.

use std::collections::{BTreeMap, BTreeSet};

use xxhash_rust::xxh3::xxh3_64;

use super::tests::{SOURCES, shop};
use super::*;
use crate::date::{BizDate, Slot};
use crate::model::{Layer, Model, Models};

const DAYS: i32 = 14;
/// More of them were run when this was written; these take a moment.
const SEEDS: u64 = 20;

/// What models have.
const COLUMNS: [&str; 3] = ["dt", "a", "b"];

/// What a partition was made from, by the plainest definition: the partitions with rows that it could see.
type Seen = Vec<(String, Slot, u64)>;

struct Chance(u64);

impl Chance {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }
}

fn day(n: i32) -> BizDate {
    BizDate::from_days(20_454 + n)
}

fn starts() -> Vec<SourceStart> {
    let start = |tables: &[&str], first: &str| SourceStart {
        tables: tables.iter().map(|&t| t.to_owned()).collect(),
        first_day_of: first.to_owned(),
    };
    vec![start(&SOURCES[..1], "ods_user_action"), start(&SOURCES[1..], "dwd_order")]
}

/// The reads of the shop's models written by hand, apart from what the planner derives.
fn seen(model: &Model, slot: Slot, states: &States) -> Seen {
    let table = |name: &str| states.get(name).cloned().unwrap_or_default();
    let pick = |name: &str, keep: &dyn Fn(Slot) -> bool| -> Seen {
        let slots = table(name).slots;
        let rows = slots.iter().filter(|(slot, state)| state.rows > 0 && keep(**slot));
        // Of a source all that came counts.
        let looked_at = |state: &SlotState| state.columns.get(1).copied().unwrap_or(state.version);
        rows.map(|(slot, state)| (name.to_owned(), *slot, looked_at(state))).collect()
    };
    let ago = |days: i32| slot.map(|day| day.plus_days(-days));
    let exactly = |name: &str, wanted: Slot| pick(name, &|slot| slot == wanted);
    match model.name.as_str() {
        "dwd_event" => exactly("ods_user_action", slot),
        "dwd_order_history" => pick("ods_user_order", &|_| true),
        "dwd_order" => pick("dwd_order_history", &|_| true),
        "dwd_goods" => exactly("ods_goods_info", slot),
        "dws_visitor_day" => exactly("dwd_event", slot),
        "dws_first" => [exactly("dws_visitor_day", slot), pick("dws_first", &|s| s.is_some() && s < slot)].concat(),
        "dws_week" => pick("dws_visitor_day", &|s| ago(6) <= s && s <= slot),
        "dws_goods_day" => {
            let goods = pick("dwd_goods", &|_| true);
            let latest = goods.iter().rfind(|(_, s, _)| *s <= slot).or(goods.first()).cloned();
            [exactly("dwd_order", slot), latest.into_iter().collect()].concat()
        }
        "app_active" => pick("dws_week", &|s| s == slot || s == ago(1)),
        "app_gmv" => exactly("dwd_order", slot),
        // The second is read by its check.
        "app_sales" => [exactly("dws_goods_day", slot), exactly("app_gmv", slot)].concat(),
        "dws_line" => exactly("dwd_order", slot),
        "dws_line_week" => {
            let past = pick("dws_line", &|s| slot.is_some() && s.is_some() && ago(6) <= s && s < slot);
            [exactly("dws_line", slot), past].concat()
        }
        "app_both" => [exactly("app_gmv", slot), exactly("dws_first", slot)].concat(),
        other => panic!("{other}"),
    }
}

fn content(seen: &Seen) -> (u64, u64) {
    let hash = xxh3_64(format!("{seen:?}").as_bytes());
    let rows = if seen.is_empty() || hash.is_multiple_of(7) { 0 } else { 1 };
    (if rows == 0 { 0 } else { hash % 6 }, rows)
}

/// The state of a partition with a content, and what its columns are in it.
fn state((version, rows): (u64, u64), run: &str) -> SlotState {
    let columns = vec![0, version % 3, version / 3];
    SlotState { version, columns, rows, run: run.to_owned(), ..SlotState::default() }
}

/// A warehouse with, beside its states, what each partition was really made from.
#[derive(Clone, Default)]
struct Warehouse {
    states: States,
    made_from: BTreeMap<(String, Slot), Seen>,
    rebuilt: usize,
}

impl Warehouse {
    fn run(&mut self, models: &Models, selected: &BTreeSet<String>, from: Option<BizDate>, run: &str) {
        loop {
            let begins = begins(models, &self.states, &starts(), None);
            let window = Window { from, to: day(DAYS) };
            let wanted = wanted(models, selected, window, &begins, &self.states);
            for model in models.iter() {
                self.step(model, wanted.get(&model.name).map_or(&[], Vec::as_slice), &begins, run);
            }
            // Where the orders begin is known once they are built; then there may be more days, or less.
            if begins == super::begins(models, &self.states, &starts(), None) {
                break;
            }
        }
    }

    fn step(&mut self, model: &Model, slots: &[Slot], begins: &Begins, run: &str) {
        for slot in obsolete(model, begins.get(&model.name), &self.states) {
            let mut table = self.states.get(&model.name).cloned().unwrap_or_default();
            table.slots.remove(&slot);
            self.states.set(&model.name, table);
            self.made_from.remove(&(model.name.clone(), slot));
        }
        for slot in slots {
            let key = (model.name.clone(), *slot);
            let seen = seen(model, *slot, &self.states);
            let around = seen.iter().filter(|(table, ..)| *table != model.name && table != "dwd_goods");
            if model.uses_day && (slot.is_none() || model.layer != Layer::App) && around.count() == 0 {
                assert!(stale(model, &[*slot], &self.states).is_empty(), "{key:?} in {run}: nothing to build it from");
                continue;
            }
            let is_stale = !stale(model, &[*slot], &self.states).is_empty();
            assert_eq!(is_stale, self.made_from.get(&key) != Some(&seen), "{key:?} in {run}");
            if is_stale {
                self.rebuilt += 1;
                self.build(model, *slot, &seen, run);
                self.made_from.insert(key, seen);
            }
        }
    }

    fn build(&mut self, model: &Model, slot: Slot, seen: &Seen, run: &str) {
        let made = fingerprint(model, slot, &self.states);
        let columns: Vec<String> = COLUMNS.map(str::to_owned).into();
        if model.uses_day {
            if self.states.get(&model.name).is_none() {
                self.states.set(&model.name, TableState { columns, ..TableState::default() });
            }
            let fingerprint = Some(made);
            self.states.set_slot(&model.name, slot, SlotState { fingerprint, ..state(content(seen), run) });
            return;
        }
        // Made in one go: a partition for each of the input's, from it alone.
        let slots = seen.iter().map(|input| (input.1, state(content(&vec![input.clone()]), run).into())).collect();
        let run = run.to_owned();
        self.states.set(&model.name, TableState { slots, columns, whole: Some(made), run, ..TableState::default() });
    }

    /// Versions and rows of every partition of some models.
    fn contents(&self, models: &BTreeSet<String>) -> Vec<(String, Slot, u64, u64)> {
        let of = |name: &String| {
            let table = self.states.get(name).cloned().unwrap_or_default();
            let name = name.clone();
            table.slots.into_iter().map(move |(slot, s)| (name.clone(), slot, s.version, s.rows))
        };
        models.iter().flat_map(of).collect()
    }
}

/// Something arrives, changes or goes in a source.
fn change(states: &mut States, chance: &mut Chance, run: &str) {
    let table = SOURCES[chance.below(3) as usize];
    let slot = match chance.below(12) {
        0 if table == "ods_user_order" => None,
        _ => Some(day(chance.below(DAYS as u64) as i32 + 1)),
    };
    let mut state = states.get(table).cloned().unwrap_or_default();
    if chance.below(8) == 0 {
        state.slots.remove(&slot);
    } else {
        let version = chance.below(4);
        let rows = u64::from(chance.below(9) > 0);
        let partition = SlotState { version, rows, run: run.to_owned(), ..SlotState::default() };
        state.slots.insert(slot, partition.into());
    }
    states.set(table, state);
}

fn from_nothing(models: &Models, all: &BTreeSet<String>, states: &States) -> Warehouse {
    let mut fresh = Warehouse::default();
    for table in SOURCES {
        fresh.states.set(table, states.get(table).cloned().unwrap_or_default());
    }
    fresh.run(models, all, None, "scratch");
    fresh
}

#[test]
fn after_any_history_the_warehouse_equals_one_built_from_nothing() {
    let models = shop();
    let all: BTreeSet<String> = models.iter().map(|model| model.name.clone()).collect();
    let names: Vec<&String> = all.iter().collect();
    let (mut rebuilt, mut scratch) = (0, 0);
    for seed in 0..SEEDS {
        let mut chance = Chance(seed);
        let mut house = Warehouse::default();
        for step in 0..12 {
            let run = format!("r{step:03}");
            for _ in 0..=chance.below(4) {
                change(&mut house.states, &mut chance, &run);
            }
            let fresh = from_nothing(&models, &all, &house.states);
            if chance.below(3) == 0 {
                // A part of it, for some days: what was asked for is right, whatever the rest is.
                let name = names[chance.below(names.len() as u64) as usize];
                let from = day(chance.below(DAYS as u64) as i32 + 1);
                let part = BTreeSet::from([name.clone()]);
                house.run(&models, &part, Some(from), &run);
                let asked = |w: &Warehouse| -> Vec<_> {
                    w.contents(&part)
                        .into_iter()
                        .filter(|(_, slot, ..)| slot.is_none() || *slot >= Some(from))
                        .collect()
                };
                assert_eq!(asked(&house), asked(&fresh), "seed {seed} step {step} {name} from {from}");
            }
            if chance.below(3) > 0 {
                house.run(&models, &all, None, &run);
                assert_eq!(house.contents(&all), fresh.contents(&all), "seed {seed} step {step}");
            }
            scratch += fresh.rebuilt;
        }
        rebuilt += house.rebuilt;
    }
    assert!(rebuilt * 2 < scratch, "{rebuilt} partitions were rebuilt, {scratch} from nothing");
}

#[test]
fn what_is_built_was_planned() {
    let models = shop();
    let all: BTreeSet<String> = models.iter().map(|model| model.name.clone()).collect();
    let mut compared = 0;
    for seed in 100..140 {
        let mut chance = Chance(seed);
        let mut house = Warehouse::default();
        for table in SOURCES {
            let slots =
                (1..=DAYS).map(|n| (Some(day(n)), SlotState { version: 1, rows: 1, ..SlotState::default() }.into()));
            house.states.set(table, TableState { slots: slots.collect(), ..TableState::default() });
        }
        house.run(&models, &all, None, "r000");
        change(&mut house.states, &mut chance, "r001");
        let begins = begins(&models, &house.states, &starts(), None);
        let window = Window { from: None, to: day(DAYS) };
        let wanted = wanted(&models, &all, window, &begins, &house.states);
        let plan = plan(&models, &wanted, &begins, &house.states, &Expected::default());
        let planned: BTreeSet<(String, Slot)> =
            plan.steps.iter().flat_map(|step| step.slots.iter().map(|(slot, _)| (step.model.clone(), *slot))).collect();
        let before = house.made_from.clone();
        house.run(&models, &all, None, "r001");
        if begins != super::begins(&models, &house.states, &starts(), None) {
            // Earlier orders came to light in the build itself: more days than could be known.
            continue;
        }
        compared += 1;
        for (key, seen) in &house.made_from {
            assert!(before.get(key) == Some(seen) || planned.contains(key), "seed {seed}: {key:?} was not planned");
        }
    }
    assert!(compared > 30, "{compared}");
}
