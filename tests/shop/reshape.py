"""Delivers the same action log in another way, in place, for tests/metamorphic.rs.

    python reshape.py settle|shuffle|split|merge|copy LOGS

All work is on bytes: lines may be of any encoding, a file may begin with a byte order mark and its
last line may lack its end. Chance is seeded: the same folder gives the same bytes.
"""

import dataclasses
import gzip
import os
import random
import sys

import zstandard

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "oracle"))

import raw

ZONE = "Asia/Shanghai"
BOM = b"\xef\xbb\xbf"
PARTS = 3


def settle(root):
    """Drops deliveries whose order would matter: an event id seen before with other fields.

    "The kept row is the first by (arrival date, file path, byte offset, element)": of two
    deliveries that differ, other files or another order of lines keep the other one, rightly.
    """
    seen = {}
    for file, log in logs(root):
        log.lines = [line for line in log.lines if agrees(line, file.arrival, seen)]
        write(file.full_path, log)


def agrees(line, arrival, seen):
    """Whether the line's events are what was seen under their ids so far."""
    events = raw.line_events(line, arrival, ZONE) if line.strip(b" \t\r") else []
    for event in events:
        if isinstance(event, raw.Event) and event.event_id is not None:
            fields = dataclasses.astuple(event)
            if seen.setdefault((event.dt, event.event_id), fields) != fields:
                return False
    return True


def shuffle(root):
    """Puts the lines of every file into another order."""
    for file, log in logs(root):
        random.Random(file.path).shuffle(log.lines)
        write(file.full_path, log)


def split(root):
    """Cuts every file into some, deeper down, whose paths sort the other way round."""
    for file, log in logs(root):
        folder, name = os.path.split(file.full_path)
        size = len(log.lines) // PARTS + 1
        for part in range(PARTS):
            some = Log(log.lines[part * size : (part + 1) * size])
            some.has_bom = log.has_bom if part == 0 else part == 1
            some.is_ended = part == 0 if part < PARTS - 1 else log.is_ended
            suffix = ("", ".gz", ".zst")[(part + len(log.lines)) % 3]
            path = f"{folder}/part-{PARTS - part}/{name.split('.')[0]}.log{suffix}"
            os.makedirs(os.path.dirname(path), exist_ok=True)
            write(path, some)
        os.remove(file.full_path)


def merge(root):
    """Puts all files of a day into one, beneath a folder that writes the date another way."""
    days = {}
    for file, log in logs(root):
        days.setdefault(file.arrival, []).append((file, log))
    for number, (day, files) in enumerate(sorted(days.items())):
        whole = Log([line for _, log in reversed(files) for line in log.lines])
        whole.has_bom = number % 2 == 0
        whole.is_ended = number % 2 == 1
        for file, _ in files:
            os.remove(file.full_path)
        os.rmdir(f"{root}/{day}")
        folder = f"{root}/{(f'dt={day}', f'{day:%Y%m%d}')[number % 2]}"
        os.makedirs(folder)
        write(f"{folder}/all.log{('.zst', '.gz', '')[number % 3]}", whole)


def copy(root):
    """Delivers every file once more beside itself, byte by byte or packed another way."""
    for number, (file, log) in enumerate(logs(root)):
        folder, name = os.path.split(file.full_path)
        if number % 2 == 0:
            with open(file.full_path, "rb") as original:
                content = original.read()
            save(f"{folder}/again-{name}", content)
        else:
            packed = (".zst", ".gz")[number // 2 % 2]
            write(f"{folder}/{name.split('.')[0]}.again.log{packed}", log)


class Log:
    """A file's lines without their `\\n`."""

    def __init__(self, lines, has_bom=False, is_ended=True):
        self.lines = lines
        self.has_bom = has_bom
        self.is_ended = is_ended


def logs(root):
    """The files beneath a folder and what is in them, in the order they are read."""
    return [(file, parsed(raw.read_bytes(file))) for file in raw.find_files(root, ZONE)]


def parsed(content):
    has_bom = content.startswith(BOM)
    content = content.removeprefix(BOM)
    is_ended = content.endswith(b"\n")
    return Log(content.removesuffix(b"\n").split(b"\n"), has_bom, is_ended)


def write(path, log):
    """Writes a file as its name says it is packed, in two streams when it is compressed."""
    content = (BOM if log.has_bom else b"") + b"\n".join(log.lines)
    if log.is_ended:
        content += b"\n"
    half = len(content) // 2
    if path.endswith(".gz"):
        pack = lambda some: gzip.compress(some, mtime=0)
        content = pack(content[:half]) + pack(content[half:])
    elif path.endswith(".zst"):
        pack = zstandard.ZstdCompressor().compress
        content = pack(content[:half]) + pack(content[half:])
    save(path, content)


def save(path, content):
    with open(path, "wb") as file:
        file.write(content)


def rest(root):
    """Lets every file be as old as its day: nobody writes to a last line without an end."""
    for file in raw.find_files(root, ZONE):
        noon = (file.arrival.toordinal() - 719_163) * 86_400 + 4 * 3600
        os.utime(file.full_path, (noon, noon))


if __name__ == "__main__":
    ways = {"settle": settle, "shuffle": shuffle, "split": split, "merge": merge, "copy": copy}
    ways[sys.argv[1]](sys.argv[2])
    rest(sys.argv[2])
