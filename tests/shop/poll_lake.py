"""Reads every table of a lake again and again, as another engine does, until a file is there.

    python poll_lake.py LAKE STOP

Each read must be one committed version: by day as many rows as that version's commits record, and as its files say.
Prints how many reads there were, and how often a table had another version than before.
"""

import json
import os
import sys
from collections import Counter
from pathlib import Path

import duckdb
from deltalake import DeltaTable

SLOT = "strata.slot:"


def tables(root):
    """The folders of the tables whose first version is committed."""
    return sorted(log.parent.parent for log in Path(root).glob("*/*/_delta_log/" + "0" * 20 + ".json"))


def recorded(folder, version):
    """What the log says up to a version: rows by day as recorded beside the rows, and all rows by the files."""
    slots, files = {}, {}
    for number in range(version + 1):
        with open(folder / "_delta_log" / f"{number:020}.json") as log:
            for line in log:
                action = json.loads(line)
                if "add" in action:
                    add = action["add"]
                    files[add["path"]] = json.loads(add["stats"])["numRecords"]
                elif "remove" in action:
                    files.pop(action["remove"]["path"], None)
                elif "domainMetadata" in action:
                    record = action["domainMetadata"]
                    domain = record["domain"]
                    if domain.startswith(SLOT) and record["removed"]:
                        slots.pop(domain[len(SLOT) :], None)
                    elif domain.startswith(SLOT):
                        slots[domain[len(SLOT) :]] = json.loads(record["configuration"])["rows"]
    return {slot: rows for slot, rows in slots.items() if rows}, sum(files.values())


def read(folder):
    """Reads one table whole and compares; the version that was read."""
    table = DeltaTable(folder)
    with duckdb.connect() as connection:
        connection.register("t", table.to_pyarrow_dataset())
        names = [column[0] for column in connection.execute("select * from t limit 0").description]
        day = "coalesce(cast(dt as varchar), 'none')" if "dt" in names else "'none'"
        rows = connection.execute(f"select {day}, count(*) from t group by 1").fetchall()
    by_day = dict(rows)
    slots, total = recorded(folder, table.version())
    assert sum(by_day.values()) == total, f"{folder} {table.version()}: {by_day}, files say {total}"
    assert not slots or by_day == slots, f"{folder} {table.version()}: {by_day}, recorded {slots}"
    return table.version()


def main(root, stop):
    reads, changes, seen = Counter(), 0, {}
    while not os.path.exists(stop):
        for folder in tables(root):
            version = read(folder)
            assert version >= seen.get(folder, 0), f"{folder} went back to {version}"
            changes += folder in seen and seen[folder] != version
            seen[folder] = version
            reads[folder.name] += 1
    print(f"{sum(reads.values())} reads of {len(reads)} tables, {changes} with another version than before")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
    sys.stdout.flush()
    # Threads of pyarrow that are still there would sometimes abort an ordinary exit.
    os._exit(0)
