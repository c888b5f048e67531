//! What a partition's content comes down to, computed by the server in one pass and here from the same text. Pure.
//!
//! A checksum is a sum over the rows, so that it does not depend on their order. A CRC is linear: values of one length that
//! change places between two rows change the CRCs of both by the same bits, and often enough not the sum. So each row gives the
//! CRC-32 of the decimal digits of the CRC-32 of its canonical text ([`super::text`]), which is not linear, and costs the server
//! next to nothing more.

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
        let mut digits = [0; 10];
        let digits = decimal_digits(crc32fast::hash(canonical), &mut digits);
        self.sum = self.sum.wrapping_add(crc32fast::hash(digits).into());
    }

    /// The checksum as 16 hexadecimal digits.
    pub fn hex(self) -> String {
        format!("{:016x}", self.sum)
    }
}

/// A number as the server spells it.
fn decimal_digits(mut number: u32, place: &mut [u8; 10]) -> &[u8] {
    let mut at = place.len();
    loop {
        at -= 1;
        place[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            return &place[at..];
        }
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
    let sum = format!("cast(sum(crc32(crc32(concat_ws('\\t', {})))) as char)", spelled.join(", "));
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

/// The condition that a row belongs to one of some days; the empty text is no day.
pub fn of_days(days: &[String]) -> String {
    let (none, days): (Vec<&String>, Vec<&String>) = days.iter().partition(|day| day.is_empty());
    let listed = days.iter().map(|day| format!("'{day}'")).collect::<Vec<_>>().join(", ");
    match (none.is_empty(), days.is_empty()) {
        (true, true) => "false".to_owned(),
        (true, false) => format!("dt in ({listed})"),
        (false, true) => "dt is null".to_owned(),
        (false, false) => format!("(dt in ({listed}) or dt is null)"),
    }
}

/// A column as text, NULL as the empty text; before a text its length.
fn spelled(column: &Summed<'_>) -> Vec<String> {
    let name = quoted(column.field.name());
    let or_empty = |text: String| if column.in_key { text } else { format!("ifnull({text}, '')") };
    // A wider column spells a value with more digits than the lake; with all of them where there is more than zeros, which
    // others must have written.
    let as_wide_as = |kind: String| {
        let short = format!("cast({name} as {kind})");
        vec![or_empty(format!("if({name} = {short}, cast({short} as char), cast({name} as char))"))]
    };
    match (column.field.data_type(), column.kind) {
        (DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View, _) => {
            vec![or_empty(format!("length({name})")), or_empty(name)]
        }
        (DataType::Decimal128(_, scale), Type::Decimal(_, wide)) if i8::try_from(*wide) != Ok(*scale) => {
            as_wide_as(format!("decimal(65,{scale})"))
        }
        (DataType::Date32, Type::DateTime(_)) => as_wide_as("date".to_owned()),
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
            "select cast(dt as char), count(*), cast(sum(crc32(crc32(concat_ws('\\t', `dt`, ifnull(length(`name`), ''), \
             ifnull(`name`, ''), ifnull(if(`gmv` = cast(`gmv` as decimal(65,2)), cast(cast(`gmv` as decimal(65,2)) as char), \
             cast(`gmv` as char)), ''))))) as char) from `app_x` where dt in \
             ('2026-01-01') group by dt"
        );
        assert!(question("app_y", &columns[1..], None).starts_with("select '', count(*), "));
        let days = ["2026-01-01".to_owned(), String::new()];
        assert_eq!(of_days(&days), "(dt in ('2026-01-01') or dt is null)");
        assert_eq!((of_days(&days[1..]), of_days(&[])), ("dt is null".to_owned(), "false".to_owned()));
    }

    #[test]
    fn values_that_change_places_change_the_sum() {
        let sum = |rows: [String; 2]| {
            let mut sum = Sum::default();
            rows.iter().for_each(|row| sum.add(row.as_bytes()));
            sum
        };
        // By a sum of plain CRCs some twenty of these would go unseen.
        for n in 0..200_000 {
            let (a, b) = (1_000_000 + n, 9_000_000 - 7 * n);
            let (straight, crossed) = ([(1, a), (2, b)], [(1, b), (2, a)]);
            let [straight, crossed] =
                [straight, crossed].map(|rows| sum(rows.map(|(id, n)| format!("{id}\t{n}.00\t7"))));
            assert_ne!(straight, crossed, "{a} {b}");
        }
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
