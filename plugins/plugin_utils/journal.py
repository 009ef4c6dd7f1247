"""The journal of one drill: what happened, in order, on disk before anything else happens.

A run is a folder ``<UTC time>-<drill>/`` below the runs folder, readable by its owner only:

``journal.jsonl``
    one JSON object a line, appended and flushed record by record; the single source of every report.
``samples.jsonl``
    the sampler's snapshots, one a line, kept apart only because they are many.
``verdict.json``, ``report.*``, ``junit.xml``
    rendered from the two above, at any time, any number of times.

A crash can tear at most the last line of either file. Readers drop a torn last line and refuse any other bad line,
since that would mean that somebody edited the evidence.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

Record = dict[str, Any]

KINDS = frozenset(
    {
        "begin",  # drill, title, command, host, settings
        "preflight",  # checks of the plan's arithmetic, before anything is touched
        "steady",  # counts, lag and rate of the healthy pipeline
        "window",  # the books are opened: high-water marks and offsets
        "lease",  # armed, disarmed, expired
        "phase",  # a stretch of the timeline: name, start, end
        "fault",  # receipts of something taken away
        "undo",  # receipts of something given back
        "settings",  # of the running servers
        "note",  # a fact for the timeline and the evidence
        "observation",  # expectations of a phase against what was seen
        "trouble",  # a task of the playbook failed
        "recovery",  # the seconds from undo to drained
        "books",  # every record of the window
        "conservation",  # the live law of counts, at the close
        "disk",  # usage before and after
        "verdict",  # the judgement
    }
)
#: These records are synced to the disk: they must survive the loss of the controller's power, not only of its process.
_SYNCED = frozenset({"begin", "window", "lease", "fault", "undo", "verdict"})

_NAME = re.compile(r"^[a-z0-9][a-z0-9_-]*$")
_STAMP = re.compile(r"^\d{4}-\d{2}-\d{2}T\d{2}-\d{2}-\d{2}Z-")


class JournalError(Exception):
    """The journal cannot be read or written; the message says which file and line."""


@dataclass(frozen=True)
class Run:
    """The folder of one drill's run and the files in it."""

    path: Path

    @property
    def name(self) -> str:
        """Folder name, for example ``2026-11-23T20-11-58Z-flink``."""
        return self.path.name

    @property
    def journal(self) -> Path:
        """The append-only record of what happened."""
        return self.path / "journal.jsonl"

    @property
    def samples(self) -> Path:
        """The sampler's snapshots."""
        return self.path / "samples.jsonl"

    @property
    def verdict(self) -> Path:
        """The verdict alone, for scripts."""
        return self.path / "verdict.json"


def create_run(runs: Path, drill: str, *, link: Path | None = None, now: float | None = None) -> Run:
    """Make the folder of a new run and point ``latest`` at it.

    :param runs: folder of all runs; made when missing.
    :param drill: name of the drill: lower-case letters, digits, ``-`` and ``_``.
    :param link: a further link to the run, of whoever started this drill and no other.
    :param now: seconds since the epoch; the present when left out.
    :raises JournalError: the name is not usable or the folder cannot be made.
    """
    if not _NAME.match(drill):
        raise JournalError(f"drill name {drill!r} is not usable: lower-case letters, digits, - and _ only")
    moment = time.time() if now is None else now
    try:
        runs.mkdir(mode=0o700, parents=True, exist_ok=True)
        run = Run(_make_unique(runs, moment, drill))
        _point(runs / "latest", run.name)
        if link is not None:
            _point(link, str(run.path.absolute()))
    except OSError as error:
        raise JournalError(f"cannot make a run folder in {runs}: {error.strerror}") from error
    return run


def _make_unique(runs: Path, moment: float, drill: str) -> Path:
    # Two drills within one second (tests do it) get distinct folders by moving on to the next free second.
    while True:
        stamp = datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H-%M-%SZ")
        path = runs / f"{stamp}-{drill}"
        try:
            path.mkdir(mode=0o700)
        except FileExistsError:
            moment += 1
        else:
            return path


def _point(link: Path, target: str) -> None:
    if link.exists() and not link.is_symlink():
        raise JournalError(f"{link} is not a link made by a drill; move it away")
    fresh = link.with_name(f".{link.name}-{os.getpid()}")
    with contextlib.suppress(FileNotFoundError):
        fresh.unlink()
    fresh.symlink_to(target)
    fresh.replace(link)


def all_runs(runs: Path) -> list[Run]:
    """Every run below ``runs``, oldest first; an absent folder has none."""
    if not runs.is_dir():
        return []
    return [
        Run(entry)
        for entry in sorted(runs.iterdir())
        if not entry.is_symlink() and _STAMP.match(entry.name) and (entry / "journal.jsonl").is_file()
    ]


def append(run: Run, kind: str, /, **fields: Any) -> Record:
    """Append one record, flushed before this returns; key records are also synced to the disk.

    :param kind: one of :data:`KINDS`.
    :param fields: JSON values; ``time`` (seconds since the epoch) is the present unless given.
    :returns: the record as written.
    :raises JournalError: unknown kind, or the file cannot be written.
    """
    if kind not in KINDS:
        raise JournalError(f"unknown kind of record: {kind}")
    record: Record = {"time": time.time(), **fields, "kind": kind}
    _append_lines(run.journal, [record], sync=kind in _SYNCED)
    return record


def append_samples(run: Run, samples: Iterable[Mapping[str, Any]]) -> None:
    """Append snapshots to the run's samples."""
    _append_lines(run.samples, samples, sync=False)


def _append_lines(path: Path, objects: Iterable[Mapping[str, Any]], *, sync: bool) -> None:
    data = "".join(json.dumps(item, separators=(",", ":")) + "\n" for item in objects)
    if not data:
        return
    try:
        with open(path, "a+b", opener=_private) as stream:
            _mend_torn_line(stream)
            stream.write(data.encode("ascii"))
            stream.flush()
            if sync:
                os.fsync(stream.fileno())
    except OSError as error:
        raise JournalError(f"cannot write {path}: {error.strerror}") from error


def _mend_torn_line(stream: IO[bytes]) -> None:
    """End a line that a crash has torn, by cutting it off: its record was never acknowledged to anyone."""
    end = stream.seek(0, os.SEEK_END)
    if end == 0:
        return
    stream.seek(end - 1)
    if stream.read(1) == b"\n":
        return
    stream.seek(0)
    stream.truncate(stream.read().rfind(b"\n") + 1)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def write_private(path: Path, text: str) -> None:
    """Replace a file in one step, readable by its owner only.

    :raises JournalError: the file cannot be written.
    """
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(fresh, "w", encoding="utf-8", errors="backslashreplace", opener=_private) as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        fresh.replace(path)
    except OSError as error:
        raise JournalError(f"cannot write {path}: {error.strerror}") from error


def read_records(path: Path) -> list[Record]:
    """All complete records of a JSONL file; a file that does not exist has none.

    :raises JournalError: a line other than a torn last one is not a JSON object.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise JournalError(f"cannot read {path}: {error.strerror}") from error
    return list(parse_lines(data, where=str(path)))


def parse_lines(data: bytes, *, where: str) -> Iterator[Record]:
    """Parse JSONL; what follows the last newline is a torn line and is dropped.

    :param where: named in the error.
    :raises JournalError: a complete line is not a JSON object.
    """
    complete = data[: data.rfind(b"\n") + 1]
    for number, line in enumerate(complete.split(b"\n")[:-1], start=1):
        try:
            record = json.loads(line)
        except ValueError as error:
            raise JournalError(
                f"{where} line {number} is not JSON; the journal was changed after it was written"
            ) from error
        if not isinstance(record, dict):
            raise JournalError(f"{where} line {number} is not a record")
        yield record


def of_kind(records: Iterable[Record], kind: str) -> list[Record]:
    """The records of one kind, in order."""
    return [record for record in records if record.get("kind") == kind]


def last(records: Iterable[Record], kind: str) -> Record | None:
    """The newest record of one kind, or None."""
    found = of_kind(records, kind)
    return found[-1] if found else None
