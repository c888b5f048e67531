"""Reads the raw input folders into plain Python: the oracle's reading of the sources contract.

Written from the contract alone, without sight of the tool, to be slow, simple and strict. Log files
become `Logs` (distinct events with their copies, counts a file), order extracts become `Orders`
(snapshots by date, latest versions of changes, rejected rows). Metrics live in metrics.py.
"""

import datetime as dt
import gzip
import hashlib
import json
import os
import re
from collections import Counter
from dataclasses import dataclass, field
from decimal import Decimal
from zoneinfo import ZoneInfo

MAX_LINE_BYTES = 1_048_576
MAX_JSON_DEPTH = 128
MAX_STRING_CHARS = 255
DAYS_LATE = 30
DAYS_EARLY = 1

# Unicode White_Space. Not str.strip(), which takes U+001C..U+001F too.
WHITE_SPACE = (
    "\t\n\x0b\x0c\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009"
    "\u200a\u2028\u2029\u202f\u205f\u3000"
)
INTEGER = re.compile(r"[+-]?[0-9]+")
I32 = (-(2**31), 2**31 - 1)
I64 = (-(2**63), 2**63 - 1)


class BadType(ValueError):
    """A declared field or column cannot be read as its type."""


class SourceError(Exception):
    """An input that the contract calls an error, not a reject."""


# --------------------------------------------------------------------------------------------------
# Files


@dataclass(frozen=True)
class SourceFile:
    """A file of a source: its path beneath the source's folder and the date it arrived."""

    path: str  # relative, with its suffix, separated by "/"
    arrival: dt.date
    full_path: str

    @property
    def order(self):
        return (self.arrival, os.fsencode(self.path))


def find_files(root, zone):
    """Lists the files to read beneath `root`, by (arrival date, path bytes).

    "files and folders whose name begins with `.` or `_` are not read"
    """
    if not os.path.isdir(root):
        raise SourceError(f"{root}: no such folder")
    found = []
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if name[0] not in "._"]
        for name in names:
            if name[0] in "._":
                continue
            full = os.path.join(folder, name)
            path = os.path.relpath(full, root).replace(os.sep, "/")
            found.append(SourceFile(path, arrival_date(path, full, zone), full))
    return sorted(found, key=lambda file: file.order)


def arrival_date(path, full_path, zone):
    """The deepest folder beneath the source's that is a real date, else the modification day."""
    for folder in reversed(path.split("/")[:-1]):
        day = folder_date(folder)
        if day is not None:
            return day
    return dt.datetime.fromtimestamp(os.stat(full_path).st_mtime, ZoneInfo(zone)).date()


def folder_date(name):
    """`YYYY-MM-DD`, `YYYYMMDD` or `dt=YYYY-MM-DD`, when it is a real date."""
    match = re.fullmatch(r"(?:dt=)?([0-9]{4})-([0-9]{2})-([0-9]{2})", name) or re.fullmatch(
        r"([0-9]{4})([0-9]{2})([0-9]{2})", name
    )
    if match is None:
        return None
    try:
        return dt.date(*map(int, match.groups()))
    except ValueError:
        return None


def read_bytes(file):
    """Reads a plain, .gz or .zst file whole; several members or frames are one stream."""
    with open(file.full_path, "rb") as handle:
        if file.path.endswith(".gz"):
            return gzip.decompress(handle.read())
        if file.path.endswith(".zst"):
            import zstandard

            reader = zstandard.ZstdDecompressor().stream_reader(handle, read_across_frames=True)
            return reader.read()
        return handle.read()


# --------------------------------------------------------------------------------------------------
# JSON


class MalformedJson(ValueError):
    """The text is not the JSON of the contract."""


class Number:
    """A JSON number as it was written: `1.0`, `1` and `1e0` are three texts."""

    __slots__ = ("text",)

    def __init__(self, text):
        self.text = text


def _refuse_constant(name):
    raise MalformedJson(name)  # NaN, Infinity, -Infinity


_DECODER = json.JSONDecoder(
    parse_int=Number, parse_float=Number, parse_constant=_refuse_constant, strict=True
)


def parse_json(text):
    """Parses strictly: no NaN, no lone surrogates, no trailing text, at most 128 levels.

    "of a repeated key the last wins", which Python's dict does.
    """
    if json_depth(text) > MAX_JSON_DEPTH:
        raise MalformedJson("too deep")
    try:
        value = _DECODER.decode(text)
    except (ValueError, RecursionError) as error:
        raise MalformedJson(str(error)) from None
    if has_lone_surrogate(text):
        raise MalformedJson("lone surrogate")
    return value


def json_depth(text):
    """How many containers are open at once, at most; a scalar has depth 0."""
    if text.count("[") + text.count("{") <= MAX_JSON_DEPTH:
        return 0  # cannot be too deep, and nobody asks more
    depth = deepest = 0
    for char in re.sub(r'"(?:[^"\\]|\\.)*"', "", text, flags=re.DOTALL):
        if char in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif char in "]}":
            depth -= 1
    return deepest


def has_lone_surrogate(text):
    r"""Whether a `\uD8xx`..`\uDFxx` escape stands without its partner, repeated keys included."""
    if "\\u" not in text:
        return False
    text = text.replace("\\\\", "#")  # an escaped backslash begins no escape
    text = re.sub(r"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}", "#", text)
    return re.search(r"\\u[dD][89a-fA-F]", text) is not None


def canonical(value):
    """One text for equal values: keys sorted at every level, numbers and strings as they are."""
    if isinstance(value, Number):
        return value.text
    if isinstance(value, dict):
        pairs = (f"{json.dumps(key)}:{canonical(value[key])}" for key in sorted(value))
        return "{" + ",".join(pairs) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(canonical, value)) + "]"
    return json.dumps(value)


# --------------------------------------------------------------------------------------------------
# Client action log

LOG_FIELDS = {
    "uid": "i64",
    "xaid": "string",
    "platform": "i32",
    "ver": "string",
    "vercode": "string",
    "net": "i32",
    "brand": "string",
    "model": "string",
    "display": "string",
    "osver": "string",
    "act": "i32",
    "acttime": "i64",
    "event_id": "string",
    "ad_status": "i32",
    "loading_time": "i64",
    "goods_id": "i64",
    "location": "i32",
    "stay_time": "i64",
    "loading_type": "i32",
    "goods_num": "i32",
}


@dataclass(slots=True)
class Event:
    """A distinct event: its normalised fields, its day, and how many copies of it arrived."""

    dt: dt.date
    visitor_id: str
    uid: int | None
    xaid: str | None
    platform: int | None
    ver: str | None
    vercode: str | None
    net: int | None
    brand: str | None
    model: str | None
    display: str | None
    osver: str | None
    act: int
    acttime: int  # milliseconds
    event_id: str | None
    ad_status: int | None
    loading_time: int | None
    goods_id: int | None
    location: int | None
    stay_time: int | None
    loading_type: int | None
    goods_num: int | None
    extra: str | None
    copies: int = 1

    def identity(self):
        """Equal for two landed events exactly when they are the same event."""
        if self.event_id is not None:
            return (self.dt, "event_id", self.event_id)
        return (self.dt, *(getattr(self, name) for name in LOG_FIELDS), self.extra)


@dataclass
class FileCount:
    """What became of one log file: `read = landed + rejected`."""

    arrival: dt.date
    read: int = 0
    landed: int = 0
    rejects: Counter = field(default_factory=Counter)  # reason -> count


@dataclass
class Logs:
    """All that the action log says."""

    zone: str
    events: list = field(default_factory=list)  # distinct, first arrived first
    files: dict = field(default_factory=dict)  # path -> FileCount
    rejects: list = field(default_factory=list)  # (path, byte offset, element, reason)
    same_content: dict = field(default_factory=dict)  # path not read -> path it repeats
    landed: Counter = field(default_factory=Counter)  # (dt, act) -> landed events
    distinct: Counter = field(default_factory=Counter)  # (dt, act) of the kept -> distinct events
    copies: Counter = field(default_factory=Counter)  # (dt, act) of the kept -> sum of copies
    last_arrival: dt.date | None = None

    @property
    def events_read(self):
        return sum(count.read for count in self.files.values())

    @property
    def events_landed(self):
        return sum(count.landed for count in self.files.values())


@dataclass(frozen=True)
class Limits:
    """The configurable limits of the log source."""

    days_late: int = DAYS_LATE
    days_early: int = DAYS_EARLY
    max_line_bytes: int = MAX_LINE_BYTES


def read_logs(root, zone="Asia/Shanghai", limits=Limits()):
    """Reads every log file beneath `root`: lands, rejects and de-duplicates its events."""
    logs = Logs(zone)
    contents = {}  # digest -> path
    kept = {}  # identity -> Event
    for file in find_files(root, zone):
        logs.last_arrival = max(logs.last_arrival or file.arrival, file.arrival)
        with open(file.full_path, "rb") as handle:
            digest = hashlib.sha256(handle.read()).digest()
        if digest in contents:
            logs.same_content[file.path] = contents[digest]
            continue
        contents[digest] = file.path
        count = logs.files[file.path] = FileCount(file.arrival)
        for offset, element, outcome in file_events(read_bytes(file), file.arrival, zone, limits):
            count.read += 1
            if isinstance(outcome, str):
                count.rejects[outcome] += 1
                logs.rejects.append((file.path, offset, element, outcome))
                continue
            count.landed += 1
            logs.landed[outcome.dt, outcome.act] += 1
            # Files, lines and elements come in order, so the first seen is the kept row.
            first = kept.setdefault(outcome.identity(), outcome)
            if first is not outcome:
                first.copies += 1
        assert count.read == count.landed + count.rejects.total()
    logs.events = list(kept.values())
    for event in logs.events:
        logs.distinct[event.dt, event.act] += 1
        logs.copies[event.dt, event.act] += event.copies
    return logs


def file_events(content, arrival, zone, limits=Limits()):
    """Yields (byte offset, element, Event or reject reason) for every event of a file's bytes."""
    for offset, line in file_lines(content):
        for element, outcome in enumerate(line_events(line, arrival, zone, limits)):
            yield offset, element, outcome


def file_lines(content):
    """Yields (byte offset, line) of the lines that are not blank.

    "Lines end at `\\n` only, a last line without one counts, a line of only space, tab and CR is
    blank, a BOM at the start of a file is skipped"
    """
    start = 3 if content.startswith(b"\xef\xbb\xbf") else 0
    while start < len(content):
        end = content.find(b"\n", start)
        end = len(content) if end < 0 else end
        line = content[start:end]
        if line.strip(b" \t\r"):
            yield start, line
        start = end + 1


def line_events(line, arrival, zone, limits=Limits()):
    """Returns the events of one line: of each its `Event`, or the reason it is rejected."""
    if len(line) > limits.max_line_bytes:
        return ["too_long"]
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError:
        return ["not_utf8"]
    try:
        record = parse_json(text)
    except MalformedJson:
        return ["malformed_json"]
    if not isinstance(record, dict):
        return ["not_an_object"]
    if record.get("data") is None:
        return [event_or_reason(record, arrival, zone, limits)]

    # An envelope.
    elements = record["data"]
    if isinstance(elements, str):
        try:
            elements = parse_json(elements)
        except MalformedJson:
            return ["bad_type"]
    if not isinstance(elements, list):
        return ["bad_type"]
    if not elements:
        return ["missing_act"]
    inherited = {k: v for k, v in record.items() if k not in ("data", "event_id")}
    return [
        event_or_reason({**inherited, **element}, arrival, zone, limits)
        if isinstance(element, dict)
        else "not_an_object"
        for element in elements
    ]


def event_or_reason(fields, arrival, zone, limits=Limits()):
    """Types the fields of one event and lands or rejects it.

    "the first in the order listed; a rule about a field whose value cannot be read does not apply"
    """
    typed, bad = {}, set()
    for name, kind in LOG_FIELDS.items():
        try:
            typed[name] = typed_field(name, kind, fields.get(name))
        except BadType:
            bad.add(name)
            typed[name] = None

    day = None
    if "act" not in bad:
        if typed["act"] is None:
            return "missing_act"
        if not 1 <= typed["act"] <= 5:
            return "unknown_act"
    if "acttime" not in bad:
        if typed["acttime"] is None:
            return "missing_acttime"
        if 10**9 <= typed["acttime"] < 10**10:
            typed["acttime"] *= 1000
        day = business_day(typed["acttime"], zone)
        if day is None:
            return "acttime_out_of_range"
        age = arrival.toordinal() - day.toordinal()
        if age > limits.days_late or -age > limits.days_early:
            return "acttime_out_of_range"
    if not bad & {"xaid", "uid"} and typed["xaid"] is None and typed["uid"] is None:
        return "no_visitor"
    if bad:
        return "bad_type"

    unknown = {name: value for name, value in fields.items() if name not in LOG_FIELDS}
    visitor_id = typed["xaid"] if typed["xaid"] is not None else f"u:{typed['uid']}"
    extra = canonical(unknown) if unknown else None
    return Event(dt=day, visitor_id=visitor_id, extra=extra, **typed)


def typed_field(name, kind, value):
    """Reads one declared log field; raises `BadType`."""
    if value is None:
        return None
    if kind == "string":
        if isinstance(value, Number):
            value = value.text
        if not isinstance(value, str) or len(value) > MAX_STRING_CHARS:
            raise BadType(name)
        if name == "xaid":
            value = value.strip(WHITE_SPACE)
        return value or None
    if isinstance(value, Number):
        value = value.text
    elif not isinstance(value, str):
        raise BadType(name)
    number = integer(value, kind)
    return None if name == "uid" and number == 0 else number


def integer(text, kind):
    """`[+-]?[0-9]+` within its type's range, white space around it trimmed; blank is NULL."""
    text = text.strip(WHITE_SPACE)
    if not text:
        return None
    # The longest number in range has 19 digits; int() refuses some thousands of them.
    if not INTEGER.fullmatch(text) or len(text.lstrip("+-").lstrip("0")) > 19:
        raise BadType(text)
    sign = -1 if text[0] == "-" else 1
    number = sign * int(text.lstrip("+-").lstrip("0") or "0")
    low, high = I32 if kind == "i32" else I64
    if not low <= number <= high:
        raise BadType(text)
    return number


def local_time(millis, zone):
    """The wall clock of the zone at an instant, to the second; None outside years 1..9999."""
    try:
        return dt.datetime.fromtimestamp(millis // 1000, _zone(zone))
    except (ValueError, OverflowError, OSError):
        return None


def business_day(millis, zone):
    """The calendar day of the zone at an instant; None outside years 1..9999."""
    clock = local_time(millis, zone)
    return None if clock is None else clock.date()


_ZONES = {}


def _zone(name):
    if name not in _ZONES:
        _ZONES[name] = ZoneInfo(name)
    return _ZONES[name]


# --------------------------------------------------------------------------------------------------
# Order extracts


@dataclass(frozen=True)
class Table:
    """One table of the order database."""

    columns: dict  # name -> i32 | i64 | string | money | datetime
    key: tuple
    change_time: object = None  # row -> datetime or None; a snapshot has none

    @property
    def is_snapshot(self):
        return self.change_time is None


def _columns(text):
    """`"a:i64 b:string"` as a dict."""
    return dict(column.split(":") for column in text.split())


TABLES = {
    "user": Table(
        _columns(
            "user_id:i64 user_name:string user_gender:i32 user_birthday:datetime e_mail:string"
            " mobile:i64 register_time:datetime is_blacklist:i32"
        ),
        ("user_id",),
    ),
    "user_extend": Table(
        _columns(
            "user_id:i64 is_pregnant_woman:i32 is_have_children:i32 is_have_car:i32"
            " phone_brand:string phone_cnt:i32 change_phone_cnt:i32 weight:i32 height:i32"
        ),
        ("user_id",),
    ),
    "user_addr": Table(
        _columns(
            "addr_id:i64 user_id:i64 addr_name:string order_flag:i32 user_name:string mobile:i64"
        ),
        ("addr_id", "user_id"),
    ),
    "goods_info": Table(
        _columns(
            "goods_id:i64 goods_no:string goods_name:string curr_price:money third_category_id:i64"
            " goods_desc:string create_time:datetime"
        ),
        ("goods_id",),
    ),
    "category_code": Table(
        _columns(
            "first_category_id:i64 first_category_name:string second_category_id:i64"
            " second_catery_name:string third_category_id:i64 third_category_name:string"
        ),
        ("third_category_id",),
    ),
    "user_order": Table(
        _columns(
            "order_id:i64 order_date:datetime user_id:i64 order_money:money order_type:i32"
            " order_status:i32 pay_id:i64 update_time:datetime"
        ),
        ("order_id",),
        lambda row: row["update_time"] or row["order_date"],
    ),
    "order_item": Table(
        _columns(
            "order_id:i64 goods_id:i64 goods_amount:i64 curr_price:money create_time:datetime"
        ),
        ("order_id", "goods_id"),
        lambda row: row["create_time"],
    ),
    "order_delivery": Table(
        _columns(
            "order_id:i64 addr_id:i64 user_id:i64 carriage_money:money create_time:datetime"
        ),
        ("order_id",),
        lambda row: row["create_time"],
    ),
    "payment_flow": Table(
        _columns(
            "pay_id:i64 order_id:i64 trade_no:i64 pay_money:money pay_type:i32 pay_time:datetime"
        ),
        ("pay_id",),
        lambda row: row["pay_time"],
    ),
}

SUFFIXES = (".csv", ".csv.gz", ".csv.zst", ".parquet")


@dataclass
class Orders:
    """All that the order extracts say."""

    snapshots: dict = field(default_factory=dict)  # table -> {date: {key: row}}
    latest: dict = field(default_factory=dict)  # table -> {key: row}
    rejects: list = field(default_factory=list)  # (path, row number, reason)
    landed: Counter = field(default_factory=Counter)  # path -> rows
    zero_dates: Counter = field(default_factory=Counter)  # (path, column) -> values read as NULL
    last_arrival: dt.date | None = None


def read_orders(root, zone="Asia/Shanghai"):
    """Reads every extract beneath `root`; raises `SourceError` for what is an error."""
    orders = Orders()
    orders.snapshots = {name: {} for name, table in TABLES.items() if table.is_snapshot}
    versions = {name: {} for name, table in TABLES.items() if not table.is_snapshot}
    rows_seen = Counter()  # (snapshot table, date) -> rows, rejected ones too
    for file in find_files(root, zone):
        name = table_name(file.path)
        if name is None:
            continue
        table = TABLES[name]
        orders.last_arrival = max(orders.last_arrival or file.arrival, file.arrival)
        if table.is_snapshot:
            orders.snapshots[name].setdefault(file.arrival, {})
            rows_seen[name, file.arrival] += 0
        for number, outcome in typed_rows(file, name, orders):
            rows_seen[name, file.arrival] += 1
            if isinstance(outcome, str):
                orders.rejects.append((file.path, number, outcome))
                continue
            orders.landed[file.path] += 1
            key = tuple(outcome[column] for column in table.key)
            if table.is_snapshot:
                # Files come by path, rows by number: the last row wins.
                orders.snapshots[name][file.arrival][key] = outcome
                continue
            change_time = table.change_time(outcome)
            # Files and rows come in order, so an equal change time is a later version.
            rank = (change_time is not None, change_time or dt.datetime.min)
            if key not in versions[name] or rank >= versions[name][key][0]:
                versions[name][key] = (rank, outcome)
    for (name, day), count in rows_seen.items():
        if TABLES[name].is_snapshot and count == 0:
            raise SourceError(f"{name} {day}: an empty snapshot")
    orders.latest = {
        name: {key: row for key, (_, row) in found.items()} for name, found in versions.items()
    }
    return orders


def table_name(path):
    """The table a file is an extract of, or None."""
    base = path.split("/")[-1]
    for suffix in SUFFIXES:
        if base.endswith(suffix) and base[: -len(suffix)] in TABLES:
            return base[: -len(suffix)]
    return None


def typed_rows(file, name, orders):
    """Yields (row number, row or reject reason) of one extract."""
    table = TABLES[name]
    header, rows = parquet_rows(file) if file.path.endswith(".parquet") else csv_rows(file)
    for column in table.columns:
        if column not in header:
            raise SourceError(f"{file.path}: no column `{column}`")
        if header.count(column) > 1:
            raise SourceError(f"{file.path}: column `{column}` twice")
    positions = {column: header.index(column) for column in table.columns}
    for number, fields in enumerate(rows, start=1):
        if len(fields) != len(header):
            yield number, "bad_type"
            continue
        row = {}
        try:
            for column, kind in table.columns.items():
                text, quoted = fields[positions[column]]
                row[column] = typed_column(kind, text, quoted)
                if row[column] is None and kind == "datetime" and text:
                    orders.zero_dates[file.path, column] += 1
        except BadType:
            yield number, "bad_type"
            continue
        if any(row[column] is None for column in table.key):
            yield number, "missing_key"
            continue
        yield number, row


def typed_column(kind, text, quoted):
    """Reads one CSV field; raises `BadType`. An empty field is NULL, a quoted string is not."""
    if text is None or (text == "" and not (quoted and kind == "string")):
        return None
    if any("\ud800" <= char <= "\udfff" for char in text):
        raise BadType("not UTF-8")
    if kind == "string":
        return text
    if kind in ("i32", "i64"):
        return integer(text, kind)
    if kind == "money":
        return money(text)
    return datetime(text)


def money(text):
    """`[+-]?[0-9]+(\\.[0-9]{1,2})?` within decimal(18,2)."""
    if not re.fullmatch(r"[+-]?[0-9]+(\.[0-9]{1,2})?", text):
        raise BadType(text)
    digits = text.lstrip("+-").split(".")[0].lstrip("0")
    if len(digits) > 16:
        raise BadType(text)
    return Decimal(text)


def datetime(text):
    """`YYYY-MM-DD[ HH:MM:SS[.ffffff]]`, a real day and time of day; `0000-00-00…` is NULL."""
    match = re.fullmatch(
        r"([0-9]{4})-([0-9]{2})-([0-9]{2})"
        r"(?: ([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.([0-9]{6}))?)?",
        text,
    )
    if match is None:
        raise BadType(text)
    if text.startswith("0000-00-00"):
        return None
    try:
        return dt.datetime(*(int(part or "0") for part in match.groups()))
    except ValueError:
        raise BadType(text) from None


def csv_rows(file):
    """Returns the header and the rows of a CSV extract, as lists of (text, quoted)."""
    content = read_bytes(file)
    if content.startswith(b"\xef\xbb\xbf"):
        content = content[3:]
    records = csv_records(content.decode("utf-8", "surrogateescape"))
    header = [text for text, _ in next(records, [])]
    return header, records


def csv_records(text):
    """Yields the records of a CSV text, each a list of (text, quoted); empty lines are none.

    Python's csv module cannot tell `""` from nothing.
    """
    position = 0
    while position < len(text):
        end = text.find("\n", position)
        end = len(text) if end < 0 else end
        line = text[position:end]
        if '"' in line:
            record, position = _quoted_record(text, position)
            yield record
            continue
        position = end + 1
        line = line.removesuffix("\r")
        if line:
            yield [(value, False) for value in line.split(",")]


def _quoted_record(text, position):
    """Reads one record that has a quote somewhere; returns it and where the next begins."""
    record = []
    while True:
        value, quoted = "", False
        if text.startswith('"', position):
            quoted = True
            position += 1
            while True:
                end = text.find('"', position)
                if end < 0:  # never closed: the field takes the rest of the file
                    return record + [(value + text[position:], True)], len(text)
                value += text[position:end]
                position = end + 1
                if not text.startswith('"', position):
                    break
                value += '"'
                position += 1
        end = position
        while end < len(text) and text[end] not in ",\n":
            end += 1
        rest = text[position:end]
        last = end >= len(text) or text[end] == "\n"
        record.append((value + (rest.removesuffix("\r") if last else rest), quoted))
        position = end + 1
        if last:
            return record, position


def parquet_rows(file):
    """Returns the header and the rows of a Parquet extract in the texts a CSV would have."""
    import duckdb

    with duckdb.connect() as connection:
        connection.execute("select * from read_parquet(?)", [file.full_path])
        header = [column[0] for column in connection.description]
        rows = connection.fetchall()
    return header, ([parquet_field(value) for value in row] for row in rows)


def parquet_field(value):
    """A Parquet value as (text, quoted); a type that has no place in the contract is unreadable."""
    if value is None:
        return None, False
    if isinstance(value, (bool, float, bytes)):
        return "\ud800", True  # never a number, never money, never a text
    if isinstance(value, dt.datetime):
        value = value.replace(tzinfo=None)
        text = f"{value:%H:%M:%S.%f}"
        return f"{value.date().isoformat()} {text}", True
    if isinstance(value, Decimal):
        return f"{value:f}", True
    return str(value), True
