"""Hand-made tiny inputs for the rules of the sources contract that are easy to get wrong.

    python -m unittest discover tests/oracle
"""

import datetime as dt
import gzip
import json
import os
import sys
import tempfile
import unittest
from decimal import Decimal

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import raw

ZONE = "Asia/Shanghai"
ARRIVAL = dt.date(2026, 3, 10)
NOON = 1773115200000  # 2026-03-10 12:00:00 in Shanghai


def event(**fields):
    """A good act 1 event, with fields set or (as `...`) left out."""
    good = {"act": 1, "acttime": NOON, "xaid": "x1", "platform": 1}
    good.update(fields)
    return {name: value for name, value in good.items() if value is not ...}


def outcomes(line, zone=ZONE):
    """The events or reasons of one line, given as an object, a text or bytes."""
    if not isinstance(line, (str, bytes)):
        line = json.dumps(line)
    if isinstance(line, str):
        line = line.encode()
    return raw.line_events(line, ARRIVAL, zone)


def outcome(line, zone=ZONE):
    (only,) = outcomes(line, zone)
    return only


def millis(text, zone=ZONE):
    clock = dt.datetime.fromisoformat(text).replace(tzinfo=raw._zone(zone))
    return int(clock.timestamp() * 1000)


class Folder(unittest.TestCase):
    """A test with a folder of its own."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = folder.name

    def write(self, path, content):
        full = os.path.join(self.root, path)
        os.makedirs(os.path.dirname(full), exist_ok=True)
        if isinstance(content, list):
            content = "".join(json.dumps(line) + "\n" for line in content)
        if isinstance(content, str):
            content = content.encode()
        with open(full, "wb") as handle:
            handle.write(content)
        return full

    def logs(self):
        return raw.read_logs(self.root, ZONE)

    def orders(self):
        return raw.read_orders(self.root, ZONE)


class RejectReasons(unittest.TestCase):
    def test_the_first_reason_in_the_order_listed_wins(self):
        bad = dict(act=9, acttime=..., xaid=..., platform="x")
        self.assertEqual(outcome(event(**{**bad, "act": ...})), "missing_act")
        self.assertEqual(outcome(event(**bad)), "unknown_act")
        self.assertEqual(outcome(event(**{**bad, "act": 1})), "missing_acttime")
        self.assertEqual(outcome(event(**{**bad, "act": 1, "acttime": 1})), "acttime_out_of_range")
        self.assertEqual(outcome(event(**{**bad, "act": 1, "acttime": NOON})), "no_visitor")
        self.assertEqual(outcome(event(platform="x")), "bad_type")

    def test_a_rule_about_an_unreadable_field_does_not_apply(self):
        self.assertEqual(outcome(event(act="1.0")), "bad_type")
        self.assertEqual(outcome(event(acttime=True)), "bad_type")
        self.assertEqual(outcome(event(xaid=..., uid="abc")), "bad_type")
        self.assertEqual(outcome(event(xaid={}, uid=0)), "bad_type")
        # … but a later rule about another field does.
        self.assertEqual(outcome(event(act="one", acttime=...)), "missing_acttime")
        self.assertEqual(outcome(event(act="one", xaid=...)), "no_visitor")

    def test_too_long_comes_before_everything_and_needs_one_byte_more(self):
        line = b"\xff" * raw.MAX_LINE_BYTES
        self.assertEqual(outcome(line), "not_utf8")
        self.assertEqual(outcome(line + b"\xff"), "too_long")

    def test_text_that_is_no_json(self):
        for text in ("{", "nul", '{"a":NaN}', '{"a":-Infinity}', '{"a":1} x', "{'a':1}", "[1,]"):
            self.assertEqual(outcome(text), "malformed_json", text)
        self.assertEqual(outcome('{"a":"\t"}'), "malformed_json")
        self.assertEqual(outcome(b'{"a":"\xed\xa0\x80"}'), "not_utf8")
        for text in ("1", '"a"', "null", "[]", '[{"act":1}]'):
            self.assertEqual(outcome(text), "not_an_object", text)

    def test_lone_surrogates_are_malformed_wherever_they_stand(self):
        good = json.dumps(event(brand="😀", model="\\ud800"))  # a pair, and no escape at all
        self.assertEqual(outcome(good).brand, "😀")
        self.assertEqual(outcome(good).model, "\\ud800")
        for lone in (r"\ud800", r"\udc00", r"\udc00\ud800", r"\ud800\ud83d\ude00", r"\\\udfff"):
            self.assertEqual(outcome(f'{{"a":"{lone}"}}'), "malformed_json", lone)
            self.assertEqual(outcome(f'{{"{lone}":1}}'), "malformed_json", lone)
            self.assertEqual(outcome(f'{{"a":"{lone}","a":1}}'), "malformed_json", lone)

    def test_depth_128_is_read_and_129_is_not(self):
        def nested(levels):
            return '{"act":1,"acttime":%d,"uid":1,"a":%s}' % (
                NOON, "[" * (levels - 1) + "]" * (levels - 1)
            )

        self.assertIsInstance(outcome(nested(128)), raw.Event)
        self.assertEqual(outcome(nested(129)), "malformed_json")
        self.assertEqual(outcome("[" * 100_000), "malformed_json")
        self.assertIsInstance(outcome(event(brand="[" * 200)), raw.Event)

    def test_of_a_repeated_key_the_last_wins(self):
        line = f'{{"act":1,"act":2,"acttime":{NOON},"uid":1,"z":1,"z":{{"a":1,"a":2}}}}'
        self.assertEqual(outcome(line).act, 2)
        self.assertEqual(outcome(line).extra, '{"z":{"a":2}}')


class FieldTypes(unittest.TestCase):
    def test_integers_are_bare_or_quoted_digits(self):
        for value, expected in (
            (5, 5), ("5", 5), (" +5\u3000", 5), ("-5", -5), ("007", 7), ("", None), (" ", None),
            (None, None), ("0" * 5000 + "5", 5),
        ):
            self.assertEqual(outcome(event(loading_time=value)).loading_time, expected, value)
        for value in (12.0, "12.0", "1e3", True, {}, [], "٣", "5 5", "\x1c5", "+", "9" * 5000):
            self.assertEqual(outcome(event(loading_time=value)), "bad_type", value)
        for text in ("1e3", "12.0", "1E0"):
            line = f'{{"act":1,"acttime":{NOON},"uid":1,"net":{text}}}'
            self.assertEqual(outcome(line), "bad_type", text)

    def test_integers_stay_within_their_types(self):
        self.assertEqual(outcome(event(goods_id=2**63 - 1)).goods_id, 2**63 - 1)
        self.assertEqual(outcome(event(goods_id=2**63)), "bad_type")
        self.assertEqual(outcome(event(goods_id=-(2**63))).goods_id, -(2**63))
        self.assertEqual(outcome(event(platform=-(2**31))).platform, -(2**31))
        self.assertEqual(outcome(event(platform=2**31)), "bad_type")

    def test_own_fields_of_other_acts_are_typed_too(self):
        self.assertEqual(outcome(event(act=5, goods_num="many")), "bad_type")
        self.assertEqual(outcome(event(act=5, goods_num="3")).goods_num, 3)

    def test_strings_hold_255_code_points_or_a_number_as_written(self):
        self.assertEqual(len(outcome(event(brand="😀" * 255)).brand), 255)
        self.assertEqual(outcome(event(brand="a" * 256)), "bad_type")
        self.assertEqual(outcome(event(brand=True)), "bad_type")
        self.assertIsInstance(outcome(event(other="a" * 256)), raw.Event)
        line = f'{{"act":1,"acttime":{NOON},"uid":1,"ver":1.10,"vercode":35100064}}'
        self.assertEqual((outcome(line).ver, outcome(line).vercode), ("1.10", "35100064"))

    def test_only_xaid_is_trimmed_and_after_its_length_is_measured(self):
        self.assertEqual(outcome(event(xaid="\u2003x1 \n")).visitor_id, "x1")
        self.assertEqual(outcome(event(xaid="\x1cx1")).visitor_id, "\x1cx1")
        self.assertEqual(outcome(event(xaid=" " * 256)), "bad_type")
        self.assertEqual(outcome(event(brand=" a ")).brand, " a ")
        self.assertEqual(outcome(event(brand=" ")).brand, " ")

    def test_absent_null_and_empty_are_null(self):
        for value in (..., None, ""):
            self.assertIsNone(outcome(event(brand=value)).brand)
            self.assertEqual(outcome(event(act=value)), "missing_act")

    def test_the_visitor_is_the_device_else_the_user(self):
        self.assertEqual(outcome(event(xaid="x", uid=5)).visitor_id, "x")
        self.assertEqual(outcome(event(xaid=" ", uid="5")).visitor_id, "u:5")
        self.assertEqual(outcome(event(xaid="u:5", uid=...)).visitor_id, "u:5")
        self.assertEqual(outcome(event(xaid="", uid=0)), "no_visitor")
        self.assertIsNone(outcome(event(uid="0")).uid)


class Days(unittest.TestCase):
    def test_midnight_is_the_zones(self):
        late = outcome(event(acttime=millis("2026-03-10 00:00") - 1))
        early = outcome(event(acttime=millis("2026-03-10 00:00")))
        self.assertEqual((late.dt, early.dt), (dt.date(2026, 3, 9), dt.date(2026, 3, 10)))

    def test_ten_digits_are_seconds(self):
        self.assertEqual(outcome(event(acttime=NOON // 1000)).acttime, NOON)
        self.assertEqual(outcome(event(acttime=NOON // 100)), "acttime_out_of_range")

    def test_thirty_days_late_and_one_day_early_are_in_range(self):
        first, after = millis("2026-02-08 00:00"), millis("2026-03-12 00:00")
        self.assertEqual(outcome(event(acttime=first)).dt, dt.date(2026, 2, 8))
        self.assertEqual(outcome(event(acttime=first - 1)), "acttime_out_of_range")
        self.assertEqual(outcome(event(acttime=after - 1)).dt, dt.date(2026, 3, 11))
        self.assertEqual(outcome(event(acttime=after)), "acttime_out_of_range")
        for far in (2**63 - 1, -(2**63), -1, 0):
            self.assertEqual(outcome(event(acttime=far)), "acttime_out_of_range")


class Envelopes(unittest.TestCase):
    def test_every_element_is_an_event_of_its_own(self):
        header = event(act=..., acttime=..., data=[
            {"act": 1, "acttime": NOON}, 7, {"act": 9, "acttime": NOON}, {"acttime": NOON}, [],
        ])
        first, *rest = outcomes(header)
        self.assertEqual(first.visitor_id, "x1")
        self.assertEqual(rest, ["not_an_object", "unknown_act", "missing_act", "not_an_object"])

    def test_the_header_is_inherited_but_for_data_and_event_id(self):
        header = event(event_id="delivery", z=1, y=1, data=[{"z": 2, "data": 3, "platform": 2}])
        only = outcome(header)
        self.assertIsNone(only.event_id)
        self.assertEqual((only.platform, only.act), (2, 1))
        self.assertEqual(only.extra, '{"data":3,"y":1,"z":2}')

    def test_an_own_null_wins_over_the_header(self):
        self.assertIsNone(outcome(event(brand="b", data=[{"brand": None}])).brand)

    def test_an_overridden_header_field_need_not_be_readable(self):
        self.assertIsInstance(outcome(event(act="x", data=[{"act": 1}])), raw.Event)

    def test_data_may_be_a_string_of_the_array(self):
        text = json.dumps([{"act": 1}, {"act": 2}])
        self.assertEqual([each.act for each in outcomes(event(data=f" {text} "))], [1, 2])
        for bad in ("", "{}", "[NaN]", '["\\ud800"]', "[] x", '"[]"', "[" * 129 + "]" * 129):
            self.assertEqual(outcomes(event(data=bad)), ["bad_type"], bad)
        self.assertEqual(outcomes(event(data="[]")), ["missing_act"])

    def test_data_of_another_shape(self):
        for bad in ({}, 1, True, False):
            self.assertEqual(outcomes(event(act=..., data=bad)), ["bad_type"])
        self.assertEqual(outcomes(event(data=[])), ["missing_act"])
        self.assertEqual(outcome(event(data=None)).act, 1)


class Lines(unittest.TestCase):
    def test_lines_end_at_newline_only_and_blank_ones_are_none(self):
        content = b"\xef\xbb\xbfa\r\n \t\r\n\x0c\nb\x0bc\rd\n\ne"
        lines = [line for _, line in raw.file_lines(content)]
        self.assertEqual(lines, [b"a\r", b"\x0c", b"b\x0bc\rd", b"e"])
        self.assertEqual([content[at : at + 1] for at, _ in raw.file_lines(content)],
                         [b"a", b"\x0c", b"b", b"e"])
        self.assertEqual(list(raw.file_lines(b"\xef\xbb\xbf\n")), [])

    def test_a_byte_order_mark_is_skipped_at_the_start_of_a_file_only(self):
        line = json.dumps(event()).encode()
        content = b"\xef\xbb\xbf" + line + b"\n\xef\xbb\xbf" + line
        found = [each for *_, each in raw.file_events(content, ARRIVAL, ZONE)]
        self.assertIsInstance(found[0], raw.Event)
        self.assertEqual(found[1], "malformed_json")


class Files(Folder):
    def test_the_deepest_real_date_beneath_the_folder_is_the_arrival(self):
        for folder, expected in (
            ("2026-03-01/20260302", (2026, 3, 2)),
            ("20260302/2026-02-30", (2026, 3, 2)),
            ("dt=2026-03-03/x", (2026, 3, 3)),
            ("dt=20260303/2026-03-04x", (2026, 3, 9)),
            (".", (2026, 3, 9)),
        ):
            full = self.write(f"{folder}/2026-01-01.log", "")
            stamp = millis("2026-03-09 00:00") / 1000
            os.utime(full, (stamp, stamp))
            path = os.path.normpath(f"{folder}/2026-01-01.log")
            self.assertEqual(raw.arrival_date(path, full, ZONE), dt.date(*expected), folder)

    def test_hidden_names_are_not_read(self):
        for path in (".a/x.log", "_a/x.log", "b/_x.log", "b/.x.log", "b/x.log"):
            self.write(path, "")
        self.assertEqual([file.path for file in raw.find_files(self.root, ZONE)], ["b/x.log"])

    def test_compressed_files_are_read_whole(self):
        import zstandard

        one, two = (json.dumps(event(uid=n)).encode() + b"\n" for n in (1, 2))
        self.write("2026-03-10/a.log.gz", gzip.compress(one) + gzip.compress(two))
        zipped = zstandard.ZstdCompressor().compress
        self.write("2026-03-10/b.log.zst", zipped(two) + zipped(one + one))
        logs = self.logs()
        self.assertEqual(logs.events_landed, 5)
        self.assertEqual(sorted(each.copies for each in logs.events), [2, 3])

    def test_a_file_of_equal_content_is_read_once(self):
        self.write("2026-03-10/b.log", [event()])
        self.write("2026-03-11/a.log", [event()])
        logs = self.logs()
        self.assertEqual(logs.same_content, {"2026-03-11/a.log": "2026-03-10/b.log"})
        self.assertEqual(logs.events_landed, 1)


class Duplicates(Folder):
    def copies(self, *lines):
        self.write("2026-03-10/a.log", "\n".join(
            line if isinstance(line, str) else json.dumps(line) for line in lines
        ))
        return [each.copies for each in self.logs().events]

    def test_key_order_and_quoting_of_declared_fields_do_not_matter(self):
        turned = dict(reversed(event(uid="5", platform=" 1", ver=..., brand="").items()))
        self.assertEqual(self.copies(event(uid=5), turned), [2])
        seconds = event(acttime=NOON // 1000)
        self.assertEqual(self.copies(event(), seconds, event(data=[{"act": "1"}])), [3])

    def test_extra_counts_as_it_is(self):
        self.assertEqual(self.copies(event(z=5), event(z="5"), event(), event(z=None)), [1] * 4)
        self.assertEqual(self.copies(event(z={"a": 1, "b": 2}), event(z={"b": 2, "a": 1})), [2])

    def test_an_event_id_alone_identifies_within_a_day(self):
        same = self.copies(event(event_id="e"), event(event_id="e", act=5, uid=7))
        self.assertEqual(same, [2])
        self.assertEqual(self.copies(event(event_id=5), event(event_id="5")), [2])
        self.assertEqual(self.copies(event(event_id=""), event()), [2])
        self.assertEqual(self.copies(event(event_id="e"), event()), [1, 1])
        yesterday = event(event_id="e", acttime=NOON - 86_400_000)
        self.assertEqual(self.copies(event(event_id="e"), yesterday), [1, 1])

    def test_the_kept_row_is_the_first_by_arrival_then_path(self):
        self.write("2026-03-11/a.log", [event(event_id="e", act=1)])
        self.write("2026-03-10/b.log", [event(event_id="e", act=2)])
        self.write("2026-03-10/Z.log", [event(event_id="e", act=3)])
        (kept,) = self.logs().events
        self.assertEqual((kept.act, kept.copies), (3, 3))


ORDER_HEADER = (
    "order_id,order_date,user_id,order_money,order_type,order_status,pay_id,update_time\n"
)
PAYMENT_HEADER = "pay_id,order_id,trade_no,pay_money,pay_type,pay_time\n"


class OrderExtracts(Folder):
    def statuses(self):
        latest = self.orders().latest["user_order"]
        return {key[0]: row["order_status"] for key, row in latest.items()}

    def test_the_latest_version_is_the_greatest_change_time(self):
        self.write("2026-03-01/user_order.csv", ORDER_HEADER
                   + "1,2026-03-01 10:00:00,5,10.00,1,1,,2026-03-01 12:00:00\n")
        self.write("2026-03-02/user_order.csv", ORDER_HEADER
                   + "1,2026-03-01 10:00:00,5,10.00,1,0,,\n")
        self.assertEqual(self.statuses(), {1: 1})  # unpaid changed at 10:00, paid at 12:00

    def test_equal_change_times_fall_to_arrival_then_path_then_row(self):
        row = "1,2026-03-01,5,10.00,1,{},,\n"
        self.write("2026-03-02/user_order.csv", ORDER_HEADER + row.format(1))
        self.write("2026-03-01/z/user_order.csv", ORDER_HEADER + row.format(2))
        self.assertEqual(self.statuses(), {1: 1})
        self.write("2026-03-02/a/user_order.csv", ORDER_HEADER + row.format(3))
        self.assertEqual(self.statuses(), {1: 1})  # "2026-03-02/a/…" before "2026-03-02/u…"
        self.write("2026-03-02/v/user_order.csv", ORDER_HEADER + row.format(4) + row.format(5))
        self.assertEqual(self.statuses(), {1: 5})

    def test_a_null_change_time_is_before_every_other(self):
        self.write("2026-03-01/user_order.csv", ORDER_HEADER
                   + "1,0001-01-01,5,10.00,1,1,,\n1,,5,10.00,1,2,,\n2,,5,1,1,1,,\n2,,5,1,1,2,,\n")
        self.assertEqual(self.statuses(), {1: 1, 2: 2})

    def test_rows_are_rejected_one_by_one(self):
        good = "{},1,9,1.00,1,2026-03-01 10:00:00\n"
        self.write("2026-03-01/payment_flow.csv", PAYMENT_HEADER + "".join((
            good.format(1), good.format(""), good.format("x"), "1,2,3\n", "1,2,3,4,5,6,7\n",
            ",x,9,1.00,1,\n", good.format('" 2 "'),
        )))
        orders = self.orders()
        self.assertEqual([(row, why) for _, row, why in orders.rejects], [
            (2, "missing_key"), (3, "bad_type"), (4, "bad_type"), (5, "bad_type"), (6, "bad_type"),
        ])
        self.assertEqual(set(orders.latest["payment_flow"]), {(1,), (2,)})

    def test_money_and_datetimes_have_exactly_the_given_shape(self):
        self.assertEqual(raw.money("-0012.5"), Decimal("-12.5"))
        self.assertEqual(raw.money("9" * 16 + ".99"), Decimal("9" * 16 + ".99"))
        for bad in ("1.", ".5", "1.234", " 1", "1e2", "1" + "0" * 16, "٣"):
            self.assertRaises(raw.BadType, raw.money, bad)
        self.assertEqual(raw.datetime("2026-03-01"), dt.datetime(2026, 3, 1))
        self.assertEqual(raw.datetime("2026-03-01 23:59:59.000001").microsecond, 1)
        self.assertIsNone(raw.datetime("0000-00-00 00:00:00"))
        for bad in ("2026-02-29", "2026-03-01 24:00:00", "2026-03-01T10:00:00", "2026-03-01 10:00",
                    "2026-3-1", "2026-03-01 ", "2026-03-01 23:59:60", "2026-00-00"):
            self.assertRaises(raw.BadType, raw.datetime, bad)

    def test_a_quoted_empty_field_is_null_for_all_but_strings(self):
        header = "goods_id,goods_no,goods_name,curr_price,third_category_id,goods_desc," \
                 "create_time,x\r\n"
        self.write("2026-03-01/goods_info.csv", b"\xef\xbb\xbf" + (
            header + '1,"",,"","","a, ""b""\r\nc",,1\r\n2,n,o,1,2,,2026-03-01,"2"'
        ).encode())
        goods = self.orders().snapshots["goods_info"][dt.date(2026, 3, 1)]
        self.assertEqual(goods[1,], {
            "goods_id": 1, "goods_no": "", "goods_name": None, "curr_price": None,
            "third_category_id": None, "goods_desc": 'a, "b"\r\nc', "create_time": None,
        })
        self.assertEqual(goods[2,]["create_time"], dt.datetime(2026, 3, 1))

    def test_snapshots_are_whole_and_their_last_row_wins(self):
        header = "third_category_id,third_category_name,second_category_id,second_catery_name," \
                 "first_category_id,first_category_name\n"
        self.write("2026-03-01/b/category_code.csv", header + "1,t,1,s,1,last\n")
        self.write("2026-03-01/a/category_code.csv", header + "1,t,1,s,1,first\n2,t,1,s,1,two\n")
        self.write("2026-03-02/category_code.csv", header + "2,t,1,s,1,next\n")
        taken = self.orders().snapshots["category_code"]
        names = {day.day: {k[0]: r["first_category_name"] for k, r in rows.items()}
                 for day, rows in taken.items()}
        self.assertEqual(names, {1: {1: "last", 2: "two"}, 2: {2: "next"}})

    def test_a_missing_column_and_an_empty_snapshot_are_errors(self):
        path = self.write("2026-03-01/payment_flow.csv", "pay_id\n1\n")
        with self.assertRaisesRegex(raw.SourceError, "2026-03-01/payment_flow.csv.*order_id"):
            self.orders()
        os.remove(path)
        self.write("2026-03-01/user_addr.csv",
                   "addr_id,user_id,addr_name,order_flag,user_name,mobile\n")
        with self.assertRaisesRegex(raw.SourceError, "user_addr 2026-03-01: an empty snapshot"):
            self.orders()

    def test_parquet_says_what_csv_says(self):
        import duckdb

        text = PAYMENT_HEADER + "1,2,3,4.50,1,2026-03-01 10:00:00.5\n2,,,,,\n"
        source = self.write("source.csv", text.replace("00.5", "00.500000"))
        folder = os.path.join(self.root, "in", "2026-03-01")
        os.makedirs(folder)
        duckdb.execute(
            f"copy (select pay_id, order_id, trade_no, pay_money::decimal(18,2) pay_money,"
            f" pay_type::int pay_type, pay_time::timestamp pay_time from read_csv('{source}'))"
            f" to '{folder}/payment_flow.parquet' (format parquet)"
        )
        found = raw.read_orders(os.path.join(self.root, "in"), ZONE).latest["payment_flow"]
        self.assertEqual(found[1,]["pay_money"], Decimal("4.50"))
        self.assertEqual(found[1,]["pay_time"], dt.datetime(2026, 3, 1, 10, 0, 0, 500000))
        self.assertEqual(set(found[2,].values()), {2, None})


if __name__ == "__main__":
    unittest.main()
