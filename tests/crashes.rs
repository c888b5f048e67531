//! Crash points: whatever was the last step that reached the storage, the next run finishes the job.

mod house;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use house::store::{ERRORS, Fault};
use house::{Contents, House, own_project, settle_times};
use object_store::memory::InMemory;
use strata::sample::{SampleOptions, write_sample};
use tempfile::TempDir;

/// How many crash points are tried when not all are.
const TRIED: usize = 12;

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

impl Evenings {
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
    let since = Instant::now();
    let evenings = Evenings::new().await;
    println!("uninterrupted: {:?} {} {}", since.elapsed(), evenings.journals[0].len(), evenings.journals[1].len());
    let mut tried = 0;
    for evening in [0, 1] {
        let journal = &evenings.journals[evening];
        assert!(journal.len() > 100, "{} durable steps", journal.len());
        for step in points(journal.len(), TRIED) {
            let (what, content) = &journal[step];
            let mut house = evenings.house_at(evening, content.fork());
            let since = Instant::now();
            house.succeeds().await;
            println!("{step} {:?}", since.elapsed());
            let when = format!("evening {evening}, killed before step {step}, {what}");
            house.contents().await.must_equal(&evenings.after[evening], &when);
            println!("{step} {:?}", since.elapsed());
            tried += 1;
        }
    }
    println!("{tried} crash points of {}", evenings.journals.iter().map(Vec::len).sum::<usize>());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_cannot_write_says_so_and_is_finished_by_the_next_one() {
    let evenings = Evenings::new().await;
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
