"""How much of the disk files take up, and what for.

What counts is the space that is allocated (``st_blocks``), not the length: Kafka's index files are ten megabytes long
and mostly holes. A file that has several names is counted once, symbolic links are not followed.
"""

from __future__ import annotations

import os
import re
import stat
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

BLOCK = 512  # bytes of the unit of st_blocks, whatever the file system's own is (POSIX, sys/stat.h)
CATEGORIES = ("data", "index", "commitlog", "log")

# Kafka: a segment is named after its first offset in twenty digits.
_SEGMENT = re.compile(r"\d{20}\.(?P<kind>log|index|timeindex|txnindex|snapshot|checkpoint)(\.deleted)?")
# Cassandra: version-generation-format-component; Data and the commit log hold rows, all else leads to them.
_SSTABLE = re.compile(r"[a-z]{2}-[0-9a-z_]+-[a-z]+-(?P<component>\w+)\.(db|txt|crc32)")
_COMMITLOG = re.compile(r"CommitLog-[-\d]+(_cdc\.idx|\.log)")
_TEXT_LOG = re.compile(r".*\.(log|out|err)([.-][-\d.]+)?(\.gz)?")


@dataclass
class Share:
    """Allocated ``bytes`` of so many ``files``."""

    bytes: int = 0
    files: int = 0

    def add(self, allocated: int) -> None:
        """One more file."""
        self.bytes += allocated
        self.files += 1

    def as_dict(self) -> dict[str, int]:
        """As it goes into a module's result."""
        return {"bytes": self.bytes, "files": self.files}


@dataclass
class Usage:
    """What the paths of a component take up; ``missing`` are those that do not exist or cannot be read."""

    total: Share = field(default_factory=Share)
    categories: dict[str, Share] = field(default_factory=lambda: {name: Share() for name in CATEGORIES})
    missing: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """As it goes into a module's result."""
        categories = {name: share.as_dict() for name, share in self.categories.items()}
        return {**self.total.as_dict(), "categories": categories, "missing": self.missing}


def category(path: str) -> str:
    """What a file is for, by its name: ``data``, ``index``, ``commitlog`` or ``log``. What is not known is data."""
    name = os.path.basename(path)
    if _COMMITLOG.fullmatch(name):
        return "commitlog"
    segment = _SEGMENT.fullmatch(name)
    if segment:
        return "data" if segment["kind"] == "log" else "index"
    sstable = _SSTABLE.fullmatch(name)
    if sstable:
        return "data" if sstable["component"] == "Data" else "index"
    return "log" if _TEXT_LOG.fullmatch(name) else "data"


def measure(paths: Iterable[str]) -> Usage:
    """Measure files and whole folders. Files that come and go meanwhile are counted or not, but never an error."""
    usage = Usage()
    seen: set[tuple[int, int]] = set()
    for path in paths:
        if not os.access(path, os.R_OK):
            usage.missing.append(path)
            continue
        for found, status in _files(path):
            identity = (status.st_dev, status.st_ino)
            if identity not in seen:
                seen.add(identity)
                usage.total.add(status.st_blocks * BLOCK)
                usage.categories[category(found)].add(status.st_blocks * BLOCK)
    return usage


def report(components: Mapping[str, Iterable[str]]) -> dict[str, Any]:
    """The usage of every component (name → paths) and of all together, with the time of measuring."""
    components = {name: list(paths) for name, paths in components.items()}
    return {
        "time": round(time.time(), 3),
        "components": {name: measure(paths).as_dict() for name, paths in components.items()},
        "total": measure(path for paths in components.values() for path in paths).total.as_dict(),
    }


def growth(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """How a report has grown since an earlier one, for the components that are in both.

    Raises ValueError when ``before`` is not such a report.
    """
    try:
        seconds = round(float(after["time"]) - float(before["time"]), 3)
        grown = {
            name: _grown(before["components"][name], usage, seconds)
            for name, usage in after["components"].items()
            if name in before["components"]
        }
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError("it is not an earlier result of this module (its value usage)") from error
    return {"seconds": seconds, "components": grown}


def _grown(before: Mapping[str, Any], after: Mapping[str, Any], seconds: float) -> dict[str, Any]:
    difference = int(after["bytes"]) - int(before["bytes"])
    return {
        "bytes": difference,
        "files": int(after["files"]) - int(before["files"]),
        "bytes_per_minute": round(difference * 60 / seconds) if seconds > 0 else None,
        "categories": {
            name: int(share["bytes"]) - int(before["categories"].get(name, {"bytes": 0})["bytes"])
            for name, share in after["categories"].items()
        },
    }


def _files(path: str) -> Iterator[tuple[str, os.stat_result]]:
    """Every regular file at or below ``path``."""
    waiting = [path]
    while waiting:
        current = waiting.pop()
        try:
            status = os.lstat(current)
            if stat.S_ISDIR(status.st_mode):
                waiting.extend(entry.path for entry in os.scandir(current))
            elif stat.S_ISREG(status.st_mode):
                yield current, status
        except OSError:
            continue  # gone since it was listed
