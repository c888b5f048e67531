"""Part `build`: a clean release build in a folder of its own; by hand, on a machine that does nothing else."""

import json
import re
import shutil

from measure import size_mb


def run(part):
    target = part.work / "target"
    shutil.rmtree(target, ignore_errors=True)
    part.measured(
        "clean build", "cargo", ["cargo", "build", "--release", "--locked", "--timings"], env={"CARGO_TARGET_DIR": str(target)}
    )
    part.note(f"The binary has {size_mb(target / 'release/strata'):.0f} MB.")
    page = (target / "cargo-timings/cargo-timing.html").read_text()
    units = json.loads(re.search(r"UNIT_DATA = (\[.*?\]);", page, re.DOTALL)[1])
    slowest = sorted(units, key=lambda unit: -unit["duration"])[:10]
    told = (f"{unit['name']} {unit['version']}{unit['target']} {unit['duration']:.0f} s" for unit in slowest)
    part.note("The ten slowest units: " + ", ".join(told) + ".")
    shutil.rmtree(target)
