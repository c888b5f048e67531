"""Flat log lines → typed zstd Parquet with the event's date and the file's name, by one engine in a process of its own.

    python ingest_peers.py ENGINE LOGS OUT THREADS     ENGINE: duckdb, duckdb_by_day, polars, chdb, spark

`duckdb_by_day` writes what strata's lake has: a folder for each day, lines in the order of the log. Each is told the types and is written as its manual has it. Rows need no order, where an engine can be told so.
"""

import os
import pathlib
import sys

ZONE = "Asia/Shanghai"
LONGS = "uid acttime loading_time goods_id stay_time".split()
INTS = "platform net act ad_status location loading_type goods_num".split()
TEXTS = "event_id xaid ver vercode brand model display osver".split()


def duckdb(logs, out, threads, by_day=False):
    import duckdb

    types = {**dict.fromkeys(LONGS, "BIGINT"), **dict.fromkeys(INTS, "INTEGER"), **dict.fromkeys(TEXTS, "VARCHAR")}
    con = duckdb.connect()
    con.execute(f"set threads = {threads}")
    con.execute(f"set preserve_insertion_order = {str(by_day).lower()}")
    con.execute(f"""copy (
        select *, cast(to_timestamp(acttime / 1000.0) at time zone '{ZONE}' as date) as dt
        from read_json('{logs}/*/*', format = 'newline_delimited', columns = {types}, filename = true)
    ) to '{out}' (format parquet, compression zstd{', partition_by (dt)' if by_day else ''})""")


def duckdb_by_day(logs, out, threads):
    duckdb(logs, out, threads, by_day=True)


def polars(logs, out, threads):
    os.environ["POLARS_MAX_THREADS"] = str(threads)
    import polars as pl

    types = {**dict.fromkeys(LONGS, pl.Int64), **dict.fromkeys(INTS, pl.Int32), **dict.fromkeys(TEXTS, pl.String)}
    date = pl.from_epoch("acttime", "ms").dt.replace_time_zone("UTC").dt.convert_time_zone(ZONE).dt.date()
    lines = pl.scan_ndjson(f"{logs}/*/*", schema=types, include_file_paths="filename")
    lines.with_columns(dt=date).sink_parquet(out, compression="zstd", maintain_order=False)


def chdb(logs, out, threads):
    import chdb

    types = {**dict.fromkeys(LONGS, "Int64"), **dict.fromkeys(INTS, "Int32"), **dict.fromkeys(TEXTS, "String")}
    columns = ", ".join(f"{name} Nullable({kind})" for name, kind in types.items())
    chdb.query(f"""
        select *, toDate32(fromUnixTimestamp64Milli(assumeNotNull(acttime), '{ZONE}')) as dt, _file as filename
        from file('{logs}/*/*', JSONEachRow, '{columns}')
        into outfile '{out}' format Parquet
        settings max_threads = {threads}, output_format_parquet_compression_method = 'zstd',
            input_format_skip_unknown_fields = 1
    """)


def spark(logs, out, threads):
    from pyspark.sql import functions as f, types as t

    kinds = [(LONGS, t.LongType()), (INTS, t.IntegerType()), (TEXTS, t.StringType())]
    schema = t.StructType([t.StructField(name, kind) for names, kind in kinds for name in names])
    session = spark_session(threads, ZONE)
    lines = session.read.schema(schema).option("recursiveFileLookup", True).json(logs)
    date = f.to_date(f.timestamp_millis("acttime"))
    lines.withColumns({"filename": f.input_file_name(), "dt": date}).write.parquet(out)
    ended(session)


def spark_session(threads, zone):
    from pyspark.sql import SparkSession

    session = (
        SparkSession.builder.master(f"local[{threads}]")
        .config("spark.driver.memory", "4g")
        .config("spark.ui.enabled", "false")
        .config("spark.sql.ansi.enabled", "false")
        .config("spark.sql.session.timeZone", zone)
        .config("spark.sql.timestampType", "TIMESTAMP_NTZ")
        .config("spark.sql.shuffle.partitions", 8)
        .config("spark.sql.parquet.compression.codec", "zstd")
        .getOrCreate()
    )
    session.sparkContext.setLogLevel("ERROR")
    return session


def ended(session):
    """Waits for the JVM, so that its time and memory count."""
    gateway = session.sparkContext._gateway
    session.stop()
    gateway.shutdown()
    gateway.proc.stdin.close()
    gateway.proc.wait()


if __name__ == "__main__":
    engine, logs, out, threads = sys.argv[1:]
    globals()[engine](logs, out, int(threads))
