"""scripts/bench: measures strata and its peers part by part and writes docs/benchmarks.md. See scripts/bench for its use."""

import datetime
import json
import os
import pathlib
import subprocess
import sys

import backfill
import build
import day
import idle
import ingest
import late
import mysql
import report
from measure import ROOT, Part, say

PARTS = {"ingest": ingest, "day": day, "backfill": backfill, "idle": idle, "late": late, "mysql": mysql, "build": build}

# name: (small, full, what it is). A variable of the environment of the same name overrides it.
SIZES = {
    "RUNS": (1, 5, "alternating runs of each engine"),
    "SPARK_RUNS": (1, 1, "rounds that Spark takes part in"),
    "INGEST_EVENTS": (20_000, 4_300_000, "lines to ingest (4.3 million are 1 GB)"),
    "DAY_HISTORY": (4, 90, "days of history before the day"),
    "DAY_HISTORY_EVENTS": (2_000, 100_000, "events of each of them"),
    "DAY_HISTORY_DEVICES": (500, 50_000, "devices that send them"),
    "DAY_EVENTS": (20_000, 5_000_000, "events of the day"),
    "DAY_DEVICES": (2_000, 400_000, "devices that send them"),
    "DAY_ORDERS": (100, 20_000, "orders of each day"),
    "DAY_GOODS": (300, 20_000, "goods of the shop"),
    "BACKFILL_DAYS": (4, 30, "days to compute"),
    "BACKFILL_EVENTS": (2_000, 100_000, "events of each of them"),
    "BACKFILL_ORDERS": (50, 1_000, "orders of each of them"),
    "IDLE_SHORT": (4, 30, "days of the younger lake"),
    "IDLE_LONG": (8, 365, "days of the older lake"),
    "IDLE_EVENTS": (300, 1_000, "events of each day"),
    "LATE_EVENTS": (300, 100_000, "events of each of 31 days"),
    "LATE_EVENTS_LARGE": (1_000, 1_000_000, "the same of a larger shop"),
    "MYSQL_ITEMS": (100_000, 5_000_000, "rows to extract"),
    "MYSQL_ROWS": (50_000, 1_000_000, "rows to export"),
}


def sizes(size):
    which = {"small": 0, "full": 1}[size]
    return {name: int(os.environ.get(name, found[which])) for name, found in SIZES.items()}


def said(*command):
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT).stdout.strip()


def built(strata):
    return f"{said(strata, '--version')} built {datetime.datetime.fromtimestamp(strata.stat().st_mtime):%Y-%m-%d %H:%M}"


def machine():
    fields = dict(line.split(":", 1) for line in open("/proc/cpuinfo") if ":" in line)
    name = next(value.strip() for key, value in fields.items() if key.strip() == "model name")
    kb = int(open("/proc/meminfo").readline().split()[1])
    return f"{name}, {os.cpu_count()} cores, {kb / 1024**2:.0f} GiB of memory"


def command_line(names):
    told = [f"{name}={os.environ[name]}" for name in ("SIZE", *SIZES) if name in os.environ]
    return " ".join([*told, "scripts/bench", *names])


def main(names):
    unknown = [name for name in names if name not in PARTS]
    if unknown:
        sys.exit(f"error: no part {', '.join(unknown)}\n hint: there are {', '.join(PARTS)}")
    os.chdir(ROOT)
    work = pathlib.Path(os.environ.get("BENCH_DIR", "target/bench")).absolute()
    strata = pathlib.Path(os.environ["STRATA_BIN"]).absolute()
    # Small sizes show that it works; they say nothing, and leave the document alone.
    size = os.environ.get("SIZE", "small")
    document = ROOT / ("docs/benchmarks.md" if size == "full" else f"target/bench/results-{size}.md")
    kept = document.with_suffix(".json")
    for name in names or [name for name in PARTS if name != "build"]:
        say(f"== {name}")
        part = Part(name, sizes(size), work, strata, sys.executable)
        begin, load = datetime.datetime.now(), os.getloadavg()[0]
        PARTS[name].run(part)
        took = (datetime.datetime.now() - begin).seconds
        # Each part is kept as soon as it is there, so that parts of different times stand in one document.
        results = json.loads(kept.read_text()) if kept.exists() else {}
        results[name] = {
            "runs": part.runs,
            "notes": part.notes,
            "sizes": {k: v for k, v in part.sizes.items() if k == "RUNS" or k.startswith(name.upper())},
            "command": command_line(names),
            "date": f"{begin:%Y-%m-%d %H:%M}, {took // 60} min {took % 60} s",
            "built": built(strata),
            "commit": said("git", "describe", "--always", "--dirty"),
            "machine": machine(),
            "load": f"{load:.1f}",
        }
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_text(json.dumps(results, indent=1))
        document.write_text(report.markdown(results, {name: what for name, (_, _, what) in SIZES.items()}))
        say(f"written: {document}")


if __name__ == "__main__":
    main(sys.argv[1:])
