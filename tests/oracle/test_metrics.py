"""Hand-made cases of the metrics contract whose sums a person can do by eye."""

import datetime as dt
import os
import sys
import unittest
from decimal import Decimal

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import metrics
import raw

ZONE = "Asia/Shanghai"


def day(text):
    return dt.date.fromisoformat(text)


def event(when, visitor, act=1, **fields):
    clock = dt.datetime.fromisoformat(when).replace(tzinfo=raw._zone(ZONE))
    values = dict.fromkeys(raw.LOG_FIELDS, None)
    values.update(act=act, acttime=int(clock.timestamp() * 1000))
    values.update({"platform": 1, "net": 1, **fields})
    return raw.Event(dt=clock.date(), visitor_id=visitor, extra=None, **values)


def order(order_id, when, user=1, money="10.00", status=1):
    return {
        "order_id": order_id,
        "order_date": when and dt.datetime.fromisoformat(when),
        "user_id": user,
        "order_money": money and Decimal(money),
        "order_status": status,
    }


def line(order_id, goods_id, money="10.00", amount=1, when=None):
    return {
        "order_id": order_id,
        "goods_id": goods_id,
        "goods_amount": amount,
        "curr_price": money and Decimal(money),
        "create_time": when and dt.datetime.fromisoformat(when),
    }


def payment(pay_id, order_id, when, money="10.00", pay_type=1):
    return {
        "pay_id": pay_id,
        "order_id": order_id,
        "pay_money": Decimal(money),
        "pay_type": pay_type,
        "pay_time": dt.datetime.fromisoformat(when),
    }


def shop(events=(), orders=(), lines=(), payments=(), snapshots=None, last=None, start=None):
    logs = raw.Logs(ZONE, events=list(events), last_arrival=last and day(last))
    latest = {
        "user_order": {n: row for n, row in enumerate(orders)},
        "order_item": {n: row for n, row in enumerate(lines)},
        "payment_flow": {n: row for n, row in enumerate(payments)},
    }
    return metrics.Shop(logs, raw.Orders(snapshots=snapshots or {}, latest=latest), start)


def rows(found, name, *columns):
    return [tuple(row[column] for column in columns) for row in metrics.compute(found, name)]


class Arithmetic(unittest.TestCase):
    def test_rounding_is_half_away_from_zero_once(self):
        self.assertEqual(metrics.ratio(1, 2_000_000), Decimal("0.000001"))
        self.assertEqual(metrics.ratio(-1, 2_000_000), Decimal("-0.000001"))
        self.assertEqual(metrics.rounded(Decimal("-2.345"), 2), Decimal("-2.35"))
        self.assertIsNone(metrics.ratio(0, 0))

    def test_periods(self):
        previous, last_year = metrics.previous_period, metrics.last_year_period
        self.assertEqual(previous(day("2026-03-31"), "month"), (day("2026-02-01"), day("2026-02-28")))
        self.assertEqual(previous(day("2026-03-10"), "week"), (day("2026-03-02"), day("2026-03-03")))
        self.assertEqual(
            previous(day("2026-05-10"), "quarter"), (day("2026-01-01"), day("2026-02-09"))
        )
        self.assertEqual(last_year(day("2024-02-29"), "year"), (day("2023-01-01"), day("2023-02-28")))
        self.assertEqual(
            last_year(day("2026-03-10"), "week"), (day("2025-03-10"), day("2025-03-11"))
        )

    def test_percentiles_are_interpolated(self):
        self.assertEqual(metrics.percentile([1, 2, 4], metrics.Fraction(9, 10)), 3.6)
        self.assertEqual(metrics.percentile([7], metrics.Fraction(99, 100)), 7)


class Audience(unittest.TestCase):
    def test_growth_lapse_and_retention_of_two_visitors(self):
        found = shop(
            [
                event("2026-03-01 00:00", "a"),
                event("2026-03-02 00:00", "a"),
                event("2026-03-02 00:00", "b"),
                event("2026-03-04 00:00", "a"),
            ],
            last="2026-03-11",
        )
        growth = rows(found, "app_growth", "new_visitors", "retained", "resurrected", "churned")
        self.assertEqual(growth[:5], [(1, 0, 0, 0), (1, 1, 0, 0), (0, 0, 0, 2), (0, 0, 1, 0),
                                      (0, 0, 0, 1)])
        lapsed = rows(found, "app_lapsed", "lapsed_today", "lapsed_total")
        self.assertEqual(lapsed[6:], [(0, 0), (0, 0), (1, 1), (0, 1), (1, 2)])
        audience = rows(found, "app_active_visitor", "dau", "wau", "mau", "prev_day", "day_ratio")
        self.assertEqual(audience[0], (1, 1, 1, None, None))
        self.assertEqual(audience[3], (1, 2, 2, 0, None))
        self.assertEqual(audience[9], (0, 1, 2, 0, None))
        kept = rows(found, "app_retention", "dt", "cohort_dt", "retained")
        self.assertIn((day("2026-03-04"), day("2026-03-01"), 1), kept)
        self.assertIn((day("2026-03-04"), day("2026-03-02"), 0), kept)
        self.assertNotIn(day("2026-03-03"), [cohort for _, cohort, _ in kept])

    def test_the_push_list_takes_the_latest_event_and_breaks_ties_by_the_greatest(self):
        found = shop(
            [
                event("2026-03-01 10:00", "a", uid=9, platform=3),
                event("2026-03-01 11:00", "a", uid=5, platform=1),
                event("2026-03-01 11:00", "a", uid=10, platform=2),
                event("2026-03-01 12:00", "a", platform=9),
                event("2026-03-01 12:00", "a", platform=3),
                event("2026-03-01 12:00", "b"),
            ],
            last="2026-03-08",
        )
        self.assertCountEqual(
            rows(found, "app_lapsed_visitor", "visitor_id", "user_id", "platform"),
            [("a", 10, "pc"), ("b", None, "android")],
        )

    def test_a_visitor_counts_once_a_dimension(self):
        found = shop(
            [
                event("2026-03-01 10:00", "a", platform=2, osver="ios13", brand="apple"),
                event("2026-03-01 11:00", "a", platform=1, osver="9", brand=""),
                event("2026-03-01 11:00", "a", platform=1, osver="10", brand="huawei"),
            ],
            last="2026-03-01",
        )
        self.assertCountEqual(
            rows(found, "app_active_distribution", "dimension", "value", "visitors"),
            [("platform", "android", 1), ("android_version", "9", 1), ("brand", "unknown", 1),
             ("model", "unknown", 1), ("network", "WIFI", 1)],
        )

    def test_crash_free_rate_is_of_the_events_platform(self):
        twice = event("2026-03-01 10:00", "a", act=5, platform=9)
        twice.copies = 2
        found = shop([twice, event("2026-03-01 10:00", "b", platform=None),
                      event("2026-03-01 10:00", "a", platform=1)], last="2026-03-01")
        self.assertEqual(
            rows(found, "app_crash", "platform", "crashes", "crash_reports", "crash_free_rate"),
            [("android", 0, 0, 1), ("ios", 0, 0, None), ("pc", 0, 0, None),
             ("other", 1, 2, Decimal("0.5"))],
        )

    def test_a_start_makes_earlier_days_history(self):
        events = [event("2026-03-01 10:00", "a"), event("2026-03-03 10:00", "a"),
                  event("2026-03-03 10:00", "b")]
        found = shop(events, last="2026-03-03", start=day("2026-03-02"))
        columns = ("dt", "new_visitors", "prev_day")
        self.assertEqual(rows(found, "app_new_visitor", *columns),
                         [(day("2026-03-02"), 0, None), (day("2026-03-03"), 1, 0)])
        self.assertEqual(rows(found, "app_active_visitor", "mau"), [(0,), (2,)])

    def test_who_was_active_last_before_the_start_has_lapsed(self):
        events = [event("2026-02-20 10:00", "a"), event("2026-02-24 10:00", "b", uid=7),
                  event("2026-02-24 10:00", "c"), event("2026-03-03 10:00", "c")]
        found = shop(events, last="2026-03-04", start=day("2026-03-02"))
        self.assertEqual(rows(found, "app_lapsed", "lapsed_today", "lapsed_total"),
                         [(0, 1), (1, 2), (0, 2)])
        self.assertEqual(rows(found, "app_lapsed_visitor", "dt", "visitor_id", "user_id"),
                         [(day("2026-03-03"), "b", 7)])


class Orders(unittest.TestCase):
    def test_gmv_of_a_day(self):
        found = shop(
            orders=[
                order(1, "2026-03-01 10:00", 1, "10.00", 4),
                order(2, "2026-03-01 23:59:59.999999", 1, "5.01", 5),
                order(3, "2026-03-01", None, None, 0),
                order(4, None, 7, "99.00", 1),
            ],
            lines=[line(1, 1, "10.00", 3), line(2, 1, None, None), line(9, 1), line(4, 1)],
            payments=[
                payment(1, 1, "2026-03-01 11:00"),
                payment(2, 4, "2026-03-01 11:00"),
                payment(3, 9, "2026-03-01 11:00"),
                payment(4, None, "2026-03-01 11:00"),
            ],
        )
        found.last_arrival = day("2026-03-01")
        (row,) = metrics.compute(found, "app_gmv")
        self.assertEqual(
            list(row.values())[1:],
            [3, 1, 3, Decimal("15.01"), 3, 2, 40, 10, Decimal("5.01"), 0, Decimal("5.00")],
        )
        self.assertEqual(rows(found, "app_payment", "payments", "share", "avg_minutes_to_pay"),
                         [(4, 1, 60.0)])

    def test_names_come_from_the_latest_snapshot_or_the_earliest(self):
        goods = {(1,): {"goods_name": "old", "third_category_id": None}}
        renamed = {(1,): {"goods_name": "", "third_category_id": 3}}
        category = {(3,): {"first_category_name": "f", "second_catery_name": "s",
                           "third_category_name": None}}
        found = shop(snapshots={
            "goods_info": {day("2026-03-02"): goods, day("2026-03-04"): renamed},
            "category_code": {day("2026-03-09"): category},
        })
        for date, expected in (("01", "old"), ("03", "old"), ("04", "unknown")):
            self.assertEqual(found.goods_names(1, day(f"2026-03-{date}"))[0], expected)
        self.assertEqual(found.goods_names(1, day("2026-03-04")),
                         ("unknown", "f", "s", "unknown"))
        self.assertEqual(found.goods_names(2, day("2026-03-04")), ("unknown",) * 4)

    def test_pairs_repurchase_and_mix(self):
        found = shop(
            orders=[order(1, "2026-03-01", 1), order(2, "2026-03-02", 1), order(3, "2026-03-02", 2)],
            lines=[line(1, 7), line(1, 5), line(2, 5), line(2, 7), line(3, 5)],
        )
        found.last_arrival = day("2026-03-02")
        self.assertEqual(
            [list(row.values())[1:] for row in metrics.compute(found, "app_goods_pair")],
            [[1, 5, 7, 2, Decimal("0.666667"), Decimal("0.666667"), Decimal("1.000000")]],
        )
        self.assertEqual(rows(found, "app_repurchase", "buyers", "repeat_buyers")[3:], [(2, 1)] * 3)
        self.assertEqual(rows(found, "app_buyer_mix", "new_buyers", "returning_buyers")[1], (1, 1))

    def test_the_funnel_is_of_strict_subsets(self):
        when = "2026-03-01 10:00"
        found = shop(
            [event(when, "a", act=3, uid=1), event(when, "b", uid=2), event(when, "c", act=3)],
            [order(1, when, 1), order(2, when, 2)],
            payments=[payment(1, 1, when), payment(2, 2, when)],
            last="2026-03-01",
        )
        self.assertEqual(
            rows(found, "app_conversion", "active_users", "viewers", "buyers", "payers"),
            [(2, 1, 1, 1)],
        )


class Attention(unittest.TestCase):
    def test_the_list_of_the_previous_window_is_judged_across_midnight(self):
        found = shop(
            [
                event("2026-03-01 23:59:59", "a", act=3, goods_id=1),
                event("2026-03-02 00:00", "a", act=3, goods_id=1),
                event("2026-03-02 03:59", "a", act=3, goods_id=2),
                event("2026-03-02 03:59", "a", act=3),
            ],
            [order(1, None, 1, status=3), order(2, "2026-03-01", 1, status=4)],
            [line(1, 1, when="2026-03-02 01:00"), line(2, 1, when="2026-03-02 01:00")],
            last="2026-03-02",
        )
        effect = rows(found, "app_attention_effect", "window_start", "highlighted", "goods",
                      "details_views", "transaction_items", "view_to_buy")
        self.assertEqual(len(effect), 22)
        midnight = dt.datetime(2026, 3, 2)
        self.assertEqual([row[1:] for row in effect if row[0] == midnight],
                         [(0, 1, 1, 0, 0), (1, 1, 1, 1, 1)])
        counter = metrics.compute(found, "app_goods_counter_4h")[0]
        self.assertEqual(counter["window_end"], midnight)

    def test_correlation(self):
        self.assertAlmostEqual(metrics.correlation([(1, 2), (2, 4), (3, 6)]), 1.0)
        self.assertIsNone(metrics.correlation([(1, 2), (2, 2)]))
        self.assertIsNone(metrics.correlation([(1, 2)]))


if __name__ == "__main__":
    unittest.main()
