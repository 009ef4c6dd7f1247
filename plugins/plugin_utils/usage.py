"""Disk space before and after a drill, beside what the event's size and rate let expect.

What counts is allocated blocks, not lengths: Kafka's indexes are mostly holes. Kafka's segments hold what was written;
Cassandra's tables grow only when it writes its memory to disk, until then the rows are in its commit log, whose files
are allocated ahead.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from ansible_collections.eventlog.drills.plugins.module_utils import disk
from ansible_collections.eventlog.drills.plugins.plugin_utils import live
from ansible_collections.eventlog.drills.plugins.plugin_utils.host import Host, HostError, quoted
from ansible_collections.eventlog.drills.plugins.plugin_utils.ledger import number
from ansible_collections.eventlog.drills.plugins.plugin_utils.rehearsal import Rehearsal

COMPONENTS = ("kafka", "cassandra")
FIRST_SAMPLE_SECONDS = 5.0
_MEGABYTE = 1_000_000

Usage = dict[str, dict[str, int]]  #: component to category to allocated bytes


def measure_disk(rehearsal: Rehearsal, *, flushed: bool) -> None:
    """Journal what is on disk: the first time as it is, the second time compared with the first.

    :param flushed: whether the database has just written to its tables what it kept in memory.
    """
    records = rehearsal.records
    config = records[0].get("config") or {}
    # At the begin the sampler may only just have been started.
    rehearsal.follow(lambda: bool(rehearsal.samples), until=time.time() + FIRST_SAMPLE_SECONDS)
    if not rehearsal.samples:
        return
    generated = int(rehearsal.samples[-1]["producer"]["count"] or 0)
    try:
        found = measure(rehearsal.host, str(config["pipeline"]["root"]))
    except HostError as error:
        rehearsal.note("note", text=f"disk usage could not be measured: {error}")
        return
    first = next((record for record in records if record["kind"] == "disk"), None)
    if first is None:
        rehearsal.note("disk", before=found, generated=generated, flushed=flushed)
        return
    record = rehearsal.note(
        "disk",
        flushed=flushed and first["flushed"],
        **compare(
            first["before"],
            found,
            seconds=time.time() - float(first["time"]),
            events=generated - int(first["generated"]),
            event_bytes=int(config["event"]["bytes"]),
        ),
    )
    rehearsal.say(live.line("disk", f"{record['summary']}{'' if record['flushed'] else '  (tables not flushed)'}"))


def measure(host: Host, root: str) -> Usage:
    """Allocated bytes below the pipeline's ``root``, per component and category.

    :raises HostError: the host cannot be asked.
    """
    return {name: _parse(host.run(_find(f"{root}/data/{name}"))) for name in COMPONENTS}


def _find(path: str) -> str:
    # Files that go away meanwhile are no error: Kafka and Cassandra delete and rename all the time.
    return f"find {quoted(path)} -type f -printf '%b %f\\n' 2>/dev/null || true"


def _parse(listing: str) -> dict[str, int]:
    found = dict.fromkeys(disk.CATEGORIES, 0)
    for line in listing.splitlines():
        blocks, _, name = line.partition(" ")
        found[disk.category(name)] += int(blocks) * disk.BLOCK
    return found


def compare(before: Usage, after: Usage, *, seconds: float, events: int, event_bytes: int) -> dict[str, Any]:
    """The growth between two measurements as a record for the journal.

    :param events: how many events were generated meanwhile.
    :param event_bytes: size of one.
    """
    minutes = seconds / 60 if seconds > 0 else 1.0
    expected = events * event_bytes
    rows = [_row(name, before[name], after[name], minutes, events) for name in COMPONENTS]
    grown = {name: sum(after[name].values()) - sum(before[name].values()) for name in COMPONENTS}
    texts = [f"{name} {_signed(size)} ({size / _MEGABYTE / minutes:.2f} MB/min)" for name, size in grown.items()]
    payload = f"events {expected / _MEGABYTE:.2f} MB ({expected / _MEGABYTE / minutes:.2f} MB/min)"
    return {
        "before": before,
        "after": after,
        "seconds": seconds,
        "events": events,
        "expected_bytes": expected,
        "summary": f"{'  '.join(texts)}  {payload}",
        "head": ["", "before", "after", "grown", "per minute", "per event", *(f"of it {c}" for c in disk.CATEGORIES)],
        "rows": [*rows, _expected_row(expected, minutes, event_bytes)],
    }


def _row(name: str, before: Mapping[str, int], after: Mapping[str, int], minutes: float, events: int) -> list[str]:
    grown = sum(after.values()) - sum(before.values())
    return [
        name,
        _size(sum(before.values())),
        _size(sum(after.values())),
        _signed(grown),
        _signed(round(grown / minutes)),
        f"{number(round(grown / events))} B" if events else "",
        *(_signed(after[category] - before.get(category, 0)) for category in disk.CATEGORIES),
    ]


def _expected_row(expected: int, minutes: float, event_bytes: int) -> list[str]:
    rate = _signed(round(expected / minutes))
    return ["the events themselves", "", "", _signed(expected), rate, f"{number(event_bytes)} B", "", "", "", ""]


def _size(size: int) -> str:
    return f"{size / _MEGABYTE:.1f} MB"


def _signed(size: int) -> str:
    return f"{size / _MEGABYTE:+.2f} MB"
