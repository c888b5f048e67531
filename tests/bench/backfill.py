"""Part `backfill`: many messy days, from raw files to the exported metrics, against one DuckDB process for the whole range."""

import datetime
import shutil

from measure import HERE, emptied

FIRST = datetime.date(2026, 1, 1)


def run(part):
    # First on a clean shop, where a plain script in DuckDB reads what strata reads: each row of each model has to be the same.
    once(part, part.sample("clean", **options(part, days=3, events=2000, orders=50, messy=0)), 3, compared=True)
    days = part.sizes["BACKFILL_DAYS"]
    events, orders = part.sizes["BACKFILL_EVENTS"], part.sizes["BACKFILL_ORDERS"]
    shop = part.sample("messy", **options(part, days=days, events=events, orders=orders, messy=0.03))
    for number in part.rounds():
        once(part, shop, days, measured=True, compared=number == 0)


def options(part, days, events, orders, messy):
    devices = max(500, events // 5)
    return {
        "days": days, "start": FIRST, "devices": devices, "events": events,
        "orders": orders, "goods": 3000, "seed": 2, "messy": messy,
    }  # fmt: skip


def once(part, shop, days, measured=False, compared=False):
    """The range by strata and by DuckDB, from nothing."""
    last = FIRST + datetime.timedelta(days=days - 1)
    project, out = part.project("project"), emptied(part.work / "out")
    strata = part.strata_in(project, shop, "--quiet", "run", "--to", last)
    duckdb = [part.python, HERE / "duckdb_range.py", "run", out, part.threads, part.memory]
    if measured:
        part.measured("backfill", "strata", strata, [project / "warehouse"])
    else:
        part.done(strata)
    # The script is DuckDB's SQL as a user would have it at hand: what it takes to make is on nobody's clock.
    part.checked("duckdb_range.py", "translate", project, shop, FIRST, last, out)
    if measured:
        part.measured("backfill", "duckdb", duckdb, [out])
    else:
        part.done(duckdb)
    if compared:
        said = part.checked("duckdb_range.py", "compare", project, last, out, "told" if measured else "equal")
        lost = [line.replace("  DIFFERENT", "") for line in said[:-1] if line.startswith("dwd_event ")]
        part.note(f"{'Messy' if measured else 'Clean'} shop: {'; '.join([said[-1], *lost])}.")
    shutil.rmtree(project)
    shutil.rmtree(out)
