//! The shape of tables in a MySQL target: the statements that create one and that migrate one. Pure.
//!
//! Columns are appended and widened, never dropped and never narrowed. A table whose key does not begin with the day gets an
//! index of its days when it is made: an export replaces days, and who reads asks for days.
//!
//! A table that is missing, or whose key changed, is created under a name that no reader knows, filled there, and renamed once
//! it is complete. With another key our columns get the lake's types again; columns and indexes that others added stay (what
//! they wrote into them goes with the rows), and so do columns of the old key that the model has no more, as columns that may
//! be NULL.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, anyhow};
use arrow::datatypes::Field;

use super::types::{Type, types};
use crate::error::Advice;
use crate::export::{ExportTable, one_line};
use crate::mysql::{literal, quoted};

/// Characters of a column's comment, and of a table's.
const COLUMN_COMMENT: usize = 1024;
const TABLE_COMMENT: usize = 2048;

/// The longest name of a table.
const NAME_CHARS: usize = 64;

/// What tables are called until they are complete, and after they were replaced.
pub const STAGED: &str = "strata_new_";
/// See [`STAGED`].
pub const REPLACED: &str = "strata_old_";

/// A table as it should be.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Its name.
    pub name: String,
    /// Its columns.
    pub columns: Vec<WantedColumn>,
    /// The columns of its key, in order.
    pub key: Vec<String>,
    /// What a row is.
    pub comment: String,
}

/// A column as it should be.
#[derive(Clone, Debug)]
pub struct WantedColumn {
    /// Its name.
    pub name: String,
    /// Its type, at the least.
    pub kind: Type,
    /// What it means.
    pub comment: String,
}

/// A table as it is in the target.
#[derive(Clone, Debug, Default)]
pub struct Present {
    /// Its columns, in order.
    pub columns: Vec<PresentColumn>,
    /// The columns of its primary key, in order.
    pub key: Vec<String>,
    /// The columns with which an index besides the key begins, in lower case.
    pub indexed: BTreeSet<String>,
    /// Its storage engine; a view has none.
    pub engine: String,
    /// Its comment.
    pub comment: String,
}

/// A column as it is in the target.
#[derive(Clone, Debug)]
pub struct PresentColumn {
    /// Its name.
    pub name: String,
    /// Its type.
    pub kind: Type,
    /// Its type as the server spells it.
    pub declared: String,
    /// Its collation, when it is text.
    pub collation: String,
    /// Its comment.
    pub comment: String,
}

impl Present {
    /// Its column of a name.
    pub fn column(&self, name: &str) -> Option<&PresentColumn> {
        self.columns.iter().find(|column| column.name.eq_ignore_ascii_case(name))
    }
}

impl PresentColumn {
    /// The clause that makes it a column that may be NULL, as it is otherwise.
    fn nullable(&self) -> String {
        let collate = if self.collation.is_empty() { String::new() } else { format!(" collate {}", self.collation) };
        let comment =
            if self.comment.is_empty() { String::new() } else { format!(" comment {}", literal(&self.comment)) };
        format!("modify column {} {}{collate} null{comment}", quoted(&self.name), self.declared)
    }
}

/// What has to be done to a table before it can be filled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Migration {
    /// Nothing.
    None,
    /// Change what it is called or means: no row is looked at.
    Comment(String),
    /// Append or widen columns.
    Alter(String),
    /// Create it, under a name that no reader knows.
    Create,
    /// The same with what others added to the table that is there, which gets another key: what is to be changed after its
    /// `LIKE`. So are made the other tables that change in the same export, whose names change hands with it.
    Rekey(String),
}

impl Migration {
    /// Whether the table is filled under another name.
    pub fn is_anew(&self) -> bool {
        matches!(self, Self::Create | Self::Rekey(_))
    }
}

/// What long texts ask for beyond the usual types: the bytes of the longest, by table and column.
pub type LongTexts = BTreeMap<(String, String), usize>;

impl Wanted {
    /// The table for a table of the lake, beside what the target has; texts that were found to be long get types that hold
    /// them.
    ///
    /// # Errors
    /// When a column has no counterpart in MySQL.
    pub fn of(table: &ExportTable, present: Option<&Present>, long: &LongTexts) -> Result<Self> {
        let name = table.head.name();
        let schema = table.head.schema();
        let key = table.key_beside(present.map_or(&[], |present| &present.key));
        let fields: Vec<(&Field, bool)> =
            schema.fields().iter().map(|f| (f.as_ref(), key.contains(f.name()))).collect();
        let columns = fields.iter().zip(types(&fields)?).map(|((field, _), kind)| {
            let bytes = long.get(&(name.to_owned(), field.name().clone()));
            let kind = bytes.map_or(kind, |bytes| Type::Text(super::types::Size::of(*bytes)));
            WantedColumn {
                name: field.name().clone(),
                kind,
                comment: comment(&table.meaning(field.name()), COLUMN_COMMENT),
            }
        });
        Ok(Self {
            name: name.to_owned(),
            columns: columns.collect(),
            comment: comment(&one_line(&table.description), TABLE_COMMENT),
            key,
        })
    }

    /// The statement that creates the table under a name.
    pub fn create(&self, name: &str, collation: &str) -> String {
        let mut lines: Vec<String> =
            self.columns.iter().map(|column| self.definition(column, &column.kind, collation)).collect();
        lines.extend(self.primary_key());
        lines.extend(self.day_index(None));
        format!(
            "create table {} (\n    {}\n) engine=InnoDB default charset=utf8mb4 collate={collation} comment={}",
            quoted(name),
            lines.join(",\n    "),
            literal(&self.comment)
        )
    }

    /// What gives an empty table like the one that is there our columns first, in order and of some types, and our key.
    pub fn rekey(&self, kinds: &[Type], present: &Present, collation: &str) -> String {
        let mut clauses = Vec::new();
        if !present.key.is_empty() {
            clauses.push("drop primary key".to_owned());
        }
        let mut place = "first".to_owned();
        for (column, kind) in self.columns.iter().zip(kinds) {
            let verb = if present.column(&column.name).is_some() { "modify" } else { "add" };
            clauses.push(format!("{verb} column {} {place}", self.definition(column, kind, collation)));
            place = format!("after {}", quoted(&column.name));
        }
        let is_ours = |name: &str| self.columns.iter().any(|column| column.name.eq_ignore_ascii_case(name));
        let lost = present.key.iter().filter(|name| !is_ours(name)).filter_map(|name| present.column(name));
        // Nothing is written there any more, and what is NOT NULL would have to be.
        clauses.extend(lost.map(PresentColumn::nullable));
        clauses.extend(
            self.primary_key().into_iter().chain(self.day_index(Some(present))).map(|key| format!("add {key}")),
        );
        clauses.push(format!("comment={}", literal(&self.comment)));
        clauses.join(", ")
    }

    fn primary_key(&self) -> Option<String> {
        let columns = self.key.iter().map(|column| quoted(column)).collect::<Vec<_>>().join(", ");
        (!columns.is_empty()).then(|| format!("primary key ({columns})"))
    }

    /// The index of its days, where it has days that neither its key nor an index that is there begins with.
    fn day_index(&self, present: Option<&Present>) -> Option<String> {
        let has_day = self.columns.iter().any(|column| column.name == "dt");
        let is_there = present.is_some_and(|present| present.indexed.contains("dt"));
        let begins_with_it = self.key.first().is_some_and(|column| column == "dt");
        // The server finds a name for it that is free.
        (has_day && !begins_with_it && !is_there).then(|| format!("key ({})", quoted("dt")))
    }

    fn definition(&self, column: &WantedColumn, kind: &Type, collation: &str) -> String {
        let collate =
            if kind.is_text() { format!(" character set utf8mb4 collate {collation}") } else { String::new() };
        let null = if self.key.contains(&column.name) { "not null" } else { "null" };
        let comment =
            if column.comment.is_empty() { String::new() } else { format!(" comment {}", literal(&column.comment)) };
        format!("{} {}{collate} {null}{comment}", quoted(&column.name), kind.sql())
    }

    /// What makes the table in the target hold this one; its columns that this one lacks stay, and are NULL in new rows.
    ///
    /// # Errors
    /// When it would need a column to be narrowed, or is nothing that rows can be written to in a transaction.
    pub fn migration(&self, present: Option<&Present>, collation: &str) -> Result<Migration> {
        let Some(present) = present else { return Ok(Migration::Create) };
        let name = &self.name;
        if !present.engine.eq_ignore_ascii_case("InnoDB") {
            let engine = if present.engine.is_empty() { "a view" } else { &present.engine };
            return Err(anyhow!("table {name} in the target is {engine}: it has no transactions"))
                .hint(format!("`alter table {name} engine=InnoDB;`, or drop it: the next export makes it anew"));
        }
        if present.key != self.key {
            let kinds: Vec<Type> = self.columns.iter().map(|column| column.kind.clone()).collect();
            return Ok(Migration::Rekey(self.rekey(&kinds, present, collation)));
        }
        let (mut clauses, mut remarks) = (Vec::new(), Vec::new());
        for column in &self.columns {
            let Some(have) = present.column(&column.name) else {
                clauses.push(format!("add column {}", self.definition(column, &column.kind, collation)));
                continue;
            };
            let Some(wide) = have.kind.widened(&column.kind) else { return refused(name, column, have) };
            if column.name == "dt" && column.kind == Type::Date && wide != Type::Date {
                return no_day(name, have);
            }
            let modified = || format!("modify column {}", self.definition(column, &wide, collation));
            if wide != have.kind || (wide.is_text() && have.collation != collation) {
                clauses.push(modified());
            } else if have.comment != column.comment {
                remarks.push(modified());
            }
        }
        if present.comment != self.comment {
            remarks.push(format!("comment={}", literal(&self.comment)));
        }
        let is_same = clauses.is_empty();
        clauses.extend(remarks);
        let statement = format!("alter table {} {}", quoted(name), clauses.join(", "));
        Ok(match (is_same, clauses.is_empty()) {
            (true, true) => Migration::None,
            (true, false) => Migration::Comment(statement),
            (false, _) => Migration::Alter(statement),
        })
    }
}

fn refused(table: &str, wanted: &WantedColumn, have: &PresentColumn) -> Result<Migration> {
    let (column, have, want) = (&wanted.name, have.kind.sql(), wanted.kind.sql());
    let error = anyhow!("{table}.{column} is {have} in the target and {want} in the lake: no type holds both");
    Err(error)
        .hint(format!(
            "a column is never narrowed; if its values allow it, `alter table {table} modify column {column} {want};` there, \
             or `drop table {table};`, and the next export makes it anew"
        ))
}

fn no_day(table: &str, have: &PresentColumn) -> Result<Migration> {
    let error = anyhow!("{table}.dt is {} in the target: a day is not found by it", have.kind.sql());
    Err(error).hint(format!("`alter table {table} modify column dt date not null;` there"))
}

/// The name under which a table is filled, or waits to be dropped.
pub fn aside(prefix: &str, table: &str) -> String {
    let name = format!("{prefix}{table}");
    if name.chars().count() <= NAME_CHARS {
        return name;
    }
    format!("{prefix}{:016x}", xxhash_rust::xxh3::xxh3_64(table.as_bytes()))
}

/// A text as servers keep it as a comment: of so many characters, and none of them beyond the basic plane, for which they
/// would write something else and say nothing.
fn comment(text: &str, chars: usize) -> String {
    let known = text.chars().map(|c| if c > '\u{ffff}' { char::REPLACEMENT_CHARACTER } else { c });
    match text.char_indices().nth(chars) {
        None => known.collect(),
        Some(_) => known.take(chars - 1).chain(['…']).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::render;

    const BINARY: &str = "utf8mb4_nopad_bin";

    fn wanted() -> Wanted {
        let column = |name: &str, kind: Type, comment: &str| WantedColumn {
            name: name.to_owned(),
            kind,
            comment: comment.to_owned(),
        };
        Wanted {
            name: "app_x".to_owned(),
            columns: vec![
                column("dt", Type::Date, "the day"),
                column("name", Type::Varchar(255), "it's a name"),
                column("gmv", Type::Decimal(18, 2), ""),
            ],
            key: vec!["dt".to_owned()],
            comment: "A row.".to_owned(),
        }
    }

    /// The table as it would be after it was created.
    fn present() -> Present {
        let wanted = wanted();
        let columns = wanted.columns.iter().map(|column| PresentColumn {
            name: column.name.clone(),
            kind: column.kind.clone(),
            declared: column.kind.sql(),
            collation: if column.kind.is_text() { BINARY.to_owned() } else { String::new() },
            comment: column.comment.clone(),
        });
        Present {
            columns: columns.collect(),
            indexed: BTreeSet::new(),
            key: wanted.key,
            engine: "InnoDB".to_owned(),
            comment: wanted.comment,
        }
    }

    #[test]
    fn a_table_is_created_with_its_key_and_what_it_means() {
        let expected = "create table `strata_new_app_x` (
    `dt` date not null comment 'the day',
    `name` varchar(255) character set utf8mb4 collate utf8mb4_nopad_bin null comment 'it''s a name',
    `gmv` decimal(18,2) null,
    primary key (`dt`)
) engine=InnoDB default charset=utf8mb4 collate=utf8mb4_nopad_bin comment='A row.'";
        assert_eq!(wanted().create(&aside(STAGED, "app_x"), BINARY), expected);
        assert_eq!(aside(STAGED, &"x".repeat(60)).len(), STAGED.len() + 16);
    }

    #[test]
    fn a_migration_does_only_what_is_needed() {
        let migration = |change: fn(&mut Present)| {
            let mut present = present();
            change(&mut present);
            wanted().migration(Some(&present), BINARY).expect("a migration")
        };
        assert_eq!(wanted().migration(None, BINARY).expect("a migration"), Migration::Create);
        assert_eq!(migration(|_| ()), Migration::None);
        assert_eq!(migration(|p| p.columns[2].kind = Type::Decimal(20, 4)), Migration::None, "wider stays");
        assert_eq!(
            migration(|p| p.columns[2].kind = Type::Decimal(10, 2)),
            Migration::Alter("alter table `app_x` modify column `gmv` decimal(18,2) null".to_owned())
        );
        assert_eq!(
            migration(|p| drop(p.columns.pop())),
            Migration::Alter("alter table `app_x` add column `gmv` decimal(18,2) null".to_owned())
        );
        assert_eq!(
            migration(|p| p.comment = "Old.".to_owned()),
            Migration::Comment("alter table `app_x` comment='A row.'".to_owned())
        );
        let rekey = "drop primary key, modify column `dt` date not null comment 'the day' first, add column `name` \
                     varchar(255) character set utf8mb4 collate utf8mb4_nopad_bin null comment 'it''s a name' after `dt`, \
                     modify column `gmv` decimal(18,2) null after `name`, add primary key (`dt`), comment='A row.'";
        let changed = |p: &mut Present| {
            p.key.push("name".to_owned());
            p.columns.remove(1);
        };
        assert_eq!(migration(changed), Migration::Rekey(rekey.to_owned()));
        let lost = |p: &mut Present| {
            p.key.insert(0, "page".to_owned());
            p.columns.insert(
                0,
                PresentColumn { name: "page".to_owned(), declared: "char(9)".to_owned(), ..p.columns[1].clone() },
            );
        };
        let Migration::Rekey(changes) = migration(lost) else { panic!("another key") };
        let nullable =
            "modify column `page` char(9) collate utf8mb4_nopad_bin null comment 'it''s a name', add primary key";
        assert!(changes.contains(nullable), "{changes}");
    }

    #[test]
    fn the_rows_of_a_day_are_found_by_an_index_where_the_key_begins_otherwise() {
        let by_name = Wanted { key: vec!["name".to_owned(), "dt".to_owned()], ..wanted() };
        let created = by_name.create("app_x", BINARY);
        assert!(created.contains("primary key (`name`, `dt`),\n    key (`dt`)\n)"), "{created}");
        // The key that begins with the day goes; an index of them that is there stays.
        let mut there = present();
        let rekeyed = |there: &Present| match by_name.migration(Some(there), BINARY).expect("a migration") {
            Migration::Rekey(changes) => changes.contains("add key (`dt`)"),
            other => panic!("{other:?}"),
        };
        assert!(rekeyed(&there));
        there.indexed.insert("dt".to_owned());
        assert!(!rekeyed(&there));
    }

    #[test]
    fn a_comment_is_what_servers_keep_of_it() {
        assert_eq!(comment("an 🛒 or 店", 99), "an \u{fffd} or 店");
        assert_eq!(comment("abcd", 3), "ab…");
    }

    #[test]
    fn what_would_narrow_a_column_or_has_no_transactions_is_refused() {
        let refusal = |change: fn(&mut Present)| {
            let mut present = present();
            change(&mut present);
            render(&wanted().migration(Some(&present), BINARY).expect_err("refused"))
        };
        let text = refusal(|p| p.columns[2].kind = Type::Text(super::super::types::Size::Plain));
        assert!(text.starts_with("error: app_x.gmv is text in the target and decimal(18,2) in the lake"), "{text}");
        assert!(refusal(|p| p.engine = "MyISAM".to_owned()).contains("has no transactions"));
        assert!(refusal(|p| p.engine = String::new()).contains("is a view"));
        let text = refusal(|p| p.columns[0].kind = Type::DateTime(6));
        assert!(text.starts_with("error: app_x.dt is datetime(6) in the target: a day is not found by it"), "{text}");
    }
}
