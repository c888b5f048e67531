"""Whether the engines have landed the same: python ingest_check.py LAKE_TABLE REJECT_TABLE OUTS

Rows, sums and counts for each day of each engine's Parquet against the lake's, whose files are those of its snapshot.
Rows of nobody are rejects of the lake, and are counted as such.
"""

import pathlib
import sys

import duckdb
from duckdb_day import Table, literal

# Strata makes an empty text NULL here, and a user 0.
RELATION = "select * replace (nullif(trim(xaid), '') as xaid, nullif(uid, 0) as uid) from ({})"
SUMS = "sum(acttime), sum(uid), sum(loading_time), sum(goods_id), sum(act), sum(net), sum(goods_num), sum(stay_time)"
COUNTS = "count(xaid), count(distinct xaid), count(nullif(event_id, '')), count(distinct model), sum(hash(osver, ver, brand))"
PROVENANCE = ["event_hash", "byte_offset", "element", "extra", "arrival_dt"]


def sums(con, relation):
    return con.execute(
        f"select dt, count(*), {SUMS}, {COUNTS} from ({RELATION.format(relation)})"
        " where xaid is not null or uid is not null group by dt order by dt"
    ).fetchall()


def main(lake, rejects, outs):
    con = duckdb.connect()
    lake, rejects = Table(pathlib.Path(lake)), Table(pathlib.Path(rejects))
    ours = sums(con, lake.rows())
    landed, rejected = (sum(rows for _, _, rows in table.files) for table in (lake, rejects))
    for out in sorted(pathlib.Path(outs).iterdir()):
        files = literal(out / "**/*.parquet" if out.is_dir() else out)
        days = ", hive_partitioning = true, hive_types = {'dt': DATE}" if list(out.glob("dt=*")) else ""
        relation = f"select * from read_parquet({files}{days})"
        theirs = sums(con, relation)
        (rows,) = con.execute(f"select count(*) from ({relation})").fetchone()
        if theirs != ours or rows != landed + rejected:
            sys.exit(f"error: {out.stem} has {rows} rows, landed {landed} + rejected {rejected}\n{ours}\n{theirs}")
    files = ", ".join(literal(path) for path, *_ in lake.files)
    sizes = con.execute(
        "select path_in_schema, sum(total_compressed_size) / 1e6"
        f" from parquet_metadata([{files}]) group by all order by 2 desc"
    ).fetchall()
    same = sum(size for column, size in sizes if column not in PROVENANCE)
    more = sum(size for _, size in sizes) - same
    print(f"Lake: {same:.1f} MB in the columns that the others have, too, and {more:.1f} MB in {', '.join(PROVENANCE)}.")
    print(f"Equal for each day in all engines: rows ({landed:,} landed + {rejected:,} rejected), 8 sums, 5 counts.")


if __name__ == "__main__":
    main(*sys.argv[1:])
