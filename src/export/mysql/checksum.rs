//! What a partition's content comes down to, computed by the server in one pass and here from the same text. Pure.
//!
//! A checksum is the sum of the CRC-32 of every row's canonical text ([`super::text`]); it does not depend on order.

use arrow::datatypes::{DataType, Field};

use super::types::Type;
use crate::mysql::quoted;

/// Rows and checksum of a partition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum {
    /// How many rows.
    pub rows: u64,
    /// The sum over them.
    pub sum: u64,
}

impl Sum {
    /// Takes the canonical text of a row in.
    pub fn add(&mut self, canonical: &[u8]) {
        self.rows += 1;
        self.sum = self.sum.wrapping_add(crc32fast::hash(canonical).into());
    }

    /// The checksum as 16 hexadecimal digits.
    pub fn hex(self) -> String {
        format!("{:016x}", self.sum)
    }
}

/// A column as the server has it: the field of the lake, the type in the target, whether it is part of the key.
pub struct Summed<'a> {
    /// The column in the lake.
    pub field: &'a Field,
    /// Its type in the target.
    pub kind: &'a Type,
    /// Whether it is never NULL.
    pub in_key: bool,
}

/// The query for rows and checksum by partition: its days as text, or one row for a table without days.
pub fn question(table: &str, columns: &[Summed<'_>], days: Option<&[String]>) -> String {
    let spelled: Vec<String> = columns.iter().flat_map(spelled).collect();
    let sum = format!("cast(sum(crc32(concat_ws('\\t', {}))) as char)", spelled.join(", "));
    let has_day = columns.iter().any(|column| column.field.name() == "dt");
    if !has_day {
        return format!("select '', count(*), {sum} from {}", quoted(table));
    }
    let only = match days {
        Some(days) => format!(" where {}", of_days(days)),
        None => String::new(),
    };
    format!("select cast(dt as char), count(*), {sum} from {}{only} group by dt", quoted(table))
}

/// The condition that a row belongs to one of some days.
pub fn of_days(days: &[String]) -> String {
    if days.is_empty() {
        return "false".to_owned();
    }
    format!("dt in ({})", days.iter().map(|day| format!("'{day}'")).collect::<Vec<_>>().join(", "))
}

/// A column as text, NULL as the empty text; before a text its length.
fn spelled(column: &Summed<'_>) -> Vec<String> {
    let name = quoted(column.field.name());
    let or_empty = |text: String| if column.in_key { text } else { format!("ifnull({text}, '')") };
    match (column.field.data_type(), column.kind) {
        (DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View, _) => {
            vec![or_empty(format!("length({name})")), or_empty(name)]
        }
        // The target's column may be wider than the lake's, and would spell it with more digits.
        (DataType::Decimal128(_, scale), Type::Decimal(_, wide)) if i8::try_from(*wide) != Ok(*scale) => {
            vec![or_empty(format!("cast({name} as decimal(65,{scale}))"))]
        }
        (DataType::Date32, Type::DateTime(_)) => vec![or_empty(format!("cast({name} as date)"))],
        _ => vec![or_empty(name)],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_server_is_asked_for_the_text_that_rows_have_here() {
        let fields = [
            (Field::new("dt", DataType::Date32, true), Type::Date, true),
            (Field::new("name", DataType::Utf8, true), Type::Varchar(255), false),
            (Field::new("gmv", DataType::Decimal128(18, 2), true), Type::Decimal(20, 4), false),
        ];
        let columns: Vec<Summed<'_>> =
            fields.iter().map(|(field, kind, in_key)| Summed { field, kind, in_key: *in_key }).collect();
        assert_eq!(
            question("app_x", &columns, Some(&["2026-01-01".to_owned()])),
            "select cast(dt as char), count(*), cast(sum(crc32(concat_ws('\\t', `dt`, ifnull(length(`name`), ''), \
             ifnull(`name`, ''), ifnull(cast(`gmv` as decimal(65,2)), '')))) as char) from `app_x` where dt in \
             ('2026-01-01') group by dt"
        );
        assert!(question("app_y", &columns[1..], None).starts_with("select '', count(*), "));
    }

    #[test]
    fn the_sum_tells_rows_apart_and_not_orders() {
        let sum = |rows: &[&str]| {
            let mut sum = Sum::default();
            rows.iter().for_each(|row| sum.add(row.as_bytes()));
            sum
        };
        assert_eq!(sum(&["a", "b"]), sum(&["b", "a"]));
        assert_ne!(sum(&["a", "a"]), sum(&["b", "b"]));
        assert_ne!(sum(&["a"]), sum(&["a", "a"]));
    }
}
