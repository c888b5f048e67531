//! Queries taken apart and turned round, as text.

use datafusion::sql::sqlparser::ast::Statement;

use super::select::Traced;
use super::*;
use crate::model::parse_statements;

fn taken_apart(sql: &str) -> Vec<Block> {
    match parse_statements(sql).expect("SQL").as_slice() {
        [Statement::Query(query)] => blocks(query),
        _ => panic!("a query"),
    }
}

/// The last SELECT turned round, for some columns of its output.
fn turned(sql: &str, output: &[&str], given: &[&str], column: &str) -> Result<Traced, String> {
    let all = taken_apart(sql);
    let select = all.last().expect("a block").selects.clone()?.remove(0);
    let texts = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let columns = |table: &str| match table {
        "orders" => Some(texts(&["dt", "id", "buyer", "money", "is_old"])),
        "other" => Some(texts(&["id", "name"])),
        _ => None,
    };
    let kept = |_: &str| texts(&["dt", "id"]);
    let is_aggregate = |name: &str| ["sum", "count", "max"].contains(&name);
    let around = Around { columns: &columns, kept: &kept, is_aggregate: &is_aggregate };
    let given = texts(given);
    trace(&select, &texts(output), &Wanted::column(column), Given { table: "w", columns: &given }, &around)
}

#[test]
fn a_query_is_blocks_each_after_what_it_reads() {
    let all = taken_apart(
        "with a as (select * from t), b (x, y) as (select 1, 2 union all select 3, 4)
         select a.n, d.m from a cross join (select m from u) as d",
    );
    let names: Vec<Option<&str>> = all.iter().map(|block| block.name.as_deref()).collect();
    assert_eq!(names, [Some("a"), Some("b"), Some("d_2"), None]);
    assert_eq!(all[1].selects.as_ref().expect("two").len(), 2);
    assert_eq!(
        with_clause(&all[1..3]),
        "with b (x, y) as (SELECT 1, 2 UNION ALL SELECT 3, 4), d_2 as (SELECT m FROM u) "
    );
    assert_eq!(all[3].sql, "SELECT a.n, d.m FROM a CROSS JOIN d_2 AS d");
}

#[test]
fn the_rows_of_a_sum_are_those_of_its_group_that_have_a_value_and_pass_its_filter() {
    let sql =
        "select buyer, coalesce(sum(money) filter (where is_old), 0) as old from orders where id > 7 group by buyer";
    let traced = turned(sql, &["buyer", "old"], &["buyer"], "old").expect("turned round");
    let [request] = traced.requests.as_slice() else { panic!("one source") };
    assert_eq!(
        request.sql,
        "select distinct made.kept_0 as \"dt\", made.kept_1 as \"id\" from (select \"orders\".\"dt\" as kept_0, \
         \"orders\".\"id\" as kept_1, buyer as key_0, coalesce((is_old) and (money) is not null, false) as counts_0 \
         from orders where (id > 7)) as made inner join w as given on (made.key_0 is not distinct from given.\"buyer\") \
         where (made.counts_0)"
    );
    assert_eq!(request.wanted.sums, ["money".to_owned()].into());
    assert_eq!(request.wanted.deciding, ["buyer".to_owned(), "is_old".to_owned()].into());
    let words: Vec<&str> = traced.excluded.iter().map(|(words, _)| words.as_str()).collect();
    assert_eq!(words, ["not (id > 7)", "not (is_old)", "no money"]);
}

#[test]
fn the_rows_of_a_maximum_are_those_that_attain_it() {
    let sql = "select buyer, max(dt) as latest from orders group by buyer";
    let traced = turned(sql, &["buyer", "latest"], &["buyer", "latest"], "latest").expect("turned round");
    let sql = &traced.requests.first().expect("a source").sql;
    assert!(sql.contains("made.attained_0 is not distinct from given.\"latest\""), "{sql}");
}

#[test]
fn only_the_sources_that_a_number_comes_from_are_followed() {
    let join = "select o.money, p.name from orders as o left join other as p on o.id = p.id";
    let tables = |column: &str| {
        let traced = turned(join, &["money", "name"], &["money", "name"], column).expect("turned round");
        traced.requests.into_iter().map(|request| request.table).collect::<Vec<_>>()
    };
    assert_eq!(tables("money"), ["orders"]);
    assert_eq!(tables("name"), ["orders", "other"], "a row of orders has no name, or that of another");
    let count = "select count(*) as n from orders left join other on orders.id = other.id";
    let traced = turned(count, &["n"], &[], "n").expect("turned round");
    assert_eq!(traced.requests.len(), 1, "an outer join adds no row");
    let anti = "select money from orders left anti join other on orders.id = other.id";
    assert_eq!(turned(anti, &["money"], &["money"], "money").expect("turned round").tested, ["other"]);
}

#[test]
fn what_cannot_be_turned_round_says_why() {
    for (sql, output, why) in [
        ("select lead(money) over (partition by buyer) as n from orders", "n", "computed over other rows"),
        ("select money as n from orders limit 3", "n", "LIMIT"),
        ("select money as n from orders except select id from other", "n", "EXCEPT"),
        ("select id as n from orders join other using (id)", "n", "USING"),
        ("select x as n from nothing", "n", "not known"),
    ] {
        let error = turned(sql, &[output], &[output], output).expect_err(sql);
        assert!(error.contains(why), "{sql}: {error}");
    }
    // A window that only chooses among rows does not stand in the way of what the row itself says.
    let sql = "select money as n, row_number() over (order by id) as place from orders";
    assert!(turned(sql, &["n", "place"], &["n", "place"], "n").is_ok());
}

#[test]
fn a_column_over_a_window_is_made_from_all_rows_of_it() {
    let sql = "select id, buyer, sum(money) over (partition by buyer order by id) as n from orders";
    let output = ["id", "buyer", "n"];
    let traced = turned(sql, &output, &output, "n").expect("turned round");
    let sql = &traced.requests.first().expect("a source").sql;
    assert!(sql.contains("buyer as key_0") && !sql.contains("key_1"), "{sql}");
    assert_eq!(traced.windows, ["n looks at all rows of the same buyer, which follow"]);
}

#[test]
fn a_key_that_rows_do_not_show_is_that_of_the_groups_which_give_them() {
    let traced =
        turned("select sum(money) as n from orders group by buyer", &["n"], &["n"], "n").expect("turned round");
    let sql = &traced.requests.first().expect("a source").sql;
    let given = "inner join (select shown.*, grouped.\"hidden_0\" from w as shown inner join (SELECT sum(money) AS n, \
                 buyer AS \"hidden_0\" FROM orders GROUP BY buyer) as grouped (\"n\", \"hidden_0\") on \
                 (shown.\"n\" is not distinct from grouped.\"n\")) as given";
    assert!(sql.contains(given), "{sql}");
}

#[test]
fn a_case_within_a_sum_chooses_rows_like_a_filter() {
    let sql = "select sum(case when is_old then money else 0 end) as n from orders";
    let traced = turned(sql, &["n"], &[], "n").expect("turned round");
    let request = traced.requests.first().expect("a source");
    assert!(request.sql.contains("coalesce((is_old) and (money) is not null, false)"), "{}", request.sql);
    assert_eq!(request.wanted.sums, ["money".to_owned()].into());
}
