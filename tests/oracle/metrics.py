"""Computes the APP tables of the metrics contract from raw.py's structures, one function a table.

Each function quotes its definition and returns a list of dicts; money and ratios are exact
Decimals, rounded once. Written for the eye, not for speed, and without sight of the tool's SQL.
"""

import datetime as dt
import math
from collections import Counter, defaultdict
from decimal import Decimal
from fractions import Fraction
from functools import cached_property
from itertools import combinations

from raw import local_time

DAY = dt.timedelta(days=1)
PLATFORMS = {1: "android", 2: "ios", 3: "pc"}
NETWORKS = {0: "unknown", 1: "WIFI", 2: "2G", 3: "3G", 4: "4G", 5: "5G"}
PAGES = {1: "splash", 3: "detail", 4: "list"}
PERIODS = ("week", "month", "quarter", "year")
VALID, CANCELLED, REFUNDED = (1, 2, 3), 4, 5
NO_NAMES = ("unknown",) * 4


# --------------------------------------------------------------------------------------------------
# Numbers and dates


def rounded(value, places):
    """Rounds an exact value half away from zero."""
    if value is None:
        return None
    value = Fraction(value)
    units = math.floor(abs(value) * 10**places + Fraction(1, 2))
    return Decimal(-units if value < 0 else units).scaleb(-places)


def ratio(part, whole):
    """part / whole to 6 places, NULL when the denominator is 0."""
    return None if whole == 0 else rounded(Fraction(part) / Fraction(whole), 6)


def change(now, then):
    """(now − then) / then; NULL when `then` is unknown or 0."""
    return None if then is None else ratio(now - then, then)


def total(amounts):
    """The sum of money; NULL adds nothing, only NULLs are 0."""
    return sum((amount for amount in amounts if amount is not None), Decimal("0.00"))


def year_before(day):
    """The same calendar date a year before; 29 Feb becomes 28 Feb."""
    try:
        return day.replace(year=day.year - 1)
    except ValueError:
        return day.replace(year=day.year - 1, day=28)


def days_between(first, last):
    """The days of [first, last]."""
    return [first + n * DAY for n in range((last - first).days + 1)]


def start_of_period(day, period):
    if period == "week":
        return day - day.weekday() * DAY  # Monday
    if period == "month":
        return day.replace(day=1)
    if period == "quarter":
        return day.replace(month=day.month - (day.month - 1) % 3, day=1)
    return day.replace(month=1, day=1)


def previous_period(day, period):
    """The same number of days from the start of the previous period, capped at its length."""
    start = start_of_period(day, period)
    end_of_previous = start - DAY
    start_of_previous = start_of_period(end_of_previous, period)
    return start_of_previous, min(start_of_previous + (day - start), end_of_previous)


def last_year_period(day, period):
    """[period_start − 1 year, dt − 1 year]; for weeks 364 days before."""
    start = start_of_period(day, period)
    if period == "week":
        return start - 364 * DAY, day - 364 * DAY
    return year_before(start), year_before(day)


# --------------------------------------------------------------------------------------------------
# What the tables are computed from


class Shop:
    """Logs and orders, indexed by business day.

    `first_log_day`, `first_order_day` and `first_day` (the earlier) are the first loaded days.
    Facts before them, which only a `start` makes possible, are landed and count as history: they
    decide who is new and who has lapsed, and no window sees them.
    """

    def __init__(self, logs, orders, start=None):
        self.zone = logs.zone
        self.events = logs.events
        self.snapshots = orders.snapshots
        self.orders = list(orders.latest.get("user_order", {}).values())
        self.items = list(orders.latest.get("order_item", {}).values())
        self.payments = list(orders.latest.get("payment_flow", {}).values())
        self.first_log_day = min((e.dt for e in self.events), default=None)
        self.first_order_day = min(filter(None, map(order_day, self.orders)), default=None)
        if start is not None:
            self.first_log_day = self.first_log_day and max(self.first_log_day, start)
            self.first_order_day = self.first_order_day and max(self.first_order_day, start)
        self.first_day = min(filter(None, (self.first_log_day, self.first_order_day)), default=None)
        arrivals = filter(None, (logs.last_arrival, orders.last_arrival))
        self.last_arrival = max(arrivals, default=None)

    # Logs.

    @cached_property
    def landed_of(self):
        """day -> its distinct events, history included."""
        return grouped(self.events, lambda event: event.dt)

    @cached_property
    def events_of(self):
        """day -> its distinct events, from the first loaded day on."""
        days = {day: events for day, events in self.landed_of.items() if day >= self.first_log_day}
        return defaultdict(list, days)

    @cached_property
    def active_of(self):
        """day -> the visitors active in it: "has at least one event (any act)"."""
        days = {day: {e.visitor_id for e in events} for day, events in self.events_of.items()}
        return defaultdict(set, days)

    @cached_property
    def new_of(self):
        """day -> "visitors whose first active day ever is dt", history included."""
        first_active = {}
        for event in self.events:
            earliest = first_active.get(event.visitor_id, event.dt)
            first_active[event.visitor_id] = min(earliest, event.dt)
        found = defaultdict(set)
        for visitor, day in first_active.items():
            if day >= self.first_log_day:
                found[day].add(visitor)
        return found

    def log_events(self, day, act):
        return [event for event in self.events_of.get(day, ()) if event.act == act]

    def last_active(self, days):
        """Yields (dt, visitor -> latest active day ≤ dt, history included) for each of `days`."""
        latest = {}
        for day in days_between(min(self.landed_of), days[-1]) if days else ():
            latest.update((event.visitor_id, day) for event in self.landed_of.get(day, ()))
            if day >= days[0]:
                yield day, latest

    # Orders.

    @cached_property
    def order_by_id(self):
        return {order["order_id"]: order for order in self.orders}

    @cached_property
    def placed_of(self):
        """day -> "placed orders: by order_date, latest version, whatever its later fate"."""
        return grouped(self.orders, order_day)

    @cached_property
    def items_of(self):
        """order_id -> its lines."""
        return grouped(self.items, lambda item: item["order_id"])

    @cached_property
    def items_created_of(self):
        """day -> the lines with create_time in it."""
        return grouped(self.items, lambda item: date_of(item["create_time"]))

    @cached_property
    def paid_of(self):
        """day -> the payments with pay_time in it."""
        return grouped(self.payments, lambda payment: date_of(payment["pay_time"]))

    @cached_property
    def first_order_of(self):
        """user -> the day of the first placed order ever, history included."""
        first = {}
        for order in self.orders:
            user, day = order["user_id"], order_day(order)
            if user is not None and day is not None:
                first[user] = min(first.get(user, day), day)
        return first

    def placed(self, day):
        return self.placed_of.get(day, [])

    def placed_lines(self, day):
        """The lines of the orders placed on `day`."""
        return [
            item for order in self.placed(day) for item in self.items_of.get(order["order_id"], ())
        ]

    def paid(self, day):
        return self.paid_of.get(day, [])

    def payers(self, day):
        """Distinct users of loaded orders with a payment on `day`."""
        orders = (self.order_by_id.get(payment["order_id"]) for payment in self.paid(day))
        return {o["user_id"] for o in orders if o is not None and o["user_id"] is not None}

    # Snapshots.

    def snapshot(self, table, day):
        """The latest snapshot on or before `day`, else the earliest there is: key -> row."""
        taken = self.snapshots.get(table, {})
        if not taken:
            return {}
        before = [date for date in taken if date <= day]
        return taken[max(before) if before else min(taken)]

    def goods_names(self, goods_id, day):
        """(goods_name, first, second, third category name), each `unknown` when it is."""
        goods = self.snapshot("goods_info", day).get((goods_id,))
        if goods is None:
            return NO_NAMES
        category = self.snapshot("category_code", day).get((goods["third_category_id"],), {})
        names = (
            goods["goods_name"],
            category.get("first_category_name"),
            category.get("second_catery_name"),  # the source's spelling
            category.get("third_category_name"),
        )
        return tuple(name or "unknown" for name in names)


def grouped(rows, key):
    """key -> its rows; rows with no key are left out."""
    found = defaultdict(list)
    for row in rows:
        if key(row) is not None:
            found[key(row)].append(row)
    return found


def date_of(moment):
    return None if moment is None else moment.date()


def order_day(order):
    return date_of(order["order_date"])


def platform_of(event):
    return PLATFORMS.get(event.platform, "other")


def network_of(event):
    return NETWORKS.get(event.net, "unknown")


def users_of(rows):
    """Distinct non-NULL users of orders."""
    return {row["user_id"] for row in rows if row["user_id"] is not None}


def latest_value(events, value):
    """The value of the latest event; "ties by acttime: greatest value"."""
    latest = max(event.acttime for event in events)
    return max(value(event) for event in events if event.acttime == latest)


# --------------------------------------------------------------------------------------------------
# Audience


def app_user_count(shop, days):
    """rows of the latest `user` snapshot taken on or before dt with `register_time` before the end
    of dt / within dt. Future and NULL registrations are not counted"""
    rows = []
    for day in days:
        registered = [
            date_of(user["register_time"])
            for user in shop.snapshot("user", day).values()
            if user["register_time"] is not None
        ]
        rows.append(
            {
                "dt": day,
                "registered_total": sum(date <= day for date in registered),
                "registered_new": sum(date == day for date in registered),
            }
        )
    return rows


def app_new_visitor(shop, days):
    """visitors whose first active day ever is dt"""
    count = day_counter(shop.new_of, shop.first_log_day)
    return [
        {
            "dt": day,
            "new_visitors": count(day),
            "prev_day": count(day - DAY),
            "day_ratio": change(count(day), count(day - DAY)),
            "prev_week": count(day - 7 * DAY),
            "week_ratio": change(count(day), count(day - 7 * DAY)),
            "prev_year": count(year_before(day)),
            "year_ratio": change(count(day), count(year_before(day))),
        }
        for day in days
    ]


def day_counter(members_of, first_day):
    """A function: day -> how many, NULL before the first loaded day."""
    return lambda day: None if day < first_day else len(members_of.get(day, ()))


def app_new_visitor_period(shop, days):
    """period to date (period_start..dt); `previous` = the same number of days from the start of the
    previous period (capped at that period's length); `last_year` = [period_start − 1 year,
    dt − 1 year] (29 Feb → 28 Feb; for weeks: 364 days before)"""

    def new(first, last):
        return sum(len(shop.new_of.get(day, ())) for day in days_between(first, last))

    rows = []
    for day in days:
        for period in PERIODS:
            start = start_of_period(day, period)
            now = new(start, day)
            previous = when_loaded(new, previous_period(day, period), shop.first_log_day)
            last_year = when_loaded(new, last_year_period(day, period), shop.first_log_day)
            rows.append(
                {
                    "dt": day,
                    "period": period,
                    "period_start": start,
                    "new_visitors": now,
                    "previous": previous,
                    "period_ratio": change(now, previous),
                    "last_year": last_year,
                    "year_ratio": change(now, last_year),
                }
            )
    return rows


def when_loaded(measure, window, first_day):
    """The measure of a window; NULL "when any of its days lies before the first loaded day"."""
    return None if window[0] < first_day else measure(*window)


def app_active_visitor(shop, days):
    """active visitors in dt, [dt−6,dt], [dt−29,dt]; stickiness = dau/mau"""
    count = day_counter(shop.active_of, shop.first_log_day)
    rows = []
    for day in days:
        mau = len(active_within(shop, day, 30))
        rows.append(
            {
                "dt": day,
                "dau": count(day),
                "wau": len(active_within(shop, day, 7)),
                "mau": mau,
                "stickiness": ratio(count(day), mau),
                "prev_day": count(day - DAY),
                "day_ratio": change(count(day), count(day - DAY)),
                "prev_week": count(day - 7 * DAY),
                "week_ratio": change(count(day), count(day - 7 * DAY)),
            }
        )
    return rows


def active_within(shop, day, length):
    """Visitors active in the `length` days that end with `day`."""
    window = days_between(day - (length - 1) * DAY, day)
    return set().union(*(shop.active_of.get(each, set()) for each in window))


def app_growth(shop, days):
    """active today and: new / active yesterday too / neither; churned = active yesterday, not
    today"""
    rows = []
    for day in days:
        today = shop.active_of.get(day, set())
        yesterday = shop.active_of.get(day - DAY, set())
        new = shop.new_of.get(day, set())
        rows.append(
            {
                "dt": day,
                "new_visitors": len(new),
                "retained": len(today & yesterday),
                "resurrected": len(today - new - yesterday),
                "churned": len(yesterday - today),
            }
        )
    return rows


def app_lapsed(shop, days):
    """the latest active day ≤ dt is exactly dt−7 / is dt−7 or earlier"""
    return [
        {
            "dt": day,
            "lapsed_today": sum(last == day - 7 * DAY for last in latest.values()),
            "lapsed_total": sum(last <= day - 7 * DAY for last in latest.values()),
        }
        for day, latest in shop.last_active(days)
    ]


def app_lapsed_visitor(shop, days):
    """the push list: the visitors of `lapsed_today`; user_id and platform from the events of that
    last active day: of the latest event having a uid (NULL if none), of the latest event; ties by
    acttime: greatest"""
    rows = []
    for day, latest in shop.last_active(days):
        events_of = grouped(shop.landed_of.get(day - 7 * DAY, ()), lambda event: event.visitor_id)
        for visitor, last in latest.items():
            if last != day - 7 * DAY:
                continue
            events = events_of[visitor]
            with_uid = [event for event in events if event.uid is not None]
            rows.append(
                {
                    "dt": day,
                    "visitor_id": visitor,
                    "user_id": latest_value(with_uid, lambda e: e.uid) if with_uid else None,
                    "platform": latest_value(events, platform_of),
                    "last_active_dt": last,
                }
            )
    return rows


def app_retention(shop, days):
    """for n in 1..7, 14, 30 with a loaded cohort day dt−n of non-zero size: new on cohort_dt,
    active on dt"""
    rows = []
    for day in days:
        for n in (1, 2, 3, 4, 5, 6, 7, 14, 30):
            cohort = shop.new_of.get(day - n * DAY, set())
            if not cohort:
                continue
            retained = len(cohort & shop.active_of.get(day, set()))
            rows.append(
                {
                    "dt": day,
                    "cohort_dt": day - n * DAY,
                    "day_n": n,
                    "cohort_size": len(cohort),
                    "retained": retained,
                    "retention_rate": ratio(retained, len(cohort)),
                }
            )
    return rows


def app_open(shop, days):
    """act 1 events, visitors having one, opens/visitors"""
    rows = []
    for day in days:
        opens = shop.log_events(day, 1)
        visitors = len({event.visitor_id for event in opens})
        rows.append(
            {
                "dt": day,
                "opens": len(opens),
                "visitors": visitors,
                "opens_per_visitor": ratio(len(opens), visitors),
            }
        )
    return rows


def app_open_distribution(shop, days):
    """visitors by their number of opens in dt"""
    rows = []
    for day in days:
        opens = Counter(event.visitor_id for event in shop.log_events(day, 1))
        buckets = Counter(min(count, 3) for count in opens.values())
        for count, bucket in ((1, "1"), (2, "2"), (3, "3+")):
            rows.append({"dt": day, "bucket": bucket, "visitors": buckets[count]})
    return rows


def app_active_distribution(shop, days):
    """dimensions `platform` (android, ios, pc, other), `android_version`, `ios_version` (osver, of
    visitors whose platform is that one), `brand`, `model`, `network`. A visitor counts once per
    dimension, with the value of their latest event of the day (NULL and empty become `unknown`
    first; ties by acttime: greatest value). The version dimensions take osver by the same rule over
    the visitor's events of that platform. share = visitors / sum over the dimension"""
    rows = []
    for day in days:
        counts = defaultdict(Counter)  # dimension -> value -> visitors
        for events in grouped(shop.events_of.get(day, ()), lambda e: e.visitor_id).values():
            platform = latest_value(events, platform_of)
            counts["platform"][platform] += 1
            counts["brand"][latest_value(events, lambda e: e.brand or "unknown")] += 1
            counts["model"][latest_value(events, lambda e: e.model or "unknown")] += 1
            counts["network"][latest_value(events, network_of)] += 1
            if platform in ("android", "ios"):
                own = [event for event in events if platform_of(event) == platform]
                version = latest_value(own, lambda e: e.osver or "unknown")
                counts[platform + "_version"][version] += 1
        for dimension, values in counts.items():
            for value, visitors in values.items():
                rows.append(
                    {
                        "dt": day,
                        "dimension": dimension,
                        "value": value,
                        "visitors": visitors,
                        "share": ratio(visitors, values.total()),
                    }
                )
    return rows


def dense_platforms(shop, day):
    """android, ios, pc; `other` on days when anyone was active on it"""
    present = {platform_of(event) for event in shop.events_of.get(day, ())}
    return ["android", "ios", "pc"] + (["other"] if "other" in present else [])


def app_crash(shop, days):
    """act 5 events; sum of copies; visitors having one; 1 − crashing visitors / visitors active on
    that platform that day (platform of the event; a visitor may be active on two)"""
    rows = []
    for day in days:
        for platform in dense_platforms(shop, day):
            events = [e for e in shop.events_of.get(day, ()) if platform_of(e) == platform]
            active = {event.visitor_id for event in events}
            crashes = [event for event in events if event.act == 5]
            crashing = {event.visitor_id for event in crashes}
            rows.append(
                {
                    "dt": day,
                    "platform": platform,
                    "crashes": len(crashes),
                    "crash_reports": sum(event.copies for event in crashes),
                    "crashing_visitors": len(crashing),
                    "crash_free_rate": ratio(len(active) - len(crashing), len(active)),
                }
            )
    return rows


def app_crash_version(shop, days):
    """the same by app version and build (only versions that crashed)"""
    rows = []
    for day in days:
        by_version = grouped(
            shop.log_events(day, 5),
            lambda e: (platform_of(e), e.ver or "unknown", e.vercode or "unknown"),
        )
        for (platform, ver, vercode), crashes in by_version.items():
            rows.append(
                {
                    "dt": day,
                    "platform": platform,
                    "ver": ver,
                    "vercode": vercode,
                    "crashes": len(crashes),
                    "crash_reports": sum(event.copies for event in crashes),
                    "crashing_visitors": len({event.visitor_id for event in crashes}),
                }
            )
    return rows


def app_load_time(shop, days):
    """non-NULL `loading_time` of acts 1, 3, 4; exact, linearly interpolated percentiles
    (rank p·(n−1))"""
    rows = []
    for day in days:
        times = defaultdict(list)
        for event in shop.events_of.get(day, ()):
            if event.act in PAGES and event.loading_time is not None:
                times[PAGES[event.act], network_of(event)].append(event.loading_time)
        for (page, network), values in times.items():
            values.sort()
            rows.append(
                {
                    "dt": day,
                    "page": page,
                    "network": network,
                    "events": len(values),
                    "p50_ms": percentile(values, Fraction(50, 100)),
                    "p90_ms": percentile(values, Fraction(90, 100)),
                    "p99_ms": percentile(values, Fraction(99, 100)),
                }
            )
    return rows


def percentile(ordered, p):
    rank = p * (len(ordered) - 1)
    below = math.floor(rank)
    above = min(below + 1, len(ordered) - 1)
    return float(ordered[below] + (ordered[above] - ordered[below]) * (rank - below))


def app_splash_ad(shop, days):
    """act 1 by ad_status 1 / 2; shown/(shown+failed)"""
    rows = []
    for day in days:
        statuses = Counter((platform_of(e), e.ad_status) for e in shop.log_events(day, 1))
        for platform in dense_platforms(shop, day):
            shown, failed = statuses[platform, 1], statuses[platform, 2]
            rows.append(
                {
                    "dt": day,
                    "platform": platform,
                    "shown": shown,
                    "failed": failed,
                    "success_rate": ratio(shown, shown + failed),
                }
            )
    return rows


# --------------------------------------------------------------------------------------------------
# Orders


def app_gmv(shop, days):
    """placed: orders, distinct users, sum of goods_amount over their lines, sum of order_money.
    Paid **on** dt: every payment with pay_time on dt, whatever its order's status: distinct orders,
    distinct users of loaded orders, sum of pay_money. Of the orders placed on dt, by latest status:
    order_money cancelled, refunded; net_gmv = gmv − both; aov = gmv/orders"""
    rows = []
    for day in days:
        placed, paid = shop.placed(day), shop.paid(day)
        gmv = total(order["order_money"] for order in placed)
        cancelled = total(o["order_money"] for o in placed if o["order_status"] == CANCELLED)
        refunded = total(o["order_money"] for o in placed if o["order_status"] == REFUNDED)
        rows.append(
            {
                "dt": day,
                "orders": len(placed),
                "buyers": len(users_of(placed)),
                "units": sum(item["goods_amount"] or 0 for item in shop.placed_lines(day)),
                "gmv": gmv,
                "paid_orders": len({p["order_id"] for p in paid if p["order_id"] is not None}),
                "payers": len(shop.payers(day)),
                "paid_amount": total(payment["pay_money"] for payment in paid),
                "cancelled_amount": cancelled,
                "refunded_amount": refunded,
                "net_gmv": gmv - cancelled - refunded,
                "aov": rounded(Fraction(gmv) / len(placed), 2) if placed else None,
            }
        )
    return rows


def app_gmv_period(shop, days):
    """period to date, as in `app_new_visitor_period`"""
    loaded = days_between(shop.first_order_day, days[-1]) if days else []
    daily = {row["dt"]: row for row in app_gmv(shop, loaded)}

    def over(column, first, last):
        window = [daily[day] for day in days_between(first, last) if day in daily]
        return sum((row[column] for row in window), type(daily[loaded[0]][column])(0))

    def gmv(first, last):
        return over("gmv", first, last)

    rows = []
    for day in days:
        for period in PERIODS:
            start = start_of_period(day, period)
            now = gmv(start, day)
            previous = when_loaded(gmv, previous_period(day, period), shop.first_order_day)
            last_year = when_loaded(gmv, last_year_period(day, period), shop.first_order_day)
            rows.append(
                {
                    "dt": day,
                    "period": period,
                    "period_start": start,
                    "orders": over("orders", start, day),
                    "gmv": now,
                    "paid_amount": over("paid_amount", start, day),
                    "previous_gmv": previous,
                    "period_ratio": change(now, previous),
                    "last_year_gmv": last_year,
                    "year_ratio": change(now, last_year),
                }
            )
    return rows


def app_goods_sales(shop, days):
    """lines of the orders placed on dt (the order's order_date decides): distinct orders, sum
    goods_amount, sum line totals. Names from the latest snapshot on or before dt; unknown goods or
    category: `unknown`"""
    rows = []
    for day in days:
        for goods_id, lines in grouped(shop.placed_lines(day), lambda i: i["goods_id"]).items():
            goods, first, second, third = shop.goods_names(goods_id, day)
            rows.append(
                {
                    "dt": day,
                    "goods_id": goods_id,
                    "goods_name": goods,
                    "first_category_name": first,
                    "second_category_name": second,
                    "third_category_name": third,
                    "orders": len({line["order_id"] for line in lines}),
                    "units": sum(line["goods_amount"] or 0 for line in lines),
                    "sales": total(line["curr_price"] for line in lines),
                }
            )
    return rows


def app_goods_top10(shop, days):
    """`app_goods_sales` by sales desc, goods_id asc"""
    columns = ("goods_id", "goods_name", "first_category_name", "orders", "units", "sales")
    rows = []
    for day in days:
        sales = app_goods_sales(shop, [day])
        sales.sort(key=lambda row: (-row["sales"], row["goods_id"]))
        for rank, row in enumerate(sales[:10], start=1):
            rows.append({"dt": day, "rank": rank, **{name: row[name] for name in columns}})
    return rows


def app_category_sales(shop, days):
    """by first category name; distinct orders with a line in it; share of the day's sales; rank by
    sales desc, name asc"""
    rows = []
    for day in days:
        by_category = grouped(
            shop.placed_lines(day), lambda line: shop.goods_names(line["goods_id"], day)[1]
        )
        sales = {
            name: total(line["curr_price"] for line in lines)
            for name, lines in by_category.items()
        }
        ranked = sorted(sales, key=lambda name: (-sales[name], name))
        for rank, name in enumerate(ranked, start=1):
            lines = by_category[name]
            rows.append(
                {
                    "dt": day,
                    "first_category_name": name,
                    "orders": len({line["order_id"] for line in lines}),
                    "units": sum(line["goods_amount"] or 0 for line in lines),
                    "sales": sales[name],
                    "share": ratio(sales[name], sum(sales.values())),
                    "rank": rank,
                }
            )
    return rows


def app_conversion(shop, days):
    """users (logged in) and strict subsets: active on dt ⊇ with a goods detail view on dt ⊇ who
    placed an order on dt ⊇ with a payment of any of their orders with pay_time on dt. Each step's
    ratio to the one before; overall = payers/active_users"""
    rows = []
    for day in days:
        active = {e.uid for e in shop.events_of.get(day, ()) if e.uid is not None}
        viewers = {e.uid for e in shop.log_events(day, 3) if e.uid is not None}
        buyers = viewers & users_of(shop.placed(day))
        payers = buyers & shop.payers(day)
        rows.append(
            {
                "dt": day,
                "active_users": len(active),
                "viewers": len(viewers),
                "buyers": len(buyers),
                "payers": len(payers),
                "active_to_view": ratio(len(viewers), len(active)),
                "view_to_buy": ratio(len(buyers), len(viewers)),
                "buy_to_pay": ratio(len(payers), len(buyers)),
                "overall": ratio(len(payers), len(active)),
            }
        )
    return rows


def app_goods_conversion(shop, days):
    """act 3 events (anonymous too) and users with one; users with the goods in an order placed on
    dt; users in both; converting/viewers. Goods with a view or an order"""
    rows = []
    for day in days:
        views = grouped(shop.log_events(day, 3), lambda event: event.goods_id)
        lines = grouped(shop.placed_lines(day), lambda line: line["goods_id"])
        for goods_id in views.keys() | lines.keys():
            viewers = {e.uid for e in views.get(goods_id, ()) if e.uid is not None}
            orders = [shop.order_by_id[line["order_id"]] for line in lines.get(goods_id, ())]
            buyers = users_of(orders)
            rows.append(
                {
                    "dt": day,
                    "goods_id": goods_id,
                    "goods_name": shop.goods_names(goods_id, day)[0],
                    "views": len(views.get(goods_id, ())),
                    "viewers": len(viewers),
                    "buyers": len(buyers),
                    "converting": len(viewers & buyers),
                    "view_to_buy": ratio(len(viewers & buyers), len(viewers)),
                }
            )
    return rows


def app_payment(shop, days):
    """by pay_time; share of the day's amount (NULL when 0); mean of pay_time − order_date over the
    payments whose order is loaded"""
    minute = dt.timedelta(minutes=1)
    rows = []
    for day in days:
        amount_of_day = total(payment["pay_money"] for payment in shop.paid(day))
        by_type = grouped(
            shop.paid(day), lambda p: -1 if p["pay_type"] is None else p["pay_type"]
        )
        for pay_type, payments in by_type.items():
            amount = total(payment["pay_money"] for payment in payments)
            waits = []
            for payment in payments:
                order = shop.order_by_id.get(payment["order_id"])
                if order is not None and order["order_date"] is not None:
                    wait = payment["pay_time"] - order["order_date"]
                    waits.append(Fraction(wait // dt.timedelta(microseconds=1), 60_000_000))
            rows.append(
                {
                    "dt": day,
                    "pay_type": pay_type,
                    "payments": len(payments),
                    "amount": amount,
                    "share": ratio(amount, amount_of_day),
                    "avg_minutes_to_pay": float(sum(waits) / len(waits)) if waits else None,
                }
            )
    return rows


def app_buyer_mix(shop, days):
    """users with a placed order on dt, first placed order ever on dt / on an earlier day;
    order_money of all the orders they placed on dt"""
    rows = []
    for day in days:
        new = {user for user in users_of(shop.placed(day)) if shop.first_order_of[user] == day}
        returning = users_of(shop.placed(day)) - new
        rows.append(
            {
                "dt": day,
                "new_buyers": len(new),
                "returning_buyers": len(returning),
                "new_amount": total(
                    o["order_money"] for o in shop.placed(day) if o["user_id"] in new
                ),
                "returning_amount": total(
                    o["order_money"] for o in shop.placed(day) if o["user_id"] in returning
                ),
            }
        )
    return rows


def placed_within(shop, day, length):
    """Orders placed in the `length` days that end with `day`, from the first loaded day on."""
    first = max(day - (length - 1) * DAY, shop.first_order_day)
    return [order for each in days_between(first, day) for order in shop.placed(each)]


def app_repurchase(shop, days):
    """placed orders in [dt−days+1, dt]: users with ≥ 1, with ≥ 2"""
    rows = []
    for day in days:
        for length in (7, 30, 90):
            placed = placed_within(shop, day, length)
            orders = Counter(o["user_id"] for o in placed if o["user_id"] is not None)
            repeat = sum(count >= 2 for count in orders.values())
            rows.append(
                {
                    "dt": day,
                    "days": length,
                    "buyers": len(orders),
                    "repeat_buyers": repeat,
                    "repurchase_rate": ratio(repeat, len(orders)),
                }
            )
    return rows


def app_goods_pair(shop, days):
    """the 100 pairs (a < b) most often in one order over placed orders of [dt−29, dt]; at least 2
    orders together; by orders_together desc, a, b. n = all placed orders of the window; support =
    n(ab)/n, confidence = n(ab)/n(a), lift = confidence/(n(b)/n)"""
    rows = []
    for day in days:
        placed = placed_within(shop, day, 30)
        n, n_of, together = len(placed), Counter(), Counter()
        for order in placed:
            goods = sorted({line["goods_id"] for line in shop.items_of.get(order["order_id"], ())})
            n_of.update(goods)
            together.update(combinations(goods, 2))
        pairs = [(pair, count) for pair, count in together.items() if count >= 2]
        pairs.sort(key=lambda found: (-found[1], found[0]))
        for rank, ((a, b), count) in enumerate(pairs[:100], start=1):
            rows.append(
                {
                    "dt": day,
                    "rank": rank,
                    "goods_a": a,
                    "goods_b": b,
                    "orders_together": count,
                    "support": ratio(count, n),
                    "confidence": ratio(count, n_of[a]),
                    "lift": ratio(count * n, n_of[a] * n_of[b]),
                }
            )
    return rows


# --------------------------------------------------------------------------------------------------
# Goods attention, every four hours


def windows_of(day):
    """00–04, 04–08, … 20–24 of a business day, as (window_start, window_end)."""
    midnight = dt.datetime.combine(day, dt.time())
    starts = [midnight + dt.timedelta(hours=hours) for hours in range(0, 24, 4)]
    return [(start, start + dt.timedelta(hours=4)) for start in starts]


def window_of(clock):
    """The start of the window that a wall-clock time falls in."""
    return dt.datetime(clock.year, clock.month, clock.day, clock.hour // 4 * 4)


def counters(shop, day):
    """window_start -> goods_id -> [details_views, transaction_items] of one day."""
    found = {start: defaultdict(lambda: [0, 0]) for start, _ in windows_of(day)}
    if day < shop.first_day:
        return found
    for event in shop.log_events(day, 3):
        if event.goods_id is not None:
            found[window_of(local_time(event.acttime, shop.zone))][event.goods_id][0] += 1
    for item in shop.items_created_of.get(day, ()):
        order = shop.order_by_id.get(item["order_id"])
        if order is not None and order["order_status"] in VALID:
            found[window_of(item["create_time"])][item["goods_id"]][1] += 1
    return found


def highlighted(counter):
    """The goods of a window's high-attention list, best first: "top 100 of the window by
    details_views desc, transaction_items desc, goods_id asc; details_views > 0"."""
    goods = [goods_id for goods_id, (views, _) in counter.items() if views > 0]
    goods.sort(key=lambda goods_id: (-counter[goods_id][0], -counter[goods_id][1], goods_id))
    return goods[:100]


def app_goods_counter_4h(shop, days):
    """act 3 events, by local wall-clock hour; number of order lines with `create_time` in the
    window whose order is valid. Goods with at least one of the two"""
    rows = []
    for day in days:
        of_day = counters(shop, day)
        for start, end in windows_of(day):
            for goods_id, (views, items) in of_day[start].items():
                rows.append(
                    {
                        "dt": day,
                        "window_start": start,
                        "window_end": end,
                        "goods_id": goods_id,
                        "details_views": views,
                        "transaction_items": items,
                    }
                )
    return rows


def app_goods_high_attention(shop, days):
    """top 100 of the window by details_views desc, transaction_items desc, goods_id asc;
    details_views > 0"""
    rows = []
    for day in days:
        for start, counter in counters(shop, day).items():
            for rank, goods_id in enumerate(highlighted(counter), start=1):
                views, items = counter[goods_id]
                rows.append(
                    {
                        "dt": day,
                        "window_start": start,
                        "rank": rank,
                        "goods_id": goods_id,
                        "goods_name": shop.goods_names(goods_id, day)[0],
                        "details_views": views,
                        "transaction_items": items,
                    }
                )
    return rows


def app_attention_effect(shop, days):
    """goods of this window's counter that were / were not in the list of the **previous** window
    (across midnight too); view_to_buy = transaction_items/details_views; correlation = Pearson corr
    of the two counters over those goods. Both rows always present; none for window 00–04 of the
    first loaded day"""
    rows = []
    for day in days:
        of_day = {**counters(shop, day - DAY), **counters(shop, day)}
        for start, _ in windows_of(day):
            if day == shop.first_day and start.hour == 0:
                continue
            listed = set(highlighted(of_day[start - dt.timedelta(hours=4)]))
            for side in (0, 1):
                pairs = [
                    pair for goods, pair in of_day[start].items() if (goods in listed) == bool(side)
                ]
                views, items = (sum(pair[n] for pair in pairs) for n in (0, 1))
                rows.append(
                    {
                        "dt": day,
                        "window_start": start,
                        "highlighted": side,
                        "goods": len(pairs),
                        "details_views": views,
                        "transaction_items": items,
                        "view_to_buy": ratio(items, views),
                        "correlation": correlation(pairs),
                    }
                )
    return rows


def correlation(pairs):
    """Pearson's, from exact sums; "undefined for fewer than two goods or a constant counter"."""
    n = len(pairs)
    x, y = sum(a for a, _ in pairs), sum(b for _, b in pairs)
    spread_x = n * sum(a * a for a, _ in pairs) - x * x
    spread_y = n * sum(b * b for _, b in pairs) - y * y
    if n < 2 or spread_x == 0 or spread_y == 0:
        return None
    shared = n * sum(a * b for a, b in pairs) - x * y
    return shared / (math.sqrt(spread_x) * math.sqrt(spread_y))


# --------------------------------------------------------------------------------------------------
# The contract's list of tables


class Table:
    """A table's function, the source whose first loaded day it starts on, and its columns.

    A column is `name:type`; `*` before the name marks the key. Types: date, datetime, text, count,
    money, ratio, double.
    """

    def __init__(self, rows, starts_on, columns):
        self.rows = rows
        self.starts_on = starts_on
        pairs = [column.split(":") for column in columns.split()]
        self.types = {name.lstrip("*"): kind for name, kind in pairs}
        self.key = tuple(name[1:] for name, _ in pairs if name.startswith("*"))


TABLES = {
    table.rows.__name__: table
    for table in (
        Table(
            app_user_count, "orders", "*dt:date registered_total:count registered_new:count"
        ),
        Table(
            app_new_visitor,
            "logs",
            "*dt:date new_visitors:count prev_day:count day_ratio:ratio prev_week:count"
            " week_ratio:ratio prev_year:count year_ratio:ratio",
        ),
        Table(
            app_new_visitor_period,
            "logs",
            "*dt:date *period:text period_start:date new_visitors:count previous:count"
            " period_ratio:ratio last_year:count year_ratio:ratio",
        ),
        Table(
            app_active_visitor,
            "logs",
            "*dt:date dau:count wau:count mau:count stickiness:ratio prev_day:count"
            " day_ratio:ratio prev_week:count week_ratio:ratio",
        ),
        Table(
            app_growth,
            "logs",
            "*dt:date new_visitors:count retained:count resurrected:count churned:count",
        ),
        Table(app_lapsed, "logs", "*dt:date lapsed_today:count lapsed_total:count"),
        Table(
            app_lapsed_visitor,
            "logs",
            "*dt:date *visitor_id:text user_id:count platform:text last_active_dt:date",
        ),
        Table(
            app_retention,
            "logs",
            "*dt:date *cohort_dt:date *day_n:count cohort_size:count retained:count"
            " retention_rate:ratio",
        ),
        Table(
            app_open, "logs", "*dt:date opens:count visitors:count opens_per_visitor:ratio"
        ),
        Table(app_open_distribution, "logs", "*dt:date *bucket:text visitors:count"),
        Table(
            app_active_distribution,
            "logs",
            "*dt:date *dimension:text *value:text visitors:count share:ratio",
        ),
        Table(
            app_crash,
            "logs",
            "*dt:date *platform:text crashes:count crash_reports:count crashing_visitors:count"
            " crash_free_rate:ratio",
        ),
        Table(
            app_crash_version,
            "logs",
            "*dt:date *platform:text *ver:text *vercode:text crashes:count crash_reports:count"
            " crashing_visitors:count",
        ),
        Table(
            app_load_time,
            "logs",
            "*dt:date *page:text *network:text events:count p50_ms:double p90_ms:double"
            " p99_ms:double",
        ),
        Table(
            app_splash_ad,
            "logs",
            "*dt:date *platform:text shown:count failed:count success_rate:ratio",
        ),
        Table(
            app_gmv,
            "orders",
            "*dt:date orders:count buyers:count units:count gmv:money paid_orders:count"
            " payers:count paid_amount:money cancelled_amount:money refunded_amount:money"
            " net_gmv:money aov:money",
        ),
        Table(
            app_gmv_period,
            "orders",
            "*dt:date *period:text period_start:date orders:count gmv:money paid_amount:money"
            " previous_gmv:money period_ratio:ratio last_year_gmv:money year_ratio:ratio",
        ),
        Table(
            app_goods_sales,
            "orders",
            "*dt:date *goods_id:count goods_name:text first_category_name:text"
            " second_category_name:text third_category_name:text orders:count units:count"
            " sales:money",
        ),
        Table(
            app_goods_top10,
            "orders",
            "*dt:date *rank:count goods_id:count goods_name:text first_category_name:text"
            " orders:count units:count sales:money",
        ),
        Table(
            app_category_sales,
            "orders",
            "*dt:date *first_category_name:text orders:count units:count sales:money share:ratio"
            " rank:count",
        ),
        Table(
            app_conversion,
            "both",
            "*dt:date active_users:count viewers:count buyers:count payers:count"
            " active_to_view:ratio view_to_buy:ratio buy_to_pay:ratio overall:ratio",
        ),
        Table(
            app_goods_conversion,
            "both",
            "*dt:date *goods_id:count goods_name:text views:count viewers:count buyers:count"
            " converting:count view_to_buy:ratio",
        ),
        Table(
            app_payment,
            "orders",
            "*dt:date *pay_type:count payments:count amount:money share:ratio"
            " avg_minutes_to_pay:double",
        ),
        Table(
            app_buyer_mix,
            "orders",
            "*dt:date new_buyers:count returning_buyers:count new_amount:money"
            " returning_amount:money",
        ),
        Table(
            app_repurchase,
            "orders",
            "*dt:date *days:count buyers:count repeat_buyers:count repurchase_rate:ratio",
        ),
        Table(
            app_goods_pair,
            "orders",
            "*dt:date *rank:count goods_a:count goods_b:count orders_together:count support:ratio"
            " confidence:ratio lift:ratio",
        ),
        Table(
            app_goods_counter_4h,
            "both",
            "dt:date *window_start:datetime window_end:datetime *goods_id:count"
            " details_views:count transaction_items:count",
        ),
        Table(
            app_goods_high_attention,
            "both",
            "dt:date *window_start:datetime *rank:count goods_id:count goods_name:text"
            " details_views:count transaction_items:count",
        ),
        Table(
            app_attention_effect,
            "both",
            "dt:date *window_start:datetime *highlighted:count goods:count details_views:count"
            " transaction_items:count view_to_buy:ratio correlation:double",
        ),
    )
}


def days_of(shop, table, first=None, last=None):
    """The days a table has rows for: from its first loaded day, to the end of the range."""
    loaded = {
        "logs": shop.first_log_day,
        "orders": shop.first_order_day,
        "both": shop.first_day,
    }[table.starts_on]
    last = last or shop.last_arrival
    if loaded is None or last is None:
        return []
    return days_between(max(filter(None, (first, loaded))), last)


def compute(shop, name, first=None, last=None):
    """The rows of one table for [first, last]."""
    table = TABLES[name]
    rows = table.rows(shop, days_of(shop, table, first, last))
    for row in rows:
        assert list(row) == list(table.types), name
    return rows


def broken_invariants(shop, first=None, last=None):
    """What must hold between the tables and does not: a check of this oracle, not of the tool."""

    def by_day(name, column, where=lambda row: True, key=lambda row: row["dt"]):
        sums = Counter()
        for row in tables[name]:
            if where(row):
                sums[key(row)] += row[column]
        return +sums

    tables = {name: compute(shop, name, first, last) for name in TABLES}
    broken = []

    def equal(what, left, right):
        if left != right:
            broken.append(what)

    dau = by_day("app_active_visitor", "dau")
    for dimension in ("platform", "brand", "model", "network"):
        found = by_day("app_active_distribution", "visitors", lambda r: r["dimension"] == dimension)
        equal(f"{dimension} sums to dau", found, dau)
    for platform in ("android", "ios"):
        versions = by_day(
            "app_active_distribution",
            "visitors",
            lambda r: r["dimension"] == f"{platform}_version",
        )
        audience = by_day(
            "app_active_distribution",
            "visitors",
            lambda r: (r["dimension"], r["value"]) == ("platform", platform),
        )
        equal(f"{platform}_version sums to its audience", versions, audience)
    equal(
        "open distribution sums to visitors",
        by_day("app_open_distribution", "visitors"),
        by_day("app_open", "visitors"),
    )

    def day_and_platform(row):
        return row["dt"], row["platform"]

    equal(
        "crash versions sum to crashes",
        by_day("app_crash_version", "crashes", key=day_and_platform),
        by_day("app_crash", "crashes", key=day_and_platform),
    )
    for row in tables["app_growth"]:
        today, yesterday = (shop.active_of.get(d, ()) for d in (row["dt"], row["dt"] - DAY))
        flow = row["new_visitors"] + row["resurrected"] - row["churned"]
        equal(f"growth {row['dt']}", len(today), len(yesterday) + flow)
    equal(
        "goods sales sum as category sales",
        by_day("app_goods_sales", "sales"),
        by_day("app_category_sales", "sales"),
    )
    for row in tables["app_conversion"]:
        steps = [row[step] for step in ("active_users", "viewers", "buyers", "payers")]
        equal(f"funnel {row['dt']}", steps, sorted(steps, reverse=True))
    for row in tables["app_retention"]:
        equal(f"retention {row['dt']}", row["retained"] <= row["cohort_size"], True)
    equal(
        "the push list is lapsed_today",
        Counter(row["dt"] for row in tables["app_lapsed_visitor"]),
        by_day("app_lapsed", "lapsed_today"),
    )
    return broken
