"""Reads a lake as another engine would: Delta tables through the deltalake package, no tool.

Compares its counts with the oracle's; the layout is found, not assumed: a table is a folder with a
`_delta_log`, named by its folder.
"""

import os
from collections import Counter

import duckdb
from deltalake import DeltaTable

EVENT_TABLES = {
    "dwd_app_open": 1,
    "dwd_goods_click": 2,
    "dwd_goods_view": 3,
    "dwd_goods_list": 4,
    "dwd_app_crash": 5,
}
FILE_COLUMNS = ("file", "source_file", "file_path", "path")
SHOWN = 20


def tables(root):
    """name -> folder of every Delta table beneath `root`."""
    found = {}
    for folder, folders, _ in os.walk(root):
        if "_delta_log" in folders:
            folders.clear()
            found[os.path.basename(folder)] = folder
    return dict(sorted(found.items()))


def query(folder, sql):
    """Runs SQL over one Delta table, which it names `t`."""
    with duckdb.connect() as connection:
        connection.register("t", DeltaTable(folder).to_pyarrow_dataset())
        return connection.execute(sql).fetchall()


def columns(folder):
    """name -> type of a table's columns, as its schema says them."""
    return {field.name: str(field.type.type) for field in _primitive(DeltaTable(folder))}


def _primitive(table):
    return [field for field in table.schema().fields if hasattr(field.type, "type")]


def compare(logs, orders, root, first=None, last=None):
    """Compares ODS, rejects and the DWD event tables; True when all counts are the oracle's."""
    found = tables(root)
    equal = [
        compare_landed(logs, found),
        compare_rejects(logs, orders, found),
        *(compare_events(logs, found, name, first, last) for name in EVENT_TABLES),
    ]
    return all(equal)


def report(name, what, ours, theirs):
    """Prints one line for two counters; True when they are equal."""
    ours, theirs = +Counter(ours), +Counter(theirs)
    if ours == theirs:
        print(f"{name}  {what} {sum(ours.values())}  equal")
        return True
    print(f"{name}  {what}  DIFFERENT: oracle {ours.total()}, lake {theirs.total()}")
    keys = [key for key in ours | theirs if ours[key] != theirs[key]]
    for key in sorted(keys, key=repr)[:SHOWN]:
        print(f"    {key}: oracle {ours[key]}, lake {theirs[key]}")
    return False


def present(found, name):
    if name in found:
        return True
    print(f"{name}  no such table in the lake")
    return False


def compare_landed(logs, found):
    """`landed` a business day, and of the file where ODS names it."""
    name = "ods_user_action"
    if not present(found, name):
        return False
    by_day = query(found[name], "select cast(dt as varchar), count(*) from t group by 1")
    landed = Counter()
    for (day, _), count in logs.landed.items():
        landed[day.isoformat()] += count
    equal = report(name, "landed", landed, dict(by_day))
    file_column = one_of(FILE_COLUMNS, columns(found[name]))
    if file_column:
        by_file = query(found[name], f'select "{file_column}", count(*) from t group by 1')
        ours = {path: count.landed for path, count in logs.files.items()}
        equal &= report(name, "landed by file", ours, relative(by_file, logs.files))
    return equal


def compare_rejects(logs, orders, found):
    """Rejects by file and reason: "read = landed + rejected" for every file."""
    name = "ods_reject"
    ours = Counter((path, reason) for path, _, _, reason in logs.rejects)
    ours += Counter((path, reason) for path, _, reason in orders.rejects)
    if name not in found and not ours:
        print(f"{name}  nothing rejected, no table  equal")
        return True
    if not present(found, name):
        return False
    file_column = one_of(FILE_COLUMNS, columns(found[name]))
    if file_column is None:
        by_reason = query(found[name], "select reason, count(*) from t group by 1")
        totals = Counter()
        for (_, reason), count in ours.items():
            totals[reason] += count
        return report(name, "rejected by reason", totals, dict(by_reason))
    rows = query(found[name], f'select "{file_column}", reason, count(*) from t group by 1, 2')
    known = [*logs.files, *orders.landed, *(path for path, *_ in orders.rejects)]
    theirs = Counter()
    for path, reason, count in rows:
        theirs[matching(path, known), reason] += count
    return report(name, "rejected by file and reason", ours, theirs)


def compare_events(logs, found, name, first, last):
    """Row counts (distinct) and sum(copies) (landed) a day of one DWD event table."""
    if not present(found, name):
        return False
    act = EVENT_TABLES[name]

    def shown(day):
        return (first is None or day >= first) and (last is None or day <= last)

    def ours(counts):
        return {
            day.isoformat(): count
            for (day, of_act), count in counts.items()
            if of_act == act and shown(day)
        }

    limits = [f"dt >= date '{first}'"] if first else []
    limits += [f"dt <= date '{last}'"] if last else []
    where = "where " + " and ".join(limits) if limits else ""
    rows = query(
        found[name],
        "select cast(dt as varchar), count(*), cast(sum(copies) as bigint)"
        f" from t {where} group by 1",
    )
    distinct = {day: count for day, count, _ in rows}
    copies = {day: count for day, _, count in rows}
    return report(name, "distinct", ours(logs.distinct), distinct) & report(
        name, "copies", ours(logs.copies), copies
    )


def one_of(names, available):
    return next((name for name in names if name in available), None)


def relative(rows, known):
    """Counts by the oracle's relative path, whatever prefix the lake keeps before it."""
    counts = Counter()
    for path, count in rows:
        counts[matching(path, known)] += count
    return counts


def matching(path, known):
    ends = [name for name in known if path == name or path.endswith("/" + name)]
    return max(ends, key=len, default=path)
