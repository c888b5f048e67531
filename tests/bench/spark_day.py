"""One business day's models in Spark, from the lake's own files, in the SQL that DuckDB runs, transpiled by sqlglot.

    python spark_day.py translate PROJECT DAY OUT   the models of PROJECT in Spark's SQL: OUT/day.json
    python spark_day.py run OUT THREADS             runs them, each to zstd Parquet in OUT
"""

import json
import pathlib
import re
import sys
import time

from duckdb_day import Project, in_duckdb, result

TYPES = {"VARCHAR": "STRING", "TIMESTAMP": "TIMESTAMP_NTZ", "INTEGER": "INT", "BLOB": "BINARY"}
DAY_MS = 86_400_000


def functions(project):
    offset = project.offset_ms()
    yield f"local_time(ms bigint) returns timestamp_ntz return cast(timestamp_millis(ms + {offset}) as timestamp_ntz)"
    yield f"local_date(ms bigint) returns date return date_from_unix_date(cast(floor((ms + {offset}) / {DAY_MS}) as int))"
    yield f"day_start_ms(d date) returns bigint return cast(unix_date(d) as bigint) * {DAY_MS} - {offset}"
    yield "epoch_us(t timestamp_ntz) returns bigint return unix_micros(cast(t as timestamp))"
    yield """date_bin(width interval day to second, t timestamp_ntz) returns timestamp_ntz return cast(timestamp_seconds(
        floor(unix_seconds(cast(t as timestamp)) / extract(hour from width) / 3600) * extract(hour from width) * 3600
    ) as timestamp_ntz)"""
    for name, scale in (("ratio", 6), ("money_ratio", 2)):
        # An integer quotient, rounded half away from zero once: its own division rounds twice.
        n, d = (f"cast(abs({x}) * 1000000 as decimal(30,0))" for x in "nd")
        kind = f"decimal(18,{scale})"
        yield f"""{name}(n decimal(30,6), d decimal(30,6)) returns {kind} return cast(
            case when d <> 0 then cast(sign(n) * sign(d) as int) * ((2 * {n} * {10**scale} + {d}) div (2 * {d})) end
            * cast({10**-scale:.{scale}f} as {kind}) as {kind})"""


def in_spark(sql, project):
    import sqlglot

    # Of constants, and so not to be a function of ours where a list of VALUES has it.
    sql = re.sub(r"\byear_before\(([^()]*)\)", r"cast(\1 - interval '1 year' as date)", sql)
    return sqlglot.transpile(in_duckdb(sql, project), read="duckdb", write="spark")[0]


def columns(table):
    return [f"cast({name} as {TYPES.get(kind, kind)}) as {name}" for name, kind in table.columns.items()]


def source(table, but=None):
    """What `relation` needs to know: columns, files, the folder above where the day is in their path, and which rows."""
    files = [path for path, day, _ in table.files if not table.partitioned or day is None or day != but]
    if table.partitioned:
        return columns(table), files, files[0].split("/dt=")[0] if files else None, "true"
    return columns(table), files, None, f"not dt <=> date '{but}'" if but else "true"


def translate(project, out):
    read = {table for model in project.models for table in project.reads(model)}
    plan = {"functions": [f"create temporary function {text}" for text in functions(project)]}
    plan["seeds"] = {name: str(path) for name, path in project.seeds.items()}
    plan["sources"] = {name: source(project.lake[name]) for name in read & project.lake.keys() - project.models.keys()}
    plan["models"] = []
    for model in project.ordered():
        past = None if project.is_whole(model) else source(project.lake[model], project.day)
        query = in_spark(project.models[model], project)
        plan["models"].append([model, query, columns(project.lake[model]), past, model in project.reads(model)])
    (out / "day.json").write_text(json.dumps(plan, indent=1))


def run(out, threads):
    from ingest_peers import ended, spark_session

    plan = json.loads((out / "day.json").read_text())
    session = spark_session(threads, "UTC")

    def relation(names, files, base, where):
        if not files:
            return session.sql(f"select {', '.join(re.sub(r'^cast.(.*?) as', 'cast(null as', n) for n in names)} where false")
        reader = session.read.option("basePath", base) if base else session.read
        return reader.parquet(*files).where(where).selectExpr(*names)

    for text in plan["functions"]:
        session.sql(text)
    for name, path in plan["seeds"].items():
        session.read.option("header", True).option("inferSchema", True).csv(path).createOrReplaceTempView(name)
    for name, its in plan["sources"].items():
        relation(*its).createOrReplaceTempView(name)
    for model, query, names, past, reads_itself in plan["models"]:
        begin = time.monotonic()
        if reads_itself:
            relation(*past).createOrReplaceTempView(model)
        made = session.sql(query).selectExpr(*names)
        made.write.parquet(str(result(out, model)))
        own = session.read.schema(made.schema).parquet(str(result(out, model)))
        (relation(*past).unionAll(own) if past else own).createOrReplaceTempView(model)
        print(f"{model}\t{time.monotonic() - begin:.3f}", flush=True)
    ended(session)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["translate", project, day, out]:
            translate(Project(project, day), pathlib.Path(out))
        case ["run", out, threads]:
            run(pathlib.Path(out), threads)
        case _:
            sys.exit(__doc__)
