//! What a SELECT reads: the tables of its FROM, under their names there, and what a join makes of each.

use datafusion::sql::sqlparser::ast::{JoinConstraint, JoinOperator, Select, TableFactor};

use crate::model::sql::{ident_text, table_text};

/// What a join makes of a table's rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// A row of the result has a row of it.
    Kept,
    /// A row of the result may have none: the other side of an outer join.
    Optional,
    /// Only whether there is a row is asked: the other side of a semi or anti join.
    Tested,
}

/// A table in a FROM.
#[derive(Clone, Debug)]
pub struct Factor {
    /// The table or block.
    pub table: String,
    /// What the SELECT calls it.
    pub alias: String,
    /// Its columns.
    pub columns: Vec<String>,
    /// What the joins make of it.
    pub part: Part,
}

/// The tables of a FROM, or why their rows cannot be followed.
pub fn factors(select: &Select, columns: &dyn Fn(&str) -> Option<Vec<String>>) -> Result<Vec<Factor>, String> {
    let mut all = Vec::new();
    for from in &select.from {
        let mut joined = vec![factor(&from.relation, columns)?];
        for join in &from.joins {
            let mut right = factor(&join.relation, columns)?;
            let (left_part, right_part) = parts(&join.join_operator)?;
            for left in &mut joined {
                left.part = weaker(left.part, left_part);
            }
            right.part = right_part;
            joined.push(right);
        }
        all.extend(joined);
    }
    Ok(all)
}

fn factor(factor: &TableFactor, columns: &dyn Fn(&str) -> Option<Vec<String>>) -> Result<Factor, String> {
    let TableFactor::Table { name, alias, args: None, .. } = factor else {
        return Err("its FROM has something else than tables".to_owned());
    };
    let table = table_text(name).rsplit('.').next().unwrap_or_default().to_owned();
    let known = columns(&table).ok_or_else(|| format!("the columns of {table} are not known"))?;
    let columns = match alias {
        Some(alias) if !alias.columns.is_empty() => alias.columns.iter().map(|c| ident_text(&c.name)).collect(),
        _ => known,
    };
    let alias = alias.as_ref().map_or_else(|| table.clone(), |alias| ident_text(&alias.name));
    Ok(Factor { table, alias, columns, part: Part::Kept })
}

fn weaker(one: Part, other: Part) -> Part {
    match (one, other) {
        (Part::Tested, _) | (_, Part::Tested) => Part::Tested,
        (Part::Optional, _) | (_, Part::Optional) => Part::Optional,
        _ => Part::Kept,
    }
}

/// What a join makes of what stands left of it, and right of it.
fn parts(operator: &JoinOperator) -> Result<(Part, Part), String> {
    use JoinOperator as J;
    let (on, parts) = match operator {
        J::Join(on) | J::Inner(on) | J::CrossJoin(on) => (on, (Part::Kept, Part::Kept)),
        J::Left(on) | J::LeftOuter(on) => (on, (Part::Kept, Part::Optional)),
        J::Right(on) | J::RightOuter(on) => (on, (Part::Optional, Part::Kept)),
        J::FullOuter(on) => (on, (Part::Optional, Part::Optional)),
        J::Semi(on) | J::Anti(on) | J::LeftSemi(on) | J::LeftAnti(on) => (on, (Part::Kept, Part::Tested)),
        J::RightSemi(on) | J::RightAnti(on) => (on, (Part::Tested, Part::Kept)),
        _ => return Err("a join of an unusual kind".to_owned()),
    };
    match on {
        JoinConstraint::On(_) | JoinConstraint::None => Ok(parts),
        _ => Err("a join by columns of the same name (USING, NATURAL)".to_owned()),
    }
}
