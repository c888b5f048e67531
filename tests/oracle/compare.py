"""Compares what the tool exported with the oracle, cell by cell, and what its lake holds.

    python compare.py LOGS ORDERS METRICS_DB [--from D --to D] [--zone Z]
        [--tables a,b] [--start D] [--lake DIR] [--report FILE]

LOGS and ORDERS are the raw input folders, METRICS_DB the SQLite database the tool exported.
Every table of the contract must be there, unless --tables names the ones to look at. Prints one
line a table (its rows, the cells compared, what differs) and the differences, at most 20 a table;
exits 1 on any difference.
"""

import argparse
import datetime as dt
import json
import math
import sqlite3
import sys
from collections import Counter
from decimal import Decimal, InvalidOperation

import metrics
import raw

SHOWN = 20
# A correlation of exactly 0 may come out as 1e-17 from another order of additions.
DOUBLE_TOLERANCE = {"rel_tol": 1e-9, "abs_tol": 1e-12}


def main():
    args = arguments()
    logs = raw.read_logs(args.logs, args.zone)
    orders = raw.read_orders(args.orders, args.zone)
    print_sources(logs, orders)
    shop = metrics.Shop(logs, orders, args.start)
    different = False
    for problem in metrics.broken_invariants(shop, args.first, args.last):
        print(f"the oracle contradicts itself: {problem}")
        different = True
    different |= not compare_database(shop, args)
    if args.lake:
        import lake

        last = args.last or shop.last_arrival  # a later day is landed and need not be shown
        different |= not lake.compare(logs, orders, args.lake, args.first, last)
    print("different" if different else "all equal")
    return 1 if different else 0


def arguments():
    day = dt.date.fromisoformat
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("logs")
    parser.add_argument("orders")
    parser.add_argument("metrics_db")
    parser.add_argument("--from", dest="first", type=day, help="default: first loaded day")
    parser.add_argument("--to", dest="last", type=day, help="default: latest arrival date")
    parser.add_argument("--start", type=day, help="the warehouse's `start`, if it sets one")
    parser.add_argument("--zone", default="Asia/Shanghai")
    parser.add_argument("--tables", type=lambda text: text.split(","), default=[])
    parser.add_argument("--lake", help="compare the counts of this lake too")
    parser.add_argument("--report", help="write table -> rows, cells, differences here, as JSON")
    return parser.parse_args()


def print_sources(logs, orders):
    reasons = Counter(reason for *_, reason in logs.rejects)
    print(
        f"logs: {len(logs.files)} files, {logs.events_read} read = {logs.events_landed} landed"
        f" + {len(logs.rejects)} rejected {dict(reasons)}; {len(logs.events)} distinct"
        f" + {logs.events_landed - len(logs.events)} duplicates;"
        f" {len(logs.same_content)} files read before"
    )
    reasons = Counter(reason for *_, reason in orders.rejects)
    print(
        f"orders: {len(orders.landed)} files, {orders.landed.total()} rows landed"
        f" + {len(orders.rejects)} rejected {dict(reasons)}"
    )


def compare_database(shop, args):
    """Compares the tables of the contract; True when all are there and equal."""
    for name in args.tables:
        if name not in metrics.TABLES:
            raise SystemExit(f"--tables: the contract has no `{name}`")
    database = sqlite3.connect(f"file:{args.metrics_db}?mode=ro", uri=True)
    outcomes = {
        name: compare_table(database, shop, name, args)
        for name in metrics.TABLES
        if not args.tables or name in args.tables
    }
    database.close()
    if args.report:
        with open(args.report, "w", encoding="utf-8") as file:
            json.dump(outcomes, file, indent=2)
            file.write("\n")
    print_total(outcomes)
    return all(outcome["differences"] == 0 for outcome in outcomes.values())


def compare_table(database, shop, name, args):
    """Compares one table and prints what came of it; returns its rows, cells and differences."""
    table = metrics.TABLES[name]
    expected = metrics.compute(shop, name, args.first, args.last)
    columns = [row[1] for row in database.execute(f'pragma table_info("{name}")')]
    cells = 0
    if not columns:
        differences = [("missing table", "not exported")]
    else:
        differences = column_differences(table, columns)
    if not differences:
        found = exported_rows(database, name, table, args.first, args.last)
        cells, differences = row_differences(table, expected, found)
    print_table(name, len(expected), cells, differences)
    return {"rows": len(expected), "cells": cells, "differences": len(differences)}


def print_table(name, rows, cells, differences):
    what = f"{name}  {rows} rows  {cells} cells"
    if not differences:
        print(f"{what}  equal")
        return
    kinds = Counter(kind for kind, _ in differences)
    totals = ", ".join(f"{count} {kind}" for kind, count in kinds.items())
    print(f"{what}  DIFFERENT: {totals}")
    for kind, text in differences[:SHOWN]:
        print(f"    {name}: {kind}: {text}")
    if len(differences) > SHOWN:
        print(f"    … and {len(differences) - SHOWN} more")


def print_total(outcomes):
    rows = sum(outcome["rows"] for outcome in outcomes.values())
    cells = sum(outcome["cells"] for outcome in outcomes.values())
    print(f"{len(outcomes)} tables  {rows} rows  {cells} cells")


def column_differences(table, columns):
    """"more columns may be added at the right end": the contract's come first, in its order."""
    promised = list(table.types)
    if columns[: len(promised)] == promised:
        return []
    return [("columns", f"expected {', '.join(promised)}; found {', '.join(columns)}")]


def exported_rows(database, name, table, first, last):
    """The rows of an exported table, of the compared days only, as dicts of SQLite values."""
    columns = ", ".join(f'"{column}"' for column in table.types)
    rows = []
    for values in database.execute(f'select {columns} from "{name}"'):
        row = dict(zip(table.types, values))
        day = str(row["dt"])
        if (first is None or day >= first.isoformat()) and (
            last is None or day <= last.isoformat()
        ):
            rows.append(row)
    return rows


def row_differences(table, expected, found):
    """The cells compared, and (kind, text) for every missing row, extra row and unequal cell."""

    def keyed(rows, what):
        by_key = {}
        for row in rows:
            key = tuple(exported_text(row[column]) for column in table.key)
            if key in by_key:
                differences.append((f"{what} key twice", show_key(table, key)))
            by_key[key] = row
        return by_key

    differences = []
    cells = 0
    ours, theirs = keyed(expected, "oracle"), keyed(found, "exported")
    for key in sorted(ours.keys() | theirs.keys(), key=repr):
        if key not in theirs:
            differences.append(("missing row", f"{show_key(table, key)} {show_row(ours[key])}"))
        elif key not in ours:
            differences.append(("extra row", f"{show_key(table, key)} {show_row(theirs[key])}"))
        else:
            cells += len(table.types)
            for column, kind in table.types.items():
                ours_cell, theirs_cell = ours[key][column], theirs[key][column]
                if not cell_equal(kind, ours_cell, theirs_cell):
                    text = (
                        f"{show_key(table, key)} {column}:"
                        f" oracle {exported_text(ours_cell)}, exported {theirs_cell!r}"
                    )
                    differences.append(("cell", text))
    return cells, differences


def cell_equal(kind, ours, theirs):
    """Whether an exported value is the oracle's."""
    if ours is None or theirs is None:
        return ours is None and theirs is None
    if kind == "double":
        return isinstance(theirs, (int, float)) and math.isclose(ours, theirs, **DOUBLE_TOLERANCE)
    if kind in ("money", "ratio"):
        try:
            return Decimal(str(theirs)) == ours
        except InvalidOperation:
            return False
    return type(theirs) is type(exported_text(ours)) and theirs == exported_text(ours)


def exported_text(value):
    """Our value as SQLite would hold it: dates and times are text, the rest is as it is."""
    if isinstance(value, dt.datetime):
        return f"{value:%Y-%m-%d %H:%M:%S}"
    if isinstance(value, dt.date):
        return value.isoformat()
    return value


def show_key(table, key):
    return " ".join(f"{column}={value}" for column, value in zip(table.key, key))


def show_row(row):
    return ", ".join(f"{name}={exported_text(value)}" for name, value in row.items())


if __name__ == "__main__":
    sys.exit(main())
