"""One business day's models in DuckDB, from the lake's own files: the other side of the part `day` of scripts/bench.

    python duckdb_day.py translate PROJECT DAY OUT   the models of PROJECT in DuckDB's SQL: OUT/day.json
    python duckdb_day.py run OUT THREADS MEMORY      runs them, each to a zstd Parquet file in OUT
    python duckdb_day.py compare PROJECT DAY OUT     every model's rows against the lake's; exits 1 if they differ

A model with `$dt` is computed for the day; its earlier days, and ODS, are the lake's. One without is computed whole.
What was computed is read from DuckDB's own files from then on. `translate` needs a lake that has the day built: it
names the files of its snapshots, without the day's own of any model. A model that cannot be translated is an error.
"""

import datetime
import json
import pathlib
import re
import sys
import time
import tomllib
import zoneinfo

import duckdb

TYPES = {
    "long": "BIGINT",
    "integer": "INTEGER",
    "short": "SMALLINT",
    "byte": "TINYINT",
    "string": "VARCHAR",
    "boolean": "BOOLEAN",
    "double": "DOUBLE",
    "float": "FLOAT",
    "date": "DATE",
    "timestamp_ntz": "TIMESTAMP",
    "binary": "BLOB",
}

# What DuckDB does otherwise than the models' dialect, where a setting decides. Rows of a partition have no order, so
# DuckDB need not keep one: that saves it memory.
SETTINGS = [
    "set integer_division = true",
    "set default_null_order = 'nulls_last_on_asc_first_on_desc'",
    "set preserve_insertion_order = false",
]

# n / d in integers of 128 bits, rounded half away from zero once. Its own decimal division would be a DOUBLE.
QUOTIENT = """create macro {name}(n, d) as cast(
    case when d <> 0 then
        sign(n) * sign(d) * cast(
            (2 * {unscaled_n} * {power} + {unscaled_d}) // (2 * {unscaled_d}) as decimal(30, 0)
        ) * cast({unit} as decimal({scale}, {scale}))
    end as decimal(18, {scale}))"""


class Table:
    """A table of the lake: its columns and the files of its newest snapshot, each with the day of its folder."""

    def __init__(self, folder):
        from deltalake import DeltaTable
        import pyarrow

        delta = DeltaTable(str(folder))
        self.columns = {
            field["name"]: TYPES.get(field["type"]) or decimal(field["type"])
            for field in json.loads(delta.schema().to_json())["fields"]
        }
        self.partitioned = bool(delta.metadata().partition_columns)
        actions = pyarrow.table(delta.get_add_actions(flatten=True)).to_pylist()
        self.files = sorted((str(folder / a["path"]), a.get("partition.dt"), a["num_records"]) for a in actions)

    def rows(self, but=None):
        """A relation of the table's rows, without those of a day."""
        files = [path for path, day, _ in self.files if not self.partitioned or day is None or day != but]
        columns = ", ".join(self.columns)
        if not files:
            nulls = ", ".join(f"cast(null as {kind}) as {name}" for name, kind in self.columns.items())
            return f"select {nulls} where false"
        hive = ", hive_partitioning = true, hive_types = {'dt': DATE}" if self.partitioned else ""
        where = "" if self.partitioned or but is None else f" where dt is distinct from date '{but}'"
        return f"select {columns} from read_parquet([{', '.join(map(literal, files))}]{hive}){where}"

    def cast(self, query):
        """A query's rows in the table's columns and types."""
        columns = ", ".join(f"cast({name} as {kind}) as {name}" for name, kind in self.columns.items())
        return f"select {columns} from (\n{query}\n)"

    def days(self):
        """The days with rows."""
        return sorted({day for _, day, rows in self.files if day is not None and rows})


def decimal(kind):
    if not kind.startswith("decimal("):
        raise SystemExit(f"error: no type of DuckDB is known for {kind}")
    return kind.upper()


def literal(text):
    return "'" + str(text).replace("'", "''") + "'"


class Project:
    """The models, the lake they made and the settings that bear on them."""

    def __init__(self, folder, day, lake=None):
        folder = pathlib.Path(folder)
        with open(folder / "conf/warehouse.toml", "rb") as file:
            self.settings = tomllib.load(file)
        self.day = datetime.date.fromisoformat(day)
        self.models = {path.stem: without_comments(path.read_text()) for path in folder.glob("sql/*/*.sql")}
        self.seeds = {f"seed_{path.stem}": path for path in folder.glob("conf/seeds/*.csv")}
        lake = pathlib.Path(lake or folder / self.settings["lake"]["url"])
        self.lake = {log.parent.name: Table(log.parent) for log in lake.glob("*/*/_delta_log")}

    def is_whole(self, model):
        return "$dt" not in self.models[model]

    def reads(self, model):
        """The tables that a model reads, itself included if it reads its own past."""
        names = set(re.findall(r"\b(?:ods|dwd|dws|app|seed)_\w+", self.models[model]))
        return sorted(names & (self.models.keys() | self.lake.keys() | self.seeds.keys()))

    def ordered(self):
        """The models, each after those it reads."""
        done, order = set(), []

        def visit(model):
            if model in self.models and model not in done:
                done.add(model)
                for read in self.reads(model):
                    visit(read)
                order.append(model)

        for model in sorted(self.models):
            visit(model)
        return order

    def first_loaded(self, source):
        """The first loaded day, from the tables that the sources' declarations name."""
        table = {"logs": "ods_user_action", "orders": "dwd_order"}
        if source == "both":
            return min(self.first_loaded(name) for name in table)
        start = self.settings.get("start", datetime.date.min)
        return max(start, self.lake[table[source]].days()[0])

    def latest_snapshot(self, table):
        days = self.lake[table].days()
        return max([day for day in days if day <= self.day], default=days[0])

    def offset_ms(self):
        """How far the zone's clock is ahead of UTC: one number, else the macros would not do."""
        zone = zoneinfo.ZoneInfo(self.settings["timezone"])
        days = (self.day + datetime.timedelta(days=n) for n in (-400, -200, 0, 1))
        offsets = {datetime.datetime(d.year, d.month, d.day, tzinfo=zone).utcoffset() for d in days}
        if len(offsets) > 1:
            raise SystemExit("error: the benchmark wants a zone without daylight saving time")
        return int(offsets.pop().total_seconds() * 1000)


def without_comments(sql):
    return re.sub(r"('[^']*')|--[^\n]*", r"\1", sql).strip().rstrip(";")


SNAPSHOT = re.compile(r"\blatest_snapshot\(\s*'(\w+)'\s*,\s*\$dt\s*\)")


def in_duckdb(sql, project, day=None):
    """A model's SELECT in DuckDB's dialect, for the project's day, or for an expression of a day."""
    # Functions about the lake's days are answered here, as they are by the warehouse when it plans a query.
    sql = SNAPSHOT.sub(lambda found: f"date '{project.latest_snapshot(found[1])}'", sql)
    sql = re.sub(r"\bfirst_loaded_day\(\s*'(\w+)'\s*\)", lambda found: f"date '{project.first_loaded(found[1])}'", sql)
    # The day, and a distance from it: a date minus an interval is a TIMESTAMP in DuckDB, here it is a date.
    sql = re.sub(r"\$dt\s*[-+]\s*interval\s*'[^']*'", r"cast(\g<0> as date)", sql)
    sql = sql.replace("$dt", day or f"date '{project.day}'")
    # DuckDB does not cast a time to its number of microseconds.
    sql = re.sub(r"\bcast\(cast\((\w+) as timestamp\(6\)\) as bigint\)", r"epoch_us(\1)", sql)
    # DuckDB knows semi joins of the left side only, and does not say `left`.
    sql = re.sub(r"\bfrom\s+(\w+)\s+right\s+(semi|anti)\s+join\s+(\w+)", r"from \3 \2 join \1", sql)
    sql = re.sub(r"\bleft\s+(semi|anti)\s+join\b", r"\1 join", sql)
    return sql


def macros(project):
    """The warehouse's own functions, and those of the engine that DuckDB calls something else."""
    offset = project.offset_ms()
    yield f"create macro local_time(ms) as epoch_ms(ms + {offset})"
    yield f"create macro local_date(ms) as cast(epoch_ms(ms + {offset}) as date)"
    yield f"create macro day_start_ms(d) as epoch_ms(cast(d as timestamp)) - {offset}"
    yield "create macro date_bin(width, t) as time_bucket(width, t, timestamp '1970-01-01')"
    yield "create macro year_before(d) as cast(d - interval '1 year' as date)"
    for name, scale in (("ratio", 6), ("money_ratio", 2)):
        # Six decimals are as many as an operand has.
        unscaled = {f"unscaled_{x}": f"cast(abs(cast({x} as decimal(30, 6))) * 1000000 as hugeint)" for x in "nd"}
        unit = "0." + "1".zfill(scale)
        yield QUOTIENT.format(name=name, scale=scale, power=f"cast({10**scale} as hugeint)", unit=unit, **unscaled)


def translate(project, out):
    """What DuckDB is to run: statements before the clock of any model, then one a model and the view of its result."""
    before = [*SETTINGS, *macros(project)]
    read = {table for model in project.models for table in project.reads(model)}
    for seed in sorted(read & project.seeds.keys()):
        before.append(f"create table {seed} as from read_csv({literal(project.seeds[seed])}, header = true)")
    for table in sorted(read - project.models.keys() - project.seeds.keys()):
        before.append(f"create view {table} as {project.lake[table].rows()}")
    models = []
    for model in project.ordered():
        table = project.lake[model]
        steps = []
        if model in project.reads(model):
            steps.append(f"create view {model} as {table.rows(but=project.day)}")
        steps.append(written(table.cast(in_duckdb(project.models[model], project)), out, model))
        own = f"select {', '.join(table.columns)} from read_parquet({literal(result(out, model))})"
        earlier = "" if project.is_whole(model) else f"{table.rows(but=project.day)} union all "
        steps.append(f"create or replace view {model} as {earlier}{own}")
        models.append([model, steps])
    (out / "day.json").write_text(json.dumps({"before": before, "models": models}, indent=1))


def result(out, model):
    return out / f"{model}.parquet"


def written(query, out, model):
    return f"copy (\n{query}\n) to {literal(result(out, model))} (format parquet, compression zstd)"


def run(out, threads, memory):
    plan = json.loads((out / "day.json").read_text())
    con = duckdb.connect()
    con.execute(f"set threads = {int(threads)}")
    con.execute(f"set memory_limit = {literal(memory)}")
    con.execute(f"set temp_directory = {literal(out / 'spill')}")
    for statement in plan["before"]:
        con.execute(statement)
    for model, steps in plan["models"]:
        begin = time.monotonic()
        for statement in steps:
            try:
                con.execute(statement)
            except duckdb.Error as error:
                raise SystemExit(f"error: {model} in DuckDB: {error}\n{statement}") from error
        print(f"{model}\t{time.monotonic() - begin:.3f}")


def compare(project, out, days, but=()):
    """Says which models have other rows on some days in DuckDB than in the lake, but for some columns; True when none has."""
    con = duckdb.connect()
    con.execute("set threads = 2")
    con.execute(f"set temp_directory = {literal(out / 'spill')}")
    equal, rows = 0, 0
    for model in project.ordered():
        table = project.lake[model]
        where = "" if project.is_whole(model) else f" where {days}"
        columns = ", ".join(name for name in table.columns if name not in but)
        made = result(out, model)
        made = made / "*.parquet" if made.is_dir() else made
        con.execute(f"create or replace view duck as select {columns} from read_parquet({literal(made)})")
        con.execute(f"create or replace view lake as select {columns} from ({table.rows()}){where}")
        # The sum of the rows' hashes does not depend on their order.
        digest = f"select count(*), sum(cast(hash({columns}) as hugeint)) from "
        ours, theirs = (con.execute(digest + side).fetchone() for side in ("lake", "duck"))
        if ours == theirs or only_rounding_differs(con, table, but):
            equal, rows = equal + 1, rows + ours[0]
            if ours != theirs:
                print(f"{model}  equal but for the last digits of doubles (1e-9)")
            continue
        print(f"{model}  DIFFERENT: {ours[0]} rows in the lake, {theirs[0]} in DuckDB")
        for one, other in (("lake", "duck"), ("duck", "lake")):
            for row in con.execute(f"from {one} except all from {other} limit 3").fetchall():
                print(f"    only {one}: {row}")
    print(f"{equal} of {len(project.models)} models have equal rows in both, {rows:,} rows")
    return equal == len(project.models)


def only_rounding_differs(con, table, but):
    """Whether rows are equal but for the last digits of doubles, which depend on the order of additions."""
    doubles = [name for name, kind in table.columns.items() if kind == "DOUBLE"]
    if not doubles:
        return False
    keys = ", ".join(name for name in table.columns if name not in doubles and name not in but)
    ranked = f"select *, row_number() over (partition by {keys} order by {', '.join(doubles)}) as n_th from "
    same = [f"a.{name} is not distinct from b.{name}" for name in [*keys.split(", "), "n_th"]]
    for x in doubles:
        near = f"abs(a.{x} - b.{x}) <= 1e-9 * greatest(abs(a.{x}), abs(b.{x}), 1e-3)"
        same.append(f"(a.{x} is not distinct from b.{x} or {near})")
    (strays,) = con.execute(
        f"select count(*) from ({ranked} lake) as a full join ({ranked} duck) as b on {' and '.join(same)}"
        " where a.n_th is null or b.n_th is null"
    ).fetchone()
    return strays == 0


def main():
    match sys.argv[1:]:
        case ["translate", project, day, out]:
            translate(Project(project, day), pathlib.Path(out))
        case ["run", out, threads, memory]:
            run(pathlib.Path(out), threads, memory)
        case ["compare", project, day, out]:
            sys.exit(0 if compare(Project(project, day), pathlib.Path(out), f"dt = date '{day}'") else 1)
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main()
