//! Tables brought to their shape before the transaction; every statement commits by itself.

use anyhow::{Context, Result};

use super::ddl::Migration;
use super::plan::Work;
use super::target::Target;
use super::{Job, LOCKED, code, is_refusal};
use crate::export::METADATA_TABLE;
use crate::mysql::quoted;
use crate::progress::Event;

/// Brings the tables to their shape.
///
/// # Errors
/// When the server refuses; a comment that cannot be changed now waits for the next export.
pub async fn migrate(job: &Job<'_>, target: &mut Target, plan: &[Work]) -> Result<()> {
    for work in plan {
        let name = work.name();
        match &work.migration {
            Migration::None | Migration::Comment(_) => {}
            Migration::Create => {
                let sql = work.wanted.create(&work.into, &target.collation);
                target.session.execute(sql).await.with_context(|| format!("create {name}"))?;
            }
            Migration::Rekey(changes) => {
                let (staged, name) = (quoted(&work.into), quoted(name));
                for sql in [format!("create table {staged} like {name}"), format!("alter table {staged} {changes}")] {
                    target.session.execute(sql).await.with_context(|| format!("make {name} anew"))?;
                }
            }
            Migration::Alter(sql) => {
                // New columns are empty until the rows are written: should that fail, the next export must not think
                // that it has nothing to do.
                let forget = format!("update {METADATA_TABLE} set version = '' where table_name = '{name}'");
                target.session.execute(forget).await?;
                target.session.execute(sql).await.with_context(|| format!("migrate {name}"))?;
            }
        }
    }
    describe(job, target, plan).await
}

/// Changes what only comments say. No row depends on it, so that it never fails an export.
async fn describe(job: &Job<'_>, target: &mut Target, plan: &[Work]) -> Result<()> {
    for work in plan {
        let Migration::Comment(sql) = &work.migration else { continue };
        let Err(error) = target.session.execute(sql).await else { continue };
        let is_held = code(&error) == Some(LOCKED);
        if !is_held && !is_refusal(&error) {
            return Err(error.context(format!("describe {}", work.name())));
        }
        let (export, name) = (&job.run.export, work.name());
        job.reporter
            .report(Event::Note(format!("export {export}: the comments of {name} stay as they are: {error:#}")));
        if is_held {
            // Whoever holds one table may hold them all, and readers queue behind us while we wait.
            break;
        }
    }
    Ok(())
}
