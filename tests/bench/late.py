"""Part `late`: one event of twenty days ago in a shop of large days, against its days in full."""

import datetime
import json
import re
import shutil

from measure import arrive, emptied

FIRST = datetime.date(2025, 1, 1)
LATE_DAYS = 20
DAYS = 31


def an_event(folder):
    """A flat line of a day's plain logs, as it was sent."""
    lines = (line for log in sorted(folder.glob("*.log")) for line in log.open(encoding="utf-8-sig"))
    events = (json.loads(line) for line in lines if line.startswith("{") and line.endswith("}\n"))
    return next(event for event in events if event.get("xaid") and "acttime" in event)


def measure(part, work, shop, lake):
    """Rounds of a run after one more event of a known visitor, and of a build of the days since in full."""
    project, source, last = lake
    late = max(last - datetime.timedelta(days=LATE_DAYS), FIRST)
    days = (last - late).days + 1
    event = an_event(shop / f"user_action/{late}")
    for round in part.rounds():
        text = json.dumps(event | {"loading_time": 90_000 + round}) + "\n"
        (source / f"user_action/{last}/late-{round}.log").write_text(text)
        said = part.measured(work, f"strata run, {work}", part.strata_in(project, source, "run", "--to", last))
        part.note(f"The {work}: {re.findall('[0-9,]+ models?, [0-9,]+ partitions?', said)[-1]}.")
        again = part.strata_in(project, source, "build", "--from", late, "--to", last, "--force")
        part.measured(work, f"strata build, {work}, its {days} days in full", again)


def run(part):
    last = FIRST + datetime.timedelta(days=DAYS - 1)
    for name in ("LATE_EVENTS", "LATE_EVENTS_LARGE"):
        events = part.sizes[name]
        shop = part.sample(
            f"late-{events}", days=DAYS, start=FIRST, devices=max(events // 5, 20), events=events,
            orders=max(events // 50, 10), goods=2_000, seed=3, messy=0,
        )  # fmt: skip
        source, project = emptied(part.work / "source-late"), part.project("late")
        arrive(shop, source, FIRST, last)
        part.done(part.strata_in(project, source, "--quiet", "run", "--to", last))
        measure(part, f"late event, {events:,} events a day", shop, (project, source, last))
        shutil.rmtree(project)
        shutil.rmtree(source)
