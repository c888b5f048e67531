//! The sample shop's order database on a server: its tables, and days of extracts laid into it as a live shop would.

use std::fs;
use std::path::Path;

use super::Database;

/// The tables with their keys, snapshots first.
pub const SNAPSHOTS: [&str; 5] = ["user", "user_extend", "user_addr", "goods_info", "category_code"];
pub const CHANGES: [&str; 4] = ["user_order", "order_item", "order_delivery", "payment_flow"];

const TABLES: &str = "
create table `user` (user_id bigint primary key, user_name varchar(64), user_gender tinyint, user_birthday date,
    e_mail varchar(128), mobile bigint, register_time datetime, is_blacklist tinyint(1));
create table user_extend (user_id bigint primary key, is_pregnant_woman tinyint(1), is_have_children tinyint(1),
    is_have_car tinyint(1), phone_brand varchar(32), phone_cnt int, change_phone_cnt int, weight int, height int);
create table user_addr (addr_id bigint, user_id bigint, addr_name varchar(255), order_flag tinyint,
    user_name varchar(64), mobile bigint, primary key (addr_id, user_id));
create table goods_info (goods_id bigint primary key, goods_no varchar(32), goods_name varchar(255),
    curr_price decimal(18,2), third_category_id bigint, goods_desc text, create_time datetime);
create table category_code (first_category_id bigint, first_category_name varchar(64), second_category_id bigint,
    second_catery_name varchar(64), third_category_id bigint primary key, third_category_name varchar(64));
create table user_order (order_id bigint primary key, order_date datetime, user_id bigint, order_money decimal(18,2),
    order_type int, order_status int, pay_id bigint, update_time datetime, key (update_time), key (order_date));
create table order_item (order_id bigint, goods_id bigint, goods_amount bigint, curr_price decimal(18,2),
    create_time datetime, primary key (order_id, goods_id), key (create_time));
create table order_delivery (order_id bigint primary key, addr_id bigint, user_id bigint, carriage_money decimal(18,2),
    create_time datetime, key (create_time));
create table payment_flow (pay_id bigint primary key, order_id bigint, trade_no bigint, pay_money decimal(18,2),
    pay_type int, pay_time datetime, key (pay_time));";

impl Database {
    /// Makes the shop's tables.
    pub fn with_mall(self) -> Self {
        self.root(TABLES);
        self
    }

    /// Lays a day's extracts into the tables: snapshots take the place of what is there, changes are merged in.
    pub fn lay(&self, day: &Path) {
        let mut sql = "set sql_mode = ''; start transaction;\n".to_owned();
        for table in SNAPSHOTS.into_iter().chain(CHANGES) {
            let file = day.join(format!("{table}.csv"));
            let text = fs::read_to_string(&file).expect("an extract");
            let columns: Vec<&str> = text.lines().next().expect("a header").split(',').collect();
            let read: Vec<String> = columns.iter().map(|column| format!("@{column}")).collect();
            let set: Vec<String> = columns.iter().map(|column| format!("{column} = nullif(@{column}, '')")).collect();
            if SNAPSHOTS.contains(&table) {
                sql.push_str(&format!("delete from `{table}`;\n"));
            }
            sql.push_str(&format!(
                "load data local infile '{}' replace into table `{table}` character set utf8mb4 fields terminated by ',' \
                 optionally enclosed by '\"' lines terminated by '\\n' ignore 1 lines ({}) set {};\n",
                file.display(),
                read.join(", "),
                set.join(", ")
            ));
        }
        sql.push_str("commit");
        self.root(&sql);
    }
}
