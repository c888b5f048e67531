"""Part `day`: a business day's DWD, DWS and APP models, against DuckDB and Spark, which make the same tables from the same files.

The day has landed in both, the days before it are built and quiet: what is measured is the day.
"""

import datetime
import os
import shutil

from measure import HERE, arrive, emptied

DAY = datetime.date(2026, 1, 30)


def run(part):
    sizes = part.sizes
    first = DAY - datetime.timedelta(days=sizes["DAY_HISTORY"])
    before = DAY - datetime.timedelta(days=1)
    ready, source = prepared(part, first, before)
    project, outs = part.work / "run", part.work / "peers"
    peers = {"duckdb": [part.memory], "spark": []}
    if not (part.has("pyspark") and part.has("sqlglot")):
        del peers["spark"]
    for number in part.rounds():
        shutil.rmtree(project, ignore_errors=True)
        shutil.copytree(ready, project)
        # Where the day's rows changed orders of earlier days, those days are made again: work that the peers' scripts, which
        # make the day alone and read the earlier days as they are then, are not asked to do.
        part.measured("earlier days again", "strata", part.strata_in(project, source, "build", "--to", before))
        part.measured("day", "strata", part.strata_in(project, source, "build", "--date", DAY))
        for engine, limits in peers.items():
            if engine == "spark" and number >= sizes["SPARK_RUNS"]:
                continue
            out = emptied(outs / engine)
            part.checked(f"{engine}_day.py", "translate", project, DAY, out)
            command = [part.python, HERE / f"{engine}_day.py", "run", out, part.threads, *limits]
            part.measured("day", engine, command)
            if number == 0:
                compared = part.checked("duckdb_day.py", "compare", project, DAY, out)
                part.note(f"{engine}: {compared[-1]}.")
    for folder in (ready, project, source, outs):
        shutil.rmtree(folder)


def prepared(part, first, before):
    """A lake with a built history, the day landed and not built; and the folder of what arrived."""
    shop, source = made(part, first), emptied(part.work / "source")
    ready = part.project("ready", start=first)
    arrive(shop, source, first, before)
    part.done(part.strata_in(ready, source, "--quiet", "ingest"))
    part.done(part.strata_in(ready, source, "--quiet", "build", "--to", before))
    arrive(shop, source, DAY, DAY)
    part.done(part.strata_in(ready, source, "--quiet", "ingest"))
    return ready, source


def made(part, first):
    """A history of quiet, clean days, and more events on the last one, some of them sent twice or otherwise dirty."""
    sizes = part.sizes
    common = {"goods": sizes["DAY_GOODS"], "seed": 1}
    quiet = part.sample(
        "quiet", days=sizes["DAY_HISTORY"] + 1, start=first, devices=sizes["DAY_HISTORY_DEVICES"],
        events=sizes["DAY_HISTORY_EVENTS"], orders=sizes["DAY_ORDERS"], **common,
    )  # fmt: skip
    busy = part.sample(
        "busy", days=1, start=DAY, devices=sizes["DAY_DEVICES"],
        events=max(1, sizes["DAY_EVENTS"] - sizes["DAY_HISTORY_EVENTS"]), orders=1, messy=0.01, **common,
    )  # fmt: skip
    shop = emptied(part.work / "shop")
    shutil.copytree(quiet, shop, dirs_exist_ok=True, copy_function=os.link)
    for file in (busy / "user_action" / str(DAY)).iterdir():
        os.link(file, shop / "user_action" / str(DAY) / f"more-{file.name}")
    return shop
