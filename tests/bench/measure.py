"""Commands measured as whole processes, and what one part of the benchmark collects of them."""

import datetime
import os
import pathlib
import shutil
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
HERE = pathlib.Path(__file__).parent


def say(text):
    print(f"{datetime.datetime.now():%T}  {text}", file=sys.stderr, flush=True)


def size_mb(*paths):
    """The bytes of files and folders, in millions."""
    files = [f for path in map(pathlib.Path, paths) for f in ([path] if path.is_file() else path.rglob("*"))]
    return sum(f.stat().st_size for f in files if f.is_file()) / 1e6


def emptied(folder):
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


class Part:
    """One part's settings and the runs it has measured."""

    def __init__(self, name, sizes, work, strata, python):
        self.name, self.sizes, self.strata, self.python = name, sizes, strata, python
        self.work = work / name
        self.work.mkdir(parents=True, exist_ok=True)
        self.threads, self.memory = 2, "2GiB"
        self.runs, self.notes = [], []

    def note(self, text):
        say(text)
        if text not in self.notes:
            self.notes.append(text)

    def rounds(self):
        return range(self.sizes["RUNS"])

    def has(self, module):
        """Whether a peer's package is there; its absence is told, and is no error."""
        found = subprocess.run([self.python, "-c", f"import {module}"], capture_output=True).returncode == 0
        if not found:
            self.note(f"{module} is missing and was not measured.")
        return found

    def measured(self, work, engine, command, output=None, env=None):
        """Runs a command: its wall and processor time and peak memory, its children's included. Returns what it says."""
        log = self.work / f"{work}-{engine}.log".replace(" ", "-")
        os.sync()
        with open(log, "w") as said:
            begin = time.monotonic()
            child = subprocess.Popen([*map(str, command)], stdout=said, stderr=said, env={**os.environ, **(env or {})})
            _, status, used = os.wait4(child.pid, 0)
            wall = time.monotonic() - begin
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode:
            raise SystemExit(f"error: {engine} ended with {child.returncode}\n{log.read_text()[-4000:]}")
        run = {"work": work, "engine": engine, "wall_s": wall, "cpu_s": used.ru_utime + used.ru_stime}
        run |= {"peak_mb": used.ru_maxrss * 1024 / 1e6, "output_mb": output and size_mb(*output)}
        self.runs.append(run)
        say(f"{work}  {engine}  {wall:.2f} s wall, {run['cpu_s']:.2f} s processor, {run['peak_mb']:.0f} MB")
        return log.read_text()

    def checked(self, script, *arguments):
        """Runs one of the scripts beside this one, outside of any clock; its last line is noted."""
        command = [self.python, HERE / script, *arguments]
        said = subprocess.run([*map(str, command)], capture_output=True, text=True)
        if said.returncode:
            raise SystemExit(f"error: {script} {arguments[0]}\n{said.stdout[-4000:]}{said.stderr[-4000:]}")
        return said.stdout.strip().splitlines()

    def sample(self, name, **options):
        """A shop of `strata sample`, made once for its options."""
        shop = self.work / "-".join(["shop", name, *map(str, options.values())])
        if not (shop / "complete").exists():
            say(f"sample in {shop}")
            shutil.rmtree(shop, ignore_errors=True)
            flags = [f"--{key}={value}" for key, value in options.items()]
            subprocess.run([self.strata, "--quiet", "sample", "--out", shop, *flags], check=True)
            (shop / "complete").touch()
        return shop

    def project(self, name, start=None):
        """An empty project with the repository's models; `start` begins its metrics."""
        project = emptied(self.work / name)
        for folder in ("conf", "sql"):
            shutil.copytree(ROOT / folder, project / folder)
        if start:
            settings = project / "conf/warehouse.toml"
            settings.write_text(f"start = {start}\n{settings.read_text()}")
        return project

    def strata_in(self, project, source, *arguments):
        """The command line of strata on a project whose sources are a shop's folders."""
        return [
            self.strata, "--project", project, "--threads", self.threads, "--memory", self.memory,
            "--set", f"sources.user_action.path={source}/user_action", "--set", f"sources.orders.url={source}/orders",
            *arguments,
        ]  # fmt: skip

    def done(self, command):
        """Runs a command that is preparation."""
        said = subprocess.run([*map(str, command)], capture_output=True, text=True)
        if said.returncode:
            raise SystemExit(f"error: {' '.join(map(str, command))}\n{said.stdout}{said.stderr}")
        return said.stdout


def arrive(shop, source, first, last):
    """Lets the logs and extracts of some days be there to be ingested."""
    day = first
    while day <= last:
        for kind in ("user_action", "orders"):
            if (shop / kind / str(day)).is_dir():
                shutil.copytree(shop / kind / str(day), source / kind / str(day), copy_function=os.link)
        day += datetime.timedelta(days=1)
