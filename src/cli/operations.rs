//! Where commands meet [`crate::run`]: one function an operation, so that a command's file has only its options.

use anyhow::Result;
use arrow::array::RecordBatch;

use super::args::{Days, Selection};
use super::output;
use super::session::Session;
use super::summary::{replayed, summary};
use super::wording::counted;
use crate::config::Config;
use crate::error::Exit;
use crate::run::{
    self, Diff, DiffRequest, Explanation, MaintainRequest, MaintenanceReport, ModelRow, Outlook, Rehearsal,
    ReplayRequest, RunRequest, RunRow, Step, Told, Trial, Turning, Verified, VerifyRequest, Vitals, WhyRequest,
};

/// A request for these steps, days and models, neither forced nor patient.
pub fn request(
    session: &Session,
    config: &Config,
    steps: &[Step],
    days: &Days,
    selection: Selection,
) -> Result<RunRequest> {
    let span = days.resolve(config, session.now_ms)?;
    Ok(RunRequest {
        steps: steps.to_vec(),
        sources: Vec::new(),
        select: selection.select,
        exclude: selection.exclude,
        from: span.from,
        to: span.to,
        force: false,
        wait: std::time::Duration::ZERO,
        command: session.command_line(),
    })
}

/// Does what a request says, reporting to the terminal; the summary is the last thing said.
pub fn run(session: &Session, config: Config, request: &RunRequest) -> Result<Exit> {
    let context = session.context(config);
    let report = session.block_on(&context, run::run(&context, request))?;
    let differences = report.differences.iter().map(|d| format!("{}: {}\n", d.export, d.text));
    output::print(&differences.collect::<String>())?;
    summary(&report).lines().for_each(|line| session.terminal.note(line));
    Ok(report.exit(session.strict))
}

/// Gives rejects their second chance; what came of it is the last thing said.
pub fn replay(session: &Session, config: Config, request: &ReplayRequest) -> Result<Exit> {
    let context = session.context(config);
    let report = session.block_on(&context, run::replay(&context, request))?;
    replayed(&report, request.wanted.dry_run).lines().for_each(|line| session.terminal.note(line));
    Ok(report.exit(session.strict))
}

/// Keeps the lake's folders small; what was done, and how the program ends.
pub fn maintain(
    session: &Session,
    config: Config,
    request: &MaintainRequest,
) -> Result<(Vec<MaintenanceReport>, Exit)> {
    let context = session.context(config);
    let report = session.block_on(&context, run::maintain(&context, request))?;
    let exit = report.exit(session.strict);
    Ok((report.maintained, exit))
}

/// Plans the selected models on empty tables.
pub fn rehearse(session: &Session, config: Config, selection: &Selection) -> Result<Exit> {
    let context = session.context(config);
    let Rehearsal { planned, failed } =
        session.block_on(&context, run::rehearse(&context, &selection.select, &selection.exclude))?;
    let planned = counted(planned.len() as u64, "model");
    if failed.is_empty() {
        session.terminal.note(&format!("{planned} fit their inputs; nothing was read or built"));
        return Ok(Exit::Done);
    }
    session.terminal.note(&format!("{planned} fit their inputs; not so: {}", failed.join(", ")));
    Ok(Exit::Failed)
}

/// What a run would do, and why.
pub fn plan(session: &Session, config: Config, request: &RunRequest) -> Result<Outlook> {
    session.terminal.note(&format!("business days {}, zone {}", words(request), config.timezone));
    let context = session.context(config);
    session.block_on(&context, run::plan(&context, request))
}

/// All that is recorded of one partition.
pub fn explain(session: &Session, config: Config, model: &str, day: Option<&str>) -> Result<Explanation> {
    let context = session.context(config);
    session.block_on(&context, run::explain(&context, model, day))
}

/// The days of a request in words; which they are is decided by what has arrived.
fn words(request: &RunRequest) -> String {
    let from = request.from.map_or_else(|| "first loaded".to_owned(), |day| day.to_string());
    let to = request.to.map_or_else(|| "last loaded, at most yesterday".to_owned(), |day| day.to_string());
    format!("{from}..{to}")
}

/// What came of building published partitions again.
pub fn verify(session: &Session, config: Config, request: &VerifyRequest) -> Result<Verified> {
    let context = session.context(config);
    session.block_on(&context, run::verify(&context, request))
}

/// The rows that a query gives; at least one batch, which may have none.
pub fn query(session: &Session, config: Config, sql: &str, as_of: Option<&str>) -> Result<Vec<RecordBatch>> {
    let context = session.context(config);
    session.block_on(&context, run::query(&context, sql, as_of))
}

/// Brings the warehouse to the state before a run, reporting to the terminal; the summary is the last thing said.
pub fn undo(session: &Session, config: Config, run: &str, request: &RunRequest) -> Result<Exit> {
    let context = session.context(config);
    let report = session.block_on(&context, run::undo(&context, run, request))?;
    summary(&report).lines().for_each(|line| session.terminal.note(line));
    Ok(report.exit(session.strict))
}

/// What undoing a run would do, as lines of text.
pub fn undo_plan(session: &Session, config: Config, run: &str) -> Result<Vec<String>> {
    let context = session.context(config);
    Ok(session.block_on(&context, run::undo_plan(&context, run))?.lines())
}

/// How the warehouse after one run differs from that after another.
pub fn diff(session: &Session, config: Config, request: &DiffRequest) -> Result<Diff> {
    let context = session.context(config);
    session.block_on(&context, run::diff(&context, request))
}

/// The runs that changed a cell of a table.
pub fn bisect(session: &Session, config: Config, table: &str, key: &str, column: &str) -> Result<Vec<Turning>> {
    let context = session.context(config);
    session.block_on(&context, run::bisect(&context, table, key, column))
}

/// The selected models and what is published of them.
pub fn models(session: &Session, config: Config, selection: &Selection) -> Result<Vec<ModelRow>> {
    let context = session.context(config);
    session.block_on(&context, run::models(&context, &selection.select, &selection.exclude))
}

/// How the cases of the selected models went.
pub fn test(session: &Session, config: Config, selection: &Selection) -> Result<Vec<Trial>> {
    let context = session.context(config);
    session.block_on(&context, run::test(&context, &selection.select, &selection.exclude))
}

/// A page of Markdown about the selected models.
pub fn docs(session: &Session, config: Config, selection: &Selection) -> Result<String> {
    let context = session.context(config);
    session.block_on(&context, run::docs(&context, &selection.select, &selection.exclude))
}

/// All about one model, as text.
pub fn describe(session: &Session, config: Config, model: &str) -> Result<String> {
    let context = session.context(config);
    session.block_on(&context, run::describe(&context, model))
}

/// The latest runs, newest first, or one of them.
pub fn runs(session: &Session, config: Config, wanted: Option<&str>, limit: usize) -> Result<Vec<RunRow>> {
    run::runs(&session.context(config), wanted, limit)
}

/// What only the warehouse itself can tell the doctor.
pub fn vitals(session: &Session, config: Config) -> Result<Vitals> {
    let context = session.context(config);
    session.block_on(&context, run::vitals(&context))
}

/// What a number was made from.
pub fn why(session: &Session, config: Config, request: &WhyRequest) -> Result<Vec<Told>> {
    let context = session.context(config);
    session.block_on(&context, run::why(&context, request))
}
