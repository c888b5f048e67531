"""docs/benchmarks.md from what was measured: one table a part, the targets beneath it, and what it takes to measure again."""

import importlib.metadata
import statistics
from collections import defaultdict

HEAD = """# Benchmarks

Written by `scripts/bench` from what it measured; the command beneath each table makes it again. Two threads and, where an
engine takes a limit, 2 GiB of memory (Spark's driver: 4 GiB), on the same files, which are in the page cache. Engines run one
after another in alternating rounds, each as a process of its own: its start counts, and so does a JVM's. Wall time is the
median (least to most); processor time and peak memory (the largest of its processes) are medians. The last column is wall
time over strata's: above 1, strata is faster. On a machine that others share, only ratios within one part mean anything, and
those little; the load average before each part is told.

Peers: {versions}."""

# What each part does, and the targets: what is said, the bound, and the quotient that is held against it.
PARTS = {
    "ingest": (
        "Flat log lines to typed zstd Parquet with the event's date and the file's name. Strata's are a table of the lake, with"
        " place and identity of each line, rejects kept, and committed; the others write a file.",
        [
            ("faster than DuckDB, times", ">=", 3, lambda m: m.wall("duckdb") / m.wall("strata")),
            (
                "faster than the best of DuckDB, Polars and chDB, times", ">=", 2.5,
                lambda m: min(map(m.wall, ("duckdb", "polars", "chdb"))) / m.wall("strata"),
            ),
            (
                "faster than DuckDB that writes by day and in order, as the lake is, times", ">=", 3,
                lambda m: m.wall("duckdb_by_day") / m.wall("strata"),
            ),
            ("faster than Spark, times", ">=", 12, lambda m: m.wall("spark") / m.wall("strata")),
            (
                "rate over that of the fastest parser", ">=", 0.5,
                lambda m: min(map(m.wall, ("sonic-rs", "simd-json"))) / m.wall("strata"),
            ),
            ("peak memory over 1 GiB", "<=", 1, lambda m: m.peak("strata") / 1073.7),
            ("peak memory over DuckDB's", "<=", 0.5, lambda m: m.peak("strata") / m.peak("duckdb")),
            ("peak memory over that of DuckDB by day", "<=", 0.5, lambda m: m.peak("strata") / m.peak("duckdb_by_day")),
            ("lake in the same columns over DuckDB's file", "<=", 1.1, lambda m: m.lake / m.output("duckdb")),
        ],
    ),
    "day": (
        "One business day with a history: all models, by `strata build`, against the same SQL in DuckDB and in Spark, which read"
        " the lake's Parquet files and write zstd Parquet. Strata also checks and commits. Earlier days of which orders changed"
        " are made again by strata alone.",
        [
            ("faster than DuckDB's script, times", ">=", 2, lambda m: m.wall("duckdb") / m.wall("strata", "day")),
            ("faster than Spark, times", ">=", 8, lambda m: m.wall("spark") / m.wall("strata", "day")),
            ("peak memory over DuckDB's", "<=", 0.5, lambda m: m.peak("strata", "day") / m.peak("duckdb")),
        ],
    ),
    "backfill": (
        "Messy days, raw files to exported metrics: `strata run` on an empty project, against one DuckDB process that reads the"
        " same files, makes each model of the whole range in one statement (a lateral join with the days) and writes zstd"
        " Parquet. DuckDB's script skips what it cannot read, unfolds no envelopes, checks and exports nothing.",
        [
            ("faster than DuckDB's script, times", ">=", 2, lambda m: m.wall("duckdb") / m.wall("strata")),
            ("peak memory over DuckDB's", "<=", 0.5, lambda m: m.peak("strata") / m.peak("duckdb")),
        ],
    ),
    "idle": (
        "Small days: what a run and a plan cost when nothing has arrived, what a run costs after one event of 20 days ago, and a"
        " night late in the year against an early one.",
        [
            ("nothing to do, `run`, seconds", "<=", 0.3, lambda m: m.wall("strata run")),
            ("nothing to do, `plan`, seconds", "<=", 0.3, lambda m: m.wall("strata plan")),
            ("a late event faster than its 21 days in full, times", ">=", 20, lambda m: m.late("late event")),
            ("a late night over an early one", "<=", 1.2, lambda m: m.nights[1] / m.nights[0]),
        ],
    ),
    "late": (
        "Large days: what a run costs after one event of 20 days ago of a visitor who is known, against its days built in full.",
        [
            ("a late event faster than its 21 days in full, times, the smaller shop", ">=", 20, lambda m: m.lates()[0]),
            ("the same, the larger shop", ">=", 20, lambda m: m.lates()[1]),
        ],
    ),
    "mysql": (
        "A private MariaDB: a table into an empty lake (strata reads at one moment and closes its books with the server's sums),"
        " and a table into an empty database (strata reads it back before it commits).",
        [],
    ),
    "build": ("A clean build of the release profile.", []),
}  # fmt: skip


class Medians:
    """The runs of a part by work and engine."""

    def __init__(self, part):
        self.runs = defaultdict(list)
        for run in part["runs"]:
            self.runs[run["work"], run["engine"]].append(run)
        self.lake = next((float(n.split()[1]) for n in part["notes"] if n.startswith("Lake: ")), None)
        self.nights = [self.of("nightly run", engine, "wall_s") for work, engine in self.runs if work == "nightly run"]

    def of(self, work, engine, what):
        return statistics.median(run[what] for run in self.runs[work, engine])

    def late(self, work):
        full = [engine for w, engine in self.runs if w == work and engine.startswith("strata build")][0]
        return self.wall(full, work) / self.wall(f"strata run, {work}", work)

    def lates(self):
        return [self.late(work) for work in dict.fromkeys(work for work, _ in self.runs)]

    def found(self, engine, work, what):
        works = [w for w, e in self.runs if e == engine and work in (None, w)]
        return self.of(works[0], engine, what)

    def wall(self, engine, work=None):
        return self.found(engine, work, "wall_s")

    def peak(self, engine, work=None):
        return self.found(engine, work, "peak_mb")

    def output(self, engine, work=None):
        return self.found(engine, work, "output_mb")


def table(medians):
    yield "| work | engine | wall s | processor s | peak MB | output MB | wall over strata's |\n|---|---|---:|---:|---:|---:|---:|"
    for (work, engine), runs in medians.runs.items():
        walls = [run["wall_s"] for run in runs]
        wall = statistics.median(walls)
        spread = f" ({min(walls):.2f}–{max(walls):.2f})" if len(walls) > 1 else ""
        cpu, peak = (medians.of(work, engine, what) for what in ("cpu_s", "peak_mb"))
        output = "" if runs[0]["output_mb"] is None else f"{medians.of(work, engine, 'output_mb'):.1f}"
        ours = medians.runs.get((work, "strata"))
        ratio = f"{wall / medians.of(work, 'strata', 'wall_s'):.2f}" if ours else ""
        yield f"| {work} | {engine} | {wall:.2f}{spread} | {cpu:.2f} | {peak:.0f} | {output} | {ratio} |"


def targets(medians, wanted):
    yield "| target | wanted | measured | met |\n|---|---:|---:|---|"
    for what, sign, bound, quotient in wanted:
        try:
            measured = quotient(medians)
        except (IndexError, TypeError):  # a peer that is missing
            yield f"| {what} | {sign} {bound} | not measured | |"
            continue
        met = measured >= bound if sign == ">=" else measured <= bound
        yield f"| {what} | {sign} {bound} | {measured:.2f} | {'yes' if met else 'no'} |"


def section(name, part, meanings):
    what, wanted = PARTS[name]
    medians = Medians(part)
    yield f"\n## {name}\n\n{what}\n"
    yield from table(medians)
    if wanted:
        yield ""
        yield from targets(medians, wanted)
    yield ""
    yield from (f"* {note}" for note in part["notes"])
    yield "* " + "; ".join(f"{meanings[size]}: {value:,}" for size, value in part["sizes"].items()) + "."
    yield f"* `{part['command']}`, {part['date']}, {part['built']}, scripts of {part['commit']}."
    yield f"* {part['machine']}; load average {part['load']} before it began."


def version(package):
    try:
        return f"{package} {importlib.metadata.version(package)}"
    except importlib.metadata.PackageNotFoundError:
        return f"{package} is missing"


def markdown(results, meanings):
    versions = ", ".join(map(version, ("duckdb", "polars", "chdb", "pyspark", "sqlglot", "connectorx", "pyarrow")))
    lines = [HEAD.format(versions=versions)]
    for name in PARTS:
        if name in results:
            lines += section(name, results[name], meanings)
    return "\n".join(lines) + "\n"
