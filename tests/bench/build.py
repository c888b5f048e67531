"""Part `build`: a clean release build in a folder of its own; by hand, on a machine that does nothing else."""

import collections
import json
import pathlib
import re
import shutil
import subprocess

from measure import size_mb

# A dependency is told when this many seconds of compiling would go with it.
HEAVY_S = 15


def run(part):
    target = part.work / "target"
    shutil.rmtree(target, ignore_errors=True)
    part.measured(
        "clean build", "cargo", ["cargo", "build", "--release", "--locked", "--timings"], env={"CARGO_TARGET_DIR": str(target)}
    )
    part.note(f"The binary has {size_mb(target / 'release/strata'):.0f} MB.")
    timings = shutil.copy(target / "cargo-timings/cargo-timing.html", part.work)
    shutil.rmtree(target)
    report(part, pathlib.Path(timings).read_text())


def report(part, page):
    """Notes of cargo's timings: the slowest units, and what would go with each dependency."""
    units = json.loads(re.search(r"UNIT_DATA = (\[.*?\]);", page, re.DOTALL)[1])
    slowest = sorted(units, key=lambda unit: -unit["duration"])[:10]
    told = (f"{unit['name']} {unit['version']}{unit['target']} {unit['duration']:.0f} s" for unit in slowest)
    part.note(f"The ten slowest of {len(units)} units, {sum(unit['duration'] for unit in units):.0f} s: {', '.join(told)}.")
    seconds = collections.Counter()
    for unit in units:
        seconds[unit["name"], unit["version"]] += unit["duration"]
    told = (f"{name} {cost:.0f} s ({crates} crates)" for name, crates, cost in costs(seconds) if cost >= HEAVY_S)
    part.note(f"What nothing else needs, seconds of units that would go with a dependency: {', '.join(told)}.")


def costs(seconds):
    """`(dependency, crates, seconds)`, the heaviest first, of the crates that only this dependency of strata brings."""
    command = ["cargo", "metadata", "--format-version", "1", "--locked"]
    metadata = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    root = metadata["resolve"]["root"]
    needs = {
        node["id"]: [need["pkg"] for need in node["deps"] if any(kind["kind"] != "dev" for kind in need["dep_kinds"])]
        for node in metadata["resolve"]["nodes"]
    }
    crates = {package["id"]: (package["name"], package["version"]) for package in metadata["packages"]}

    def reached(without=None):
        seen, left = {root}, [root]
        while left:
            at = left.pop()
            for need in needs[at]:
                if need not in seen and not (at == root and need == without):
                    seen.add(need)
                    left.append(need)
        return {crates[one] for one in seen if crates[one] in seconds}

    everything = reached()
    gone = ((crates[need][0], everything - reached(without=need)) for need in set(needs[root]))
    return sorted(((name, len(out), sum(seconds[one] for one in out)) for name, out in gone), key=lambda cost: -cost[2])
