//! Columns that come, go and change at the source.

use crate::{asked, small};

#[test]
fn a_table_that_drifted_lands_nothing_and_says_which_column() {
    let (database, shop) = small("drift");
    shop.succeeds(&["ingest", "orders", "--quiet", "--to", "2026-01-01"]);
    let rows = |table: &str| asked(&shop, &format!("select count(*) as n from ods_{table}"));
    let before = rows("payment_flow");
    database.root(
        "alter table payment_flow modify pay_money double; alter table order_item drop column goods_amount;
         alter table user_addr rename to user_address; alter table goods_info rename column goods_name to goods_title;
         insert into payment_flow values (1, 1, 1, 1, 1, now())",
    );
    let (code, said) = shop.runs(&["ingest", "orders", "--to", "2026-01-02"]);
    assert_eq!(code, 1, "{said}");
    for part in [
        "table `payment_flow`: column `pay_money` is a FLOAT or DOUBLE, which cannot be read as money, decimal(18,2)",
        "table `order_item`: column `goods_amount` is not there",
        "table `user_addr`: database t_drift",
        "Table 't_drift.user_addr' doesn't exist",
        "table `goods_info`: column `goods_name` is not there",
    ] {
        assert!(said.contains(part), "`{part}` in:\n{said}");
    }
    assert_eq!(rows("payment_flow"), before);
    assert_eq!(asked(&shop, "select max(dt) as dt from ods_user"), "dt\n2026-01-02\n", "the others landed");
    // A name of its own mends it.
    shop.edit("conf/sources/orders.toml", "{ name = \"goods_name\"", "{ name = \"goods_name\", from = \"goods_title\"");
    let (_, said) = shop.runs(&["ingest", "orders", "--to", "2026-01-02"]);
    assert!(!said.contains("table `goods_info`"), "{said}");
    assert_eq!(asked(&shop, "select max(dt) as dt from ods_goods_info"), "dt\n2026-01-02\n");
}

#[test]
fn a_column_that_was_taken_up_and_is_gone_fails_its_table_until_it_is_said_to_be_dropped() {
    let (database, shop) = small("dropped");
    database.root("alter table payment_flow add column fee decimal(8,2) default 1.50");
    let read = |day: &str| shop.runs(&["ingest", "orders", "--from", "2026-01-01", "--to", day]);
    shop.succeeds(&["ingest", "orders", "--quiet", "--to", "2026-01-02"]);
    let landed = "select count(*) as n, count(fee) as fees from ods_payment_flow";
    let before = asked(&shop, landed);
    assert!(!before.ends_with(",0\n"), "{before}");
    database.root("alter table payment_flow rename column fee to charge");
    let (code, said) = read("2026-01-02");
    assert_eq!(code, 1, "{said}");
    assert!(
        said.contains("table `payment_flow`: column `fee`, which was taken up before, is not there any more"),
        "{said}"
    );
    assert!(said.contains("`dropped = [\"fee\"]` in [[table]] payment_flow") && !said.contains("`charge`"), "{said}");
    assert_eq!(asked(&shop, landed), before);
    // Dropped on purpose: what landed stays, and only a row that changes has NULL there.
    database.root(
        "alter table payment_flow drop column charge;
         update payment_flow set pay_type = 77 where pay_time < '2026-01-02' order by pay_id limit 1",
    );
    shop.edit(
        "conf/sources/orders.toml",
        "name = \"payment_flow\"\n",
        "name = \"payment_flow\"\ndropped = [\"FEE\"]\n",
    );
    let (code, said) = read("2026-01-02");
    assert_eq!(code, 0, "{said}");
    let (rows, fees) = before.trim_start_matches("n,fees\n").trim().split_once(',').expect("two numbers");
    let rows: u64 = rows.parse().expect("a number");
    assert_eq!(asked(&shop, landed), format!("n,fees\n{},{fees}\n", rows + 1), "{said}");
    // A column that is declared is not for this list.
    shop.edit("conf/sources/orders.toml", "dropped = [\"FEE\"]", "dropped = [\"pay_type\"]");
    let (code, said) = read("2026-01-02");
    assert!(code == 2 && said.contains("the column `pay_type` of `payment_flow` is declared"), "{said}");
}

#[test]
fn a_snapshot_that_lost_a_column_taken_up_is_not_taken() {
    let (database, shop) = small("dropped_whole");
    database.root("alter table goods_info add column weight int default 7");
    shop.succeeds(&["ingest", "orders", "--quiet", "--to", "2026-01-01"]);
    database.root("alter table goods_info drop column weight");
    let (code, said) = shop.runs(&["ingest", "orders", "--to", "2026-01-02"]);
    assert!(code == 1 && said.contains("table `goods_info`: column `weight`, which was taken up"), "{said}");
    // Read again for the same day, a table has not changed as a file does that should not.
    database.root("alter table goods_info add column weight int default 8");
    let said = shop.succeeds(&["ingest", "orders", "--to", "2026-01-01"]);
    assert!(said.contains("ods_goods_info: the snapshot of 2026-01-01 was read again: "), "{said}");
    assert!(!said.contains("has changed since") && !said.contains("warning"), "{said}");
    let landed = "select max(dt) as dt, min(weight) as least from ods_goods_info";
    assert_eq!(asked(&shop, landed), "dt,least\n2026-01-01,8\n");
}

#[test]
fn an_optional_column_that_is_gone_makes_no_row_a_new_version() {
    let (database, shop) = small("optional");
    shop.edit("conf/sources/orders.toml", "{ name = \"pay_type\"", "{ name = \"pay_type\", optional = true");
    let taken = ["ingest", "orders", "--quiet", "--from", "2026-01-01", "--to", "2026-01-02"];
    shop.succeeds(&taken);
    let landed = "select count(*) as n, count(pay_type) as types from ods_payment_flow";
    let before = asked(&shop, landed);
    database.root("alter table payment_flow drop column pay_type");
    shop.succeeds(&taken);
    assert_eq!(asked(&shop, landed), before);
}
