//! The layout of one order table: what its declaration means for the files read and for the ODS table written.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use anyhow::{Result, bail};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};

use super::value::Value;
use crate::config::source::{ColumnType, Delivery, Mask, SourceColumn, SourceTable};
use crate::date::BizDate;
use crate::error::nearest;

/// The comment of undeclared columns that were taken up from a database.
const TAKEN_UP: &str = "column of the source that is not declared, as it is there";

/// Precision and scale of every amount.
pub const MONEY: (u8, i8) = (18, 2);

/// An order table as it is read and as it lands.
#[derive(Clone, Debug)]
pub struct Layout {
    /// Its name at the source: the base name of its extracts.
    pub name: String,
    /// Its name in the lake.
    pub table: String,
    /// Whether it comes whole or as changes.
    pub delivery: Delivery,
    /// Its declared columns.
    pub columns: Vec<SourceColumn>,
    /// Which of them are the key, none of which may be NULL.
    pub key: Vec<usize>,
    /// For changes: which of them has the day of a row.
    pub day: Option<usize>,
    /// Undeclared columns of a database, taken up as they are.
    pub extras: Vec<Field>,
    /// The ODS table: `dt`, the declared columns, `arrival_dt`, `file`, `row_number`, undeclared columns.
    pub schema: SchemaRef,
    /// The same without `dt`: what the table's files hold.
    pub file_schema: SchemaRef,
}

impl Layout {
    /// The layout of a declared table.
    ///
    /// # Errors
    /// When the key or the day names no column; the configuration's own check says so with file and line.
    pub fn new(table: &SourceTable) -> Result<Self> {
        let position = |name: &String| match table.columns.iter().position(|c| c.name == *name) {
            Some(at) => Ok(at),
            None => bail!("table `{}` has no column `{name}`", table.name),
        };
        let key = table.key.iter().map(position).collect::<Result<_>>()?;
        let day = match table.delivery {
            Delivery::Snapshot => None,
            Delivery::Changes => table.day.as_ref().map(position).transpose()?,
        };
        let mut fields = vec![field("dt", DataType::Date32, day_comment(table))];
        fields.extend(table.columns.iter().map(|c| field(&c.name, landed_type(c), c.about.clone())));
        fields.push(field("arrival_dt", DataType::Date32, "day the extract arrived".to_owned()));
        fields.push(field("file", DataType::Utf8, "path of the extract, relative to the source's folder".to_owned()));
        fields.push(field("row_number", DataType::Int64, "row of the extract, from 1".to_owned()));
        Ok(Self {
            name: table.name.clone(),
            table: format!("ods_{}", table.name),
            delivery: table.delivery,
            columns: table.columns.clone(),
            key,
            day,
            extras: Vec::new(),
            file_schema: Arc::new(Schema::new(fields[1..].to_vec())),
            schema: Arc::new(Schema::new(fields)),
        })
    }

    /// The layout with undeclared columns of a database besides, behind all others.
    pub fn with_extras(mut self, extras: Vec<(String, DataType)>) -> Self {
        let fields = extras.into_iter().map(|(name, kind)| field(&name, kind, TAKEN_UP.to_owned()));
        self.extras = fields.collect();
        let schema: Vec<_> =
            self.schema.fields().iter().map(|f| f.as_ref().clone()).chain(self.extras.clone()).collect();
        self.file_schema = Arc::new(Schema::new(schema[1..].to_vec()));
        self.schema = Arc::new(Schema::new(schema));
        self
    }

    /// The undeclared columns that a table of the lake has from earlier runs.
    pub fn extras_of(&self, schema: &Schema) -> Vec<(String, DataType)> {
        let is_extra = |f: &&Arc<Field>| {
            f.metadata().get("comment").is_some_and(|c| c == TAKEN_UP) && self.schema.field_with_name(f.name()).is_err()
        };
        schema.fields().iter().filter(is_extra).map(|f| (f.name().clone(), f.data_type().clone())).collect()
    }

    /// Whether any column is masked, so that nothing of a row may be kept or told unmasked.
    pub fn is_personal(&self) -> bool {
        self.columns.iter().any(|column| mask_of(column) != Mask::None)
    }

    /// One sentence of what a row of the ODS table is.
    pub fn description(&self) -> String {
        match self.delivery {
            Delivery::Snapshot => format!("Rows of the daily snapshots of {}, as received", self.name),
            Delivery::Changes => format!("Created and updated rows of {}, each version as received", self.name),
        }
    }

    /// The partition of a row: the day it belongs to, or the date that its snapshot describes.
    pub fn slot_of(&self, values: &[Value<'_>], arrival: BizDate) -> Option<BizDate> {
        let day = self.day.map(|day| &values[day]);
        self.slot(if let Some(Value::Datetime(micros)) = day { Some(*micros) } else { None }, arrival)
    }

    /// The partition of a row whose day column has this value.
    pub fn slot(&self, micros: Option<i64>, arrival: BizDate) -> Option<BizDate> {
        match self.delivery {
            Delivery::Snapshot => Some(arrival),
            Delivery::Changes => micros.and_then(super::value::day_of),
        }
    }

    /// Finds the declared columns among a file's by their names.
    ///
    /// # Errors
    /// When a name occurs twice, or a declared column is missing that is not optional.
    pub fn bind(&self, names: &[&str]) -> Result<Binding> {
        let declared: Vec<Option<usize>> =
            names.iter().map(|name| self.columns.iter().position(|c| c.name == *name)).collect();
        let unknown: Vec<String> =
            names.iter().zip(&declared).filter(|(_, at)| at.is_none()).map(|(name, _)| (*name).to_owned()).collect();
        let mut fields = Vec::with_capacity(self.columns.len());
        for (at, column) in self.columns.iter().enumerate() {
            let field = declared.iter().position(|d| *d == Some(at));
            if field.is_none() && !column.optional {
                match similar(&column.name, &unknown) {
                    Some(near) => bail!("has no column `{}`; did its column `{near}` mean it?", column.name),
                    None => bail!("has no column `{}`", column.name),
                }
            }
            fields.push(field);
        }
        // Asked last: the values of a file without a header are no names, and must not be told as such.
        let mut seen = HashSet::new();
        if let Some(twice) = names.iter().find(|name| !seen.insert(**name)) {
            bail!("has two columns named `{twice}`");
        }
        Ok(Binding { fields, declared, unknown })
    }
}

/// Which field of a file is which declared column.
#[derive(Clone, Debug)]
pub struct Binding {
    /// For each declared column its field; `None` for an optional one that the file lacks.
    pub fields: Vec<Option<usize>>,
    /// For each field its declared column; `None` for one that nobody declared.
    pub declared: Vec<Option<usize>>,
    /// The names of fields that nobody declared.
    pub unknown: Vec<String>,
}

/// A column's mask, `none` when it has none.
pub fn mask_of(column: &SourceColumn) -> Mask {
    column.mask.unwrap_or(Mask::None)
}

/// The type that a column lands as: its own, or text when it is masked.
pub fn landed_type(column: &SourceColumn) -> DataType {
    match column.kind {
        _ if mask_of(column) != Mask::None => DataType::Utf8,
        ColumnType::I32 => DataType::Int32,
        ColumnType::I64 => DataType::Int64,
        ColumnType::String => DataType::Utf8,
        ColumnType::Datetime => DataType::Timestamp(TimeUnit::Microsecond, None),
        ColumnType::Money => DataType::Decimal128(MONEY.0, MONEY.1),
    }
}

fn day_comment(table: &SourceTable) -> String {
    match (table.delivery, &table.day) {
        (Delivery::Changes, Some(day)) => format!("day of {day}; NULL when there is none"),
        _ => "date that the snapshot describes".to_owned(),
    }
}

fn field(name: &str, kind: DataType, comment: String) -> Field {
    Field::new(name, kind, true).with_metadata(HashMap::from([("comment".to_owned(), comment)]))
}

fn similar<'a>(name: &str, unknown: &'a [String]) -> Option<&'a str> {
    let plain = |text: &str| text.trim().to_lowercase().replace([' ', '-', '_'], "");
    let spelled = unknown.iter().find(|other| plain(other) == plain(name));
    spelled.map(String::as_str).or_else(|| nearest(name, unknown.iter().map(String::as_str)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::source::{Source, TableSource};

    fn shop() -> TableSource {
        match toml::from_str(include_str!("../../../conf/sources/orders.toml")).unwrap() {
            Source::Tables(source) => source,
            Source::Log(_) => panic!("orders is a source of tables"),
        }
    }

    fn layout(name: &str) -> Layout {
        Layout::new(shop().tables.iter().find(|t| t.name == name).unwrap()).unwrap()
    }

    fn columns(layout: &Layout) -> Vec<String> {
        layout.schema.fields().iter().map(|f| format!("{} {}", f.name(), f.data_type())).collect()
    }

    #[test]
    fn the_shop_declares_nine_tables_with_comments() {
        let layouts: Vec<Layout> = shop().tables.iter().map(|t| Layout::new(t).unwrap()).collect();
        assert_eq!(layouts.len(), 9);
        for layout in &layouts {
            assert!(layout.schema.fields().iter().all(|f| !f.metadata()["comment"].is_empty()), "{}", layout.name);
            assert_eq!(layout.day.is_some(), layout.delivery == Delivery::Changes);
        }
    }

    #[test]
    fn a_masked_number_lands_as_text() {
        assert_eq!(
            columns(&layout("user_addr")),
            [
                "dt Date32",
                "addr_id Int64",
                "user_id Int64",
                "addr_name Utf8",
                "order_flag Int32",
                "user_name Utf8",
                "mobile Utf8",
                "arrival_dt Date32",
                "file Utf8",
                "row_number Int64",
            ]
        );
        assert!(layout("user_addr").is_personal() && !layout("goods_info").is_personal());
    }

    #[test]
    fn columns_are_found_by_name_in_any_order() {
        let binding = layout("payment_flow")
            .bind(&["pay_time", "extra", "pay_type", "pay_money", "trade_no", "order_id", "pay_id"])
            .unwrap();
        assert_eq!(binding.fields, [Some(6), Some(5), Some(4), Some(3), Some(2), Some(0)].map(|f| f).to_vec());
        assert_eq!(binding.unknown, ["extra"]);
    }

    #[test]
    fn a_missing_column_is_named_with_the_one_that_may_be_meant() {
        let layout = layout("order_delivery");
        let missing = |names: &[&str]| layout.bind(names).unwrap_err().to_string();
        let error = missing(&["order_id", "addr_id", "userId", "carriage_money", "create_time"]);
        assert_eq!(error, "has no column `user_id`; did its column `userId` mean it?");
        let error = missing(&["order_id", "addr_id", "user_id", "carriage_money"]);
        assert_eq!(error, "has no column `create_time`");
        let error = missing(&["order_id", "addr_id", "user_id", "carriage_mony", "create_time"]);
        assert_eq!(error, "has no column `carriage_money`; did its column `carriage_mony` mean it?");
        let names = ["order_id", "addr_id", "user_id", "carriage_money", "create_time", "addr_id"];
        assert_eq!(missing(&names), "has two columns named `addr_id`");
        assert_eq!(missing(&["13812348000", "13812348000"]), "has no column `order_id`");
    }

    #[test]
    fn an_optional_column_may_be_missing() {
        let mut table = shop().tables.remove(1);
        table.columns[7].optional = true;
        let layout = Layout::new(&table).unwrap();
        let names: Vec<&str> = layout.columns.iter().map(|c| c.name.as_str()).filter(|n| *n != "weight").collect();
        assert_eq!(layout.bind(&names).unwrap().fields[7], None);
    }

    #[test]
    fn a_row_belongs_to_the_day_of_its_day_column_or_to_none() {
        let layout = layout("payment_flow");
        let arrival = BizDate::from_days(20_454);
        let mut values = vec![Value::Null; 6];
        assert_eq!(layout.slot_of(&values, arrival), None);
        values[5] = Value::Datetime(86_400_000_000);
        assert_eq!(layout.slot_of(&values, arrival), Some(BizDate::from_days(1)));
        assert_eq!(self::layout("user").slot_of(&[], arrival), Some(arrival));
    }
}
