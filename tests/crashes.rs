//! Crash points: whatever was the last step that reached the storage, the next run finishes the job.

#![allow(clippy::panic, reason = "a test that fails panics, in its helpers too")]

mod house;
mod shop;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Weak};
use std::thread::sleep;
use std::time::Duration;

use house::store::{ERRORS, Fault};
use house::{Contents, House, own_project, settle_times};
use object_store::memory::InMemory;
use shop::{Shop, exports};
use strata::sample::{SampleOptions, write_sample};
use tempfile::TempDir;
use tokio::sync::Mutex;

/// How many crash points are tried when not all are.
const TRIED: usize = 6;

/// A project, its inputs on two evenings, and what an uninterrupted warehouse came to on each.
struct Evenings {
    _folder: TempDir,
    project: PathBuf,
    inputs: [PathBuf; 2],
    after: [Contents; 2],
    /// The states before each durable step of each run.
    journals: [Vec<(String, InMemory)>; 2],
    /// The exported database after the first.
    exported: PathBuf,
}

fn is_long() -> bool {
    std::env::var_os("STRATA_TEST_LONG").is_some()
}

/// Some of the numbers below `n`, spread over all of them; all in the long form.
fn points(n: usize, tried: usize) -> Vec<usize> {
    let step = if is_long() { 1 } else { n.div_ceil(tried).max(1) };
    (0..n).step_by(step).collect()
}

fn two_evenings(folder: &Path) -> [PathBuf; 2] {
    let all = folder.join("in2");
    let options = SampleOptions {
        out: all.clone(),
        days: 3,
        devices: 12,
        events: 40,
        orders: 6,
        goods: 10,
        seed: 3,
        start: "2026-01-01".parse().expect("a day"),
        messy: 0.2,
        zone: "Asia/Shanghai".parse().expect("a zone"),
    };
    write_sample(&options, &mut |_, _| {}).expect("a shop");
    // Late: an event of the first day, and one of a day before all others.
    let late = |ms: i64| format!("{{\"act\":1,\"acttime\":{ms},\"xaid\":\"late-device\",\"platform\":1,\"net\":1}}\n");
    let lines = format!("{}{}no event\n", late(1_767_240_000_000), late(1_767_150_000_000));
    fs::write(all.join("user_action/2026-01-03/late.log"), lines).expect("writes");
    settle_times(&all);
    let first = folder.join("in1");
    house::copy(&all, &first);
    for source in ["user_action", "orders"] {
        fs::remove_dir_all(first.join(source).join("2026-01-03")).expect("a third day");
    }
    settle_times(&first);
    [first, all]
}

/// The evenings, as long as some test has them.
static EVENINGS: Mutex<Weak<Evenings>> = Mutex::const_new(Weak::new());

impl Evenings {
    /// The same for all tests that run at the same time.
    async fn shared() -> Arc<Self> {
        let mut shared = EVENINGS.lock().await;
        if let Some(evenings) = shared.upgrade() {
            return evenings;
        }
        let evenings = Arc::new(Self::new().await);
        *shared = Arc::downgrade(&evenings);
        evenings
    }

    async fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let project = own_project(&folder.path().join("project"));
        let inputs = two_evenings(folder.path());
        let mut house = House::new(&project, &inputs[0]);
        house.store.keep_journal().await;
        house.succeeds().await;
        let first = (house.store.journal().await, house.contents().await);
        let exported = folder.path().join("first.db");
        fs::copy(house.exported(), &exported).expect("an exported database");
        let mut second = House::with(&project, &inputs[1], house.store.content());
        fs::copy(&exported, second.exported()).expect("copies");
        second.store.keep_journal().await;
        second.succeeds().await;
        let second = (second.store.journal().await, second.contents().await);
        let after = [first.1, second.1];
        Self { _folder: folder, project, inputs, after, journals: [first.0, second.0], exported }
    }

    /// The warehouse as a crash before a durable step of one of the evenings left it.
    fn house_at(&self, evening: usize, content: InMemory) -> House {
        let mut house = House::with(&self.project, &self.inputs[evening], content);
        house.runs = 10;
        if evening == 1 {
            fs::copy(&self.exported, house.exported()).expect("copies");
        }
        house
    }

    /// The warehouse before an evening.
    fn house_before(&self, evening: usize) -> House {
        self.house_at(evening, self.journals[evening][0].1.fork())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_killed_at_any_durable_step_is_finished_by_the_next_one() {
    let evenings = Evenings::shared().await;
    let mut tried = 0;
    for evening in [0, 1] {
        let journal = &evenings.journals[evening];
        assert!(journal.len() > 100, "{} durable steps", journal.len());
        for step in points(journal.len(), TRIED) {
            let (what, content) = &journal[step];
            let mut house = evenings.house_at(evening, content.fork());
            house.succeeds().await;
            let when = format!("evening {evening}, killed before step {step}, {what}");
            house.contents().await.must_equal(&evenings.after[evening], &when);
            tried += 1;
        }
    }
    println!("{tried} crash points of {}", evenings.journals.iter().map(Vec::len).sum::<usize>());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_cannot_write_says_so_and_is_finished_by_the_next_one() {
    let evenings = Evenings::shared().await;
    for evening in [0, 1] {
        for (turn, step) in points(evenings.journals[evening].len(), TRIED / 2).into_iter().enumerate() {
            let fault = ERRORS[(turn + evening) % ERRORS.len()];
            let mut house = evenings.house_before(evening);
            house.store.fail_at(step, fault).await;
            let result = house.run().await;
            let failed = house.store.heal().await.expect("a step failed");
            let when = format!("evening {evening}, {fault:?} at step {step}, {failed}");
            let said = match &result {
                Ok(report) => report.failures.join("\n"),
                Err(error) => format!("{error:#}"),
            };
            // What is only cleared away may stay behind.
            let expected = if fault == Fault::NoSpace { "No space left" } else { "Input/output error" };
            assert!(said.contains(expected) || failed.starts_with("delete"), "{when}: said `{said}`");
            house.succeeds().await;
            house.contents().await.must_equal(&evenings.after[evening], &when);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_was_set_back_between_two_runs_makes_no_difference() {
    let evenings = Evenings::shared().await;
    let mut house = evenings.house_before(0);
    let first = house.succeeds().await;
    assert_eq!(first.outcome, "done");
    let mut house = evenings.house_at(1, house.store.content());
    house.now_ms -= 40 * 3_600_000;
    let plan = house.plan().await;
    assert_eq!(plan, "", "nothing has landed since");
    house.ingests().await;
    let plan = house.plan().await;
    assert!(plan.contains("input ods_user_action 2026-01-01 changed"), "the days that changed are told: {plan}");
    let second = house.succeeds().await;
    assert!(second.run > first.run, "{} sorts after {}", second.run, first.run);
    house.contents().await.must_equal(&evenings.after[1], "the clock was set back");
}

#[test]
fn a_program_killed_at_any_moment_again_and_again_is_finished_by_the_next_run() {
    let options = ["--days", "3", "--devices", "12", "--events", "40", "--orders", "6", "--messy", "0.2"];
    let (whole, killed) = (Shop::sample(&options), Shop::sample(&options));
    whole.succeeds(&["run", "--quiet"]);
    let kills = if is_long() { 40 } else { 5 };
    let mut chance: u64 = 7;
    let mut ended = 0;
    for _ in 0..kills {
        chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let mut command = killed.command(&["run", "--quiet"]);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("starts");
        // The moment is the test's subject: nothing is waited for.
        sleep(Duration::from_millis(300 + (chance >> 33) % 2500));
        child.kill().expect("kills");
        ended += usize::from(child.wait().expect("ends").success());
    }
    println!("{kills} kills, {ended} runs had ended before");
    killed.succeeds(&["run", "--quiet"]);
    assert_eq!(exports(&killed), exports(&whole));
    let rows = "select * from dwd_event order by file, byte_offset, element";
    let rejects = "select * from ods_reject order by table_name, file, byte_offset, row_number, element, reason";
    for sql in [rows, rejects, "select * from dwd_order_history order by order_id, valid_from"] {
        let asked = ["query", sql, "--format", "csv"];
        let rows = |shop: &Shop| shop.succeeds(&asked).replace(&shop.path(""), "");
        assert_eq!(rows(&killed), rows(&whole), "{sql}");
    }
    assert!(killed.succeeds(&["plan"]).contains("all is fresh"));
}
