"""Part `ingest`: flat log lines → typed zstd Parquet. Strata's lake also has offsets, rejects and a commit."""

import os
import shutil
import subprocess

from measure import HERE, emptied, size_mb

PEERS = {"duckdb": "duckdb", "duckdb_by_day": "duckdb", "polars": "polars", "chdb": "chdb", "spark": "pyspark"}


def run(part):
    sizes = part.sizes
    shop = part.sample(
        "flat", days=1, devices=min(1_000_000, sizes["INGEST_EVENTS"]), events=sizes["INGEST_EVENTS"], orders=100,
        goods=100_000, seed=1, start="2026-01-01", messy=0,
    )  # fmt: skip
    logs = shop / "user_action"
    part.note(f"Input: {size_mb(logs):,.0f} MB in {sum(1 for f in logs.rglob('*.log'))} files.")
    engines = [engine for engine, module in PEERS.items() if part.has(module)]
    if "spark" in engines:
        part.note("Spark on " + subprocess.run(["java", "-version"], capture_output=True, text=True).stderr.splitlines()[0] + ".")
    parsers = built_parsers(part)
    project, outs = part.project("project"), emptied(part.work / "out")
    lake = project / "warehouse/lake/ods"
    tables = [lake / "ods_user_action", lake / "ods_reject"]
    for number in part.rounds():
        shutil.rmtree(project / "warehouse", ignore_errors=True)
        part.measured("ingest", "strata", part.strata_in(project, shop, "ingest", "logs"), tables)
        for engine in engines:
            if engine == "spark" and number >= sizes["SPARK_RUNS"]:
                continue
            out = outs / f"{engine}.parquet"
            shutil.rmtree(out) if out.is_dir() else out.unlink(missing_ok=True)
            command = [part.python, HERE / "ingest_peers.py", engine, logs, out, part.threads]
            part.measured("ingest", engine, command, [out])
        for name, program in parsers.items():
            part.measured("parse only", name, [program, name, part.threads, logs])
    for line in part.checked("ingest_check.py", tables[0], tables[1], outs):
        part.note(line)


def built_parsers(part):
    """The floor: general SIMD parsers, compiled for this very processor; none where they cannot be built."""
    target = part.work / "parse"
    command = ["cargo", "build", "--release", "--locked", "--quiet", "--manifest-path", HERE / "parse/Cargo.toml"]
    env = {**os.environ, "CARGO_TARGET_DIR": str(target), "RUSTFLAGS": "-C target-cpu=native"}
    if subprocess.run(command, env=env).returncode:
        part.note("The parsers of tests/bench/parse could not be built and were not measured.")
        return {}
    return dict.fromkeys(["sonic-rs", "simd-json"], target / "release/parse")
