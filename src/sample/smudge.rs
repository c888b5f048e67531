//! The tables' columns, and how their rows are spoilt: the ways of each table take turns.

use std::mem;

use super::draw::{Draw, Topic};
use super::world::World;

/// A table of the order database.
pub struct Table {
    pub name: &'static str,
    pub number: usize,
    pub columns: &'static [&'static str],
    /// Not worth compressing.
    pub is_small: bool,
    ways: &'static [Way],
}

/// A way to spoil a row; columns are named, values are CSV text.
#[derive(Clone, Copy)]
enum Way {
    /// The row with another value.
    Is(&'static str, &'static str),
    /// The row, and a copy with another value.
    And(&'static str, &'static str),
    /// The row twice.
    Twice,
    /// The row, and a copy that lacks its last field.
    Short,
    /// The row, and a copy with a field too many.
    Long,
    /// The row arrives two days later.
    Late,
    /// The row, and again in the next extract.
    AndAgain,
}

use Way::{And, AndAgain, Is, Late, Long, Short, Twice};

pub const USER: Table = Table {
    name: "user",
    number: 0,
    columns: &[
        "user_id",
        "user_name",
        "user_gender",
        "user_birthday",
        "e_mail",
        "mobile",
        "register_time",
        "is_blacklist",
    ],
    is_small: false,
    ways: &[
        Twice,
        Is("e_mail", "\"\""),
        And("user_gender", "male"),
        Is("user_birthday", "0000-00-00"),
        And("user_id", ""),
        Is("register_time", "2999-01-01 00:00:00"),
        Is("mobile", "\"\""),
        And("is_blacklist", "1"),
        Short,
        Is("register_time", ""),
        And("user_birthday", "1990-02-30"),
        Long,
    ],
};

pub const USER_EXTEND: Table = Table {
    name: "user_extend",
    number: 1,
    columns: &[
        "user_id",
        "is_pregnant_woman",
        "is_have_children",
        "is_have_car",
        "phone_brand",
        "phone_cnt",
        "change_phone_cnt",
        "weight",
        "height",
    ],
    is_small: false,
    ways: &[Is("weight", "\"\""), Twice, And("height", "1.75"), Is("phone_brand", "\"\""), And("user_id", ""), Short],
};

pub const USER_ADDR: Table = Table {
    name: "user_addr",
    number: 2,
    columns: &["addr_id", "user_id", "addr_name", "order_flag", "user_name", "mobile"],
    is_small: false,
    ways: &[Twice, Is("order_flag", "\"\""), And("addr_id", ""), And("mobile", "138-0013-8000"), Long],
};

pub const GOODS_INFO: Table = Table {
    name: "goods_info",
    number: 3,
    columns: &["goods_id", "goods_no", "goods_name", "curr_price", "third_category_id", "goods_desc", "create_time"],
    is_small: false,
    ways: &[
        Is("goods_desc", "\"two\nlines\""),
        And("curr_price", "N/A"),
        Twice,
        And("curr_price", "12.345"),
        Is("create_time", "0000-00-00 00:00:00"),
        And("goods_id", ""),
        Is("goods_desc", "\"\""),
        Is("third_category_id", "\"\""),
    ],
};

pub const CATEGORY_CODE: Table = Table {
    name: "category_code",
    number: 4,
    columns: &[
        "first_category_id",
        "first_category_name",
        "second_category_id",
        "second_catery_name",
        "third_category_id",
        "third_category_name",
    ],
    is_small: true,
    ways: &[Twice, And("third_category_id", ""), And("first_category_id", "A1"), Short],
};

pub const USER_ORDER: Table = Table {
    name: "user_order",
    number: 5,
    columns: &[
        "order_id",
        "order_date",
        "user_id",
        "order_money",
        "order_type",
        "order_status",
        "pay_id",
        "update_time",
    ],
    is_small: false,
    ways: &[
        And("order_money", "12.345"),
        AndAgain,
        Is("order_status", "9"),
        And("order_id", ""),
        Is("update_time", "0000-00-00 00:00:00"),
        Twice,
        And("order_money", "\"1,299.00\""),
        Is("user_id", "0"),
        Short,
        Is("order_type", "\"\""),
        And("order_date", "2026-01-01 24:00:00"),
        Is("user_id", "987654321"),
        And("order_status", "paid"),
        Is("order_date", "0000-00-00 00:00:00"),
        Long,
    ],
};

pub const ORDER_ITEM: Table = Table {
    name: "order_item",
    number: 6,
    columns: &["order_id", "goods_id", "goods_amount", "curr_price", "create_time"],
    is_small: false,
    ways: &[
        Twice,
        And("goods_amount", "1.0"),
        AndAgain,
        And("goods_id", ""),
        And("order_id", "404"),
        And("curr_price", "free"),
        Is("goods_amount", ""),
        Short,
    ],
};

pub const PAYMENT_FLOW: Table = Table {
    name: "payment_flow",
    number: 7,
    columns: &["pay_id", "order_id", "trade_no", "pay_money", "pay_type", "pay_time"],
    is_small: false,
    ways: &[
        Late,
        Is("pay_type", ""),
        And("pay_money", "free"),
        AndAgain,
        Is("order_id", ""),
        And("pay_id", ""),
        Is("pay_time", "0000-00-00 00:00:00"),
        Late,
        Is("pay_type", "\"\""),
        Long,
    ],
};

pub const ORDER_DELIVERY: Table = Table {
    name: "order_delivery",
    number: 8,
    columns: &["order_id", "addr_id", "user_id", "carriage_money", "create_time"],
    is_small: false,
    ways: &[Twice, And("carriage_money", "8.005"), Is("addr_id", ""), Late, Short, And("order_id", "")],
};

/// The dirt of one table: whose turn it is, and rows that wait.
pub struct Smudge {
    table: &'static Table,
    draw: Draw,
    turn: usize,
    /// Rows with the index of the day they arrive.
    waiting: Vec<(u32, String)>,
}

impl Smudge {
    /// Begins with the first way.
    pub fn new(world: &World, table: &'static Table) -> Self {
        let draw = Draw::new(world.seed, Topic::TableDirt, table.number as u64, 0);
        Self { table, draw, turn: 0, waiting: Vec::new() }
    }

    /// The table.
    pub fn table(&self) -> &'static Table {
        self.table
    }

    /// The draws that decide which rows are spoilt.
    pub fn draw(&mut self) -> &mut Draw {
        &mut self.draw
    }

    /// What is written in place of a row, given as its fields.
    pub fn spoil(&mut self, mut fields: Vec<String>, day: u32) -> Vec<String> {
        let way = self.table.ways[self.turn % self.table.ways.len()];
        self.turn += 1;
        let row = fields.join(",");
        match way {
            Is(column, value) => {
                self.set(&mut fields, column, value);
                vec![fields.join(",")]
            }
            And(column, value) => {
                self.set(&mut fields, column, value);
                vec![row, fields.join(",")]
            }
            Twice => vec![row.clone(), row],
            Short => {
                fields.pop();
                vec![row, fields.join(",")]
            }
            Long => {
                fields.push("0".into());
                vec![row, fields.join(",")]
            }
            Late => {
                self.waiting.push((day + 2, row));
                Vec::new()
            }
            AndAgain => {
                self.waiting.push((day + 1, row.clone()));
                vec![row]
            }
        }
    }

    /// Takes the rows that arrive on a day.
    pub fn due(&mut self, day: u32) -> Vec<String> {
        let (due, waiting) = mem::take(&mut self.waiting).into_iter().partition(|(arrival, _)| *arrival == day);
        self.waiting = waiting;
        let due: Vec<(u32, String)> = due;
        due.into_iter().map(|(_, row)| row).collect()
    }

    fn set(&self, fields: &mut [String], column: &str, value: &str) {
        let at = self.table.columns.iter().position(|name| *name == column);
        if let Some(field) = at.and_then(|at| fields.get_mut(at)) {
            *field = value.to_owned();
        }
    }
}
