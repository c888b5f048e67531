//! What is read of each table, told in words, for one SELECT after another.

use super::*;
use crate::model::range::words;
use crate::model::sql::parse_statements;
use datafusion::sql::sqlparser::ast::Statement;

/// The ranges of all tables: `t1: the day; t2: everything`. `nodt` has no `dt`, of `seed_x` it is not known.
fn read(sql: &str) -> String {
    let statements = parse_statements(sql).unwrap_or_else(|e| panic!("{sql}: {e:?}"));
    let Some(Statement::Query(query)) = statements.first() else { panic!("a query") };
    let catalog = |table: &str| match table {
        "nodt" => HasDt::No,
        "seed_x" => HasDt::Maybe,
        _ => HasDt::Yes,
    };
    match reads(query, &catalog) {
        Ok(Reads { ranges, .. }) => {
            ranges.iter().map(|(t, r)| format!("{t}: {}", words(r))).collect::<Vec<_>>().join("; ")
        }
        Err(name) => format!("cannot follow {name}"),
    }
}

fn check(cases: &[(&str, &str)]) {
    for (sql, expected) in cases {
        assert_eq!(read(sql), *expected, "{sql}");
    }
}

/// The tables of which columns are read that are not named.
fn starred(sql: &str) -> Vec<String> {
    let statements = parse_statements(sql).unwrap_or_else(|e| panic!("{sql}: {e:?}"));
    let Some(Statement::Query(query)) = statements.first() else { panic!("a query") };
    reads(query, &|_| HasDt::Yes).unwrap_or_else(|name| panic!("{sql}: {name}")).starred.into_iter().collect()
}

#[test]
fn columns_that_are_not_named_are_read_through_a_star() {
    for (sql, expected) in [
        ("select a, b from t", &[][..]),
        ("select count(*) as n from t", &[]),
        ("select a from t where exists (select 1 from u where u.k = t.k)", &[]),
        ("with x as (select a from t) select * from x", &[]),
        ("select * from (select a from t) as x join (select b from u) as y on x.a = y.b", &[]),
        ("select * from t", &["t"]),
        ("select t.*, u.a from t join u on t.k = u.k", &["t", "u"]),
        ("with x as (select * from t) select a from x", &["t"]),
        ("select a from t where k in (select * from u)", &["u"]),
        ("from t", &["t"]),
        ("select a from t union all select * from u", &["u"]),
        ("select a from t as x (a, b)", &["t"]),
        ("select a from (t join u on t.k = u.k) as x (a, b)", &["t", "u"]),
        ("select count(*) as n from (select distinct * from (t join u on t.k = u.k) as y)", &["t", "u"]),
        ("with x (p, q) as (select * from (t join u on t.k = u.k) as y) select p from x", &["t", "u"]),
        ("select v.a from (t join u on t.k = u.k) as y natural join v", &["t", "u", "v"]),
        ("select p from ((t join u on t.k = u.k) as y) as x (p, q)", &["t", "u"]),
        ("select y.\"a:1\" from (t join u on t.k = u.k) as y", &["t", "u"]),
        ("with recursive t as (select distinct * from t) select count(*) as n from t, (select a from t) as u", &["t"]),
        ("select a from t natural join u", &["t", "u"]),
        ("select a from t join u using (k)", &[]),
        ("select count(distinct *) as n from t", &["t"]),
        ("select count(t.*) as n from t", &["t"]),
        ("select hash(*) as n from t, u", &["t", "u"]),
    ] {
        assert_eq!(starred(sql), expected, "{sql}");
    }
}

#[test]
fn a_condition_on_dt_limits_the_days() {
    check(&[
        ("select a from t where dt = $dt", "t: the day"),
        ("select a from t where $dt = dt", "t: the day"),
        ("select a from t where T.DT = $dt and a > 0", "t: the day"),
        ("select a from t where (dt = ($dt))", "t: the day"),
        ("select a from t x where x.dt between $dt - interval '6 days' and $dt", "t: the 7 days up to it"),
        ("select a from t where dt <= $dt", "t: all days up to it"),
        ("select a from t where dt < $dt", "t: all days before"),
        ("select a from t where $dt > dt", "t: all days before"),
        ("select a from t where dt > $dt - interval '7 days' and dt <= $dt", "t: the 7 days up to it"),
        ("select a from t where dt = $dt - interval '1 day'", "t: the day before"),
        ("select a from t where dt in ($dt, $dt - interval '1 day')", "t: the day, the day before"),
        ("select a from t where dt = $dt or dt = year_before($dt)", "t: the day, the same day a year before"),
        ("select a from t where dt >= date_trunc('month', $dt) and dt <= $dt", "t: its month up to it"),
        ("select a from t where dt >= '2026-01-01'", "t: all days from 2026-01-01"),
        ("select a from t where dt is not null", "t: all days"),
        ("select a from t where dt = latest_snapshot('t', $dt)", "t: the latest snapshot"),
        ("select a from t where dt between x and $dt", "t: all days up to it"),
        ("select a from t where dt < $dt and dt > $dt", "t: nothing"),
        ("select a from t where dt = $dt group by a having count(*) > 1 order by a limit 3", "t: the day"),
    ]);
}

#[test]
fn what_is_not_understood_limits_nothing() {
    check(&[
        ("select a from t", "t: everything"),
        ("select a from t where dt is null", "t: everything"),
        ("select a from t where not (dt = $dt)", "t: everything"),
        ("select a from t where dt <> $dt", "t: everything"),
        ("select a from t where dt not between $dt and $dt", "t: everything"),
        ("select a from t where dt not in ($dt)", "t: everything"),
        ("select a from t where dt in ($dt, x)", "t: everything"),
        ("select a from t where dt in (select dt from u where dt = $dt)", "t: everything; u: the day"),
        ("select a from t where dt = $dt or a = 1", "t: everything"),
        ("select a from t where dt is not distinct from $dt - interval '1 day'", "t: everything"),
        ("select a from t where dt is not distinct from date '2026-01-05'", "t: everything"),
        ("select a from t where dt is not distinct from a", "t: everything"),
        ("select a from t where dt is distinct from $dt", "t: everything"),
        ("select a from t where not (dt is not distinct from $dt)", "t: everything"),
        ("select a from t where coalesce(dt, $dt) = $dt", "t: everything"),
        ("select a from t where dt + interval '1 day' = $dt", "t: everything"),
        ("select a from t where \"DT\" = $dt", "t: everything"),
        ("select a from t where u.dt = $dt", "t: everything"),
        ("select a from t where case when dt = $dt then true end", "t: everything"),
        ("select a from t group by a having max(dt) = $dt", "t: everything"),
        ("select a from t where dt = latest_snapshot('u', $dt)", "t: all days; u: the latest snapshot"),
        ("select latest_snapshot('u', $dt) as a from t where dt = $dt", "t: the day; u: the latest snapshot"),
        (
            "select a from t where dt = $dt and dt >= First_Loaded_Day('logs')",
            "first_loaded_day: everything; t: the day",
        ),
        // A comparison that is not understood still leaves out the rows on no day.
        ("select a from t where dt >= (select min(dt) from u)", "t: all days; u: everything"),
        ("select a from t where dt = a", "t: all days"),
    ]);
}

#[test]
fn branches_of_or_are_united_and_limits_within_them_intersected() {
    check(&[
        (
            "select a from t where (dt = $dt and a = 1) or (dt >= $dt - interval '6 days' and dt < $dt)",
            "t: the day, the 6 days before",
        ),
        ("select a from t where (dt = $dt or dt = $dt - interval '9 days') and dt > $dt - interval '5 days'", {
            "t: the day"
        }),
        ("select a from t, u where (t.dt = $dt and u.dt = $dt) or t.dt = $dt", "t: the day; u: everything"),
    ]);
}

#[test]
fn a_name_must_be_certain() {
    check(&[
        ("select 1 from t, u where dt = $dt", "t: everything; u: everything"),
        ("select 1 from t, nodt where dt = $dt", "nodt: everything; t: the day"),
        ("select 1 from t, seed_x where dt = $dt", "seed_x: everything; t: everything"),
        ("select 1 from t, seed_x where t.dt = $dt", "seed_x: everything; t: the day"),
        ("select 1 from nodt where dt = $dt", "nodt: everything"),
        ("select 1 from t as x (a, dt) where dt = $dt", "t: everything"),
        ("select 1 from t as x (a, dt) where x.dt = $dt", "t: everything"),
        ("select 1 from t x where t.dt = $dt", "t: everything"),
        ("select 1 from t x, t y where x.dt = $dt and y.dt = $dt - interval '1 day'", "t: the day, the day before"),
        ("select 1 from t, (select a as dt from nodt) where dt = $dt", "nodt: everything; t: everything"),
        ("select 1 from t, (select * from seed_x) s where dt = $dt", "seed_x: everything; t: everything"),
        ("select 1 from t, (select a, b as c from u) s where dt = $dt", "t: the day; u: everything"),
        ("select 1 from t, (select cast(dt as date) from u) s where dt = $dt", "t: everything; u: everything"),
        ("select 1 from t, unnest(x) as u (v) where dt = $dt", "t: everything"),
    ]);
}

#[test]
fn common_table_expressions_and_subqueries_have_their_own_conditions() {
    check(&[
        ("with x as (select a, dt from t where dt = $dt) select a from x", "t: the day"),
        ("with x as (select a, dt from t) select a from x where dt = $dt", "t: everything"),
        ("with t as (select a from t where dt = $dt) select a from t", "t: the day"),
        ("with x as (select 1 as a) select a from x, t where dt = $dt", "t: the day"),
        ("select a from (select a from t where dt = $dt) s where exists (select 1 from u where u.a = s.a)", {
            "t: the day; u: everything"
        }),
        (
            "select a from t where dt = $dt and a not in (select a from u where dt < $dt)",
            "t: the day; u: all days before",
        ),
        ("select (select max(a) from u where dt < $dt) as b from t where dt = $dt", "t: the day; u: all days before"),
        ("select a from t where dt = $dt union all select a from u where dt < $dt", "t: the day; u: all days before"),
        ("select a from t where dt = $dt order by (select max(b) from u)", "t: the day; u: everything"),
        ("select a from t where exists (select 1 from u where u.dt = t.dt and u.dt <= $dt)", {
            "t: everything; u: all days up to it"
        }),
        // The inner `dt` is the outer table's, for `nodt` has none.
        ("select a from t where dt = $dt and a in (select a from nodt where dt = $dt)", "nodt: everything; t: the day"),
        (
            "with recursive r as (select a from t where dt = $dt union all select a from r) select a from r",
            "t: the day",
        ),
        ("select a from t where dt = $dt and a in (with u as (select a from u where dt < $dt) select a from u)", {
            "t: the day; u: all days before"
        }),
        ("select a from t where dt = $dt qualify row_number() over (order by a) = 1", "t: the day"),
        ("select count(*) filter (where a in (select a from u where dt = $dt)) as n from t where dt = $dt", {
            "t: the day; u: the day"
        }),
    ]);
}

#[test]
fn the_condition_of_a_join_limits_the_sides_it_filters() {
    check(&[
        ("select 1 from t join u on t.dt = $dt and u.dt < $dt", "t: the day; u: all days before"),
        ("select 1 from t left join u on t.dt = $dt and u.dt < $dt", "t: everything; u: all days before"),
        ("select 1 from t right join u on t.dt = $dt and u.dt < $dt", "t: the day; u: everything"),
        ("select 1 from t full join u on t.dt = $dt and u.dt < $dt", "t: everything; u: everything"),
        ("select 1 from t left join u on u.dt = $dt where t.dt = $dt", "t: the day; u: the day"),
        ("select 1 from t left semi join u on t.a = u.a and u.dt = $dt where t.dt = $dt", "t: the day; u: the day"),
        ("select 1 from t left anti join u on t.a = u.a and u.dt = $dt where t.dt = $dt", "t: the day; u: the day"),
        ("select 1 from t left anti join u on t.dt = $dt", "t: everything; u: everything"),
        ("select 1 from t right anti join u on t.dt = $dt where u.dt = $dt", "t: the day; u: the day"),
        ("select 1 from nodt left anti join u on nodt.a = u.a where dt = $dt", "nodt: everything; u: everything"),
        ("select 1 from t cross join u where t.dt = $dt", "t: the day; u: everything"),
        (
            "select 1 from t join (u join v on u.dt = $dt) on v.dt = $dt where t.dt = $dt",
            "t: the day; u: the day; v: the day",
        ),
        ("select 1 from t join u on dt = $dt", "t: everything; u: everything"),
        ("select 1 from t cross apply u where t.dt = $dt", "t: everything; u: everything"),
    ]);
}

#[test]
fn a_condition_on_the_null_side_makes_the_join_an_inner_one() {
    check(&[
        ("select 1 from t left join u on t.dt = $dt where u.dt = $dt", "t: the day; u: the day"),
        ("select 1 from t full join u on t.dt = u.dt where u.dt = $dt", "t: the day; u: the day"),
        ("select 1 from t full join u on t.dt = u.dt where u.dt is null or u.dt = $dt", "t: everything; u: everything"),
        ("select 1 from t left join u on t.dt = u.dt left join v on v.dt = u.dt where v.dt = $dt", {
            "t: the day; u: the day; v: the day"
        }),
        ("select 1 from t left join u on t.dt = u.dt right join v on v.a = u.a and t.dt = $dt", {
            "t: the day; u: the day; v: everything"
        }),
    ]);
}

#[test]
fn what_is_not_distinct_from_the_day_is_of_the_day_or_of_no_day() {
    check(&[
        ("select a from t where dt is not distinct from $dt", "t: the day, or no day"),
        ("select a from t where a > 0 and $dt is not distinct from t.dt", "t: the day, or no day"),
        ("select a from t where dt is not distinct from $dt::date", "t: the day, or no day"),
        ("select a from t where dt is not null and dt is not distinct from $dt", "t: the day"),
        ("select a from t where (dt is not distinct from $dt) and dt >= $dt - interval '6 days'", "t: the day"),
        ("select a from t where (dt is not distinct from $dt) or dt = $dt - interval '1 day'", {
            "t: the day, or no day, the day before"
        }),
        ("select a from t where a = 1 or dt is not distinct from $dt", "t: everything"),
        // The parser takes all that follows for the right side; the engine then refuses it.
        ("select a from t where dt is not distinct from $dt and a > 0", "t: everything"),
        ("select a from t where dt = $dt and a in (select a from u where dt is not distinct from $dt)", {
            "t: the day; u: the day, or no day"
        }),
        // Only an equality carries a limit over, and it rejects no day.
        ("select 1 from t join u on t.dt = u.dt where t.dt is not distinct from $dt", "t: the day; u: the day"),
        ("with x as (select a, dt from t where dt is not distinct from $dt) select 1 from x join u on x.dt = u.dt", {
            "t: the day, or no day; u: the day"
        }),
        ("select 1 from t, u where t.dt = $dt and t.dt is not distinct from u.dt", "t: the day; u: everything"),
    ]);
}

#[test]
fn where_no_day_is_built_an_absent_side_is_not_distinct_from_it() {
    let own = "is not distinct from $dt";
    check(&[
        // On no day, a row of `t` whose only match lies on some day would appear with `u` absent, were that match not read.
        (&format!("select 1 from t left join u on t.a = u.a where u.dt {own}"), "t: everything; u: everything"),
        (&format!("select 1 from t right join u on t.a = u.a where t.dt {own}"), "t: everything; u: everything"),
        (&format!("select 1 from t full join u on t.a = u.a where t.dt {own}"), "t: everything; u: everything"),
        (&format!("select 1 from t left join u on t.a = u.a and t.dt = $dt where u.dt {own}"), {
            "t: everything; u: everything"
        }),
        (&format!("select 1 from t left join u on t.a = u.a where u.dt <= $dt and u.dt {own}"), {
            "t: everything; u: the day"
        }),
        // The preserved side, the condition of the join itself and inner joins limit as ever.
        (&format!("select 1 from t left join u on t.a = u.a where t.dt {own}"), "t: the day, or no day; u: everything"),
        (&format!("select 1 from t left join u on t.a = u.a and u.dt {own} where t.dt {own}"), {
            "t: the day, or no day; u: the day, or no day"
        }),
        (&format!("select 1 from t left join u on t.dt = u.dt where t.dt {own}"), "t: the day, or no day; u: the day"),
        (&format!("select 1 from t join u on t.a = u.a and u.dt {own} where t.dt {own}"), {
            "t: the day, or no day; u: the day, or no day"
        }),
        (&format!("select 1 from t left anti join u on t.a = u.a and u.dt {own} where t.dt {own}"), {
            "t: the day, or no day; u: the day, or no day"
        }),
        (&format!("select 1 from t join (u left join v on u.a = v.a) on (v.dt {own}) and u.dt {own}"), {
            "t: everything; u: the day, or no day; v: everything"
        }),
    ]);
}

#[test]
fn equal_days_pass_their_limits_on() {
    check(&[
        ("select 1 from t join u on t.dt = u.dt where t.dt = $dt", "t: the day; u: the day"),
        ("select 1 from t, u, v where t.dt = u.dt and u.dt = v.dt and v.dt < $dt", {
            "t: all days before; u: all days before; v: all days before"
        }),
        ("select 1 from t left join u on t.dt = u.dt where t.dt = $dt", "t: the day; u: the day"),
        ("select 1 from t right join u on t.dt = u.dt where t.dt = $dt", "t: the day; u: the day"),
        ("select 1 from t right join u on t.dt = u.dt and t.dt = $dt", "t: the day; u: everything"),
        ("select 1 from t full join u on t.dt = u.dt and t.dt = $dt", "t: everything; u: everything"),
        ("select 1 from t join u on t.dt = u.dt", "t: all days; u: all days"),
        ("select 1 from t join u using (dt, a) where t.dt = $dt", "t: the day; u: the day"),
        ("select 1 from t join u using (dt) where dt = $dt", "t: the day; u: the day"),
        ("select 1 from t left join u using (dt) where dt = $dt", "t: the day; u: the day"),
        ("select 1 from t full join u using (dt) where dt = $dt", "t: everything; u: everything"),
        ("select 1 from t join u using (dt) join v using (dt) where dt = $dt", "t: all days; u: all days; v: all days"),
        ("select 1 from t natural join u where dt = $dt", "t: everything; u: everything"),
        ("select 1 from t join u on t.dt = u.dt and t.dt = latest_snapshot('t', $dt)", {
            "t: the latest snapshot; u: all days"
        }),
    ]);
}

#[test]
fn the_days_of_a_subquery_pass_on_as_well() {
    check(&[
        ("with d as (select $dt as dt) select 1 from d join t on t.dt = d.dt", "t: the day"),
        ("with d as (select $dt as dt) select 1 from d left join t on t.dt = d.dt", "t: the day"),
        ("with d as (select $dt as dt) select 1 from t left join d on t.dt = d.dt", "t: everything"),
        ("with x as (select a, dt from t where dt < $dt) select 1 from x join u on x.dt = u.dt", {
            "t: all days before; u: all days before"
        }),
        ("with x as (select * from t where dt < $dt) select 1 from x left join u on x.dt = u.dt", {
            "t: all days before; u: all days before"
        }),
        ("with x as (select a as dt, dt as b from t where dt < $dt) select 1 from x join u on x.dt = u.dt", {
            "t: all days before; u: all days"
        }),
        (
            "with x as (select $dt as dt, 1 as a union all select $dt - interval '1 day', 2) select 1 from x, t where t.dt = x.dt",
            { "t: all days" },
        ),
        (
            "with x as (select $dt as dt union all select $dt - interval '1 day' as dt) select 1 from x, t where t.dt = x.dt",
            { "t: the day, the day before" },
        ),
        (
            "with x as (select $dt as dt, b from t union all select b, $dt as dt from t) select 1 from x, u where u.dt = x.dt",
            { "t: everything; u: all days" },
        ),
        ("with x as (select dt from t where dt = latest_snapshot('t', $dt)) select 1 from x join u on u.dt = x.dt", {
            "t: the latest snapshot; u: all days"
        }),
        ("with x (a, dt) as (select $dt as dt, b from t where dt = $dt) select 1 from x join u on u.dt = x.dt", {
            "t: the day; u: all days"
        }),
    ]);
}

#[test]
fn a_table_in_a_place_that_is_not_followed_is_an_error() {
    check(&[
        ("select 1 from t pivot (sum(a) for b in ('x', 'y'))", "cannot follow t"),
        ("select 1 from (t join u on t.a = u.a) as x where x.dt = $dt", "t: everything; u: everything"),
        ("select 1 from t where dt = $dt and a = any (select a from u)", "t: the day; u: everything"),
        ("select 1 from t, lateral (select 1 from u where u.dt = t.dt) x where t.dt = $dt", "t: the day; u: all days"),
        ("with x as (update t set a = 1 returning a) select a from x", "cannot follow t"),
        ("select 1 from range(1, 3) r, t where t.dt = $dt", "t: the day"),
        ("from t |> where dt = $dt |> select a", "t: everything"),
    ]);
}
