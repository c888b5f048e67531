"""Part `idle`: a year of small days. What a run costs that has nothing to do, or one late event, and a night late in the year
against an early one."""

import datetime
import re
import shutil

import late
from measure import arrive, emptied

FIRST = datetime.date(2025, 1, 1)


def run(part):
    sizes = part.sizes
    young, old = sizes["IDLE_SHORT"], sizes["IDLE_LONG"]
    shop = part.sample(
        "year", days=old + 1, start=FIRST, devices=5 * sizes["IDLE_EVENTS"], events=sizes["IDLE_EVENTS"],
        orders=60, goods=300, seed=3, messy=0,
    )  # fmt: skip
    lakes, last, project = {}, FIRST - datetime.timedelta(days=1), part.project("ready")
    for age in (young, old):
        source, before = emptied(part.work / f"source-{age}"), last
        last = FIRST + datetime.timedelta(days=age - 1)
        arrive(shop, source, FIRST, last)
        took = datetime.datetime.now()
        part.done(part.strata_in(project, source, "--quiet", "run", "--to", last))
        took = (datetime.datetime.now() - took).seconds
        part.note(f"Made once: days {(before - FIRST).days + 2} to {age}, ingested, built, exported in {took} s.")
        ready = part.work / f"ready-{age}"
        shutil.rmtree(ready, ignore_errors=True)
        shutil.copytree(project, ready)
        lakes[age] = ready, source, last
    models = len(list((project / "sql").glob("*/*.sql")))
    part.note(f"{models} models.")
    for _ in part.rounds():
        ready, source, last = lakes[old]
        for command in ("run", "plan"):
            part.measured("nothing to do", f"strata {command}", part.strata_in(ready, source, command, "--to", last))
    late.measure(part, "late event", shop, lakes[old])
    for age, (ready, source, last) in lakes.items():
        arrive(shop, source, last + datetime.timedelta(days=1), last + datetime.timedelta(days=1))
    for _ in part.rounds():
        for age, (ready, source, last) in lakes.items():
            shutil.rmtree(project)
            shutil.copytree(ready, project)
            night = part.strata_in(project, source, "run", "--to", last + datetime.timedelta(days=1))
            said = part.measured("nightly run", f"strata after {age} days", night)
            part.note(f"The night after {age} days: {re.findall('[0-9,]+ models?, [0-9,]+ partitions?', said)[-1]}.")
    for folder in [project, *(path for ready, source, _ in lakes.values() for path in (ready, source))]:
        shutil.rmtree(folder)
