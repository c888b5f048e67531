//! What types are called in SQL, as people know it from MySQL and SQLite.

use arrow::datatypes::DataType;

/// The name of a type in SQL: `BIGINT`, `DECIMAL(18,2)`, `VARCHAR`.
pub fn sql_type(kind: &DataType) -> String {
    match kind {
        DataType::Boolean => "BOOLEAN".to_owned(),
        kind if kind.is_integer() => "BIGINT".to_owned(),
        kind if kind.is_floating() => "DOUBLE".to_owned(),
        DataType::Decimal128(precision, scale) => format!("DECIMAL({precision},{scale})"),
        DataType::Date32 => "DATE".to_owned(),
        DataType::Timestamp(..) => "DATETIME".to_owned(),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => "VARCHAR".to_owned(),
        DataType::Dictionary(_, value) => sql_type(value),
        other => other.to_string().to_uppercase(),
    }
}

/// The types that the engine may name in its messages, and what people call them; a longer name before its beginnings.
const WORDS: [(&str, &str); 16] = [
    ("Decimal128(", "DECIMAL("),
    ("Decimal256(", "DECIMAL("),
    ("Utf8View", "VARCHAR"),
    ("LargeUtf8", "VARCHAR"),
    ("Utf8", "VARCHAR"),
    ("UInt64", "BIGINT"),
    ("UInt32", "BIGINT"),
    ("Int64", "BIGINT"),
    ("Int32", "INT"),
    ("Float64", "DOUBLE"),
    ("Float32", "FLOAT"),
    ("Date32", "DATE"),
    ("Boolean", "BOOLEAN"),
    ("Timestamp(µs)", "DATETIME"),
    ("Timestamp(ns)", "DATETIME"),
    ("Interval(MonthDayNano)", "INTERVAL"),
];

/// A message of the engine with its types and literals as SQL has them.
pub fn in_sql_words(message: &str) -> String {
    let literals = ["Int64(", "Float64(", "Boolean("];
    let bare = literals.iter().fold(message.to_owned(), |text, opening| bare_literals(&text, opening));
    WORDS.iter().fold(bare, |text, (engine, sql)| text.replace(engine, sql))
}

/// `Int64(1)` as `1`.
fn bare_literals(text: &str, opening: &str) -> String {
    let mut parts = text.split(opening);
    let mut bare = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (inside, rest) = part.split_once(')').unwrap_or((part, ""));
        bare.extend([inside, rest]);
    }
    bare
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::TimeUnit;

    use super::*;

    #[test]
    fn types_have_the_names_that_readers_of_sql_know() {
        for (kind, name) in [
            (DataType::Int32, "BIGINT"),
            (DataType::Decimal128(18, 2), "DECIMAL(18,2)"),
            (DataType::Timestamp(TimeUnit::Microsecond, None), "DATETIME"),
            (DataType::Utf8View, "VARCHAR"),
            (DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8)), "VARCHAR"),
        ] {
            assert_eq!(sql_type(&kind), name);
        }
        assert_eq!(in_sql_words("a > Int64(1) and b < Float64(2.5)"), "a > 1 and b < 2.5");
        assert_eq!(in_sql_words("Decimal128(18, 2) + Utf8"), "DECIMAL(18, 2) + VARCHAR");
    }
}
