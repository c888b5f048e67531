"""All models of a range of days in DuckDB, from the raw files, each in one statement: the other side of the part `backfill`.

    python duckdb_range.py translate PROJECT SHOP FIRST LAST OUT   what DuckDB is to run: OUT/day.json
    python duckdb_range.py run OUT THREADS MEMORY                  runs it: ODS and models, each to a zstd Parquet file in OUT
    python duckdb_range.py compare PROJECT LAST OUT equal|told     the models' rows against the lake's

A model with `$dt` is joined laterally with the days, which DuckDB decorrelates: one pass over the range, no loop. Two read
their own earlier days and are made day after day. ODS is read as a careful script would: flat lines, seconds mended, rows
of nobody and of impossible dates left out, what cannot be read skipped. There are no rejects, envelopes, offsets or checks.
"""

import datetime
import json
import pathlib
import sys
import tomllib

from duckdb_day import SETTINGS, SNAPSHOT, Project, compare, in_duckdb, literal, macros, result, run, written

# Where a row came from: DuckDB does not know it as exactly, and it is not compared.
PROVENANCE = ["file", "byte_offset", "element", "row_number", "arrival_dt", "extra"]

KINDS = {"i32": "INTEGER", "i64": "BIGINT", "string": "VARCHAR", "datetime": "TIMESTAMP", "money": "DECIMAL(18,2)"}

MASKS = [
    "create macro mask_name(x) as case when length(x) > 1 then left(x, 1) else '' end || '**'",
    "create macro mask_email(x) as case when instr(x, '@') > 2 then left(x, 1) else '' end || '***@' || split_part(x, '@', -1)",
    "create macro mask_phone(x) as left(x, 3) || '****' || right(x, 4)",
]

ARRIVAL = r"cast(regexp_extract(filename, '(\d{4}-\d\d-\d\d)/[^/]+$', 1) as date)"
FILE = r"regexp_extract(filename, '[^/]+/[^/]+$')"


def events(project, shop):
    declared = project.declared["user_action"]
    columns = {field["name"]: KINDS[field["type"]] for field in declared["field"]}
    mended = {"uid": "nullif(uid, 0)", "xaid": "nullif(trim(xaid), '')", "event_id": "nullif(event_id, '')"}
    mended["acttime"] = "case when acttime < 100000000000 then acttime * 1000 else acttime end"
    fields = ", ".join(f"{mended.get(name, name)} as {name}" for name in columns)
    return f"""
        with line as (
            select {fields}, {ARRIVAL} as arrival_dt, {FILE} as file, row_number() over () as byte_offset
            from read_json('{shop}/user_action/*/*', format = 'newline_delimited', columns = {columns},
                ignore_errors = true, filename = true)
        )
        select *, local_date(acttime) as dt, null as extra, 0 as element,
            cast(case when event_id is null then hash({", ".join(columns)}) else hash(event_id) end >> 1 as bigint) as event_hash
        from line
        where act between 1 and 5 and coalesce(xaid, cast(uid as varchar)) is not null
            and local_date(acttime) between arrival_dt - 30 and arrival_dt + 1"""


def extract(table, shop):
    def column(declared):
        name, mask = declared["name"], declared.get("mask", "none")
        return f"try_cast({name} as {KINDS[declared['type']]}) as {name}" if mask == "none" else f"mask_{mask}({name}) as {name}"

    columns = ", ".join(map(column, table["column"]))
    day = f"cast({table['day']} as date)" if "day" in table else "arrival_dt"
    keys = " and ".join(f"{key} is not null" for key in table["key"])
    return f"""
        select *, {day} as dt
        from (
            select {columns}, {ARRIVAL} as arrival_dt, {FILE} as file, row_number() over () as row_number
            from read_csv('{shop}/orders/*/{table["name"]}.csv*', header = true, all_varchar = true,
                union_by_name = true, ignore_errors = true, filename = true)
        )
        where {keys}"""


def days_of(project, model, first, last):
    """The relation of the days that a model is made for, each with the newest snapshots there are on it."""
    tables = sorted(set(SNAPSHOT.findall(project.models[model])))
    snapshots = "".join(
        f", coalesce((select max(dt) from {t} where dt <= day.dt), (select min(dt) from {t})) as {t}" for t in tables
    )
    # A model that asks for rows on no day is made for no day, too.
    null = " union all select null" if "is not distinct from $dt" in project.models[model] else ""
    days = f"select cast(unnest(generate_series(date '{first}', date '{last}', interval 1 day)) as date) as dt{null}"
    return f"(select day.dt{snapshots} from ({days}) as day) as each_day"


def translate(project, shop, first, last, out):
    before = [*SETTINGS[:-1], *macros(project), *MASKS]
    for seed in sorted(project.seeds):
        before.append(f"create table {seed} as from read_csv({literal(project.seeds[seed])}, header = true)")
    sources = {"ods_user_action": events(project, shop)}
    for table in project.declared["orders"]["table"]:
        sources[f"ods_{table['name']}"] = extract(table, shop)
    models = [[name, step(project.lake[name].cast(query), out, name)] for name, query in sources.items() if name in project.lake]
    for model in project.ordered():
        table = project.lake[model]
        if model in project.reads(model):
            columns = ", ".join(f"{name} {kind}" for name, kind in table.columns.items())
            steps = [f"create table {model} ({columns})"]
            for n in range((last - first).days + 1):
                day = f"date '{first + datetime.timedelta(days=n)}'"
                steps.append(f"insert into {model} {table.cast(in_duckdb(project.models[model], project, day))}")
            steps.append(written(f"from {model}", out, model))
        else:
            query = SNAPSHOT.sub(r"each_day.\1", project.models[model])
            query = in_duckdb(query, project, "each_day.dt")
            if not project.is_whole(model):
                query = f"select made.* from {days_of(project, model, first, last)}, lateral (\n{query}\n) as made"
            steps = step(table.cast(query), out, model)
        models.append([model, steps])
    (out / "day.json").write_text(json.dumps({"before": before, "models": models}, indent=1))


def step(query, out, name):
    return [written(query, out, name), f"create view {name} as from read_parquet({literal(result(out, name))})"]


def opened(folder, last):
    project = Project(folder, last)
    project.declared = {}
    for path in pathlib.Path(folder).glob("conf/sources/*.toml"):
        project.declared[path.stem] = tomllib.loads(path.read_text())
    return project


def main():
    match sys.argv[1:]:
        case ["translate", project, shop, first, last, out]:
            first, last_day = map(datetime.date.fromisoformat, (first, last))
            translate(opened(project, last), shop, first, last_day, pathlib.Path(out))
        case ["run", out, threads, memory]:
            run(pathlib.Path(out), threads, memory)
        case ["compare", project, last, out, "equal" | "told" as wanted]:
            equal = compare(Project(project, last), pathlib.Path(out), "true", but=PROVENANCE)
            sys.exit(0 if equal or wanted == "told" else 1)
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main()
